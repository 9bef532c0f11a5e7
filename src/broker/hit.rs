//! A hit, from the token's bytes to what is served: no lock, no allocation, nothing that processors have to share but the
//! reply's own count. It is the short way of [`places`](super::places); whoever gets nothing here goes the long one.

use std::sync::Arc;

use crate::broker::cache::Slot;
use crate::broker::key::Key;
use crate::broker::places::Place;
use crate::broker::rulebook::Rulebook;
use crate::broker::wishes::Wish;
use crate::broker::{Broker, Decision, Grant};
use crate::clock::Moment;
use crate::digest::Digest;
use crate::metrics::{Lookup, Verification};
use crate::model::{Ask, Caller, Credentials, Question};
use crate::secret::CupToken;

/// What was found, for as long as it is looked at.
pub struct Hit<'a> {
    /// The credentials.
    pub credentials: &'a Arc<Credentials>,
    /// Whose they are.
    pub caller: &'a Arc<Caller>,
    /// Whether less is left than replies should have.
    pub near_expiry: bool,
    /// How it was decided.
    pub decision: Decision,
}

impl Hit<'_> {
    /// The same, to keep.
    pub fn to_grant(&self) -> Grant {
        Grant {
            credentials: Arc::clone(self.credentials),
            present_token_by: Some(self.caller.expires),
            near_expiry: self.near_expiry,
            caller: Some(Arc::clone(self.caller)),
            decision: self.decision,
        }
    }
}

impl Broker {
    /// What `serve` makes of the credentials of `token`'s bearer, if they are there and were found before by the same
    /// question with the same token. `holder` as in [`Visit`](super::Visit).
    pub fn hit<T>(
        &self,
        token: &str,
        question: Question<'_>,
        holder: bool,
        serve: impl FnOnce(Hit<'_>) -> T,
    ) -> Option<T> {
        let rulebook = self.rulebook.load();
        let digest = rulebook.verifier.digest(token)?;
        let login = || Some(CupToken::new(token));
        self.follow(&rulebook, &digest, question, holder, login, serve)
    }

    /// The same for the long way's askers.
    pub(super) fn hit_of(&self, token: &CupToken, ask: &Ask, holder: bool) -> Option<Grant> {
        let question = ask.question()?;
        let rulebook = self.rulebook.load();
        let digest = rulebook.verifier.digest_of(token)?;
        let login = || Some(token.clone());
        self.follow(&rulebook, &digest, question, holder, login, |hit| hit.to_grant())
    }

    /// Leaves a place for the next one who brings this token and asks this.
    pub(super) fn remember(&self, token: &CupToken, ask: &Ask, place: Place) {
        let digest = self.rulebook.load().verifier.digest_of(token);
        if let (Some(digest), Some(_)) = (digest, ask.question()) {
            self.places.keep(digest, ask, place, self.clock.now());
        }
    }

    /// The rulebook is loaded before anything else is looked at: see [`places`](super::places).
    fn follow<T>(
        &self,
        rulebook: &Rulebook,
        token: &Digest,
        question: Question<'_>,
        holder: bool,
        login: impl FnOnce() -> Option<CupToken>,
        serve: impl FnOnce(Hit<'_>) -> T,
    ) -> Option<T> {
        let now = self.clock.now();
        self.places.follow(token, question, rulebook.generation, now, |place| {
            let taken = place.slot.take(holder, now)?;
            let (credentials, caller) = (taken.credentials()?, &place.verdict.caller);
            if taken.nudge {
                self.nudge(&place.key, &place.slot);
            }
            if place.slot.offer_login(login, caller.expires, now) {
                self.nudge(&place.key, &place.slot);
            }
            self.metrics.verified(Verification::Cached);
            self.metrics.looked_up(Lookup::Hit);
            let near_expiry = self.is_near(rulebook, credentials, now);
            Some(serve(Hit { credentials, caller, near_expiry, decision: place.decision }))
        })
    }

    /// Whether less is left than replies should have, which is counted.
    pub(super) fn is_near(&self, rulebook: &Rulebook, credentials: &Credentials, now: Moment) -> bool {
        let near_expiry = credentials.expires.remaining(now) < rulebook.min_remaining;
        if near_expiry {
            self.metrics.near_expiry_served.inc();
        }
        near_expiry
    }

    /// What the long way finds in the cache.
    pub(super) fn fresh(
        &self,
        key: &Key,
        token: &CupToken,
        caller: &Caller,
        holder: bool,
    ) -> Option<(Arc<Slot>, Arc<Credentials>)> {
        let now = self.clock.now();
        let (slot, credentials) = self.take(key, holder, now)?;
        if slot.offer_login(|| Some(token.clone()), caller.expires, now) {
            self.nudge(key, &slot);
        }
        Some((slot, credentials))
    }

    pub(super) fn take(&self, key: &Key, holder: bool, now: Moment) -> Option<(Arc<Slot>, Arc<Credentials>)> {
        let slot = self.cache.slot(key)?;
        let taken = slot.take(holder, now)?;
        if taken.nudge {
            self.nudge(key, &slot);
        }
        let credentials = taken.credentials().cloned()?;
        drop(taken);
        Some((slot, credentials))
    }

    pub(super) fn nudge(&self, key: &Key, slot: &Slot) {
        if self.wishes.try_send(Wish::Nudge(*key)).is_err() {
            slot.nudge_again();
        }
    }
}
