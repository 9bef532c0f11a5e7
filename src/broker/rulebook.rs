//! What is in force: who may ask, and what becomes of an ask. Replaced whole by a reload, so that no request is judged by
//! half of one configuration and half of another. Pure, but for the verifier.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Verifier, claims_of};
use crate::broker::entries::Wanted;
use crate::broker::key::Key;
use crate::broker::profile::{Plan, Profile};
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller};
use crate::secret::CupToken;
use crate::upstream::Exchange;

/// One configuration's rules. The generations count reloads, so that what was decided by an older rulebook can tell
/// whether a newer one may say otherwise.
pub(super) struct Rulebook {
    pub(super) verifier: Verifier,
    pub(super) generation: u64,
    /// The way to AWS: what this rulebook allows is had by these clients.
    pub(super) exchange: Arc<dyn Exchange>,
    /// What replies should have left.
    pub(super) min_remaining: Duration,
    profiles: HashMap<String, Profile>,
    /// The generation that brought each profile as it is.
    profile_since: HashMap<String, u64>,
    /// The one that brought user pools and clients as they are.
    callers_since: u64,
}

impl Rulebook {
    /// The first one.
    pub(super) fn new(
        verifier: Verifier,
        exchange: Arc<dyn Exchange>,
        profiles: HashMap<String, Profile>,
        min_remaining: Duration,
    ) -> Self {
        let profile_since = profiles.keys().map(|name| (name.clone(), 0)).collect();
        Self { verifier, generation: 0, exchange, min_remaining, profiles, profile_since, callers_since: 0 }
    }

    /// The one after this; without `exchange`, the way to AWS stays.
    pub(super) fn renewed(
        &self,
        verifier: Verifier,
        exchange: Option<Arc<dyn Exchange>>,
        profiles: HashMap<String, Profile>,
        min_remaining: Duration,
    ) -> Self {
        let generation = self.generation + 1;
        let since = |name: &String, profile: &Profile| match self.profiles.get(name) {
            Some(old) if old == profile => self.profile_since.get(name).copied().unwrap_or(generation),
            _ => generation,
        };
        let profile_since = profiles.iter().map(|(name, profile)| (name.clone(), since(name, profile))).collect();
        let same_callers = verifier.generation() == self.verifier.generation();
        let callers_since = if same_callers { self.callers_since } else { generation };
        let exchange = exchange.unwrap_or_else(|| Arc::clone(&self.exchange));
        Self { verifier, generation, exchange, min_remaining, profiles, profile_since, callers_since }
    }

    pub(super) fn profiles(&self) -> &HashMap<String, Profile> {
        &self.profiles
    }

    /// # Errors
    /// [`Kind::NotFound`]
    pub(super) fn profile(&self, name: &str) -> Result<&Profile, Error> {
        self.profiles.get(name).ok_or_else(|| Error::new(Kind::NotFound, "no profile has the asked name"))
    }

    /// What `ask` becomes for `caller`.
    ///
    /// # Errors
    /// As the error table says.
    pub(super) fn plan(&self, caller: &Caller, token: &CupToken, ask: &Ask) -> Result<(&Profile, Plan), Error> {
        let profile = self.profile(&ask.profile)?;
        Ok((profile, profile.plan(caller, &claims_of(token), ask)?))
    }

    /// Whether what was planned in `wanted.planned` may have to be decided otherwise now.
    pub(super) fn doubts(&self, wanted: &Wanted) -> bool {
        self.callers_since > wanted.planned || self.profile_changed(wanted)
    }

    /// Decides again on an entry that is in doubt. `login` is a token of its user's that was verified before and has not
    /// expired: its claims are needed where the profile has changed.
    ///
    /// # Errors
    /// With the reason why the entry must go, for those who wait for it.
    pub(super) fn confirm(&self, key: &Key, wanted: &Wanted, login: Option<&CupToken>) -> Result<Confirmed, Error> {
        let profile = self.profile(&wanted.ask.profile)?;
        if wanted.is_guests() {
            profile.admit_guests()?;
            let same = Key::guest(&wanted.ask.profile, &profile.target.identity_pool_id, &wanted.user) == *key;
            return same.then_some(Confirmed::Allowed).ok_or_else(changed);
        }
        let pool = self.verifier.admits(&wanted.issuer, &wanted.client_id).ok_or_else(no_caller)?;
        profile.admit_pool(pool)?;
        if !self.profile_changed(wanted) {
            return Ok(Confirmed::Allowed);
        }
        let Some(login) = login else { return Ok(Confirmed::WithoutLogin) };
        let caller = self.verifier.read_again(login)?;
        let plan = profile.plan(&caller, &claims_of(login), &wanted.ask)?;
        let same = Key::new(&wanted.ask.profile, &profile.target, &caller, &plan) == *key;
        same.then_some(Confirmed::Allowed).ok_or_else(changed)
    }

    fn profile_changed(&self, wanted: &Wanted) -> bool {
        self.profile_since.get(&wanted.ask.profile).is_none_or(|since| *since > wanted.planned)
    }
}

/// What another rulebook makes of an entry that it does not refuse.
pub(super) enum Confirmed {
    /// It allows it.
    Allowed,
    /// Its profile and its app client are still there, but only a login could tell more, and there is none.
    WithoutLogin,
}

/// What is allowed is now another thing, which has an entry of its own.
pub(super) fn changed() -> Error {
    Error::new(Kind::UpstreamUnavailable, "the configuration changed meanwhile: ask again")
}

fn no_caller() -> Error {
    Error::new(Kind::Unauthorized, "the token's issuer or app client is no longer configured")
}

impl Wanted {
    /// Guests have no issuer.
    fn is_guests(&self) -> bool {
        self.issuer.is_empty()
    }

    /// The same, planned by the newest rulebook.
    pub(super) fn confirmed(&mut self, rulebook: &Rulebook) {
        self.planned = rulebook.generation;
    }
}

/// The rulebook in force, shared by readers, who load it without a lock, and the refresher.
pub(super) type InForce = Arc<arc_swap::ArcSwap<Rulebook>>;
