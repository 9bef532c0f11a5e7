//! The readers' side: from a key to live credentials without a lock and without waiting. Knows no AWS call.
//!
//! The refresher alone puts slots into the map, swaps what they hold and takes them out. Readers leave three traces
//! in a slot: that it was asked for, until when what they got lasts, and a newer login.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use papaya::HashMap;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::broker::key::Key;
use crate::broker::schedule::{LoginLife, Points};
use crate::clock::{Expiry, Moment};
use crate::model::Credentials;
use crate::secret::CupToken;

/// All slots that hold, or held, credentials.
pub(super) struct Cache(HashMap<Key, Arc<Slot>>);

/// Where one key's credentials live.
#[derive(Default)]
pub(super) struct Slot {
    held: ArcSwapOption<Held>,
    login: ArcSwapOption<Login>,
    asked: AtomicBool,
    holder: AtomicBool,
    nudged: AtomicBool,
    gone: AtomicBool,
    renewed: Notify,
    last_asked_ms: AtomicU64,
    handed_out_until_ms: AtomicU64,
}

/// Credentials, and when they are to be refreshed.
pub(super) struct Held {
    pub(super) credentials: Arc<Credentials>,
    pub(super) points: Points,
}

/// A verified token that can be exchanged until it expires; or a guest's place, who has none.
pub(super) struct Login {
    pub(super) token: Option<CupToken>,
    pub(super) life: LoginLife,
}

/// Credentials as a reader gets them: what was in the slot, without a count that processors would have to share.
pub(super) struct Taken {
    held: Guard<Option<Arc<Held>>>,
    /// The refresher should look at the entry: it was thought unused and is past its early point.
    pub(super) nudge: bool,
}

impl Taken {
    /// None never is: only what holds is taken.
    pub(super) fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.held.as_ref().map(|held| &held.credentials)
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    pub(super) fn slot(&self, key: &Key) -> Option<Arc<Slot>> {
        self.0.pin().get(key).cloned()
    }

    /// For the refresher.
    pub(super) fn insert(&self, key: Key, slot: Arc<Slot>) {
        self.0.pin().insert(key, slot);
    }

    /// For the refresher; whether there was one.
    pub(super) fn remove(&self, key: &Key) -> bool {
        self.0.pin().remove(key).is_some()
    }

    /// The least time that any credentials in use have left. What was handed out once, to nobody who comes back, runs
    /// out as it should, and does not count. Walks the map: for scrapes.
    pub(super) fn least_remaining(&self, now: Moment) -> Option<Duration> {
        let slots = self.0.pin();
        let in_use = slots.values().filter(|slot| slot.asked() || slot.holder());
        let held = in_use.filter_map(|slot| slot.held());
        held.map(|held| held.credentials.expires.remaining(now)).min()
    }
}

impl Slot {
    /// Hands out what is held, if it is alive by both clocks, to one who came after it had come in.
    ///
    /// `holder` says that the asker keeps the credentials and will come back for new ones.
    pub(super) fn take(&self, holder: bool, now: Moment) -> Option<Taken> {
        let held = self.hand_out(holder, now)?;
        mark(&self.asked);
        let early = held.as_ref().is_some_and(|held| now.boot >= held.points.early);
        let nudge = early && !self.nudged.load(Ordering::Relaxed) && !self.nudged.swap(true, Ordering::Relaxed);
        Some(Taken { held, nudge })
    }

    /// Hands out what is held to one who waited for it, which does not count as asking again.
    pub(super) fn take_first(&self, holder: bool, now: Moment) -> Option<Arc<Credentials>> {
        self.hand_out(holder, now)?.as_ref().map(|held| Arc::clone(&held.credentials))
    }

    /// Relaxed is enough for all traces: they steer a schedule, and a lost one costs one refresh or one miss, never a
    /// wrong answer. Each is looked at first: what is written by all readers of a hot slot bounces between processors.
    fn hand_out(&self, holder: bool, now: Moment) -> Option<Guard<Option<Arc<Held>>>> {
        let held = self.held.load();
        let expires = held.as_ref()?.credentials.expires;
        if expires.passed(now) {
            return None;
        }
        let (until, asked) = (millis(expires.boot()), millis(now.boot));
        if self.handed_out_until_ms.load(Ordering::Relaxed) < until {
            self.handed_out_until_ms.fetch_max(until, Ordering::Relaxed);
        }
        if asked.abs_diff(self.last_asked_ms.load(Ordering::Relaxed)) >= LAST_ASKED_STEP_MS {
            self.last_asked_ms.store(asked, Ordering::Relaxed);
        }
        if holder {
            mark(&self.holder);
        }
        Some(held)
    }

    /// Leaves `token` for the next refresh, if it lasts longer than the one that is there: only then it is made. Two who do so at once may
    /// leave the shorter one: the next request mends that.
    ///
    /// True when there was no living login before: the refresher, which had nothing to exchange, should look again.
    pub(super) fn offer_login(&self, token: impl FnOnce() -> Option<CupToken>, expires: Expiry, now: Moment) -> bool {
        let login = self.login.load();
        // By both clocks: a login that was seen while the wall clock was behind has too late a deadline by the other.
        let left = login.as_ref().map_or(Duration::ZERO, |login| login.life.expires.remaining(now));
        let dead = left.is_zero();
        if dead || expires.remaining(now) > left {
            let life = LoginLife { seen: now.boot, expires };
            self.login.store(Some(Arc::new(Login { token: token(), life })));
            // Whichever of this and a dismissal comes last sees the other.
            if self.gone.load(Ordering::SeqCst) {
                self.wipe_login();
            }
        }
        dead
    }

    /// A nudge did not reach the refresher: the next reader shall try again.
    pub(super) fn nudge_again(&self) {
        self.nudged.store(false, Ordering::Relaxed);
    }

    pub(super) fn login(&self) -> Option<Arc<Login>> {
        self.login.load_full()
    }

    /// For the refresher: takes a login over from another slot.
    pub(super) fn keep_login(&self, login: Arc<Login>) {
        self.login.store(Some(login));
    }

    /// For the refresher: forgets the login.
    pub(super) fn wipe_login(&self) {
        self.login.store(None);
    }

    pub(super) fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// For the refresher: puts new credentials in. The traces are cleared before the swap, never after: a reader who
    /// takes the new ones and leaves its trace in between would otherwise be overlooked, and the credentials that it
    /// holds would not be refreshed. A trace of the old ones that comes late costs one refresh too many.
    pub(super) fn swap(&self, held: Held) {
        self.asked.store(false, Ordering::Relaxed);
        self.holder.store(false, Ordering::Relaxed);
        self.nudged.store(false, Ordering::Relaxed);
        self.held.store(Some(Arc::new(held)));
        self.renewed.notify_waiters();
    }

    /// For the refresher: the slot has left the cache. What it holds is wiped with the last reader that has it, since the map
    /// frees its slots by and by only, and places still lead to it; and who waits for it shall look for another one.
    pub(super) fn dismiss(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.held.store(None);
        self.wipe_login();
        self.renewed.notify_waiters();
    }

    /// Ends when new credentials come in, if it was made (and enabled) before they did.
    pub(super) fn renewed(&self) -> Notified<'_> {
        self.renewed.notified()
    }

    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn holder(&self) -> bool {
        self.holder.load(Ordering::Relaxed)
    }

    pub(super) fn handed_out_until(&self) -> Duration {
        Duration::from_millis(self.handed_out_until_ms.load(Ordering::Relaxed))
    }

    pub(super) fn last_asked(&self) -> Duration {
        Duration::from_millis(self.last_asked_ms.load(Ordering::Relaxed))
    }
}

/// How exactly it is known when a slot was last asked for.
const LAST_ASKED_STEP_MS: u64 = 1_000;

/// Sets a flag; looks first, so that a flag that is set already does not bounce between processors.
fn mark(flag: &AtomicBool) {
    if !flag.load(Ordering::Relaxed) {
        flag.store(true, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn moment(wall: u64, boot: u64) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall), boot: Duration::from_secs(boot) }
    }

    #[test]
    fn the_login_that_has_most_left_by_both_clocks_is_kept() {
        let slot = Slot::default();
        // Seen by a wall clock that is ten minutes behind; then that is mended.
        let behind = moment(10_000 - 600, 500);
        assert!(slot.offer_login(|| None, Expiry::at(moment(11_000, 0).wall, behind), behind));
        let now = moment(10_010, 510);
        let kept = || slot.login().map(|login| login.life.expires.wall());
        for (wall, wanted) in [(10_900, 11_000), (11_500, 11_500), (11_400, 11_500)] {
            assert!(!slot.offer_login(|| None, Expiry::at(moment(wall, 0).wall, now), now), "one is alive");
            assert_eq!(kept(), Some(moment(wanted, 0).wall), "{wall}");
        }
        let over = moment(11_500, 2_000);
        assert!(slot.offer_login(|| None, Expiry::at(moment(12_000, 0).wall, over), over), "none was");
        assert_eq!(kept(), Some(moment(12_000, 0).wall));
    }
}
