//! Verdicts by the digest of the whole token: read without a lock, bounded. Knows no rule.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use papaya::HashMap;

use crate::auth::keys::Standing;
use crate::clock::Moment;
use crate::digest::Digest;
use crate::model::Caller;

/// A token that was found good, under one configuration.
#[derive(Clone)]
pub struct Verdict {
    /// Its bearer.
    pub caller: Arc<Caller>,
    /// What its key was taken from.
    pub(super) keys: Standing,
    /// The configuration's generation that it was judged by.
    pub(super) configuration: u64,
}

impl Verdict {
    /// Whether it still holds, as far as the configuration is the one that it was given under: the key is not withdrawn,
    /// and the token is alive by both clocks.
    pub fn holds(&self, now: Moment) -> bool {
        self.keys.holds() && !self.caller.expires.passed(now)
    }
}

/// Remembered verdicts, at most `capacity` of them.
pub(super) struct Verdicts {
    by_token: HashMap<Digest, Verdict>,
    capacity: AtomicUsize,
    /// Kept by us, since the map's own count walks it.
    held: AtomicUsize,
}

impl Verdicts {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self { by_token: HashMap::new(), capacity: AtomicUsize::new(capacity.get()), held: AtomicUsize::new(0) }
    }

    /// Another capacity; what is over it goes with the next verdicts.
    pub(super) fn limit(&self, capacity: NonZeroUsize) {
        self.capacity.store(capacity.get(), Ordering::Relaxed);
    }

    pub(super) fn get(&self, token: &Digest) -> Option<Verdict> {
        self.by_token.pin().get(token).cloned()
    }

    /// Remembers `verdict`, after making room where there is none.
    pub(super) fn keep(&self, token: Digest, verdict: Verdict, now: Moment) {
        if self.held.load(Ordering::Relaxed) >= self.capacity.load(Ordering::Relaxed) {
            self.make_room(now);
        }
        if self.by_token.pin().insert(token, verdict).is_none() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops what has expired and, should that be too little, what is over the capacity and a sixteenth of the rest: the
    /// digests are uniform, so the first ones of the map are a fair sample. A dropped verdict costs its bearer one more
    /// verification. All of the map is looked at, which has to suffice for a while.
    fn make_room(&self, now: Moment) {
        let map = self.by_token.pin();
        let capacity = self.capacity.load(Ordering::Relaxed);
        let spare = self.held.load(Ordering::Relaxed).saturating_sub(capacity) + (capacity / 16).max(1);
        let dropped = self.sweep(now);
        if dropped < spare {
            let more: Vec<Digest> = map.keys().take(spare - dropped).copied().collect();
            let dropped = more.iter().filter(|token| map.remove(*token).is_some()).count();
            self.held.fetch_sub(dropped, Ordering::Relaxed);
        }
    }

    /// Drops what has expired, and says how much that was.
    pub(super) fn sweep(&self, now: Moment) -> usize {
        let map = self.by_token.pin();
        let expired: Vec<Digest> =
            map.iter().filter(|(_, old)| old.caller.expires.passed(now)).map(|(token, _)| *token).collect();
        let dropped = expired.iter().filter(|token| map.remove(*token).is_some()).count();
        self.held.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::Expiry;

    fn verdict(now: Moment, seconds: u64) -> Verdict {
        let caller = Caller {
            user_pool: "pool".into(),
            issuer: "issuer".into(),
            subject: "sub".into(),
            client_id: "client".into(),
            token_use: crate::model::TokenUse::Id,
            fingerprint: [0; 32],
            expires: Expiry::at(now.wall + Duration::from_secs(seconds), now),
        };
        Verdict { caller: Arc::new(caller), keys: Standing::default(), configuration: 0 }
    }

    fn digest(number: u32) -> Digest {
        crate::digest::sha256(&number.to_be_bytes())
    }

    #[test]
    fn never_more_than_the_capacity_and_the_expired_go_first() {
        let start = Moment { wall: SystemTime::UNIX_EPOCH, boot: Duration::from_secs(1) };
        let later = Moment { wall: start.wall + Duration::from_secs(11), boot: Duration::from_secs(12) };
        let verdicts = Verdicts::new(NonZeroUsize::new(64).unwrap());
        (0..32).for_each(|n| verdicts.keep(digest(n), verdict(start, 10), start));
        (32..64).for_each(|n| verdicts.keep(digest(n), verdict(start, 100), start));
        verdicts.keep(digest(64), verdict(later, 100), later);
        assert_eq!(verdicts.by_token.pin().len(), 33, "the 32 expired ones are gone, nobody else");
        (100..10_000).for_each(|n| verdicts.keep(digest(n), verdict(later, 100), later));
        assert!(verdicts.by_token.pin().len() <= 64);
        assert_eq!(verdicts.by_token.pin().len(), verdicts.held.load(Ordering::Relaxed));
        assert!(verdicts.get(&digest(9_999)).is_some(), "the newest is there");
    }

    #[test]
    fn a_lower_capacity_is_met_at_once() {
        let now = Moment { wall: SystemTime::UNIX_EPOCH, boot: Duration::from_secs(1) };
        let verdicts = Verdicts::new(NonZeroUsize::new(1_000).unwrap());
        (0..1_000).for_each(|n| verdicts.keep(digest(n), verdict(now, 100), now));
        verdicts.limit(NonZeroUsize::new(64).unwrap());
        verdicts.keep(digest(1_000), verdict(now, 100), now);
        assert_eq!(verdicts.held.load(Ordering::Relaxed), 61, "with room for the next ones, and the newest");
        assert_eq!(verdicts.by_token.pin().len(), 61);
    }
}
