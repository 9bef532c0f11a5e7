//! The short way to a hit: from the pair (token, question) straight to the slot that it led to before. Neither the token
//! is verified nor the role resolved nor a key built again, and one lookup serves for all three.
//!
//! A place is followed only as long as all of these hold, and each is looked at with every hit, so that it can never give
//! more than the long way would:
//!
//! - **The rulebook** is the one that it was found under. The reader loads the rulebook in force first, and every reload
//!   has a generation of its own: whoever begins after the swap goes the long way. A place that an older request leaves
//!   after the swap carries the older generation, and is followed by nobody.
//! - **The key set** has the generation that the token was verified with: a withdrawn key ends the verdict. It is the one
//!   of the verification, not of the moment when the place was made.
//! - **The token** is alive, by both clocks.
//! - **The slot** holds something: the refresher empties a slot when it leaves the cache, by a purge, an eviction, a reload
//!   or its end, and never fills it again. So what is found through a place is in the cache, or was when the reader came.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use papaya::{Equivalent, HashMap};

use crate::auth::Verdict;
use crate::broker::Decision;
use crate::broker::cache::Slot;
use crate::broker::key::Key;
use crate::clock::Moment;
use crate::digest::Digest;
use crate::model::{Ask, Question};

/// Where hits were found, at most `capacity` of them.
pub(super) struct Places {
    by_question: HashMap<Asked, Place>,
    capacity: AtomicUsize,
    /// Kept by us, since the map's own count walks it.
    held: AtomicUsize,
    /// The asks that are shared by many; few, since profiles and roles are configured.
    asks: Mutex<HashSet<Arc<Ask>>>,
}

/// Where one hit was found, and by what that holds.
pub(super) struct Place {
    /// The generation of the rulebook.
    pub(super) planned: u64,
    pub(super) verdict: Verdict,
    pub(super) decision: Decision,
    pub(super) key: Key,
    pub(super) slot: Arc<Slot>,
}

/// What a place is found by. A token's digest is uniform, and nobody makes tokens whose digests look alike; the question
/// is one that was answered, so that its profile and role are configured ones.
#[derive(Clone)]
struct Asked {
    token: Digest,
    ask: Arc<Ask>,
}

/// The same, borrowed.
struct Asking<'a> {
    token: &'a Digest,
    question: Question<'a>,
}

/// How many asks are shared.
const SHARED: usize = 4_096;

impl Places {
    /// As many as there may be beside so many `entries`.
    pub(super) fn beside(entries: usize) -> Self {
        let capacity = AtomicUsize::new(capacity(entries));
        Self { by_question: HashMap::new(), capacity, held: AtomicUsize::new(0), asks: Mutex::default() }
    }

    /// For another number of `entries`; what is over goes with the next places.
    pub(super) fn limit(&self, entries: usize) {
        self.capacity.store(capacity(entries), Ordering::Relaxed);
    }

    /// What `follow` makes of the place that this token's bearer and this question led to, if it still leads there under
    /// the rulebook of generation `planned`.
    pub(super) fn follow<T>(
        &self,
        token: &Digest,
        question: Question<'_>,
        planned: u64,
        now: Moment,
        follow: impl FnOnce(&Place) -> Option<T>,
    ) -> Option<T> {
        let places = self.by_question.pin();
        let place = places.get(&Asking { token, question })?;
        if place.planned == planned && place.verdict.holds(now) { follow(place) } else { None }
    }

    /// Remembers where `ask` of this token's bearer led.
    pub(super) fn keep(&self, token: Digest, ask: &Ask, place: Place, now: Moment) {
        if self.held.load(Ordering::Relaxed) >= self.capacity.load(Ordering::Relaxed) {
            self.make_room(place.planned, now);
        }
        if self.by_question.pin().insert(Asked { token, ask: self.shared(ask) }, place).is_none() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `ask`, which many may share.
    pub(super) fn shared(&self, ask: &Ask) -> Arc<Ask> {
        if ask.question().is_none() {
            return Arc::new(ask.clone());
        }
        let mut asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = asks.get(ask) {
            return Arc::clone(shared);
        }
        if asks.len() >= SHARED {
            asks.clear();
        }
        let shared = Arc::new(ask.clone());
        asks.insert(Arc::clone(&shared));
        shared
    }

    /// Drops what leads nowhere under the rulebook of generation `planned`, and says how much that was.
    pub(super) fn sweep(&self, planned: u64, now: Moment) -> usize {
        let leads = |place: &Place| place.planned >= planned && place.verdict.holds(now) && place.slot.held().is_some();
        self.drop_where(usize::MAX, |place| !leads(place))
    }

    /// Sweeps and, should that be too little, drops some more: a dropped place costs its bearer one longer way. All of the
    /// map is looked at, which has to suffice for a while.
    fn make_room(&self, planned: u64, now: Moment) {
        let capacity = self.capacity.load(Ordering::Relaxed);
        let spare = self.held.load(Ordering::Relaxed).saturating_sub(capacity) + (capacity / 16).max(1);
        let dropped = self.sweep(planned, now);
        if dropped < spare {
            self.drop_where(spare - dropped, |_| true);
        }
    }

    fn drop_where(&self, most: usize, meant: impl Fn(&Place) -> bool) -> usize {
        let places = self.by_question.pin();
        let meant: Vec<Asked> =
            places.iter().filter(|(_, place)| meant(place)).take(most).map(|(asked, _)| asked.clone()).collect();
        let dropped = meant.iter().filter(|asked| places.remove(*asked).is_some()).count();
        self.held.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

/// A user may ask with several tokens, most with one at a time.
const fn capacity(entries: usize) -> usize {
    entries.saturating_add(entries / 4).saturating_add(1)
}

impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(question) = self.ask.question() {
            Asking { token: &self.token, question }.hash(state);
        }
    }
}

impl Hash for Asking<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A quarter of the digest tells tokens apart well enough.
        self.token[..8].hash(state);
        self.question.profile.hash(state);
        self.question.role.hash(state);
    }
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.token == other.token && self.ask == other.ask
    }
}

impl Eq for Asked {}

impl Equivalent<Asked> for Asking<'_> {
    fn equivalent(&self, kept: &Asked) -> bool {
        *self.token == kept.token && kept.ask.question() == Some(self.question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word more of any of these is a megabyte more for 125,000.
    #[test]
    fn what_is_held_for_each_user_is_small() {
        let sizes = [size_of::<Key>(), size_of::<Slot>(), size_of::<Asked>(), size_of::<Place>()];
        assert_eq!(sizes, [32, 72, 40, 104], "a key, a slot, what a place is found by, and a place");
    }
}
