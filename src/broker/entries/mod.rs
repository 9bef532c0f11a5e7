//! The refresher's books: what it knows of each key beside the slot, who waits, what is due. Knows no future and no
//! AWS; bounded in all and per subject.

mod full;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::broker::cache::{Login, Slot};
use crate::broker::key::{Key, Subject};
use crate::broker::schedule::{State, Step, end, step};
use crate::broker::wishes::Selector;
use crate::chance::Chance;
use crate::clock::Moment;
use crate::error::{Error, Kind};
use crate::model::{Ask, Credentials, RoleArn};
use crate::upstream::{Load, Order, Rank, Session, Target};

pub(super) use full::Full;

/// What an exchange for this entry needs, except for the login, which is in the slot.
#[derive(Clone)]
pub(super) struct Wanted {
    /// The generation of the rulebook that this was planned by, or last confirmed by.
    pub(super) planned: u64,
    /// What was asked for, so that another rulebook can decide on it again.
    pub(super) ask: Arc<Ask>,
    pub(super) subject: Subject,
    pub(super) target: Arc<Target>,
    pub(super) issuer: Arc<str>,
    pub(super) user: Arc<str>,
    pub(super) client_id: Arc<str>,
    pub(super) role: Option<RoleArn>,
    pub(super) session: Arc<Session>,
}

/// Where an answer goes.
pub(super) type Waiter = oneshot::Sender<Result<Arc<Credentials>, Error>>;

/// One key's page.
pub(super) struct Entry {
    pub(super) wanted: Wanted,
    pub(super) slot: Arc<Slot>,
    /// Callers to answer, with whether each keeps what it gets.
    pub(super) waiters: Vec<(Waiter, bool)>,
    /// When the last of them came.
    last_wait: Duration,
    pub(super) stage: Stage,
    pub(super) failures: u32,
    /// After a failure: not before this, and what to tell until then.
    pub(super) refused: Option<Box<(Duration, Error)>>,
    /// An exchange that was launched before this many withdrawals is void.
    pub(super) valid_from: u64,
    /// This entry's own place in every spread, from -1 to 1.
    pub(super) spread: f64,
    /// Its part in the demand.
    pub(super) load: Load,
    pub(super) cause: crate::trace::Cause,
    /// Tells the due time that counts from older ones in the queue.
    generation: u64,
    due: Duration,
}

/// Where an entry is on its way to an exchange. At most one is ever on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Queued(Rank),
    InFlight,
}

/// All entries.
pub(super) struct Entries {
    by_key: IndexMap<Key, Entry>,
    by_subject: HashMap<Subject, SmallVec<[Key; 1]>>,
    due: BinaryHeap<Reverse<(Duration, u64, Key)>>,
    capacity: usize,
    per_subject: usize,
    /// Those who have more than one may have since the bound was lowered.
    crowded: BTreeSet<Subject>,
    generations: u64,
    chance: Chance,
}

/// How long the count of failures outlives the last refusal.
const REMEMBERED: Duration = Duration::from_secs(30);

/// An exchange that waits in the queue is given up when nobody has waited for it for so long. Callers are held for 900 ms
/// and come back within seconds, and shall find their place then.
const ABANDONED: Duration = Duration::from_secs(10);

/// How many entries are looked at to find one that is cold.
const SAMPLE: usize = 8;

impl Entries {
    pub(super) fn new(capacity: usize, per_subject: usize, chance: Chance) -> Self {
        Self {
            by_key: IndexMap::new(),
            by_subject: HashMap::new(),
            due: BinaryHeap::new(),
            capacity,
            per_subject,
            crowded: BTreeSet::new(),
            generations: 0,
            chance,
        }
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.by_key.get_mut(key)
    }

    /// Which entries have to go before one of `subject` can come.
    ///
    /// # Errors
    /// When there is no room and too much is on its way to exchanges that somebody waits for.
    pub(super) fn to_evict(&self, subject: &Subject) -> Result<Vec<Key>, Full> {
        let own = self.by_subject.get(subject).map_or(&[][..], SmallVec::as_slice);
        if own.len() >= self.per_subject {
            let number = own.len() + 1 - self.per_subject;
            let coldest = self.coldest_of(own, number);
            return if coldest.len() < number { Err(Full::Subject) } else { Ok(coldest) };
        }
        if self.by_key.len() < self.capacity {
            return Ok(Vec::new());
        }
        // Should a whole sample be on its way, the first idle one will do.
        let idle = || self.by_key.iter().find(|(_, entry)| entry.can_go()).map(|(key, _)| *key);
        self.coldest(self.sample()).or_else(idle).map(|key| vec![key]).ok_or(Full::All)
    }

    pub(super) fn insert(&mut self, key: Key, wanted: Wanted) -> &mut Entry {
        self.by_subject.entry(wanted.subject).or_default().push(key);
        let entry = Entry {
            wanted,
            slot: Arc::new(Slot::default()),
            waiters: Vec::new(),
            last_wait: Duration::ZERO,
            stage: Stage::Idle,
            failures: 0,
            refused: None,
            valid_from: 0,
            spread: self.chance.spread(),
            load: Load::default(),
            cause: Default::default(),
            generation: 0,
            due: Duration::ZERO,
        };
        self.by_key.entry(key).insert_entry(entry).into_mut()
    }

    /// Takes an entry out; its credentials and its login are wiped with the last reader that still has them.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.by_key.swap_remove(key)?;
        if let Some(keys) = self.by_subject.get_mut(&entry.wanted.subject) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_subject.remove(&entry.wanted.subject);
            }
        }
        Some(entry)
    }

    /// The keys of all entries that `meant` picks.
    pub(super) fn keys_where(&self, meant: impl Fn(&Entry) -> bool) -> Vec<Key> {
        self.by_key.iter().filter(|(_, entry)| meant(entry)).map(|(key, _)| *key).collect()
    }

    /// Sets new bounds. What is too much by them is said by [`Entries::surplus`] and [`Entries::surplus_of_crowded`].
    pub(super) fn resize(&mut self, capacity: usize, per_subject: usize) {
        (self.capacity, self.per_subject) = (capacity, per_subject);
        let crowded = self.by_subject.iter().filter(|(_, own)| own.len() > per_subject);
        self.crowded = crowded.map(|(subject, _)| *subject).collect();
    }

    /// The entries that their users have too many of, unless somebody waits for them: those are told later, when that is
    /// over.
    pub(super) fn surplus_of_crowded(&mut self) -> Vec<Key> {
        let many = |subject: &Subject| self.by_subject.get(subject).filter(|own| own.len() > self.per_subject);
        let still: BTreeSet<_> = self.crowded.iter().filter(|subject| many(subject).is_some()).copied().collect();
        let surplus = |own: &SmallVec<[Key; 1]>| self.coldest_of(own, own.len() - self.per_subject);
        let keys = still.iter().filter_map(many).flat_map(surplus).collect();
        self.crowded = still;
        keys
    }

    /// An entry that has to go since there are more than there may be, unless somebody waits for each that was looked at.
    pub(super) fn surplus(&self) -> Option<Key> {
        if self.by_key.len() <= self.capacity {
            return None;
        }
        self.coldest(self.sample())
    }

    /// Every entry.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.by_key.values()
    }

    /// The keys of all entries that a purge means.
    pub(super) fn matching(&self, selector: &Selector) -> Vec<Key> {
        let meant = |entry: &Entry| match selector {
            Selector::All => true,
            Selector::Client(client_id) => *entry.wanted.client_id == **client_id,
            Selector::Subject { issuer, subject } => {
                *entry.wanted.issuer == **issuer && *entry.wanted.user == **subject
            }
        };
        self.keys_where(meant)
    }

    /// Sets when to look at `key` next; earlier times for it no longer count.
    pub(super) fn look_at(&mut self, key: Key, due: Duration) {
        let Some(entry) = self.by_key.get_mut(&key) else { return };
        self.generations += 1;
        entry.generation = self.generations;
        entry.due = due;
        self.due.push(Reverse((due, entry.generation, key)));
        if self.due.len() > self.most_items() {
            let by_key = &self.by_key;
            let counts = |key: &Key, generation| by_key.get(key).is_some_and(|entry| entry.generation == generation);
            self.due.retain(|Reverse((_, generation, key))| counts(key, *generation));
        }
    }

    /// How many items a queue over these entries may have before the void ones have to go: most are void by then, so that
    /// it pays.
    pub(super) fn most_items(&self) -> usize {
        4 * self.by_key.len() + 1_024
    }

    /// Whether `key` has a place in the queue of this rank.
    pub(super) fn is_queued(&self, key: &Key, rank: Rank) -> bool {
        self.by_key.get(key).is_some_and(|entry| entry.stage == Stage::Queued(rank))
    }

    /// The next key whose time has come, and since when.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<(Key, Duration)> {
        while let Some(Reverse((due, generation, key))) = self.due.peek().copied() {
            let counts = self.by_key.get(&key).is_some_and(|entry| entry.generation == generation);
            if counts && due > now.boot {
                return None;
            }
            self.due.pop();
            if counts {
                return Some((key, due));
            }
        }
        None
    }

    /// The earliest time in the queue.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((due, _, _))| *due)
    }

    /// A few entries at random.
    fn sample(&self) -> impl Iterator<Item = Key> {
        let places = (0..SAMPLE).filter_map(|_| self.chance.place(self.by_key.len()));
        places.filter_map(|place| self.by_key.get_index(place).map(|(key, _)| *key))
    }

    fn coldest_of(&self, keys: &[Key], number: usize) -> Vec<Key> {
        let idle = keys.iter().filter(|key| self.by_key.get(*key).is_some_and(Entry::can_go));
        let mut idle: Vec<_> = idle.copied().collect();
        idle.sort_by_key(|key| self.by_key.get(key).map(Entry::warmth));
        idle.truncate(number);
        idle
    }

    fn coldest(&self, keys: impl Iterator<Item = Key>) -> Option<Key> {
        let idle = keys.filter_map(|key| {
            let entry = self.by_key.get(&key)?;
            entry.can_go().then(|| (entry.warmth(), key))
        });
        idle.min().map(|(_, key)| key)
    }
}

impl Entry {
    /// Adds one who waits; now and then those who hung up are let go, so that retries do not pile up.
    pub(super) fn wait(&mut self, waiter: Waiter, holder: bool, now: Moment) {
        self.last_wait = now.boot;
        if self.waiters.len().is_power_of_two() {
            self.waiters.retain(|(waiter, _)| !waiter.is_closed());
        }
        self.waiters.push((waiter, holder));
    }

    /// Gives the entry a new slot with the login of the old one, and returns the old one.
    pub(super) fn renew_slot(&mut self) -> Arc<Slot> {
        let old = std::mem::take(&mut self.slot);
        if let Some(login) = old.login() {
            self.slot.keep_login(login);
        }
        old
    }

    /// Whether anybody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters.iter().any(|(waiter, _)| !waiter.is_closed())
    }

    /// Whether it has no exchange under way and no caller's place in the queue, and may move up.
    pub(super) fn can_move_up(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Queued(Rank::Background))
    }

    /// Whether it may be evicted: no exchange of it is under way, and nobody waits for one.
    fn can_go(&self) -> bool {
        self.can_move_up() || (self.stage == Stage::Queued(Rank::Foreground) && !self.is_awaited())
    }

    /// What goes first when one has to: what holds nothing, and then what was last asked for longest ago.
    fn warmth(&self) -> (bool, Duration) {
        (self.slot.held().is_some(), self.slot.last_asked().max(self.last_wait))
    }

    /// Whether its place in the queue is still of use at `now`.
    pub(super) fn is_worth_waiting(&self, rank: Rank, now: Moment) -> bool {
        let wanted = match rank {
            Rank::Foreground => self.is_awaited() || now.boot < self.last_wait + ABANDONED,
            Rank::Background => self.step(now) == Step::Refresh,
        };
        wanted && self.live_login(now).is_some()
    }

    /// When to see whether its place in the queue is still of use.
    pub(super) fn look_again(&self, rank: Rank, now: Moment) -> Duration {
        match rank {
            Rank::Foreground => self.end(now).min(now.boot + ABANDONED),
            Rank::Background => self.end(now),
        }
    }

    /// Gives up its place in the queue: its login is over, or what it held is, or nobody waits any more.
    pub(super) fn leave_queue(&mut self) {
        self.stage = Stage::Idle;
        let over = Error::new(Kind::Unauthorized, "the token expired before it could be exchanged");
        self.waiters.drain(..).for_each(|(waiter, _)| drop(waiter.send(Err(over.clone()))));
    }

    /// When there is nothing to refresh any more, or nothing to refresh it with.
    pub(super) fn end(&self, now: Moment) -> Duration {
        let login = self.live_login(now).map(|login| login.life.expires.boot());
        let held = self.slot.held().filter(|held| !held.credentials.expires.passed(now));
        let held = held.map(|held| end(&held.credentials.expires, self.slot.handed_out_until(), &held.points));
        login.into_iter().chain(held).min().unwrap_or(now.boot)
    }

    /// The order for an exchange with the login that lasts longest, if one is still alive.
    pub(super) fn order(&self, now: Moment) -> Option<Order> {
        let login = self.live_login(now)?;
        Some(Order {
            target: Arc::clone(&self.wanted.target),
            issuer: Arc::clone(&self.wanted.issuer),
            subject: Arc::clone(&self.wanted.user),
            token: login.token.clone(),
            role: self.wanted.role.clone(),
            session: Arc::clone(&self.wanted.session),
        })
    }

    /// What the schedule says of this entry.
    pub(super) fn step(&self, now: Moment) -> Step {
        let refused_until = self.refused.as_ref().map(|refused| refused.0);
        let Some(held) = self.slot.held() else {
            // Nothing but a refusal is remembered here, and for a while after it is over: who asks again and fails
            // again is to wait for longer.
            return match refused_until.map(|until| until + REMEMBERED) {
                Some(until) if until > now.boot => Step::Sleep(until),
                _ => Step::Bury,
            };
        };
        let state = State {
            received: held.credentials.received.boot,
            expires: held.credentials.expires,
            points: held.points,
            login: self.live_login(now).map(|login| login.life),
            handed_out_until: self.slot.handed_out_until(),
            asked: self.slot.asked(),
            holder: self.slot.holder(),
            retry_at: refused_until,
            spread: self.spread,
        };
        step(now, &state)
    }

    fn live_login(&self, now: Moment) -> Option<Arc<Login>> {
        self.slot.login().filter(|login| !login.life.expires.passed(now))
    }
}
