//! Readers, a purger, AWS and the refresher as threads whose schedule is chosen by shuttle, at random and by priorities: the
//! real handlers and the real cache, with a switch possible between any two of their steps.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread::{self, yield_now};
use shuttle::{Config, Runner};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::{Bench, Shared, key, told};
use crate::broker::wishes::{Selector, Wish};
use crate::clock::Clock;
use crate::metrics::Operation;
use crate::upstream::{Class, Failure};

const SCHEDULES: usize = 300;

/// What the threads share: the refresher with its wishes, and what was withdrawn.
struct House {
    bench: Mutex<Bench>,
    issued: AtomicU64,
    /// Credentials up to this number were withdrawn by a purge that has returned.
    withdrawn: AtomicU64,
    over: AtomicBool,
}

impl House {
    /// Two questions for one owner, by whatever way: the cache, or the refresher.
    fn read(&self, owner: &str) {
        for _ in 0..2 {
            let before = self.withdrawn.load(Ordering::SeqCst);
            yield_now();
            let (cache, clock) = {
                let bench = self.bench.lock().unwrap();
                (Arc::clone(&bench.cache), bench.clock.clone())
            };
            let slot = cache.slot(&key(owner));
            // Between the look at the map and the look into the slot anything may happen.
            yield_now();
            let taken =
                slot.and_then(|slot| slot.take(true, clock.now())).and_then(|taken| taken.credentials().cloned());
            let given = match taken {
                Some(credentials) => Some(credentials),
                None => self.miss(owner),
            };
            if let Some(credentials) = given {
                let (of, number) = told(&credentials);
                assert_eq!(of, owner, "I1");
                assert!(number > before, "what was withdrawn before the question is not its answer");
            }
        }
    }

    fn miss(&self, owner: &str) -> Option<Arc<crate::model::Credentials>> {
        let (wish, answer) = self.bench.lock().unwrap().miss(owner, 0);
        yield_now();
        self.bench.lock().unwrap().turn(|refresher| refresher.take(wish));
        block_on(answer).expect("everybody is answered").ok()
    }

    /// One who asks and hangs up.
    fn cancel(&self, owner: &str) {
        let (wish, answer) = self.bench.lock().unwrap().miss(owner, 0);
        yield_now();
        self.bench.lock().unwrap().turn(|refresher| refresher.take(wish));
        yield_now();
        drop(answer);
    }

    fn purge(&self) {
        yield_now();
        let (done, _) = oneshot::channel();
        let mut bench = self.bench.lock().unwrap();
        bench.turn(|refresher| refresher.take(Wish::Purge(Selector::All, done)));
        // Whatever was issued so far is nobody's answer to a later question.
        self.withdrawn.store(self.issued.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Answers until everybody has what they wanted; each third time with a failure.
    fn aws(&self) {
        for turn in 1_u64.. {
            yield_now();
            let flight = self.bench.lock().unwrap().script.0.lock().unwrap().pop_front();
            let Some(flight) = flight else {
                if self.over.load(Ordering::SeqCst) {
                    return;
                }
                continue;
            };
            let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
            // Between AWS's answer and its landing anything may happen, a purge too.
            yield_now();
            let mut bench = self.bench.lock().unwrap();
            let done = if turn % 3 == 0 {
                let operation = Operation::GetCredentialsForIdentity;
                Err(Failure::ours(Class::Unavailable, operation, "Unavailable", "as the test wants it"))
            } else {
                Ok(bench.credentials(&flight.owner, number))
            };
            flight.end.send(done).ok();
            bench.turn(|_| {});
        }
    }
}

fn scenario(shared: &Shared) {
    let house = Arc::new(House {
        bench: Mutex::new(shared.bench(8)),
        issued: AtomicU64::new(0),
        withdrawn: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let start = |work: fn(&House)| {
        let house = Arc::clone(&house);
        thread::spawn(move || work(&house))
    };
    let aws = start(House::aws);
    let others = [
        start(|house| house.read("a")),
        start(|house| house.read("a")),
        start(|house| house.read("b")),
        start(|house| house.cancel("a")),
        start(House::purge),
    ];
    others.into_iter().for_each(|thread| thread.join().unwrap());
    house.over.store(true, Ordering::SeqCst);
    aws.join().unwrap();
    let bench = house.bench.lock().unwrap();
    assert!(bench.script.0.lock().unwrap().is_empty(), "nothing is under way that nobody waits for");
}

fn under(scheduler: impl Scheduler + 'static) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let shared = Arc::new(Shared::new(Clock::system()));
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    let runs = Runner::new(scheduler, config).run(move || scenario(&shared));
    println!("{runs} schedules");
    assert_eq!(runs, SCHEDULES);
}

#[test]
fn random_schedules_mix_nobody_up() {
    under(RandomScheduler::new_from_seed(7, SCHEDULES));
}

#[test]
fn schedules_by_priority_mix_nobody_up() {
    under(PctScheduler::new_from_seed(7, 3, SCHEDULES));
}
