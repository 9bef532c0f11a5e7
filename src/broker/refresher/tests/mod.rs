//! The refresher as a state machine: its events one by one, in every order, and by many readers at once.
#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

mod orders;
mod refusals;
mod schedules;
mod threads;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::stream::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::{Limits, Refresher};
use crate::auth::{self, FetchKeys, Fetching, Verifier};
use crate::broker::cache::Cache;
use crate::broker::entries::Wanted;
use crate::broker::floods::Floods;
use crate::broker::key::{Key, Subject};
use crate::broker::profile::{Profile, SessionTemplates};
use crate::broker::rulebook::{InForce, Rulebook};
use crate::broker::schedule::Policy;
use crate::broker::wishes::{Miss, Wish};
use crate::chance::Chance;
use crate::clock::{Clock, Expiry};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::model::{Ask, Credentials, IdentityId, Issued};
use crate::roles::{Ambiguous, Mapping, Rules};
use crate::templates::NameTemplate;
use crate::trace::Cause;
use crate::upstream::{Exchange, Exchanging, Failure, Flow, Order, Target};

const POOL: &str = "us-east-1:0";

/// How long credentials live.
const LIFE: Duration = Duration::from_secs(3_600);

/// Exchanges that wait to be told how they end; each knows whose it is.
#[derive(Default)]
struct Script(Mutex<VecDeque<Flying>>);

struct Flying {
    owner: String,
    end: oneshot::Sender<Result<Credentials, Failure>>,
}

impl Exchange for Script {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        let (end, ended) = oneshot::channel();
        let owner = order.subject.to_string();
        self.0.lock().unwrap().push_back(Flying { owner, end });
        Box::pin(async { ended.await.unwrap() })
    }
}

struct NoKeys;

impl FetchKeys for NoKeys {
    fn fetch<'a>(&'a self, _url: &'a url::Url) -> Fetching<'a> {
        Box::pin(async { Err("there are none".to_owned()) })
    }
}

/// A refresher with its surroundings, for guests: they need no token.
struct Bench {
    refresher: Refresher,
    cache: Arc<Cache>,
    rulebook: InForce,
    script: Arc<Script>,
    clock: Clock,
}

/// What the benches of a test share, since it takes a while to make.
struct Shared {
    metrics: Arc<Metrics>,
    profile: Profile,
    clock: Clock,
}

impl Shared {
    fn new(clock: Clock) -> Self {
        let rules = Rules {
            mapping: Mapping::Token,
            ambiguous: Ambiguous::Deny,
            aliases: [].into(),
            preferred_must_be_listed: true,
            groups: Vec::new(),
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
            user_pools: [].into(),
            accept_access_tokens: false,
            allow_unauthenticated: true,
            volatile_claims: Vec::new(),
            rules,
            target: Arc::new(target()),
            session,
        };
        Self { metrics: Arc::new(Metrics::new("test").unwrap()), profile, clock }
    }

    fn verifier(&self) -> Verifier {
        let config = auth::Config {
            user_pools: Vec::new(),
            token_bytes: 1,
            access_tokens: false,
            verdicts: NonZeroUsize::new(1).unwrap(),
        };
        let fetcher: Arc<dyn FetchKeys> = Arc::new(NoKeys);
        Verifier::new(config, &fetcher, self.clock.clone(), Chance::seeded(1), Arc::clone(&self.metrics)).0
    }

    fn bench(&self, entries: usize) -> Bench {
        let profiles = [("default".to_owned(), self.profile.clone())].into();
        let (cache, script) = (Arc::new(Cache::new()), Arc::new(Script::default()));
        let rulebook = Rulebook::new(self.verifier(), Arc::clone(&script) as _, profiles, Duration::from_secs(1_200));
        let rulebook: InForce = Arc::new(ArcSwap::from_pointee(rulebook));
        let (_, wishes) = mpsc::channel(1);
        // No exchange is given up by time: how it ends is an event.
        let timeout = Duration::from_secs(1_000_000);
        // All guests are one user: they are not to be limited here.
        let floods = Floods { misses_per_subject: 1_000_000, failures_per_peer: 1_000_000 };
        let limits = Limits { entries, entries_per_subject: 2, concurrency: 4, exchange_timeout: timeout, floods };
        let refresher = Refresher::new(
            wishes,
            Arc::clone(&cache),
            Arc::clone(&rulebook),
            (policy(), limits),
            (self.clock.clone(), Chance::seeded(1)),
            Arc::clone(&self.metrics),
        );
        Bench { refresher, cache, rulebook, script, clock: self.clock.clone() }
    }

    /// The rulebook after this one, which takes guests or does not.
    fn renewed(&self, old: &Rulebook, guests: bool) -> Rulebook {
        let profile = Profile { allow_unauthenticated: guests, ..self.profile.clone() };
        let profiles = [("default".to_owned(), profile)].into();
        old.renewed(self.verifier(), None, profiles, Duration::from_secs(1_200))
    }
}

impl Bench {
    /// One turn of the refresher's loop after `event`.
    fn turn(&mut self, event: impl FnOnce(&mut Refresher)) {
        event(&mut self.refresher);
        loop {
            self.refresher.catch_up();
            self.refresher.consider_due();
            self.refresher.launch();
            self.refresher.handling = None;
            // What was launched begins, and what has ended lands.
            match self.refresher.flights.next().now_or_never().flatten() {
                Some(landing) => self.refresher.land(landing),
                None => break,
            }
        }
        let flying = self.script.0.lock().unwrap();
        let mut owners: Vec<_> = flying.iter().map(|flight| &flight.owner).collect();
        owners.sort();
        assert!(owners.windows(2).all(|pair| pair[0] != pair[1]), "I3: two exchanges at once for one key: {owners:?}");
    }

    /// What `owner` asks of the refresher, having found nothing in the cache; `planned` by the rulebook of this generation.
    fn miss(&self, owner: &str, planned: u64) -> (Wish, oneshot::Receiver<Result<Arc<Credentials>, Error>>) {
        let (waiter, answer) = oneshot::channel();
        let now = self.clock.now();
        let wanted = Wanted {
            planned,
            ask: Arc::new(Ask { profile: "default".to_owned(), ..Ask::default() }),
            subject: Subject::guest("default", owner),
            target: Arc::new(target()),
            issuer: "".into(),
            user: owner.into(),
            client_id: "".into(),
            role: None,
            session: Arc::default(),
        };
        let token_expires = Expiry::at(now.wall + 10 * LIFE, now);
        let miss =
            Miss { key: key(owner), wanted, token: None, token_expires, holder: true, waiter, cause: Cause::default() };
        (Wish::Miss(Box::new(miss)), answer)
    }

    fn credentials(&self, owner: &str, number: u64) -> Credentials {
        let now = self.clock.now();
        Credentials::from(Issued {
            access_key_id: format!("{owner}|{number}"),
            secret_access_key: owner.to_owned().into(),
            session_token: number.to_string().into(),
            received: now,
            expires: Expiry::at(now.wall + LIFE, now),
            role_arn: None,
            identity_id: Some(IdentityId(POOL.into())),
        })
    }
}

fn key(owner: &str) -> Key {
    Key::guest("default", POOL, owner)
}

fn target() -> Target {
    Target {
        flow: Flow::Enhanced,
        identity_pool_id: POOL.into(),
        logins_key: None,
        region: "us-east-1".into(),
        duration: LIFE,
        external_id: None,
    }
}

fn policy() -> Policy {
    Policy { at: 1.0 / 3.0, jitter: 0.0, latest_at: 0.6, min_remaining: Duration::from_secs(1_200) }
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Whose credentials these are, and which.
fn told(credentials: &Credentials) -> (&str, u64) {
    let (owner, number) = credentials.access_key_id.split_once('|').unwrap();
    (owner, number.parse().unwrap())
}
