//! The counters once a minute, so that the last hour can be told without a database.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::{Metrics, Operation, Result};

/// Counters at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Exchanges, by result.
    pub(super) refreshes: Counts,
    /// Calls, by operation.
    pub(super) calls: Vec<Counts>,
}

/// One count for each result.
pub(super) type Counts = [u64; Result::ALL.len()];

/// The samples of the last hour.
#[derive(Debug, Default)]
pub(in crate::server) struct Samples(Mutex<VecDeque<Sample>>);

/// How often one is taken.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// An hour of them, and the one before it.
const MOST: usize = 61;

impl Samples {
    /// Takes one now and then, for as long as it runs.
    pub(in crate::server) async fn take_always(&self, metrics: &Metrics) {
        let mut ticks = tokio::time::interval(PERIOD);
        // After a sleep of the machine, one sample is as good as many.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.keep(Sample::of(metrics));
        }
    }

    /// What was counted in each minute of the last hour, oldest first, and at last since the newest sample.
    pub(super) fn minutes(&self, metrics: &Metrics) -> Vec<Sample> {
        let mut samples: Vec<_> = self.lock().iter().cloned().collect();
        samples.push(Sample::of(metrics));
        samples.windows(2).map(|pair| pair[1].since(&pair[0])).collect()
    }

    fn keep(&self, sample: Sample) {
        let mut samples = self.lock();
        samples.push_back(sample);
        if samples.len() > MOST {
            samples.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn of(metrics: &Metrics) -> Self {
        Self {
            refreshes: std::array::from_fn(|at| metrics.refreshes_so_far(Result::ALL[at])),
            calls: metrics.calls_so_far(),
        }
    }

    /// What was counted between `before` and this.
    fn since(&self, before: &Self) -> Self {
        Self {
            refreshes: less(&self.refreshes, &before.refreshes),
            calls: self.calls.iter().zip(&before.calls).map(|(now, then)| less(now, then)).collect(),
        }
    }

    /// This and `other` together.
    pub(super) fn and(&self, other: &Self) -> Self {
        let none = Counts::default();
        let calls = Operation::ALL.iter().enumerate().map(|(at, _)| {
            let (own, others) = (self.calls.get(at).unwrap_or(&none), other.calls.get(at).unwrap_or(&none));
            std::array::from_fn(|result| own[result] + others[result])
        });
        Self {
            refreshes: std::array::from_fn(|result| self.refreshes[result] + other.refreshes[result]),
            calls: calls.collect(),
        }
    }
}

fn less(now: &Counts, then: &Counts) -> Counts {
    std::array::from_fn(|at| now[at].saturating_sub(then[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_hour_is_kept_and_told_by_the_minute() {
        let (metrics, samples, clock) = (Metrics::new("0").unwrap(), Samples::default(), Clock::system());
        for minute in 0..100 {
            samples.keep(Sample::of(&metrics));
            (0..minute).for_each(|_| metrics.refreshed(Result::Ok));
            metrics.call(Operation::GetId, &clock).ended(Result::Throttled);
        }
        let minutes = samples.minutes(&metrics);
        assert_eq!((minutes.len(), minutes[0].refreshes[0], minutes[60].refreshes[0]), (61, 39, 99));
        let hour = minutes.iter().fold(Sample::default(), |sum, minute| sum.and(minute));
        assert_eq!(hour.refreshes, [(39..100).sum(), 0, 0, 0, 0]);
        assert_eq!(hour.calls[0], [0, 0, 61, 0, 0], "GetId, throttled");
    }
}
