//! The real core, wired as the program wires it, but for the seam to AWS, the fetcher of key sets and the clock.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use cupbearer::auth::{self, FetchKeys, UserPool, Verifier};
use cupbearer::broker::{
    Broker, Config, Floods, Grant, Limits, Policy, Profile, Selector, SessionLimits, SessionTemplates, Visit,
};
use cupbearer::chance::Chance;
use cupbearer::dev;
use cupbearer::error::Kind;
use cupbearer::metrics::Metrics;
use cupbearer::model::{Ask, RoleArn};
use cupbearer::roles::{Ambiguous, Mapping, Rules};
use cupbearer::templates::NameTemplate;
use cupbearer::upstream::{self, Budget, Flow, Rates, Target};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use super::aws::{Aws, Turnstile};
use super::judge::{Judge, Question};
use super::tokens::{Token, subject};
use super::truth::Truth;
use super::weather::{Event, Weather};

/// What a run is made of.
#[derive(Clone)]
pub struct Setup {
    pub seed: u64,
    pub weather: Weather,
    pub limits: Limits,
    pub rates: Rates,
    /// How long the sessions live that STS is asked for; Cognito's own credentials live for an hour.
    pub sessions: Duration,
    /// From when on everybody who asks has to be served.
    pub served_from: Duration,
}

/// A broker with everything that it needs.
pub struct World {
    pub broker: Arc<Broker>,
    pub judge: Arc<Judge>,
    pub truth: Arc<Truth>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    aws: Arc<Aws>,
}

/// The program's defaults.
pub const RATES: Rates =
    Rates { get_id: 5, get_credentials_for_identity: 20, get_open_id_token: 20, assume_role: 20, refresh_token: 10 };

/// The program's defaults.
pub const LIMITS: Limits = Limits {
    entries: 100_000,
    entries_per_subject: 32,
    concurrency: 64,
    exchange_timeout: Duration::from_secs(5),
    floods: Floods { misses_per_subject: 10, failures_per_peer: 50 },
};

/// How long Cognito's own credentials live.
pub const HOUR: Duration = Duration::from_secs(3_600);

impl Setup {
    /// Fair weather and the program's defaults.
    pub fn fair(seed: u64) -> Self {
        let weather = Weather::default();
        Self { seed, weather, limits: LIMITS, rates: RATES, sessions: HOUR, served_from: Duration::ZERO }
    }
}

impl World {
    /// Starts a world, whose tasks end with the set.
    pub async fn new(setup: Setup) -> (Arc<Self>, JoinSet<()>) {
        super::note_seed(setup.seed);
        let truth = Arc::new(Truth::new(setup.weather));
        let clock = truth.clock.clone();
        let judge = Arc::new(Judge::new(Arc::clone(&truth), setup.seed, setup.rates, setup.served_from));
        let metrics = Arc::new(Metrics::new("simulation").unwrap());
        let aws = Arc::new(Aws::new(Arc::clone(&judge), setup.seed));
        let chance = Chance::seeded(setup.seed);
        let budget = Arc::new(Budget::new(setup.rates, clock.clone(), chance.clone()));
        let exchange = upstream::Aws::over(Arc::clone(&aws) as _, budget, clock.clone(), Arc::clone(&metrics));
        let exchange = Turnstile { judge: Arc::clone(&judge), exchange: Arc::new(exchange) };
        let fetcher = Arc::clone(&truth) as Arc<dyn FetchKeys>;
        let (verifier, keepers, sweeper) =
            Verifier::new(auth_config(), &fetcher, clock.clone(), chance.clone(), Arc::clone(&metrics));
        let config = broker_config(setup.limits, setup.sessions);
        let (broker, refresher) =
            Broker::new(config, verifier, Arc::new(exchange), clock, chance, Arc::clone(&metrics));
        let world = Arc::new(Self { broker: Arc::new(broker), judge, truth, metrics, limits: setup.limits, aws });
        let mut tasks = JoinSet::new();
        tasks.spawn(refresher.run());
        tasks.spawn(sweeper.run());
        keepers.into_iter().for_each(|keeper| drop(tasks.spawn(keeper.run())));
        tasks.spawn(Arc::clone(&world).happen());
        tasks.spawn(Arc::clone(&world).look());
        let broker = Arc::clone(&world.broker);
        tasks.spawn(async move { broker.sweep_sessions().await });
        // The key set takes a moment.
        tokio::time::sleep(Duration::from_millis(100)).await;
        (world, tasks)
    }

    /// Asks, and has the answer judged.
    pub async fn ask(&self, question: Question<'_>, profile: &str, visit: Visit) -> Result<Grant, Kind> {
        let ask = question.ask(profile);
        let started = Instant::now();
        let done = self.broker.credentials(&question.token.text, &ask, visit).await;
        let took = started.elapsed();
        // A timer is as coarse as a millisecond.
        self.judge.check(took <= visit.hold + Duration::from_millis(2), || format!("an asker was held for {took:?}"));
        match done {
            Ok(grant) => {
                self.judge.reply(question, &grant);
                Ok(grant)
            }
            Err(error) => {
                self.judge.refusal(question, &error);
                Err(error.kind())
            }
        }
    }

    /// Whether the run has been going on for so long, or was found to be wrong.
    pub fn is_over(&self, after: Duration) -> bool {
        self.truth.elapsed() >= after || self.judge.is_done()
    }

    /// Plays the weather's events.
    async fn happen(self: Arc<Self>) {
        for (at, event) in self.truth.weather.events.clone() {
            tokio::time::sleep(at.saturating_sub(self.truth.elapsed())).await;
            match event {
                Event::StepWall(ms) => self.truth.step_wall(ms),
                Event::Suspend(ms) => self.truth.suspend(ms),
                Event::RemakePool => self.aws.remake_pool(),
                Event::PurgeAll => self.purge(Selector::All).await,
                Event::PurgeUser(user) => {
                    let (issuer, subject) = (dev::ISSUER.to_owned(), subject(user));
                    self.purge(Selector::Subject { issuer, subject }).await;
                }
            }
        }
        std::future::pending().await
    }

    async fn purge(&self, selector: Selector) {
        let purged = self.broker.purge(selector).await;
        self.judge.check(purged.is_ok(), || "a purge failed".to_owned());
    }

    /// Looks at what has bounds, every minute, and at what anybody may read.
    async fn look(self: Arc<Self>) {
        for minute in 0_u64.. {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let entries = usize::try_from(self.metrics.entries.get()).unwrap_or(usize::MAX);
            self.judge.check(entries <= self.limits.entries, || format!("{entries} entries, over the limit"));
            let most = self.judge.books().ledger.most_under_way;
            self.judge.check(most <= self.limits.concurrency, || format!("{most} exchanges at once, over the limit"));
            if minute % 60 == 0 {
                self.broker.observe();
                self.judge.is_clean("a metric", &self.metrics.render().unwrap());
            }
        }
    }
}

impl Question<'_> {
    /// As the broker takes it.
    pub fn ask(&self, profile: &str) -> Ask {
        Ask {
            profile: profile.to_owned(),
            role: self.role.map(ToOwned::to_owned),
            session_policy: self.policy.map(ToOwned::to_owned),
            policy_arns: Vec::new(),
        }
    }

    /// For the role by the rules.
    pub fn of(token: &Token) -> Question<'_> {
        Question { token, role: None, policy: None }
    }
}

fn auth_config() -> auth::Config {
    let pool = UserPool {
        id: dev::USER_POOL_ID.into(),
        client_ids: vec![dev::CLIENT_ID.into()],
        issuers: vec![dev::ISSUER.into()],
        jwks_url: Url::parse("https://example.com/jwks.json").unwrap(),
    };
    let verdicts = NonZeroUsize::new(20_000).unwrap();
    auth::Config { user_pools: vec![pool], token_bytes: 16_384, access_tokens: false, verdicts }
}

fn broker_config(limits: Limits, duration: Duration) -> Config {
    let policy = Policy { at: 1.0 / 3.0, jitter: 0.1, latest_at: 0.6, min_remaining: Duration::from_secs(1_200) };
    let flows = [("default", Flow::Enhanced), ("basic", Flow::Basic), ("assume", Flow::AssumeRole)];
    let profiles = flows.map(|(name, flow)| (name.to_owned(), profile(flow, duration)));
    let sessions = SessionLimits { all: 10_000, per_subject: 3, idle: HOUR * 3, accept_refresh_tokens: false };
    Config { profiles: profiles.into(), policy, limits, sessions, configured_sessions: Vec::new() }
}

fn profile(flow: Flow, duration: Duration) -> Profile {
    let alias = |name: &str, arn: &str| (name.to_owned(), RoleArn::new(arn));
    let rules = Rules {
        mapping: Mapping::Token,
        ambiguous: Ambiguous::Deny,
        aliases: [alias("admin", dev::ADMIN_ROLE_ARN), alias("editor", dev::EDITOR_ROLE_ARN)].into(),
        preferred_must_be_listed: true,
        groups: Vec::new(),
    };
    let target = Target {
        flow,
        identity_pool_id: dev::IDENTITY_POOL_ID.into(),
        logins_key: None,
        region: dev::REGION.into(),
        duration,
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
    Profile {
        user_pools: [dev::USER_POOL_ID.into()].into(),
        accept_access_tokens: false,
        allow_unauthenticated: false,
        volatile_claims: Vec::new(),
        rules,
        target: Arc::new(target),
        session,
    }
}
