//! Who is exchanged next. Pure.
//!
//! There is a line for each lane, so that users who wait for the scarce GetId hold up nobody who does not need it, nor
//! those of one region any of another; and in each line two queues. Callers who wait take turns by user, whoever has many
//! questions. Of the refreshes the one goes first whose credentials end first: after an outage that saves most of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::broker::key::{Key, Subject};
use crate::upstream::{Lane, Rank};

/// All lines.
#[derive(Default)]
pub(super) struct Queue {
    lines: BTreeMap<Lane, Line>,
    /// How many places there are in all.
    places: usize,
}

#[derive(Default)]
struct Line {
    foreground: Turns,
    /// By the end of what is held.
    background: BinaryHeap<Reverse<(Duration, Place)>>,
}

/// One user after the other, each with one key at a time.
#[derive(Default)]
struct Turns {
    subjects: VecDeque<Subject>,
    by_subject: HashMap<Subject, VecDeque<Place>>,
}

/// A key, and since when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) due: Duration,
    pub(super) key: Key,
}

impl Queue {
    /// For a caller of `subject` who waits.
    pub(super) fn push_foreground(&mut self, lane: Lane, subject: Subject, place: Place) {
        self.lines.entry(lane).or_default().foreground.push(subject, place);
        self.places += 1;
    }

    /// For nobody who waits; what is held, or the login, ends at `end`.
    pub(super) fn push_background(&mut self, lane: Lane, end: Duration, place: Place) {
        self.lines.entry(lane).or_default().background.push(Reverse((end, place)));
        self.places += 1;
    }

    /// The next one of all lines but those that are `closed`, and its line.
    pub(super) fn next(&self, rank: Rank, closed: &[Lane]) -> Option<(Lane, Place)> {
        let lines = self.lines.iter().filter(|(lane, _)| !closed.contains(lane));
        let firsts = lines.filter_map(|(lane, line)| Some((line.first(rank)?, lane)));
        firsts.min().map(|((_, place), lane)| (lane.clone(), place))
    }

    /// Takes the next one out of its line.
    pub(super) fn pop(&mut self, rank: Rank, lane: &Lane) {
        let Some(line) = self.lines.get_mut(lane) else { return };
        let taken = match rank {
            Rank::Foreground => line.foreground.pop(),
            Rank::Background => line.background.pop().is_some(),
        };
        self.places -= usize::from(taken);
        if line.len() == 0 {
            self.lines.remove(lane);
        }
    }

    /// How many places there are, void ones included.
    pub(super) fn len(&self) -> usize {
        self.places
    }

    /// Drops the places that do not count, and all but the first of each key.
    pub(super) fn retain(&mut self, counts: impl Fn(Rank, &Key) -> bool) {
        let mut seen = HashSet::new();
        self.places = 0;
        for line in self.lines.values_mut() {
            line.foreground.retain(|place| counts(Rank::Foreground, &place.key) && seen.insert(place.key));
            line.background
                .retain(|Reverse((_, place))| counts(Rank::Background, &place.key) && seen.insert(place.key));
            self.places += line.len();
        }
        self.lines.retain(|_, line| line.len() > 0);
    }
}

impl Line {
    fn len(&self) -> usize {
        self.foreground.len() + self.background.len()
    }

    /// The first one, and by what the lines' first ones are compared.
    fn first(&self, rank: Rank) -> Option<(Duration, Place)> {
        match rank {
            Rank::Foreground => self.foreground.first().map(|place| (place.due, place)),
            Rank::Background => self.background.peek().map(|Reverse(first)| *first),
        }
    }
}

impl Turns {
    fn push(&mut self, subject: Subject, place: Place) {
        let own = self.by_subject.entry(subject).or_default();
        if own.is_empty() {
            self.subjects.push_back(subject);
        }
        own.push_back(place);
    }

    fn first(&self) -> Option<Place> {
        self.by_subject.get(self.subjects.front()?)?.front().copied()
    }

    /// Whether there was one.
    fn pop(&mut self) -> bool {
        let Some(subject) = self.subjects.pop_front() else { return false };
        let Some(own) = self.by_subject.get_mut(&subject) else { return false };
        own.pop_front();
        if own.is_empty() {
            self.by_subject.remove(&subject);
        } else {
            self.subjects.push_back(subject);
        }
        true
    }

    fn len(&self) -> usize {
        self.by_subject.values().map(VecDeque::len).sum()
    }

    fn retain(&mut self, mut counts: impl FnMut(&Place) -> bool) {
        self.by_subject.retain(|_, own| {
            own.retain(&mut counts);
            !own.is_empty()
        });
        self.subjects.retain(|subject| self.by_subject.contains_key(subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Flow, Target};

    fn lane(needs_id: bool) -> Lane {
        lane_in("us-east-1", needs_id)
    }

    fn lane_in(region: &str, needs_id: bool) -> Lane {
        let target = Target {
            flow: Flow::Enhanced,
            identity_pool_id: format!("{region}:0").into(),
            logins_key: None,
            region: "us-east-1".into(),
            duration: Duration::from_secs(3_600),
            external_id: None,
        };
        Lane { needs_id, ..Lane::warm(&target) }
    }

    fn place(due: u64, name: &str) -> Place {
        Place { due: Duration::from_secs(due), key: Key::guest("test", "", name) }
    }

    fn drain(queue: &mut Queue, rank: Rank, closed: &[Lane]) -> Vec<u64> {
        let next = || {
            let (lane, place) = queue.next(rank, closed)?;
            queue.pop(rank, &lane);
            Some(place.due.as_secs())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn users_take_turns() {
        let mut queue = Queue::default();
        let (many, one, other) =
            (Subject::guest("test", "many"), Subject::guest("test", "one"), Subject::guest("test", "other"));
        for due in 0..30 {
            queue.push_foreground(lane(false), many, place(due, &due.to_string()));
        }
        queue.push_foreground(lane(false), one, place(30, "one"));
        queue.push_foreground(lane(false), other, place(31, "other"));
        let order = drain(&mut queue, Rank::Foreground, &[]);
        assert_eq!(order[..5], [0, 30, 31, 1, 2]);
        assert_eq!(order.len(), 32);
        assert!(queue.lines.is_empty(), "nobody is remembered");
    }

    #[test]
    fn who_runs_out_first_is_refreshed_first() {
        let mut queue = Queue::default();
        for (end, due) in [(300, 1), (100, 2), (200, 3)] {
            queue.push_background(lane(false), Duration::from_secs(end), place(due, "a"));
        }
        queue.push_background(lane(true), Duration::from_secs(150), place(4, "b"));
        assert_eq!(drain(&mut queue, Rank::Background, &[]), [2, 4, 3, 1]);
    }

    #[test]
    fn what_does_not_count_goes_and_the_order_stays() {
        let mut queue = Queue::default();
        for (due, handle) in [(1, "a"), (2, "b"), (3, "a"), (4, "void"), (5, "c")] {
            queue.push_foreground(lane(false), Subject::guest("test", handle), place(due, handle));
            queue.push_background(lane(true), Duration::from_secs(due), place(10 + due, handle));
        }
        let void = Key::guest("test", "", "void");
        let moved_up = Key::guest("test", "", "c");
        queue.retain(|rank, key| *key != void && (*key == moved_up) == (rank == Rank::Foreground));
        assert_eq!(queue.len(), 3);
        assert_eq!(drain(&mut queue, Rank::Foreground, &[]), [5]);
        assert_eq!(drain(&mut queue, Rank::Background, &[]), [11, 12]);
        assert_eq!((queue.len(), queue.lines.len()), (0, 0));
    }

    #[test]
    fn a_closed_lane_holds_up_no_other() {
        let mut queue = Queue::default();
        queue.push_foreground(lane(true), Subject::guest("test", "cold"), place(1, "cold"));
        queue.push_foreground(lane(false), Subject::guest("test", "warm"), place(2, "warm"));
        queue.push_foreground(lane_in("eu-west-1", true), Subject::guest("test", "far"), place(3, "far"));
        assert_eq!(drain(&mut queue, Rank::Foreground, &[lane(true)]), [2, 3]);
        assert_eq!(drain(&mut queue, Rank::Foreground, &[]), [1]);
    }
}
