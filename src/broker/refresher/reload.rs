//! What a reload changes for the refresher: what the older rulebook had allowed is decided again, a little at a time, and
//! dropped and wiped where it is not allowed any more.

use super::Refresher;
use super::land::answer;
use crate::broker::key::Key;
use crate::broker::reload::Reload;
use crate::broker::rulebook::{Confirmed, Rulebook, changed};
use crate::broker::wishes::Miss;
use crate::error::Error;

/// How many entries are decided on, or dropped, between two looks at what else there is to do.
const AT_ONCE: usize = 64;

impl Refresher {
    pub(super) fn reload(&mut self, reload: Reload) {
        self.policy = reload.policy;
        self.limits = reload.limits;
        self.misses.change(self.limits.floods.misses_per_subject);
        let rulebook = self.rulebook.load_full();
        self.doubted = self.entries.keys_where(|entry| rulebook.doubts(&entry.wanted)).into();
        self.entries.resize(self.limits.entries, self.limits.entries_per_subject);
    }

    /// Whether the refresher has to look at the consequences of a reload again, without waiting for anything.
    pub(super) fn is_behind(&self) -> bool {
        !self.doubted.is_empty() || self.entries.surplus().is_some()
    }

    /// Goes on with the consequences of a reload, a little at a time: those who miss meanwhile are not kept waiting.
    pub(super) fn catch_up(&mut self) {
        let rulebook = self.rulebook.load_full();
        for _ in 0..AT_ONCE.min(self.doubted.len()) {
            if let Some(key) = self.doubted.pop_front() {
                self.is_confirmed(&key, &rulebook);
            }
        }
        // At once, and again after each landing, for those who had exchanges under way.
        let surplus = self.entries.surplus_of_crowded();
        surplus.iter().for_each(|key| self.bury(key));
        for _ in 0..AT_ONCE {
            let Some(cold) = self.entries.surplus() else { break };
            self.bury(&cold);
        }
    }

    /// Whether `rulebook`, which is in force, still allows the entry; one that it does not allow is dropped.
    ///
    /// An entry for which nobody waits stays in doubt where only a login could tell, and its own has ended: whoever is
    /// served from it was found by the rulebook in force to be allowed just this, and it is refreshed with nothing but a
    /// newer login, which decides on it first.
    pub(super) fn is_confirmed(&mut self, key: &Key, rulebook: &Rulebook) -> bool {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return false };
        if !rulebook.doubts(&entry.wanted) {
            return true;
        }
        let login = entry.slot.login().filter(|login| !login.life.expires.passed(now));
        let token = login.as_ref().and_then(|login| login.token.as_ref());
        let error = match rulebook.confirm(key, &entry.wanted, token) {
            Ok(Confirmed::Allowed) => {
                entry.wanted.confirmed(rulebook);
                return true;
            }
            Ok(Confirmed::WithoutLogin) if entry.can_move_up() && !entry.is_awaited() => return true,
            Ok(Confirmed::WithoutLogin) => changed(),
            Err(error) => error,
        };
        self.expel(key, error);
        false
    }

    /// Decides again on a miss that was planned by an older rulebook.
    pub(super) fn confirm_miss(&self, miss: &mut Miss) -> Result<(), Error> {
        let rulebook = self.rulebook.load();
        if rulebook.doubts(&miss.wanted) {
            let Confirmed::Allowed = rulebook.confirm(&miss.key, &miss.wanted, miss.token.as_ref())? else {
                return Err(changed());
            };
            miss.wanted.confirmed(&rulebook);
        }
        Ok(())
    }

    /// Drops an entry that is no longer allowed, and tells those who wait for it.
    fn expel(&mut self, key: &Key, error: Error) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        answer(entry, &Err(error));
        self.purges += 1;
        self.drop_held(key);
        // An exchange that is under way keeps its entry, and shall not be followed by another one.
        if let Some(entry) = self.entries.get_mut(key) {
            entry.slot.wipe_login();
        }
    }
}
