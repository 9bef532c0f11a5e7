//! What the doors look at for each connection and each request, so that a reload can change it while they are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::server::Config;
use crate::server::descriptors::affordable;

/// The doors' configuration as it is now.
pub struct Settings {
    config: ArcSwap<Config>,
    places: Arc<Places>,
}

/// Room for so many connections.
pub struct Places {
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// One connection's place; given back when dropped.
pub(super) struct Place(Arc<Places>);

impl Settings {
    pub(super) fn new(config: Config) -> Self {
        let places = Arc::new(Places::new(affordable(config.limits.connections)));
        Self { config: ArcSwap::from_pointee(config), places }
    }

    /// Puts `config` in force, for connections and requests to come; those that are open stay, also if there are more of
    /// them than there may be now. Addresses are not changed by it.
    pub fn change(&self, config: Config) {
        self.places.most.store(affordable(config.limits.connections), Ordering::Relaxed);
        self.config.store(Arc::new(config));
    }

    /// The configuration in force.
    pub fn now(&self) -> Arc<Config> {
        self.config.load_full()
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }
}

impl Places {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) }
    }

    /// A place, if there is one. Relaxed is enough: the count alone decides, and guards nothing else.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Ordering::Relaxed);
        let room = |taken: usize| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok().map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_places_mean_that_nobody_comes_in_before_enough_have_gone() {
        let places = Arc::new(Places::new(3));
        let mut taken: Vec<_> = (0..3).map(|_| places.take().unwrap()).collect();
        assert!(places.take().is_none());
        places.most.store(1, Ordering::Relaxed);
        taken.truncate(1);
        assert!(places.take().is_none(), "one is left, and one there may be");
        taken.clear();
        let _one = places.take().unwrap();
        assert!(places.take().is_none());
    }
}
