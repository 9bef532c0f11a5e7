//! One caller's credentials, now and at each renewal. A slow watcher holds nobody: it finds the newest ones when it
//! looks again, and misses those between.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, Decision, Grant, Key, Visit};
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller, Credentials};
use crate::secret::CupToken;

/// A watch that is open.
pub struct Watch {
    broker: Arc<Broker>,
    token: CupToken,
    ask: Ask,
    key: Key,
    caller: Arc<Caller>,
    decision: Decision,
    last: Option<Arc<Credentials>>,
}

/// How a watch asks: it keeps what it gets.
const VISIT: Visit = Visit { holder: true, hold: Duration::from_secs(5), hold_failures: true };

impl Watch {
    /// Opens a watch on what `token`'s bearer may have for `ask`.
    ///
    /// # Errors
    /// When the token or the ask is refused.
    pub async fn open(broker: &Arc<Broker>, token: CupToken, ask: Ask) -> Result<Self, Error> {
        let caller = broker.verifier.verify(&token).await?;
        let (profile, plan) = broker.plan(&caller, &ask)?;
        let key = Key::new(&ask.profile, profile.target.flow, &caller, &plan);
        let decision = Decision { flow: profile.target.flow, reason: plan.choice.reason, hit: false };
        Ok(Self { broker: Arc::clone(broker), token, ask, key, caller, decision, last: None })
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
                return Err(Error::new(Kind::Unauthorized, "the token has expired: present a newer one"));
            }
            // Whatever happens, the token's end is looked at when it comes.
            let step = tokio::time::timeout(left, self.step()).await;
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
        let Some(slot) = self.broker.cache.slot(&self.key) else { return self.ask().await };
        let mut renewed = pin!(slot.renewed());
        // From here on no renewal is missed: one that came in just before is found by the comparison below.
        renewed.as_mut().enable();
        let now = self.broker.clock.now();
        match slot.take_first(true, now) {
            Some(held) if !Arc::ptr_eq(&held, &last) => Ok(Some(self.give(held))),
            Some(held) => {
                // An entry that is evicted is not renewed any more; its credentials' end is the time to ask anew.
                let end = held.expires.remaining(now);
                tokio::time::timeout(end, renewed).await.ok();
                Ok(None)
            }
            None => self.ask().await,
        }
    }

    async fn ask(&mut self) -> Result<Option<Grant>, Error> {
        let grant = self.broker.credentials(&self.token, &self.ask, VISIT).await?;
        let new = self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(&grant.credentials, last));
        Ok(new.then(|| self.give(grant.credentials)))
    }

    fn give(&mut self, credentials: Arc<Credentials>) -> Grant {
        self.last = Some(Arc::clone(&credentials));
        self.broker.grant(credentials, Some(&self.caller), self.decision)
    }
}
