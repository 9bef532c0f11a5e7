//! How often anybody may do what costs: exchanges begun by misses, and tokens that fail. Hits are free. Pure; knows no
//! clock and no door.
//!
//! What is remembered does not grow, however many come: there is a fixed number of cells, and callers who share one share
//! its allowance. A caller has two cells, by two keyed hashes, and the emptier one counts: to be refused for another's
//! flood one would have to share both, and nobody can choose whose cells to share.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::model::Presenter;

/// How often each may do what costs, in a second; ten times as often at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floods {
    /// Exchanges that one user's misses begin.
    pub misses_per_subject: u32,
    /// Tokens of one peer that fail.
    pub failures_per_peer: u32,
}

/// An allowance that is not used up adds up for so long.
const SAVED: Duration = Duration::from_secs(10);

/// Cells of one of the two rows. A flood from more callers than this is not told from a flood of all callers.
const CELLS: usize = 4_096;

/// How much more than one peer may fail all of them together, before those who have failed of late are refused: so many
/// verifications are a small part of one core.
const ALL_PEERS: u32 = 10;

/// Allowances of many callers.
pub(super) struct Allowances {
    rows: [Row; 2],
    /// One use, in nanoseconds of waiting.
    price: AtomicU64,
}

struct Row {
    hasher: RandomState,
    /// For each cell, when all that was used will have been waited for, in nanoseconds of the boot-time clock.
    cells: Box<[AtomicU64]>,
}

/// Who has brought tokens that failed.
pub(super) struct Failures {
    by_peer: Allowances,
    all: Allowances,
}

impl Allowances {
    pub(super) fn new(per_second: u32) -> Self {
        Self::with_cells(per_second, CELLS)
    }

    fn with_cells(per_second: u32, cells: usize) -> Self {
        let row = || Row { hasher: RandomState::new(), cells: (0..cells).map(|_| AtomicU64::new(0)).collect() };
        Self { rows: [row(), row()], price: AtomicU64::new(price(per_second)) }
    }

    /// Another allowance, for what comes next.
    pub(super) fn change(&self, per_second: u32) {
        self.price.store(price(per_second), Ordering::Relaxed);
    }

    /// Uses up one, if `who` has one at `now`.
    pub(super) fn take(&self, who: impl Hash, now: Duration) -> bool {
        let has = self.has(&who, now);
        if has {
            self.charge(who, now);
        }
        has
    }

    /// Whether `who` has one left.
    fn has(&self, who: impl Hash, now: Duration) -> bool {
        self.owed(who, now) + self.price() <= nanoseconds(SAVED).max(self.price())
    }

    /// Uses up one, whether there is one or not. Two threads that look and charge at once may use one too many.
    fn charge(&self, who: impl Hash, now: Duration) {
        let (now, price) = (nanoseconds(now), self.price());
        let more = |until: u64| Some((until.max(now) + price).min(now + nanoseconds(SAVED).max(price)));
        for cell in self.cells(who) {
            cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
        }
    }

    /// How long until all that `who` has used is waited for, in nanoseconds.
    fn owed(&self, who: impl Hash, now: Duration) -> u64 {
        let owed = self.cells(who).map(|cell| cell.load(Ordering::Relaxed).saturating_sub(nanoseconds(now)));
        owed.into_iter().min().unwrap_or(0)
    }

    fn cells(&self, who: impl Hash) -> [&AtomicU64; 2] {
        self.rows.each_ref().map(|row| {
            let hash = usize::try_from(row.hasher.hash_one(&who) & u64::from(u32::MAX)).unwrap_or(0);
            &row.cells[hash % row.cells.len()]
        })
    }

    fn price(&self) -> u64 {
        self.price.load(Ordering::Relaxed)
    }
}

impl Failures {
    pub(super) fn new(per_second: u32) -> Self {
        Self { by_peer: Allowances::new(per_second), all: Allowances::with_cells(all(per_second), 1) }
    }

    pub(super) fn change(&self, per_second: u32) {
        self.by_peer.change(per_second);
        self.all.change(all(per_second));
    }

    /// Whether a token that was not seen before may be judged. A peer that has not failed of late may always have it
    /// judged, however much fails elsewhere: a good token's first sight does not wait behind a flood of bad ones.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] for a peer of whose tokens too many fail.
    pub(super) fn admit(&self, peer: Option<Presenter>, now: Duration) -> Result<(), Error> {
        let Some(peer) = peer else { return Ok(()) };
        let may = self.by_peer.has(peer, now) && (self.all.has((), now) || self.by_peer.owed(peer, now) == 0);
        let cause = "too many tokens of this peer fail (limits.failures_per_peer_per_second)";
        may.then_some(()).ok_or_else(|| Error::new(Kind::TooManyRequests, cause))
    }

    /// A token of `peer` has failed.
    pub(super) fn count(&self, peer: Option<Presenter>, now: Duration) {
        if let Some(peer) = peer {
            self.by_peer.charge(peer, now);
            self.all.charge((), now);
        }
    }
}

fn price(per_second: u32) -> u64 {
    nanoseconds(Duration::from_secs(1)) / u64::from(per_second.max(1))
}

fn all(per_second: u32) -> u32 {
    per_second.saturating_mul(ALL_PEERS)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_secs_f64(seconds)
    }

    fn connection(port: u16) -> Option<Presenter> {
        Some(Presenter::Connection(([127, 0, 0, 1], port).into()))
    }

    #[test]
    fn ten_seconds_worth_at_once_and_then_the_rate() {
        let allowances = Allowances::new(10);
        assert_eq!((0..1_000).filter(|_| allowances.take("flood", at(0.0))).count(), 100);
        assert!(allowances.take("another", at(0.0)));
        let later = (0..1_000).filter(|n| allowances.take("flood", at(f64::from(*n) / 100.0))).count();
        assert!((99..=101).contains(&later), "{later} in ten seconds");
        assert_eq!((0..1_000).filter(|_| allowances.take("flood", at(100.0))).count(), 100, "saved up again");
    }

    #[test]
    fn another_rate_is_for_what_comes_next() {
        let allowances = Allowances::new(1);
        assert_eq!((0..100).filter(|_| allowances.take("one", at(0.0))).count(), 10);
        allowances.change(1_000_000);
        assert!(!allowances.take("one", at(0.0)), "what is used up is used up");
        assert!((0..1_000_000).all(|_| allowances.take("other", at(0.0))));
    }

    #[test]
    fn a_crowd_of_names_takes_nothing_from_the_others() {
        let allowances = Allowances::new(10);
        for name in 0..20_000_u32 {
            assert!(allowances.take(name, at(0.0)));
        }
        let free = (20_000..21_000_u32).filter(|name| (0..10).all(|_| allowances.take(*name, at(0.0)))).count();
        assert_eq!(free, 1_000);
    }

    #[test]
    fn who_fails_is_refused_for_a_while_and_nobody_else() {
        let failures = Failures::new(50);
        let (bad, good) = (connection(1), connection(2));
        let judged = |peer| failures.admit(peer, at(0.0)).is_ok();
        let tried = (0..5_000)
            .filter(|_| {
                judged(bad) && {
                    failures.count(bad, at(0.0));
                    true
                }
            })
            .count();
        assert_eq!((tried, judged(good), judged(None)), (500, true, true));
        assert!(failures.admit(bad, at(0.1)).is_ok(), "a tenth of a second is worth five");
    }

    #[test]
    fn however_many_fail_one_who_has_not_is_judged() {
        let failures = Failures::new(50);
        let fail = |port| failures.admit(connection(port), at(0.0)).map(|()| failures.count(connection(port), at(0.0)));
        let judged = (0..40).map(|_| (0..1_000).filter(|port| fail(*port).is_ok()).count()).sum::<usize>();
        assert!((5_000..6_100).contains(&judged), "{judged}: all together ten times as many as one");
        let fresh = (2_000..3_000).filter(|port| failures.admit(connection(*port), at(0.0)).is_ok()).count();
        assert!(fresh > 900, "{fresh}: but for those who share both cells with one who failed");
    }
}
