//! The decision: a token and an ask in, credentials out. Knows no protocol and no SDK.
//!
//! [`Broker::credentials`] is the whole product in one breath. What it finds is read from the cache without a lock;
//! what it does not find is asked of the [`Refresher`], the only writer, who owns every exchange.

mod cache;
mod entries;
mod explain;
mod floods;
mod guests;
mod hit;
mod key;
mod places;
mod profile;
mod queue;
mod refresher;
mod reload;
mod rulebook;
mod schedule;
mod sessions;
mod survey;
mod watch;
mod wishes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch as channel};

use crate::auth::{Verdict, Verifier, claims_of};
use crate::chance::Chance;
use crate::clock::{Clock, Expiry};
use crate::error::{Error, Kind};
use crate::metrics::{Lookup, Metrics};
use crate::model::{Ask, Caller, Credentials};
use crate::roles::Reason;
use crate::secret::CupToken;
use crate::supervise::{LongLived, supervise};
use crate::trace::Cause;
use crate::upstream::{Exchange, Flow};

pub use explain::{Explanation, explain};
pub use floods::Floods;
pub use hit::Hit;
pub use profile::{Profile, SessionTemplates};
pub use refresher::{Limits, Refresher};
pub use schedule::Policy;
pub use sessions::{ConfiguredSession, Entered, Opened, Renewer, Revoking, SessionLimits};
pub use survey::{REMAINING, Survey, Tally};
pub use watch::Watch;
pub use wishes::Selector;

use cache::Cache;
use entries::Wanted;
use floods::Failures;
use key::{Key, Subject};
use places::{Place, Places};
use rulebook::{InForce, Rulebook};
use sessions::Sessions;
use watch::Watchers;
use wishes::{Miss, Wish};

/// What the broker decides by.
#[derive(Clone, Debug)]
pub struct Config {
    /// The profiles by name.
    pub profiles: HashMap<String, Profile>,
    /// When to refresh.
    pub policy: Policy,
    /// How much of everything.
    pub limits: Limits,
    /// How many sessions, and for how long.
    pub sessions: SessionLimits,
    /// Sessions that are there from the start.
    pub configured_sessions: Vec<ConfiguredSession>,
}

/// How a question came in.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// The asker keeps the credentials and comes back for new ones, as AWS SDKs do.
    pub holder: bool,
    /// How long it may be held when the answer is not there yet.
    pub hold: Duration,
    /// Whether to hold it as long when the answer is "try again": SDKs do so at once, and burn their tries.
    pub hold_failures: bool,
}

/// The answer to a question.
#[derive(Debug)]
pub struct Grant {
    /// The credentials.
    pub credentials: Arc<Credentials>,
    /// When the presented token expires; a guest has none.
    pub present_token_by: Option<Expiry>,
    /// Whether less is left than replies should have.
    pub near_expiry: bool,
    /// Whose they are; nobody's whom we could name, if a guest's.
    pub caller: Option<Arc<Caller>>,
    /// How it was decided.
    pub decision: Decision,
}

/// How a grant came about.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The profile's flow.
    pub flow: Flow,
    /// Why the role.
    pub reason: Reason,
    /// Whether the credentials were there already.
    pub hit: bool,
}

/// The readers' side of everything.
pub struct Broker {
    rulebook: InForce,
    /// Tells watches of each reload.
    reloads: channel::Sender<u64>,
    cache: Arc<Cache>,
    places: Places,
    sessions: Sessions,
    watchers: Watchers,
    failures: Failures,
    wishes: mpsc::Sender<Wish>,
    refresher_lives: Arc<AtomicBool>,
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
}

/// How often sessions that are over are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// What readiness puts before an issuer whose key set was never fetched.
pub const KEYS: &str = "jwks:";

/// How many wishes may wait for the refresher, which takes each in microseconds.
const WISHES: usize = 16_384;

impl Broker {
    /// A broker and the refresher that has to run for it to get anything.
    pub fn new(
        config: Config,
        verifier: Verifier,
        exchange: Arc<dyn Exchange>,
        clock: Clock,
        chance: Chance,
        metrics: Arc<Metrics>,
    ) -> (Self, Refresher) {
        let cache = Arc::new(Cache::new());
        let (wishes, queue) = mpsc::channel(WISHES);
        let rulebook = Rulebook::new(verifier, exchange, config.profiles, config.policy.min_remaining);
        let rulebook = Arc::new(ArcSwap::from_pointee(rulebook));
        let places = Places::beside(config.limits.entries);
        let refresher = Refresher::new(
            queue,
            Arc::clone(&cache),
            Arc::clone(&rulebook),
            (config.policy, config.limits),
            (clock.clone(), chance.clone()),
            Arc::clone(&metrics),
        );
        let broker = Self {
            refresher_lives: refresher.alive(),
            rulebook,
            reloads: channel::Sender::new(0),
            cache,
            places,
            sessions: Sessions::new(config.sessions, config.configured_sessions),
            watchers: Watchers::default(),
            failures: Failures::new(config.limits.floods.failures_per_peer),
            wishes,
            clock,
            chance,
            metrics,
        };
        (broker, refresher)
    }

    /// The credentials that `token`'s bearer may have for `ask`.
    ///
    /// # Errors
    /// As the error table says. A failure that passes by itself is told after `visit.hold`, if the visit says so.
    pub async fn credentials(&self, token: &CupToken, ask: &Ask, visit: Visit) -> Result<Grant, Error> {
        if let Some(grant) = self.hit_of(token, ask, visit.holder) {
            return Ok(grant);
        }
        let held_until = tokio::time::Instant::now() + visit.hold;
        let verified = tokio::time::timeout_at(held_until, self.verify(token)).await;
        let done = match verified.unwrap_or_else(|_elapsed| Err(no_keys_yet())) {
            Ok((rulebook, verdict)) => {
                let answer = self.answer(&rulebook, &verdict, token, ask, visit.holder);
                let done = tokio::time::timeout_at(held_until, answer).await;
                done.unwrap_or_else(|_elapsed| Err(not_yet())).map_err(|error| error.about(&verdict.caller))
            }
            Err(error) => Err(error),
        };
        hold(&done, held_until, visit).await;
        done
    }

    /// The credentials of an unauthenticated identity, which is kept for `handle`. Never in place of a refused token: a
    /// guest brings none.
    ///
    /// # Errors
    /// [`Kind::NotFound`] and [`Kind::ProfileNotAllowed`] for a profile that is not there or takes no guests.
    pub async fn guest_credentials(&self, profile: &str, handle: &str, visit: Visit) -> Result<Grant, Error> {
        let held_until = tokio::time::Instant::now() + visit.hold;
        let answer = self.answer_guest(profile, handle, visit.holder);
        let done = tokio::time::timeout_at(held_until, answer).await.unwrap_or_else(|_elapsed| Err(not_yet()));
        hold(&done, held_until, visit).await;
        done
    }

    /// Which role `token`'s bearer would get for `ask`, and why. Nothing is exchanged.
    ///
    /// # Errors
    /// For a token that is refused, and for a profile or alias that is not there.
    pub async fn explain(&self, token: &CupToken, ask: &Ask) -> Result<Explanation, Error> {
        let (rulebook, verdict) = self.verify(token).await?;
        let told = explain(rulebook.profiles(), &verdict.caller, &claims_of(token), ask);
        told.map_err(|error| error.about(&verdict.caller))
    }

    /// Drops what is held for `selector`, sessions included, and says how many entries that were. An exchange that is
    /// under way does not put it back. Tokens stay good: who asks again gets new credentials, if AWS gives them.
    ///
    /// # Errors
    /// [`Kind::UpstreamUnavailable`] when the refresher takes no wishes.
    pub async fn purge(&self, selector: Selector) -> Result<usize, Error> {
        self.sessions.purge(&selector);
        let (done, purged) = oneshot::channel();
        self.wishes.send(Wish::Purge(selector, done)).await.map_err(|_| overloaded())?;
        purged.await.map_err(|_| overloaded())
    }

    /// Ends the sessions that are over, now and then, for as long as it runs, and goes on after a panic.
    pub async fn sweep_sessions(&self) {
        supervise(SessionSweeper(self)).await;
    }

    /// The flow of a profile, if there is one of this name.
    pub fn flow(&self, profile: &str) -> Option<Flow> {
        self.rulebook.load().profile(profile).ok().map(|profile| profile.target.flow)
    }

    /// What has to happen before the broker is ready, as readiness names it.
    pub fn waiting_for(&self) -> Vec<String> {
        let keys = self.rulebook.load().verifier.waiting_for();
        let mut waiting: Vec<_> = keys.iter().map(|issuer| format!("{KEYS}{issuer}")).collect();
        if !self.refresher_lives() {
            waiting.push("refresher".to_owned());
        }
        waiting
    }

    /// Whether there is somebody to refresh anything.
    pub fn refresher_lives(&self) -> bool {
        !self.wishes.is_closed() && self.refresher_lives.load(Ordering::Relaxed)
    }

    /// Sets the gauges that are read rather than counted.
    pub fn observe(&self) {
        let remaining = self.cache.least_remaining(self.clock.now());
        self.metrics.min_remaining.set(remaining.map_or(f64::INFINITY, |time| time.as_secs_f64()));
        self.metrics.sessions.set(i64::try_from(self.sessions.count()).unwrap_or(i64::MAX));
        self.rulebook.load().verifier.observe();
    }

    /// `token`'s bearer, and the rulebook in force. Should it be replaced while keys are waited for, the new one says.
    async fn verify(&self, token: &CupToken) -> Result<(Arc<Rulebook>, Verdict), Error> {
        loop {
            let rulebook = self.rulebook.load_full();
            let may_judge = || self.failures.admit(token.presenter(), self.clock.now().boot);
            let verified = rulebook.verifier.verdict(token, may_judge).await;
            if Arc::ptr_eq(&rulebook, &self.rulebook.load()) {
                if verified.as_ref().is_err_and(|error| error.kind() == Kind::Unauthorized) {
                    self.failures.count(token.presenter(), self.clock.now().boot);
                }
                return verified.map(|verdict| (rulebook, verdict));
            }
        }
    }

    async fn answer(
        &self,
        rulebook: &Rulebook,
        verdict: &Verdict,
        token: &CupToken,
        ask: &Ask,
        holder: bool,
    ) -> Result<Grant, Error> {
        let caller = &verdict.caller;
        let (profile, plan) = rulebook.plan(caller, token, ask)?;
        let flow = profile.target.flow;
        let key = Key::new(&ask.profile, &profile.target, caller, &plan);
        let reason = plan.choice.reason;
        let decision = Decision { flow, reason, hit: true };
        if let Some((slot, credentials)) = self.fresh(&key, token, caller, holder) {
            self.metrics.looked_up(Lookup::Hit);
            let place = Place { planned: rulebook.generation, verdict: verdict.clone(), decision, key, slot };
            self.remember(token, ask, place);
            return Ok(self.grant(credentials, Some(caller), decision));
        }
        self.metrics.looked_up(Lookup::Miss);
        let wanted = Wanted {
            planned: rulebook.generation,
            ask: self.places.shared(ask),
            subject: Subject::new(caller),
            target: Arc::clone(&profile.target),
            issuer: Arc::clone(&caller.issuer),
            user: Arc::clone(&caller.subject),
            client_id: Arc::clone(&caller.client_id),
            role: plan.role,
            session: plan.session,
        };
        let credentials = self.ask_refresher(key, Some(token.clone()), caller.expires, wanted, holder).await?;
        Ok(self.grant(credentials, Some(caller), Decision { hit: false, ..decision }))
    }

    async fn ask_refresher(
        &self,
        key: Key,
        token: Option<CupToken>,
        token_expires: Expiry,
        wanted: Wanted,
        holder: bool,
    ) -> Result<Arc<Credentials>, Error> {
        let (waiter, answer) = oneshot::channel();
        let miss = Miss { key, wanted, token, token_expires, holder, waiter, cause: Cause::current() };
        self.wishes.try_send(Wish::Miss(Box::new(miss))).map_err(|_| overloaded())?;
        answer.await.unwrap_or_else(|_gone| Err(overloaded()))
    }

    fn grant(&self, credentials: Arc<Credentials>, caller: Option<&Arc<Caller>>, decision: Decision) -> Grant {
        let near_expiry = self.is_near(&self.rulebook.load(), &credentials, self.clock.now());
        let (present_token_by, caller) = (caller.map(|caller| caller.expires), caller.cloned());
        Grant { credentials, present_token_by, near_expiry, caller, decision }
    }
}

/// Looks for sessions that are over, and for places that lead nowhere.
struct SessionSweeper<'a>(&'a Broker);

impl LongLived for SessionSweeper<'_> {
    const NAME: &'static str = "sweeper of sessions and places";

    async fn work(&mut self) {
        loop {
            tokio::time::sleep(SWEEP_PERIOD).await;
            let now = self.0.clock.now();
            self.0.sessions.sweep(now);
            self.0.places.sweep(self.0.rulebook.load().generation, now);
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

/// Holds a failure that passes by itself for as long as the visit says.
async fn hold(done: &Result<Grant, Error>, until: tokio::time::Instant, visit: Visit) {
    if visit.hold_failures && done.as_ref().is_err_and(|error| error.kind().passes_by_itself()) {
        tokio::time::sleep_until(until).await;
    }
}

fn no_keys_yet() -> Error {
    Error::new(Kind::KeysUnavailable, "the user pool's key set did not come within the hold: check jwks_url")
}

fn not_yet() -> Error {
    Error::new(Kind::UpstreamUnavailable, "no answer within the hold; the exchange goes on, ask again")
}

fn overloaded() -> Error {
    Error::new(Kind::UpstreamUnavailable, "the refresher takes no more wishes: too many misses at once")
}
