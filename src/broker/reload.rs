//! Another configuration, while everything runs. The rulebook is swapped first: from then on no reader is given what the
//! new one refuses, whatever the cache holds. Then the refresher, told by a wish, goes through what the old one had
//! allowed, and drops and wipes what is not allowed any more. Entries of unchanged profiles stay as they are; those of
//! changed ones whose login has ended wait for the next one, and meanwhile are given only to whom the new rulebook allows
//! the very same.

use std::sync::Arc;

use crate::auth::{self, FetchKeys, Keeper};
use crate::broker::wishes::Wish;
use crate::broker::{Broker, Config, Limits, Policy};
use crate::upstream::Exchange;

/// What a reload changes for the refresher, beside the rulebook.
pub(super) struct Reload {
    pub(super) policy: Policy,
    pub(super) limits: Limits,
}

impl Broker {
    /// Whether a reload with `auth` brings key sets that are fetched over TLS, so that its fetcher has to be able to.
    pub fn lacks_keys_over_tls(&self, auth: &auth::Config) -> bool {
        self.rulebook.load().verifier.lacks_keys_over_tls(auth)
    }

    /// Puts another configuration in force. `exchange` is the new way to AWS, if that changed. The keepers of new user
    /// pools are given to `start` as soon as somebody may wait for their keys. What is held by unchanged profiles is kept;
    /// a new refresh policy is for what comes next.
    pub async fn reload(
        &self,
        auth: auth::Config,
        config: Config,
        fetcher: &Arc<dyn FetchKeys>,
        exchange: Option<Arc<dyn Exchange>>,
        start: impl FnOnce(Vec<Keeper>),
    ) {
        let old = self.rulebook.load_full();
        let (verifier, keepers) = old.verifier.renewed(auth, fetcher);
        let renewed = old.renewed(verifier, exchange, config.profiles, config.policy.min_remaining);
        let generation = renewed.generation;
        self.sessions.limit(config.sessions);
        self.places.limit(config.limits.entries);
        self.failures.change(config.limits.floods.failures_per_peer);
        self.rulebook.store(Arc::new(renewed));
        start(keepers);
        self.end_refused_sessions();
        // After the swap, so that whoever is woken finds the new rulebook.
        self.reloads.send_replace(generation);
        let reload = Reload { policy: config.policy, limits: config.limits };
        // Without a refresher there is nobody to tell, which readiness shows.
        self.wishes.send(Wish::Reload(Box::new(reload))).await.ok();
    }
}
