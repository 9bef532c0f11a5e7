//! A broker with a life of its own over an AWS that answers at once; no socket. Shared by the bench targets.

#![allow(dead_code, reason = "each target uses its part")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cupbearer::auth::{self, FetchKeys, UserPool, Verifier};
use cupbearer::broker::{Broker, Config, Floods, Limits, Policy, Profile, SessionLimits, SessionTemplates, Visit};
use cupbearer::chance::Chance;
use cupbearer::clock::{Clock, Expiry};
use cupbearer::dev::{self, AmbiguousRoleResolution, Emulator};
use cupbearer::metrics::Metrics;
use cupbearer::model::{Ask, Credentials, IdentityId, Issued, RoleArn};
use cupbearer::roles::{Ambiguous, Mapping, Rules};
use cupbearer::secret::CupToken;
use cupbearer::templates::NameTemplate;
use cupbearer::upstream::{Exchange, Exchanging, Flow, Order, Target};
use http::Request;
use tokio::task::JoinSet;
use url::Url;

/// Makes the tokens.
pub static EMULATOR: LazyLock<Emulator> =
    LazyLock::new(|| Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap());

/// Over HTTP, as an AWS SDK asks.
pub const SDK: Visit = Visit { holder: true, hold: Duration::from_secs(5), hold_failures: true };

/// As long as what Cognito gives, more or less.
const SESSION_TOKEN_BYTES: usize = 1_200;

/// An AWS that answers at once.
pub struct Instant {
    clock: Clock,
    pub calls: AtomicUsize,
    pub lifetime: Duration,
}

impl Instant {
    fn credentials(&self, order: &Order) -> Credentials {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let session_token = format!("{call:08}").repeat(SESSION_TOKEN_BYTES / 8);
        Credentials::from(Issued {
            access_key_id: format!("ASIA{call:016}"),
            secret_access_key: format!("{call:040}").into(),
            session_token: session_token.into(),
            received: now,
            expires: Expiry::at(now.wall + self.lifetime, now),
            role_arn: order.role.clone(),
            identity_id: Some(IdentityId(format!("us-east-1:{call:036}").into())),
        })
    }
}

impl Exchange for Instant {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(async { Ok(self.credentials(order)) })
    }
}

/// A key set without a network: the emulator's, or a known one.
struct Keys(Option<Bytes>);

impl FetchKeys for Keys {
    fn fetch<'a>(&'a self, url: &'a Url) -> auth::Fetching<'a> {
        let emulators =
            || EMULATOR.answer(Request::get(url.path()).body(Bytes::new()).unwrap(), SystemTime::UNIX_EPOCH);
        let document = self.0.clone().unwrap_or_else(|| emulators().into_body());
        Box::pin(async { Ok(document) })
    }
}

/// The broker, and what it lives by; all ends with it.
pub struct World {
    pub broker: Arc<Broker>,
    pub aws: Arc<Instant>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub ask: Ask,
    pub asks: Vec<Ask>,
    _tasks: JoinSet<()>,
}

impl World {
    /// With room for `entries`. Within a runtime.
    pub async fn new(clock: Clock, entries: usize) -> Self {
        Self::with_profiles(clock, entries, 1, 3_600).await
    }

    /// With so many profiles, which differ by name alone, and credentials of so many seconds.
    pub async fn with_profiles(clock: Clock, entries: usize, profiles: usize, seconds: u64) -> Self {
        Self::with_keys(clock, entries, profiles, seconds, Keys(None)).await
    }

    /// Which takes the tokens of a known key set.
    pub async fn knowing(clock: Clock, keys: &'static str) -> Self {
        Self::with_keys(clock, 100, 1, 3_600, Keys(Some(Bytes::from_static(keys.as_bytes())))).await
    }

    async fn with_keys(clock: Clock, entries: usize, profiles: usize, seconds: u64, keys: Keys) -> Self {
        let metrics = Arc::new(Metrics::new("bench").unwrap());
        let aws = Arc::new(Instant {
            clock: clock.clone(),
            calls: AtomicUsize::new(0),
            lifetime: Duration::from_secs(seconds),
        });
        let exchange: Arc<dyn Exchange> = Arc::clone(&aws) as _;
        let fetcher: Arc<dyn FetchKeys> = Arc::new(keys);
        let chance = Chance::of_the_system();
        let (verifier, keepers, sweeper) =
            Verifier::new(auth_config(entries), &fetcher, clock.clone(), chance.clone(), Arc::clone(&metrics));
        let (broker, refresher) = Broker::new(
            broker_config(entries, profiles),
            verifier,
            exchange,
            clock.clone(),
            chance,
            Arc::clone(&metrics),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(refresher.run());
        tasks.spawn(sweeper.run());
        keepers.into_iter().for_each(|keeper| drop(tasks.spawn(keeper.run())));
        let asks: Vec<Ask> =
            (0..profiles).map(|number| Ask { profile: profile_name(number), ..Ask::default() }).collect();
        let broker = Arc::new(broker);
        while !broker.waiting_for().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self { broker, aws, clock, metrics, ask: asks[0].clone(), asks, _tasks: tasks }
    }

    /// A token of somebody, good for ten hours.
    pub fn token(&self, subject: usize) -> String {
        token(subject, self.clock.now().wall)
    }

    /// First sight of a token, and the exchange.
    pub async fn warm(&self, token: &str) {
        self.warm_in(token, 0).await;
    }

    pub async fn warm_in(&self, token: &str, profile: usize) {
        self.ask_in(token, profile).await;
        // The second time leaves the place that the third one goes by.
        self.ask_in(token, profile).await;
    }

    async fn ask_in(&self, token: &str, profile: usize) {
        self.broker.credentials(&CupToken::new(token), &self.asks[profile], SDK).await.unwrap();
    }

    pub async fn warm_guest(&self, handle: &str) {
        self.broker.guest_credentials("default", handle, SDK).await.unwrap();
    }

    /// From token bytes to what is served.
    pub fn hit(&self, token: &str) -> Bytes {
        self.hit_in(token, 0)
    }

    pub fn hit_in(&self, token: &str, profile: usize) -> Bytes {
        let question = self.asks[profile].question().unwrap();
        let found = self.broker.hit(token, question, true, |hit| hit.credentials.expose_document());
        found.expect("it is there")
    }
}

/// A token of somebody with alice's groups, good for ten hours.
pub fn token(subject: usize, now: SystemTime) -> String {
    let mut claims = EMULATOR.id_claims("alice", now).unwrap();
    claims["sub"] = format!("00000000-0000-4000-8000-{subject:012}").into();
    claims["exp"] = (claims["iat"].as_u64().unwrap() + 36_000).into();
    EMULATOR.sign(&claims).unwrap()
}

/// So many tokens, made by two threads.
pub fn tokens(number: usize) -> Vec<String> {
    let now = Clock::system().now().wall;
    let half = number / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(move || (0..half).map(|subject| token(subject, now)).collect::<Vec<_>>());
        let mut rest: Vec<_> = (half..number).map(|subject| token(subject, now)).collect();
        rest.extend(first.join().unwrap());
        rest
    })
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn auth_config(verdicts: usize) -> auth::Config {
    let pool = UserPool {
        id: dev::USER_POOL_ID.into(),
        client_ids: vec![dev::CLIENT_ID.into()],
        issuers: vec![dev::ISSUER.into()],
        jwks_url: Url::parse(&format!("http://127.0.0.1/{}/.well-known/jwks.json", dev::USER_POOL_ID)).unwrap(),
    };
    let verdicts = NonZeroUsize::new(verdicts).unwrap();
    auth::Config { user_pools: vec![pool], token_bytes: 16_384, access_tokens: false, verdicts }
}

fn profile_name(number: usize) -> String {
    if number == 0 { "default".to_owned() } else { format!("profile-{number}") }
}

fn broker_config(entries: usize, profiles: usize) -> Config {
    let rules = Rules {
        mapping: Mapping::Token,
        ambiguous: Ambiguous::Deny,
        aliases: [("admin".to_owned(), RoleArn::new(dev::ADMIN_ROLE_ARN))].into(),
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
    let limits = Limits {
        entries,
        entries_per_subject: profiles.max(32),
        concurrency: 64,
        exchange_timeout: Duration::from_secs(5),
        floods: Floods { misses_per_subject: 1_000_000, failures_per_peer: 50 },
    };
    Config {
        profiles: (0..profiles).map(|number| (profile_name(number), profile.clone())).collect(),
        policy: Policy { at: 1.0 / 3.0, jitter: 0.1, latest_at: 0.6, min_remaining: Duration::from_secs(1_200) },
        limits,
        sessions: SessionLimits {
            all: 1,
            per_subject: 1,
            idle: Duration::from_secs(3_600),
            accept_refresh_tokens: false,
        },
        configured_sessions: Vec::new(),
    }
}
