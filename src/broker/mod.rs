//! The decision: a token and an ask in, credentials out. Knows no protocol and no SDK.
//!
//! [`Broker::credentials`] is the whole product in one breath. What it finds is read from the cache without a lock;
//! what it does not find is asked of the [`Refresher`], the only writer, who owns every exchange.

mod cache;
mod entries;
mod key;
mod profile;
mod refresher;
mod schedule;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::auth::Verifier;
use crate::clock::{Clock, Expiry};
use crate::error::{Error, Kind};
use crate::metrics::{Lookup, Metrics};
use crate::model::{Ask, Caller, Credentials};
use crate::secret::CupToken;
use crate::upstream::Exchange;

pub use profile::{Profile, SessionTemplates};
pub use refresher::{Limits, Refresher};
pub use schedule::Policy;
pub use sessions::SessionLimits;

use cache::{Cache, Slot};
use entries::Wanted;
use key::{Key, Subject};
use profile::Plan;
use refresher::{Miss, Wish};

/// What the broker decides by.
pub struct Config {
    /// The profiles by name.
    pub profiles: HashMap<String, Profile>,
    /// When to refresh.
    pub policy: Policy,
    /// How much of everything.
    pub limits: Limits,
    /// How many sessions, and for how long.
    pub sessions: SessionLimits,
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
    /// When the presented token expires.
    pub present_token_by: Expiry,
    /// Whether less is left than replies should have.
    pub near_expiry: bool,
}

/// The readers' side of everything.
pub struct Broker {
    verifier: Verifier,
    profiles: HashMap<String, Profile>,
    cache: Arc<Cache>,
    wishes: mpsc::Sender<Wish>,
    min_remaining: Duration,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// How many wishes may wait for the refresher, which takes each in microseconds.
const WISHES: usize = 16_384;

impl Broker {
    /// A broker and the refresher that has to run for it to get anything.
    pub fn new(
        config: Config,
        verifier: Verifier,
        exchange: Arc<dyn Exchange>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, Refresher) {
        let cache = Arc::new(Cache::new());
        let (wishes, queue) = mpsc::channel(WISHES);
        let refresher = Refresher::new(
            queue,
            Arc::clone(&cache),
            exchange,
            config.policy,
            config.limits,
            clock.clone(),
            Arc::clone(&metrics),
        );
        let broker = Self {
            verifier,
            profiles: config.profiles,
            cache,
            wishes,
            min_remaining: config.policy.min_remaining,
            clock,
            metrics,
        };
        (broker, refresher)
    }

    /// The credentials that `token`'s bearer may have for `ask`.
    ///
    /// # Errors
    /// As the error table says. A failure that passes by itself is told after `visit.hold`, if the visit says so.
    pub async fn credentials(&self, token: &CupToken, ask: &Ask, visit: Visit) -> Result<Grant, Error> {
        let held_until = tokio::time::Instant::now() + visit.hold;
        // Always, also when the cache is warm.
        let verified = tokio::time::timeout_at(held_until, self.verifier.verify(token)).await;
        let done = match verified.unwrap_or_else(|_elapsed| Err(no_keys_yet())) {
            Ok(caller) => {
                let answer = self.answer(&caller, token, ask, visit.holder);
                let done = tokio::time::timeout_at(held_until, answer).await;
                done.unwrap_or_else(|_elapsed| Err(not_yet()))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &done
            && error.kind().passes_by_itself()
            && visit.hold_failures
        {
            tokio::time::sleep_until(held_until).await;
        }
        done
    }

    /// What has to happen before the broker is ready, as readiness names it.
    pub fn waiting_for(&self) -> Vec<String> {
        let keys = self.verifier.waiting_for();
        let mut waiting: Vec<_> = keys.iter().map(|issuer| format!("jwks:{issuer}")).collect();
        if self.wishes.is_closed() {
            waiting.push("refresher".to_owned());
        }
        waiting
    }

    /// Sets the gauges that are read rather than counted.
    pub fn observe(&self) {
        let remaining = self.cache.least_remaining(self.clock.now());
        self.metrics.min_remaining.set(remaining.map_or(f64::INFINITY, |time| time.as_secs_f64()));
        self.verifier.observe();
    }

    async fn answer(&self, caller: &Caller, token: &CupToken, ask: &Ask, holder: bool) -> Result<Grant, Error> {
        let (profile, plan) = self.plan(caller, ask)?;
        let key = Key::new(&ask.profile, profile.target.flow, caller, &plan);
        if let Some(credentials) = self.fresh(&key, token, caller, holder) {
            self.metrics.looked_up(Lookup::Hit);
            return Ok(self.grant(credentials, caller));
        }
        self.metrics.looked_up(Lookup::Miss);
        let credentials = self.ask_refresher(key, token, caller, profile, plan, holder).await?;
        Ok(self.grant(credentials, caller))
    }

    fn plan(&self, caller: &Caller, ask: &Ask) -> Result<(&Profile, Plan), Error> {
        let profile = self.profiles.get(&ask.profile);
        let profile = profile.ok_or_else(|| Error::new(Kind::NotFound, "no profile has the asked name"))?;
        Ok((profile, profile.plan(caller, ask)?))
    }

    fn fresh(&self, key: &Key, token: &CupToken, caller: &Caller, holder: bool) -> Option<Arc<Credentials>> {
        let slot: Arc<Slot> = self.cache.slot(key)?;
        let now = self.clock.now();
        let taken = slot.take(holder, now)?;
        let revived = slot.offer_login(token, caller.expires, now);
        if (taken.nudge || revived) && self.wishes.try_send(Wish::Nudge(*key)).is_err() {
            slot.nudge_again();
        }
        Some(taken.credentials)
    }

    async fn ask_refresher(
        &self,
        key: Key,
        token: &CupToken,
        caller: &Caller,
        profile: &Profile,
        plan: Plan,
        holder: bool,
    ) -> Result<Arc<Credentials>, Error> {
        let (waiter, answer) = oneshot::channel();
        let miss = Miss {
            key,
            wanted: Wanted {
                subject: Subject::new(caller),
                target: Arc::clone(&profile.target),
                issuer: Arc::clone(&caller.issuer),
                user: Arc::clone(&caller.subject),
                role: plan.role,
                session: Arc::new(plan.session),
            },
            token: token.clone(),
            token_expires: caller.expires,
            holder,
            waiter,
        };
        self.wishes.try_send(Wish::Miss(Box::new(miss))).map_err(|_| overloaded())?;
        answer.await.unwrap_or_else(|_gone| Err(overloaded()))
    }

    fn grant(&self, credentials: Arc<Credentials>, caller: &Caller) -> Grant {
        let near_expiry = credentials.expires.remaining(self.clock.now()) < self.min_remaining;
        if near_expiry {
            self.metrics.near_expiry_served.inc();
        }
        Grant { credentials, present_token_by: caller.expires, near_expiry }
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
