//! Replies of AWS: the first byte says to which call of which flow and with which status, the rest is the body. `$E` in it is
//! an expiration, in an hour; `$D` is the same as STS writes it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cupbearer::chance::Chance;
use cupbearer::clock::{Clock, rfc3339};
use cupbearer::config;
use cupbearer::metrics::Metrics;
use cupbearer::model::RoleArn;
use cupbearer::secret::CupToken;
use cupbearer::upstream::{Aws, Budget, Exchange, Flow, Identities, Order, Target};
use tokio::runtime::Runtime;

use super::authorization::replaced;
use super::ground::{self, IDENTITY, ISSUER, OPEN_ID_TOKEN, STS, runtime};

/// Bits 0 to 2.
const STATUSES: [u16; 8] = [200, 200, 200, 200, 400, 403, 429, 500];

/// Bits 3 and 4. The other calls of the flow are answered well.
const CALLS: [(Flow, &str); 4] = [
    (Flow::Enhanced, "GetCredentialsForIdentity"),
    (Flow::Enhanced, "GetId"),
    (Flow::Basic, STS),
    (Flow::Basic, "GetOpenIdToken"),
];

/// So that no call waits for another one.
const PLENTY: &str = "get_open_id_token_per_second = 10_000\nassume_role_per_second = 10_000\n";

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
        let config = config::parse("fuzz.toml", &(ground::settings(self.aws.address) + PLENTY), &|_| None);
        let mut config = config.unwrap_or_else(|faults| panic!("{faults}")).upstream;
        config.sts_regions = config.pool_regions.clone();
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
    let body = replaced(&body, b"$D", rfc3339(in_an_hour).as_bytes());
    let (flow, operation) = CALLS[usize::from(kind >> 3 & 3)];
    way.aws.is_well();
    way.aws.says(operation, STATUSES[usize::from(kind & 7)], &body);
    let target = Target {
        flow,
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
        role: (flow == Flow::Basic).then(|| RoleArn::new("arn:aws:iam::111122223333:role/fuzz")),
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
            assert!(!failure.to_string().contains(OPEN_ID_TOKEN), "{failure}");
            assert!(failure.message.len() <= 4_096 && !failure.message.contains('\n'), "{failure:?}");
            way.way.take();
        }
    }
}
