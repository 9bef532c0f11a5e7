//! Counters that many threads add to at once: each thread has a place of its own, so that no two processors take a line of
//! memory from each other, and the places are added up when somebody looks. Knows nothing of what is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// `N` counters.
pub struct Tally<const N: usize>([Places<N>; THREADS]);

/// One thread's part. As long as two lines of the cache, since processors fetch them in pairs.
#[repr(align(128))]
struct Places<const N: usize>([AtomicU64; N]);

/// How many threads have places of their own; more of them share.
const THREADS: usize = 16;

/// Given out in turn.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % THREADS;
}

impl<const N: usize> Tally<N> {
    /// All at 0.
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| Places(std::array::from_fn(|_| AtomicU64::new(0)))))
    }

    /// Counts one more of `which`. Relaxed is enough: nothing else is told by a count.
    pub fn count(&self, which: usize) {
        let own = OWN.try_with(|own| *own).unwrap_or(0);
        if let Some(counter) = self.0[own].0.get(which) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were of `which`.
    pub fn total(&self, which: usize) -> u64 {
        let counters = self.0.iter().filter_map(|places| places.0.get(which));
        counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_any_thread_counts_is_lost() {
        let tally = Tally::<2>::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * THREADS {
                scope.spawn(|| (0..100).for_each(|number| tally.count(number % 2)));
            }
        });
        assert_eq!((tally.total(0), tally.total(1)), (1_600, 1_600));
        tally.count(7);
        assert_eq!(tally.total(7), 0, "there is no such counter");
    }
}
