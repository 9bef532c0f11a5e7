//! The slot under real threads: readers load while the one writer swaps, buries and puts in anew. What a reader sees is
//! whole, and of its own key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{LIFE, Shared, key, policy, told};
use crate::broker::cache::{Cache, Held, Slot};
use crate::broker::schedule::{Crowd, points};
use crate::clock::{Clock, Expiry};

const OWNERS: [&str; 4] = ["a", "b", "c", "d"];
const SWAPS: u64 = 20_000;
const READERS: usize = 4;

#[test]
fn readers_never_see_what_is_torn_or_anothers() {
    let clock = Clock::system();
    let bench = Shared::new(clock.clone()).bench(8);
    let cache = Arc::new(Cache::new());
    let over = AtomicBool::new(false);
    let (reads, hits) = (AtomicU64::new(0), AtomicU64::new(0));
    let gone = std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (cache, clock, over, reads, hits) = (&cache, &clock, &over, &reads, &hits);
            scope.spawn(move || {
                let mut last = [0; OWNERS.len()];
                let mut turn = reader;
                while !over.load(Ordering::Relaxed) {
                    turn = (turn + 1) % OWNERS.len();
                    let owner = OWNERS[turn];
                    reads.fetch_add(1, Ordering::Relaxed);
                    let now = clock.now();
                    let Some(slot) = cache.slot(&key(owner)) else { continue };
                    slot.offer_login(|| None, Expiry::at(now.wall + LIFE, now), now);
                    let Some(taken) = slot.take(true, now) else { continue };
                    let credentials = taken.credentials().unwrap();
                    let (of, number) = told(credentials);
                    assert_eq!(of, owner, "I1");
                    assert_eq!(credentials.expose_secret_access_key(), owner, "torn");
                    assert_eq!(credentials.expose_session_token(), number.to_string(), "torn");
                    assert!(number >= last[turn], "never back to older ones");
                    last[turn] = number;
                    hits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let gone = write(&bench, &cache);
        over.store(true, Ordering::Relaxed);
        gone
    });
    assert!(gone.len() > 2_000);
    assert!(gone.iter().all(|slot| slot.held().is_none() && slot.login().is_none()), "what has left holds nothing");
    println!("{SWAPS} swaps, {} reads, {} hits", reads.load(Ordering::Relaxed), hits.load(Ordering::Relaxed));
    assert!(hits.load(Ordering::Relaxed) > 0);
}

/// The one writer: swaps in turn, and every so often takes a slot out and puts another one in. Returns those that have left.
fn write(bench: &super::Bench, cache: &Cache) -> Vec<Arc<Slot>> {
    let mut gone = Vec::new();
    let mut slots = OWNERS.map(|owner| (owner, Arc::new(Slot::default())));
    for number in 1..=SWAPS {
        let (owner, slot) = &mut slots[usize::try_from(number).unwrap() % OWNERS.len()];
        if number % 7 == 0 {
            cache.remove(&key(owner));
            slot.dismiss();
            gone.push(std::mem::take(slot));
        }
        let credentials = bench.credentials(owner, number);
        let crowd = Crowd { first: false, crowding: 0.0 };
        let points = points(&policy(), credentials.received, &credentials.expires, 0.0, crowd);
        slot.swap(Held { credentials: Arc::new(credentials), points });
        cache.insert(key(owner), Arc::clone(slot));
        if number % 1_000 == 0 {
            std::thread::sleep(Duration::from_micros(10));
        }
    }
    gone
}
