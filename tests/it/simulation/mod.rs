//! The simulation: the broker's whole core under paused time, a scripted AWS, users by the hundred, and every invariant
//! checked at every step. One seed is one run; `CUPBEARER_SEED=n` plays that run alone.

mod aws;
mod clocks;
mod day;
mod judge;
mod ledger;
mod outages;
mod people;
mod shares;
mod storms;
mod tokens;
mod truth;
mod weather;
mod world;

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// The seed of the run that this thread plays, once it has a world.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Plays one future with a paused clock of its own. A panic in it, whatever it says, tells the seed, too.
pub fn play<T>(run: impl Future<Output = T>) -> T {
    SEED.set(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(run))).unwrap_or_else(|said| match SEED.get() {
        // The judge has said it already.
        Some(seed) if !text_of(&*said).starts_with("seed ") => {
            panic!("seed {seed}: {}\nonce more: CUPBEARER_SEED={seed}", text_of(&*said))
        }
        _ => resume_unwind(said),
    })
}

/// Notes that a world of this seed begins here.
pub fn note_seed(seed: u64) {
    SEED.set(Some(seed));
}

/// What a panic said.
fn text_of(said: &(dyn Any + Send)) -> &str {
    let text = said.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| said.downcast_ref::<&str>().copied()).unwrap_or("something that is no text")
}

#[test]
fn a_run_that_fails_in_whatever_way_tells_its_seed() {
    let fails = async {
        let (world, _tasks) = world::World::new(world::Setup::fair(77)).await;
        assert_eq!(world.judge.books().replies, 1, "as the test wants it");
    };
    let said = catch_unwind(AssertUnwindSafe(|| play(fails))).unwrap_err();
    let text = text_of(&*said);
    assert!(text.contains("as the test wants it") && text.contains("CUPBEARER_SEED=77"), "{text}");
}

/// Plays `seeds` on all processors, or the one that `CUPBEARER_SEED` names, and returns what came of each, in order.
pub fn play_all<T: Send>(seeds: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    if let Ok(seed) = std::env::var("CUPBEARER_SEED") {
        return vec![run(seed.parse().expect("CUPBEARER_SEED is a number"))];
    }
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let came = run(seed);
            done.lock().unwrap().push((seed, came));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    // A panic in a run comes out of the scope, with what it said already printed.
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(seed, _)| *seed);
    done.into_iter().map(|(_, came)| came).collect()
}

/// The value below which this part of the sorted `values` lies.
pub fn percentile<T: Ord + Copy>(values: &mut [T], part: f64) -> T {
    values.sort();
    values[((values.len() as f64 * part).ceil() as usize).clamp(1, values.len()) - 1]
}
