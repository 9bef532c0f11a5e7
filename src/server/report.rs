//! The log's side of a failure: told once, here at the top, and never more often than anybody can read.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{info, warn};

use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::metrics::Listener;
use crate::trace::Trail;

/// Lines of one kind in one second. Anybody on loopback can send garbage by the thousand, and an outage fails every
/// miss; the metrics count them all.
const LINES_PER_SECOND: u64 = 20;

/// Tells failures.
pub(super) struct Reporter {
    clock: Clock,
    warnings: Budget,
    notices: Budget,
}

/// How many lines of one kind the present second has had.
pub(super) struct Budget {
    second: AtomicU64,
    lines: AtomicU64,
    withheld: AtomicU64,
}

impl Reporter {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, warnings: Budget::new(), notices: Budget::new() }
    }

    /// Tells of `error`. What callers bring about all day is not a warning.
    pub(super) fn tell(&self, listener: Listener, error: &Error, trail: &Trail) {
        let (listener, kind, cause) = (listener.as_str(), error.kind(), error.cause());
        let second = self.clock.boot().as_secs();
        let ours =
            matches!(kind, Kind::UpstreamDenied | Kind::UpstreamUnavailable | Kind::KeysUnavailable | Kind::Internal);
        let budget = if ours { &self.warnings } else { &self.notices };
        let Some(withheld) = budget.take(second) else { return };
        let (request_id, trace_id) = (trail.id(), trail.trace_id());
        if ours {
            warn!(listener, ?kind, cause, withheld, request_id, trace_id, "refused");
        } else {
            info!(listener, ?kind, cause, withheld, request_id, trace_id, "refused");
        }
    }
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { second: AtomicU64::new(0), lines: AtomicU64::new(0), withheld: AtomicU64::new(0) }
    }

    /// How many lines were withheld since the last one, if there is room for one now. Two threads that meet at the
    /// turn of a second may let a few lines more through.
    pub(super) fn take(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND {
            return Some(self.withheld.swap(0, Ordering::Relaxed));
        }
        self.withheld.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let budget = Budget::new();
        let told = (0..1_000).filter_map(|_| budget.take(7)).count();
        assert_eq!(told as u64, LINES_PER_SECOND);
        assert_eq!(budget.take(8), Some(1_000 - LINES_PER_SECOND), "the next second tells how many there were");
        assert_eq!(budget.take(8), Some(0));
    }
}
