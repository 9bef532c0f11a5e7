//! Every order of a few events, compared with a map: whoever asks, hangs up, is answered, purged, evicted or no longer
//! allowed, in whatever order, I1 to I3 hold, the cache is what the map says, and nobody waits for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{Bench, LIFE, Shared, epoch, key, policy, told};
use crate::broker::reload::Reload;
use crate::broker::wishes::{Selector, Wish};
use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::Operation;
use crate::model::Credentials;
use crate::upstream::{Class, Failure};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A question; that of a third owner evicts somebody.
    Ask(&'static str),
    /// The oldest exchange that is under way ends.
    Oldest(End),
    /// The newest one does.
    Newest(End),
    /// Time passes: until a refusal is over, a refresh is due, or credentials have expired.
    Tick(u64),
    Purge,
    /// A configuration in which nobody is allowed anything, or the first one again.
    Reload,
    /// The one who has waited longest hangs up.
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Denied,
    Failed,
}

const EVENTS: [Event; 13] = [
    Event::Ask("a"),
    Event::Ask("b"),
    Event::Ask("c"),
    Event::Oldest(End::Ok),
    Event::Oldest(End::Denied),
    Event::Oldest(End::Failed),
    Event::Newest(End::Ok),
    Event::Tick(10),
    Event::Tick(1_300),
    Event::Tick(3_600),
    Event::Purge,
    Event::Reload,
    Event::Cancel,
];

/// Most entries, so that there is one owner too many.
const ENTRIES: usize = 2;

/// What ought to be: who holds which credentials until when, and when which exchange was launched.
#[derive(Default)]
struct Map {
    held: BTreeMap<&'static str, (u64, Duration)>,
    /// Until when the credentials last that each owner was given last.
    handed_out: BTreeMap<&'static str, Duration>,
    /// The event after which each exchange that is under way began.
    launched: BTreeMap<String, usize>,
    /// The last event that took everything away.
    withdrawn: usize,
    refused: bool,
}

struct Waiter {
    owner: &'static str,
    answer: oneshot::Receiver<Result<Arc<Credentials>, Error>>,
}

struct Run<'a> {
    bench: Bench,
    shared: &'a Shared,
    runtime: &'a Runtime,
    map: Map,
    waiters: Vec<Waiter>,
    /// Events so far.
    step: usize,
    issued: u64,
}

impl Run<'_> {
    /// Whether `event` can happen now.
    fn applies(&self, event: Event) -> bool {
        let flying = self.bench.script.0.lock().unwrap().len();
        match event {
            Event::Oldest(_) => flying > 0,
            // Of one alone the oldest is the newest.
            Event::Newest(_) => flying > 1,
            Event::Cancel => !self.waiters.is_empty(),
            _ => true,
        }
    }

    fn happen(&mut self, event: Event) {
        self.step += 1;
        match event {
            Event::Ask(owner) => self.ask(owner),
            Event::Oldest(end) => self.end(true, end),
            Event::Newest(end) => self.end(false, end),
            Event::Tick(seconds) => {
                self.runtime.block_on(tokio::time::advance(Duration::from_secs(seconds)));
                self.bench.turn(|_| {});
            }
            Event::Purge => {
                let (done, _) = oneshot::channel();
                self.withdraw();
                self.bench.turn(|refresher| refresher.take(Wish::Purge(Selector::All, done)));
            }
            Event::Reload => self.reload(),
            Event::Cancel => drop(self.waiters.remove(0)),
        }
        self.look(event);
    }

    /// As the broker asks: the cache first, and the refresher when it has nothing.
    fn ask(&mut self, owner: &'static str) {
        let now = self.bench.clock.now();
        let taken = self.bench.cache.slot(&key(owner)).and_then(|slot| slot.take(true, now));
        if let Some(taken) = taken {
            // The rulebook in force is asked before the cache.
            if !self.map.refused {
                self.given(owner, taken.credentials().unwrap());
            }
            return;
        }
        // Where nobody is allowed anything, the one who gets as far as this was so before.
        let planned = self.bench.rulebook.load().generation - u64::from(self.map.refused);
        let (wish, answer) = self.bench.miss(owner, planned);
        self.waiters.push(Waiter { owner, answer });
        self.bench.turn(|refresher| refresher.take(wish));
    }

    fn end(&mut self, oldest: bool, end: End) {
        let flight = {
            let mut flying = self.bench.script.0.lock().unwrap();
            if oldest { flying.pop_front() } else { flying.pop_back() }
        };
        let flight = flight.unwrap();
        let launched = self.map.launched.remove(&flight.owner).unwrap();
        let owner = ["a", "b", "c"].into_iter().find(|owner| *owner == flight.owner).unwrap();
        // What was launched before a withdrawal comes to nothing.
        let counts = launched >= self.map.withdrawn && !self.map.refused;
        let now = self.bench.clock.now().boot;
        let failure = |class| {
            Failure::ours(class, Operation::GetCredentialsForIdentity, "NotAuthorizedException", "as the test wants it")
        };
        let done = match end {
            End::Ok => {
                self.issued += 1;
                if counts {
                    self.map.held.insert(owner, (self.issued, now + LIFE));
                }
                Ok(self.bench.credentials(owner, self.issued))
            }
            End::Denied => {
                if counts {
                    self.map.held.remove(owner);
                }
                Err(failure(Class::Denied))
            }
            End::Failed => Err(failure(Class::Unavailable)),
        };
        assert!(flight.end.send(done).is_ok(), "somebody waits for the exchange");
        self.bench.turn(|_| {});
    }

    fn reload(&mut self) {
        self.map.refused = !self.map.refused;
        let renewed = self.shared.renewed(&self.bench.rulebook.load(), !self.map.refused);
        self.bench.rulebook.store(Arc::new(renewed));
        if self.map.refused {
            self.withdraw();
        }
        let limits = self.bench.refresher.limits;
        let reload = Reload { policy: policy(), limits };
        self.bench.turn(|refresher| refresher.take(Wish::Reload(Box::new(reload))));
    }

    fn withdraw(&mut self) {
        self.map.withdrawn = self.step;
        self.map.held.clear();
    }

    /// Credentials that `owner` was given: its own, alive, and not from before a withdrawal.
    fn given(&mut self, owner: &'static str, credentials: &Credentials) {
        let (of, number) = told(credentials);
        assert_eq!(of, owner, "I1");
        assert!(!credentials.expires.passed(self.bench.clock.now()), "I2");
        let held = self.map.held.get(owner).map(|(held, _)| *held);
        assert_eq!(held, Some(number), "I1: what was withdrawn, denied or replaced is given to nobody");
        self.map.handed_out.insert(owner, credentials.expires.boot());
    }

    /// Compares everything with the map.
    fn look(&mut self, event: Event) {
        let now = self.bench.clock.now();
        self.map.held.retain(|_, (_, end)| *end > now.boot);
        for flight in &*self.bench.script.0.lock().unwrap() {
            self.map.launched.entry(flight.owner.clone()).or_insert(self.step);
        }
        let mut waiting = Vec::new();
        for mut waiter in std::mem::take(&mut self.waiters) {
            match waiter.answer.try_recv() {
                Ok(Ok(credentials)) => self.given(waiter.owner, &credentials),
                // Why it was refused is not this test's question.
                Ok(Err(_)) => {}
                Err(oneshot::error::TryRecvError::Empty) => waiting.push(waiter),
                Err(oneshot::error::TryRecvError::Closed) => panic!("{} was forgotten", waiter.owner),
            }
        }
        self.waiters = waiting;
        for owner in ["a", "b", "c"] {
            let held = self.bench.cache.slot(&key(owner)).and_then(|slot| slot.held());
            let held = held.filter(|held| !held.credentials.expires.passed(now));
            let held = held.map(|held| told(&held.credentials).1);
            let wanted = self.map.held.get(owner).map(|(number, _)| *number);
            let evicted = matches!(event, Event::Ask(_)) && held.is_none();
            // Once what was handed out has ended, and nobody came again, nobody will.
            let unused = held.is_none() && self.map.handed_out.get(owner).is_none_or(|end| *end <= now.boot);
            if evicted || unused {
                self.map.held.remove(owner);
            } else {
                assert_eq!(held, wanted, "{owner} after {event:?}");
            }
        }
        assert!(self.map.held.len() <= ENTRIES);
    }

    /// With an AWS that answers everybody is answered.
    fn settle(&mut self) {
        if self.map.refused {
            self.happen(Event::Reload);
        }
        for _ in 0..12 {
            if self.waiters.is_empty() && !self.applies(Event::Oldest(End::Ok)) {
                return;
            }
            while self.applies(Event::Oldest(End::Ok)) {
                self.happen(Event::Oldest(End::Ok));
            }
            self.happen(Event::Tick(1));
        }
        panic!("somebody waits for ever");
    }
}

/// Runs `events`; false when the last one cannot happen.
fn run(shared: &Shared, runtime: &Runtime, events: &[Event]) -> bool {
    let bench = shared.bench(ENTRIES);
    let mut run = Run { bench, shared, runtime, map: Map::default(), waiters: Vec::new(), step: 0, issued: 0 };
    for (number, event) in events.iter().enumerate() {
        if !run.applies(*event) {
            assert_eq!(number, events.len() - 1, "what came before was run before");
            return false;
        }
        run.happen(*event);
    }
    run.settle();
    true
}

/// All orders that begin with `events`.
fn explore(shared: &Shared, runtime: &Runtime, events: &mut Vec<Event>, most: usize, count: &mut usize) {
    let told = std::panic::AssertUnwindSafe(|| run(shared, runtime, &*events));
    let ran = std::panic::catch_unwind(told).unwrap_or_else(|_| panic!("after {events:?}"));
    if !ran {
        return;
    }
    *count += 1;
    if events.len() == most {
        return;
    }
    for event in EVENTS {
        events.push(event);
        explore(shared, runtime, events, most, count);
        events.pop();
    }
}

/// All orders of up to `most` events; how many there are.
fn all(most: usize) -> usize {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let shared = Shared::new(Clock::simulated(epoch()));
    let mut count = 0;
    explore(&shared, &runtime, &mut vec![Event::Ask("a")], most, &mut count);
    println!("{count} orders of up to {most} events");
    count
}

#[test]
fn every_order_of_five_events_is_right() {
    assert!(all(5) > 5_000);
}

#[test]
#[ignore = "it takes a minute; .ci/run runs it"]
fn every_order_of_six_events_is_right() {
    assert!(all(6) > 100_000);
}
