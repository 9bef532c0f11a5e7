//! A scripted AWS below the flows: real flows, identities, budget and metrics over an [`Api`] that does as it is told and
//! writes down when it was called. Its users are guests, who need no token to be made.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cupbearer::broker::{Broker, Limits, Profile, Visit};
use cupbearer::chance::Chance;
use cupbearer::clock::{Clock, Expiry};
use cupbearer::error::Error;
use cupbearer::metrics::{Metrics, Operation};
use cupbearer::model::{Credentials, IdentityId, RoleArn};
use cupbearer::upstream::{Api, Aws, Budget, Calling, Class, Failure, Order, Rates, Target};
use secrecy::SecretString;
use tokio::task::JoinSet;

use super::{LIMITS, START, broker_config, start};

/// What an API answers to one call.
pub type Answer = Result<(), (Class, bool, Option<Duration>)>;

/// Down: the connection breaks.
pub const BROKEN: Answer = Err((Class::Unavailable, true, None));
pub const DENIED: Answer = Err((Class::Denied, false, None));
pub const THROTTLED: Answer = Err((Class::Throttled, false, None));

/// The script: the operation and the boot time in, the answer out.
pub type Plot = Box<dyn FnMut(Operation, Duration) -> Answer + Send>;

pub struct Cloud {
    clock: Clock,
    plot: Mutex<Plot>,
    pub delay: Mutex<Duration>,
    /// How long GetId takes, if it is not as quick as the others.
    pub get_id_delay: Mutex<Option<Duration>>,
    pub lifetime: Mutex<Duration>,
    /// Each call, when and for whom.
    pub calls: Mutex<Vec<(Operation, Duration, String)>>,
}

impl Cloud {
    pub fn set(&self, plot: impl FnMut(Operation, Duration) -> Answer + Send + 'static) {
        *self.plot.lock().unwrap() = Box::new(plot);
    }

    /// When `operation` was called, from the `from`-th call on.
    pub fn times(&self, operation: Operation, from: usize) -> Vec<Duration> {
        let calls = self.calls.lock().unwrap();
        calls[from..].iter().filter(|(other, ..)| *other == operation).map(|(_, at, _)| *at).collect()
    }

    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    async fn call<T>(
        &self,
        operation: Operation,
        order: &Order,
        good: impl FnOnce() -> T + Send,
    ) -> Result<T, Failure> {
        let now = self.clock.now().boot;
        self.calls.lock().unwrap().push((operation, now, order.subject.to_string()));
        let answer = self.plot.lock().unwrap()(operation, now);
        let slow = self.get_id_delay.lock().unwrap().filter(|_| operation == Operation::GetId);
        let delay = slow.unwrap_or(*self.delay.lock().unwrap());
        tokio::time::sleep(delay).await;
        let (class, broken, retry_after) = match answer {
            Ok(()) => return Ok(good()),
            Err(failure) => failure,
        };
        let code = if class == Class::Denied { "NotAuthorizedException" } else { "Scripted" };
        Err(Failure { broken, retry_after, ..Failure::ours(class, operation, code, "as the test wants it") })
    }

    fn credentials(&self, order: &Order) -> Credentials {
        let now = self.clock.now();
        Credentials::from(cupbearer::model::Issued {
            access_key_id: order.subject.to_string(),
            secret_access_key: "secret".to_owned().into(),
            session_token: "session".to_owned().into(),
            received: now,
            expires: Expiry::at(now.wall + *self.lifetime.lock().unwrap(), now),
            role_arn: order.role.clone(),
            identity_id: Some(IdentityId("us-east-1:0".into())),
        })
    }
}

impl Api for Cloud {
    fn get_id<'a>(&'a self, order: &'a Order) -> Calling<'a, IdentityId> {
        Box::pin(self.call(Operation::GetId, order, || IdentityId("us-east-1:0".into())))
    }

    fn get_credentials<'a>(&'a self, order: &'a Order, _id: &'a IdentityId) -> Calling<'a, Credentials> {
        Box::pin(self.call(Operation::GetCredentialsForIdentity, order, || self.credentials(order)))
    }

    fn get_open_id_token<'a>(&'a self, order: &'a Order, _id: &'a IdentityId) -> Calling<'a, SecretString> {
        Box::pin(self.call(Operation::GetOpenIdToken, order, || "token".to_owned().into()))
    }

    fn assume_role_with_web_identity<'a>(
        &'a self,
        order: &'a Order,
        _role: &'a RoleArn,
        _token: &'a SecretString,
        _id: &'a IdentityId,
    ) -> Calling<'a, Credentials> {
        Box::pin(self.call(Operation::AssumeRoleWithWebIdentity, order, || self.credentials(order)))
    }

    fn assume_role<'a>(&'a self, order: &'a Order, _role: &'a RoleArn) -> Calling<'a, Credentials> {
        Box::pin(self.call(Operation::AssumeRole, order, || self.credentials(order)))
    }
}

/// A broker over the real upstream room, and that over a cloud.
pub struct Sky {
    pub broker: Arc<Broker>,
    pub cloud: Arc<Cloud>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    _tasks: JoinSet<()>,
}

/// The default rates.
pub const RATES: Rates =
    Rates { get_id: 5, get_credentials_for_identity: 20, get_open_id_token: 20, assume_role: 20, refresh_token: 10 };

/// Rates that only GetCredentialsForIdentity bounds.
pub fn rates(get_credentials_for_identity: u32) -> Rates {
    Rates { get_id: 10_000, get_credentials_for_identity, ..RATES }
}

impl Sky {
    pub async fn new(rates: Rates) -> Self {
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let cloud = Arc::new(Cloud {
            clock: clock.clone(),
            plot: Mutex::new(Box::new(|_, _| Ok(()))),
            delay: Mutex::new(Duration::from_millis(50)),
            get_id_delay: Mutex::default(),
            lifetime: Mutex::new(Duration::from_secs(3_600)),
            calls: Mutex::default(),
        });
        let budget = Arc::new(Budget::new(rates, clock.clone(), Chance::of_the_system()));
        let api: Arc<dyn Api> = Arc::clone(&cloud) as _;
        let aws = Arc::new(Aws::over(api, budget, clock.clone(), Arc::clone(&metrics)));
        let mut config = broker_config(Limits { entries: 20_000, ..LIMITS });
        config.profiles.insert("far".to_owned(), far(&config.profiles["default"]));
        let (broker, tasks) = start(config, aws, &clock, &metrics).await;
        Self { broker, cloud, clock, metrics, _tasks: tasks }
    }

    /// Asks for the guest with this number, and waits for the answer for up to `hold`. Says how long it took.
    pub async fn ask(&self, number: usize, hold: Duration) -> (Duration, Result<Duration, Error>) {
        self.ask_for("default", number, hold).await
    }

    /// The same for another profile.
    pub async fn ask_for(&self, profile: &str, number: usize, hold: Duration) -> (Duration, Result<Duration, Error>) {
        let asked = tokio::time::Instant::now();
        let visit = Visit { holder: true, hold, hold_failures: false };
        let handle = format!("guest-{number}");
        let done = self.broker.guest_credentials(profile, &handle, visit).await;
        let now = self.clock.now();
        let done = done.map(|grant| {
            assert!(grant.credentials.access_key_id == handle && !grant.credentials.expires.passed(now));
            grant.credentials.expires.remaining(now)
        });
        (asked.elapsed(), done)
    }

    /// Asks for all guests up to `number` at once, and again and again until each has an answer.
    pub async fn warm(&self, number: usize) {
        let asked = (0..number).map(|guest| self.ask(guest, Duration::from_secs(10_000)));
        assert!(futures::future::join_all(asked).await.iter().all(|(_, done)| done.is_ok()));
    }

    /// Asks once for each of them, and says how little any reply had left. Each must be a hit.
    pub async fn read(&self, number: usize) -> Duration {
        let mut least = Duration::MAX;
        for guest in 0..number {
            let (took, done) = self.ask(guest, Duration::from_secs(1)).await;
            assert_eq!(took, Duration::ZERO, "guest {guest} had to wait: {done:?}");
            least = least.min(done.unwrap());
        }
        least
    }
}

/// The same profile with an identity pool in another region.
fn far(profile: &Profile) -> Profile {
    let identity_pool_id = "eu-west-1:11111111-2222-3333-4444-555555555555".into();
    Profile { target: Arc::new(Target { identity_pool_id, ..(*profile.target).clone() }), ..profile.clone() }
}

/// Most calls in any second.
pub fn most_in_a_second(times: &[Duration]) -> usize {
    let (mut window, mut most) = (VecDeque::new(), 0);
    for at in times {
        window.push_back(*at);
        while window.front().is_some_and(|first| *first + Duration::from_secs(1) < *at) {
            window.pop_front();
        }
        most = most.max(window.len());
    }
    most
}
