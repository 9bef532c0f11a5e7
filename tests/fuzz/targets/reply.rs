//! Replies of AWS: the first byte says to which call and with which status, the rest is the body. `$E` in it is an
//! expiration, in an hour.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cupbearer::chance::Chance;
use cupbearer::clock::Clock;
use cupbearer::config;
use cupbearer::metrics::Metrics;
use cupbearer::secret::CupToken;
use cupbearer::upstream::{Aws, Budget, Exchange, Flow, Identities, Order, Target};
use tokio::runtime::Runtime;

use super::authorization::replaced;
use super::ground::{self, IDENTITY, ISSUER, runtime};

const STATUSES: [u16; 8] = [200, 200, 200, 200, 400, 403, 429, 500];

/// One way to AWS after the other: one that AWS failed rests for a while.
struct Way {
    runtime: Runtime,
    aws: ground::Aws,
    way: RefCell<Option<Arc<Aws>>>,
    metrics: Arc<Metrics>,
}

thread_local! {
    static WAY: Way = Way::open();
}

impl Way {
    fn open() -> Self {
        let runtime = runtime();
        let aws = runtime.block_on(ground::Aws::start());
        Self { runtime, aws, way: RefCell::default(), metrics: Arc::new(Metrics::new("fuzz").unwrap()) }
    }

    async fn way(&self) -> Arc<Aws> {
        if let Some(way) = self.way.borrow().as_ref() {
            return Arc::clone(way);
        }
        let config = config::parse("fuzz.toml", &ground::settings(self.aws.address), &|_| None);
        let config = config.unwrap_or_else(|faults| panic!("{faults}")).upstream;
        let (clock, known) = (Clock::system(), Arc::new(Identities::in_memory()));
        let budget = Arc::new(Budget::new(config.rates, clock.clone(), Chance::seeded(1)));
        let way = Arc::new(Aws::new(&config, None, known, budget, clock, Arc::clone(&self.metrics)).await);
        *self.way.borrow_mut() = Some(Arc::clone(&way));
        way
    }
}

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    WAY.with(|way| judge(way, *kind, rest));
}

fn judge(way: &Way, kind: u8, body: &[u8]) {
    let in_an_hour = SystemTime::now() + Duration::from_secs(3_600);
    let seconds = in_an_hour.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().to_string();
    let body = replaced(body, b"$E", seconds.as_bytes());
    let operation = if kind & 8 == 0 { "GetCredentialsForIdentity" } else { "GetId" };
    way.aws.is_well();
    way.aws.says(operation, STATUSES[usize::from(kind & 7)], &body);
    let target = Target {
        flow: Flow::Enhanced,
        identity_pool_id: "us-east-1:99999999-2222-3333-4444-555555555555".into(),
        logins_key: None,
        region: "us-east-1".into(),
        duration: Duration::from_secs(3_600),
        external_id: None,
    };
    let order = Order {
        target: Arc::new(target),
        issuer: ISSUER.into(),
        // Another one each time, so that GetId is asked.
        subject: format!("{:?}", SystemTime::now()).into(),
        token: Some(CupToken::new("a-login-that-is-not-told")),
        role: None,
        session: Arc::default(),
    };
    let done = way.runtime.block_on(async { way.way().await.exchange(&order).await });
    match done {
        Ok(held) => {
            let now = Clock::system().now();
            let left = held.expires.remaining(now);
            assert!(!left.is_zero() && left <= Duration::from_secs(13 * 3_600), "{left:?}");
            assert!(!held.access_key_id.is_empty() && held.access_key_id.is_ascii());
            let told = held.identity_id.expect("of somebody");
            assert!(operation == "GetId" || &*told.0 == IDENTITY, "credentials of another identity");
        }
        Err(failure) => {
            assert!(!failure.to_string().contains("a-login-that-is-not-told"), "{failure}");
            assert!(failure.message.len() <= 4_096 && !failure.message.contains('\n'), "{failure:?}");
            way.way.take();
        }
    }
}
