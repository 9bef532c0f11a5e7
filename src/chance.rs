//! The only source of chance: the operating system's, or a seed's, so that a run can be had again. Secrets are made of the
//! operating system's own, never of this.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Random numbers; its clones draw from the same source.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// Of the operating system's making: no two are alike.
    pub fn of_the_system() -> Self {
        Self::over(StdRng::from_rng(&mut rand::rng()))
    }

    /// The same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self::over(StdRng::seed_from_u64(seed))
    }

    /// From -1 to 1: somebody's own place in a spread.
    pub fn spread(&self) -> f64 {
        self.within(-1.0..=1.0)
    }

    /// A number of this range.
    pub fn within(&self, range: RangeInclusive<f64>) -> f64 {
        self.source().random_range(range)
    }

    /// A place among so many; none among none.
    pub fn place(&self, among: usize) -> Option<usize> {
        (among > 0).then(|| self.source().random_range(0..among))
    }

    fn over(source: StdRng) -> Self {
        Self(Arc::new(Mutex::new(source)))
    }

    fn source(&self) -> MutexGuard<'_, StdRng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_the_system_does_not() {
        let drawn = |chance: Chance| (0..8).map(|_| chance.spread().to_bits()).collect::<Vec<_>>();
        assert_eq!(drawn(Chance::seeded(7)), drawn(Chance::seeded(7)));
        assert_ne!(drawn(Chance::seeded(7)), drawn(Chance::seeded(8)));
        assert_ne!(drawn(Chance::of_the_system()), drawn(Chance::of_the_system()));
        assert_eq!(Chance::seeded(7).place(0), None);
        assert_eq!(Chance::seeded(7).place(1), Some(0));
    }
}
