//! The simulation: the broker's whole core under paused time, a scripted AWS, users by the hundred, and every invariant
//! checked at every step. One seed is one run; `CUPBEARER_SEED=n` plays that run alone.

mod aws;
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

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Plays one future with a paused clock of its own.
pub fn play<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
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
