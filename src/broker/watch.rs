//! One caller's credentials, now and at each renewal. A slow watcher holds nobody: it finds the newest ones when it
//! looks again, and misses those between.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch as channel;

use crate::auth::Verdict;
use crate::broker::key::Subject;
use crate::broker::{Broker, Decision, Grant, Key, Rulebook, Visit};
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller, Credentials};
use crate::secret::CupToken;

/// A watch that is open.
pub struct Watch {
    broker: Arc<Broker>,
    token: CupToken,
    ask: Ask,
    hold: Duration,
    key: Key,
    caller: Arc<Caller>,
    decision: Decision,
    /// The generation of the rulebook that `key` is by.
    planned: u64,
    reloads: channel::Receiver<u64>,
    last: Option<Arc<Credentials>>,
    _place: Place,
}

/// How many watches each user has open.
#[derive(Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<HashMap<Subject, usize>>>);

/// One user's place among the watchers; given back when dropped.
struct Place {
    watchers: Watchers,
    subject: Subject,
}

/// Most watches of one user.
const PER_SUBJECT: usize = 32;

/// The pause before a token is judged again that could not be judged for want of keys.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest time without a look: a suspended machine does not wake tokio's timers.
const LOOK: Duration = Duration::from_secs(15);

impl Watch {
    /// Opens a watch on what `token`'s bearer may have for `ask`. `hold` is the longest time that the first answer may
    /// take.
    ///
    /// # Errors
    /// When the token or the ask is refused, or when the user has as many watches as one may have.
    pub async fn open(broker: &Arc<Broker>, token: CupToken, ask: Ask, hold: Duration) -> Result<Self, Error> {
        let (rulebook, Verdict { caller, .. }) = broker.verify(&token).await?;
        let opened = || Ok((plan(&rulebook, &caller, &token, &ask)?, broker.watchers.take(Subject::new(&caller))?));
        let ((key, decision), place) = opened().map_err(|error: Error| error.about(&caller))?;
        let (broker, planned, reloads) = (Arc::clone(broker), rulebook.generation, broker.reloads.subscribe());
        Ok(Self { broker, token, ask, hold, key, caller, decision, planned, reloads, last: None, _place: place })
    }

    /// The credentials at first, and at each later call the next ones that it has not given yet.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] when the token has expired. A failure that passes by itself is told only as long as
    /// nothing was given; later ones are waited out.
    pub async fn next(&mut self) -> Result<Grant, Error> {
        loop {
            let left = self.caller.expires.remaining(self.broker.clock.now());
            if left.is_zero() {
                let over = Error::new(Kind::Unauthorized, "the token has expired: present a newer one");
                return Err(over.about(&self.caller));
            }
            // Whatever happens, the token's end is looked at when it comes.
            let step = tokio::time::timeout(left.min(LOOK), self.step()).await;
            match step.unwrap_or(Ok(None)) {
                Ok(Some(grant)) => return Ok(grant),
                Ok(None) => {}
                Err(error) if error.kind().passes_by_itself() && self.last.is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for something to happen, and returns the credentials if they are new ones.
    async fn step(&mut self) -> Result<Option<Grant>, Error> {
        let Some(last) = self.last.clone() else { return self.ask().await };
        if self.broker.rulebook.load().generation != self.planned {
            return self.plan_again().await.map(|()| None);
        }
        let Some(slot) = self.broker.cache.slot(&self.key) else { return self.ask().await };
        let mut renewed = pin!(slot.renewed());
        // From here on nothing is missed: a renewal that came in just before is found by the comparison below, and a slot
        // that left the cache just before by the look at the cache.
        renewed.as_mut().enable();
        let now = self.broker.clock.now();
        if self.broker.cache.slot(&self.key).is_none_or(|current| !Arc::ptr_eq(&current, &slot)) {
            return Ok(None);
        }
        match slot.take_first(true, now) {
            Some(held) if !Arc::ptr_eq(&held, &last) => {
                // The key that signed the token may have been withdrawn since the last renewal.
                self.verify_again().await?;
                self.last = Some(Arc::clone(&held));
                Ok(Some(self.broker.grant(held, Some(&self.caller), self.decision)))
            }
            Some(held) => {
                let renewed = tokio::time::timeout(held.expires.remaining(now), renewed);
                tokio::select! {
                    biased;
                    _ = renewed => {}
                    // A reload that came in since the look at the rulebook is told here: the channel had its last value
                    // when the watch was opened, and each later one since is new.
                    _ = self.reloads.changed() => {}
                }
                Ok(None)
            }
            None => self.ask().await,
        }
    }

    /// Decides by the rulebook in force, which is another one than the last time.
    async fn plan_again(&mut self) -> Result<(), Error> {
        let (rulebook, Verdict { caller, .. }) = self.verify_again().await?;
        let (key, decision) = plan(&rulebook, &caller, &self.token, &self.ask).map_err(|error| error.about(&caller))?;
        (self.key, self.decision, self.planned) = (key, decision, rulebook.generation);
        Ok(())
    }

    /// Judges the token by the keys in force. What cannot be told now is not asked for all the time.
    async fn verify_again(&self) -> Result<(Arc<Rulebook>, Verdict), Error> {
        let verified = self.broker.verify(&self.token).await;
        if verified.as_ref().is_err_and(|error| error.kind().passes_by_itself()) {
            tokio::time::sleep(PAUSE).await;
        }
        verified
    }

    async fn ask(&mut self) -> Result<Option<Grant>, Error> {
        // It keeps what it gets, and a failure that passes is held, so that it does not ask all the time.
        let visit = Visit { holder: true, hold: self.hold.min(LOOK), hold_failures: self.last.is_some() };
        let grant = self.broker.credentials(&self.token, &self.ask, visit).await?;
        let new = self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(&grant.credentials, last));
        self.last = Some(Arc::clone(&grant.credentials));
        Ok(new.then_some(grant))
    }
}

fn plan(rulebook: &Rulebook, caller: &Caller, token: &CupToken, ask: &Ask) -> Result<(Key, Decision), Error> {
    let (profile, plan) = rulebook.plan(caller, token, ask)?;
    let key = Key::new(&ask.profile, &profile.target, caller, &plan);
    Ok((key, Decision { flow: profile.target.flow, reason: plan.choice.reason, hit: false }))
}

impl Watchers {
    fn take(&self, subject: Subject) -> Result<Place, Error> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(subject).or_default();
        if *own >= PER_SUBJECT {
            return Err(Error::new(Kind::TooManyRequests, "this user has 32 watches open: close some"));
        }
        *own += 1;
        Ok(Place { watchers: self.clone(), subject })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.watchers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.subject) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.subject);
            }
        }
    }
}
