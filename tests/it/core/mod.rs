//! The broker's core under tokio's paused time, with a scripted exchange in place of AWS; no socket, no real second.

mod budget;
mod cloud;
mod crowd;
mod freshness;
mod panics;
mod pools;
mod reloading;
mod renewing;
mod sessions;
mod sharing;
mod single_flight;
mod watching;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cupbearer::auth::{self, FetchKeys, UserPool, Verifier};
use cupbearer::broker::{
    Broker, Config, ConfiguredSession, Floods, Grant, Limits, Policy, Profile, Renewer, SessionLimits,
    SessionTemplates, Visit,
};
use cupbearer::chance::Chance;
use cupbearer::clock::{Clock, Expiry, epoch_seconds};
use cupbearer::dev::{self, AmbiguousRoleResolution, Emulator};
use cupbearer::error::{Error, Kind};
use cupbearer::metrics::{Metrics, Operation};
use cupbearer::model::{Ask, Credentials, IdentityId, RoleArn};
use cupbearer::roles::{Ambiguous, Mapping, Rules};
use cupbearer::secret::CupToken;
use cupbearer::supervise::supervise;
use cupbearer::templates::NameTemplate;
use cupbearer::upstream::{Class, Exchange, Exchanging, Failure, Flow, Lane, Order, Target};
use http::Request;
use tokio::task::JoinSet;
use url::Url;

use pools::Pools;

/// When every simulation begins, in seconds since 1970.
pub const START: u64 = 1_800_000_000;

/// Makes the tokens; its keys take a while, so that there is one for all.
static EMULATOR: LazyLock<Emulator> =
    LazyLock::new(|| Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap());

/// Over HTTP, as an AWS SDK asks.
pub const SDK: Visit = Visit { holder: true, hold: Duration::from_millis(900), hold_failures: true };

/// Over gRPC, once.
pub const CALL: Visit = Visit { holder: false, hold: Duration::from_secs(5), hold_failures: false };

/// What the scripted AWS does next.
#[derive(Clone, Copy)]
pub enum Mood {
    Well,
    Fails(Class),
    Panics,
}

/// An exchange that does as it is told and writes down what it was asked.
pub struct Script {
    clock: Clock,
    mood: Mutex<Mood>,
    /// How long it takes.
    pub delay: Mutex<Duration>,
    /// How long its credentials live.
    pub lifetime: Mutex<Duration>,
    calls: AtomicUsize,
    flights: Mutex<HashMap<String, usize>>,
    most_at_once: AtomicUsize,
    /// The tokens that it was given.
    pub tokens: Mutex<Vec<String>>,
    /// Whether the refresher's own loop stumbles, once, when it next asks what an exchange takes.
    pub trips_the_loop: AtomicBool,
}

impl Script {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::Relaxed)
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Who an order is for: credentials carry it, so that a mix-up shows.
    fn owner(order: &Order) -> String {
        let role = order.role.as_ref().map_or("-", RoleArn::as_str);
        format!("{}|{role}", order.subject)
    }

    fn depart(&self, owner: &str) {
        let mut flights = self.flights.lock().unwrap();
        let own = flights.entry(owner.to_owned()).or_default();
        *own += 1;
        assert_eq!(*own, 1, "two exchanges at once for {owner}");
        let all = flights.values().sum();
        self.most_at_once.fetch_max(all, Ordering::Relaxed);
    }

    fn arrive(&self, owner: &str) {
        *self.flights.lock().unwrap().get_mut(owner).unwrap() -= 1;
    }

    async fn answer(&self, order: &Order) -> Result<Credentials, Failure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let token = order.token.as_ref().map(|token| token.expose_secret().to_owned()).unwrap_or_default();
        self.tokens.lock().unwrap().push(token);
        let owner = Self::owner(order);
        self.depart(&owner);
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        self.arrive(&owner);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Well => Ok(self.credentials(&owner, call, order)),
            Mood::Fails(class) => Err(Failure::ours(
                class,
                Operation::GetCredentialsForIdentity,
                "NotAuthorizedException",
                "as the test wants it",
            )),
            Mood::Panics => panic!("as the test wants it"),
        }
    }

    fn credentials(&self, owner: &str, call: usize, order: &Order) -> Credentials {
        let now = self.clock.now();
        let lifetime = *self.lifetime.lock().unwrap();
        Credentials::from(cupbearer::model::Issued {
            access_key_id: format!("{owner}|{call}"),
            secret_access_key: "secret".to_owned().into(),
            session_token: "session".to_owned().into(),
            received: now,
            expires: Expiry::at(now.wall + lifetime, now),
            role_arn: order.role.clone(),
            identity_id: Some(IdentityId("us-east-1:0".into())),
        })
    }
}

impl Exchange for Script {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(self.answer(order))
    }

    fn lane(&self, order: &Order) -> Lane {
        assert!(!self.trips_the_loop.swap(false, Ordering::Relaxed), "as the test wants it");
        Lane::warm(&order.target)
    }
}

/// The emulator's key set, without a network.
struct Keys;

impl FetchKeys for Keys {
    fn fetch<'a>(&'a self, url: &'a Url) -> auth::Fetching<'a> {
        let request = Request::get(url.path()).body(Bytes::new()).unwrap();
        let document = EMULATOR.answer(request, SystemTime::UNIX_EPOCH).into_body();
        Box::pin(async { Ok(document) })
    }
}

/// A broker with a life of its own; its tasks end with it.
pub struct World {
    pub broker: Arc<Broker>,
    pub script: Arc<Script>,
    pub pools: Arc<Pools>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    _tasks: JoinSet<()>,
}

/// The sessions' limits of most tests.
pub const SESSIONS: SessionLimits =
    SessionLimits { all: 100, per_subject: 3, idle: Duration::from_secs(3_600), accept_refresh_tokens: true };

/// The limits of most tests.
pub const LIMITS: Limits = Limits {
    entries: 1_000,
    entries_per_subject: 32,
    concurrency: 64,
    exchange_timeout: Duration::from_secs(5),
    // Whole crowds are guests here, who count as one user.
    floods: Floods { misses_per_subject: 1_000_000, failures_per_peer: 50 },
};

impl World {
    pub async fn new(limits: Limits) -> Self {
        Self::with(limits, Vec::new()).await
    }

    /// With sessions that are there from the start.
    pub async fn with(limits: Limits, configured_sessions: Vec<ConfiguredSession>) -> Self {
        let clock = Clock::simulated(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let script = Arc::new(Script {
            clock: clock.clone(),
            mood: Mutex::new(Mood::Well),
            delay: Mutex::new(Duration::from_millis(100)),
            lifetime: Mutex::new(Duration::from_secs(3_600)),
            calls: AtomicUsize::new(0),
            flights: Mutex::default(),
            most_at_once: AtomicUsize::new(0),
            tokens: Mutex::default(),
            trips_the_loop: AtomicBool::new(false),
        });
        let exchange: Arc<dyn Exchange> = Arc::clone(&script) as _;
        let config = Config { configured_sessions, ..broker_config(limits) };
        let (broker, mut tasks) = start(config, exchange, &clock, &metrics).await;
        let pools = Arc::new(Pools::new(clock.clone()));
        tasks.spawn(supervise(Renewer::new(Arc::clone(&broker), Arc::clone(&pools) as _)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        Self { broker, script, pools, clock, metrics, _tasks: tasks }
    }

    pub async fn ask(&self, token: &str, role: Option<&str>, visit: Visit) -> Result<Grant, Error> {
        let role = role.map(ToOwned::to_owned);
        let ask = Ask { profile: "default".to_owned(), role, ..Ask::default() };
        let grant = self.broker.credentials(&CupToken::new(token), &ask, visit).await?;
        let now = self.clock.now();
        assert!(!grant.credentials.expires.passed(now), "expired credentials were served");
        Ok(grant)
    }

    pub async fn kind(&self, token: &str, visit: Visit) -> Option<Kind> {
        self.ask(token, None, visit).await.err().map(|error| error.kind())
    }

    /// How long a question took, in simulated time.
    pub async fn timed(&self, token: &str, visit: Visit) -> (Duration, Result<Grant, Error>) {
        let started = tokio::time::Instant::now();
        let done = self.ask(token, None, visit).await;
        (started.elapsed(), done)
    }

    /// A token that is good from now for `seconds`, of the named scenario user or of anybody.
    pub fn token(&self, subject: &str, seconds: u64) -> String {
        let now = epoch_seconds(self.clock.now().wall);
        token(subject, now, seconds)
    }
}

/// A broker over `exchange`, and the tasks that it lives by.
pub async fn start(
    config: Config,
    exchange: Arc<dyn Exchange>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> (Arc<Broker>, JoinSet<()>) {
    let fetcher: Arc<dyn FetchKeys> = Arc::new(Keys);
    let chance = Chance::of_the_system();
    let (verifier, keepers, sweeper) =
        Verifier::new(auth_config(), &fetcher, clock.clone(), chance.clone(), Arc::clone(metrics));
    let (broker, refresher) = Broker::new(config, verifier, exchange, clock.clone(), chance, Arc::clone(metrics));
    let mut tasks = JoinSet::new();
    tasks.spawn(refresher.run());
    tasks.spawn(sweeper.run());
    keepers.into_iter().for_each(|keeper| drop(tasks.spawn(keeper.run())));
    tokio::time::sleep(Duration::from_millis(1)).await;
    (Arc::new(broker), tasks)
}

pub fn token(subject: &str, now: u64, seconds: u64) -> String {
    let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
    let mut claims = EMULATOR.id_claims("alice", issued).unwrap();
    claims["sub"] = subject.into();
    claims["exp"] = (now + seconds).into();
    EMULATOR.sign(&claims).unwrap()
}

fn auth_config() -> auth::Config {
    let pool = UserPool {
        id: dev::USER_POOL_ID.into(),
        client_ids: vec![dev::CLIENT_ID.into()],
        issuers: vec![dev::ISSUER.into()],
        jwks_url: Url::parse(&format!("http://127.0.0.1/{}/.well-known/jwks.json", dev::USER_POOL_ID)).unwrap(),
    };
    auth::Config {
        user_pools: vec![pool],
        token_bytes: 16_384,
        access_tokens: false,
        verdicts: NonZeroUsize::new(10_000).unwrap(),
    }
}

fn broker_config(limits: Limits) -> Config {
    let alias = |name: &str, arn: &str| (name.to_owned(), RoleArn::new(arn));
    let rules = Rules {
        mapping: Mapping::Token,
        ambiguous: Ambiguous::Deny,
        aliases: [alias("admin", dev::ADMIN_ROLE_ARN), alias("editor", dev::EDITOR_ROLE_ARN)].into(),
        preferred_must_be_listed: true,
        groups: Vec::new(),
    };
    let target = Target {
        flow: Flow::Enhanced,
        identity_pool_id: dev::IDENTITY_POOL_ID.into(),
        logins_key: None,
        region: dev::REGION.into(),
        duration: Duration::from_secs(3_600),
        external_id: None,
    };
    let session = SessionTemplates {
        name: NameTemplate::parse("{{sub}}").unwrap(),
        source_identity: None,
        tags: Vec::new(),
        transitive_tag_keys: Vec::new(),
        policy: None,
        policy_arns: Vec::new(),
    };
    let profile = Profile {
        user_pools: [dev::USER_POOL_ID.into()].into(),
        accept_access_tokens: false,
        allow_unauthenticated: true,
        volatile_claims: Vec::new(),
        rules,
        target: Arc::new(target),
        session,
    };
    let policy = Policy { at: 1.0 / 3.0, jitter: 0.1, latest_at: 0.6, min_remaining: Duration::from_secs(1_200) };
    Config {
        profiles: [("default".to_owned(), profile)].into(),
        policy,
        limits,
        sessions: SESSIONS,
        configured_sessions: Vec::new(),
    }
}

/// The owner that the scripted AWS wrote into the credentials.
pub fn owner(grant: &Grant) -> &str {
    let key = grant.credentials.access_key_id.as_str();
    key.rsplit_once('|').map_or(key, |(owner, _)| owner)
}
