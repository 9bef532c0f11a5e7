//! Readers of the cache, one and two at once, on one hot key and on many; with a writer who swaps every slot meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cupbearer::clock::Clock;

use crate::cpu;
use crate::figures::{Figure, Findings, Plot};
use crate::turns::{Turns, median};
use crate::world::{World, runtime, tokens};

const TOKENS: usize = 1_000;
const HITS: usize = 60_000;
const TURNS: usize = 9;

pub fn run(findings: &mut Findings) {
    let tokens = tokens(TOKENS);
    let mut bars = Vec::new();
    for (what, keys) in
        [("one hot key", 1), ("1,000 keys", 1_000), ("100,000 keys", 100_000), ("1,000,000 keys", 1_000_000)]
    {
        let runtime = runtime();
        let profiles = (keys / TOKENS).max(1);
        let world = runtime.block_on(World::with_profiles(Clock::system(), 1_100_000, profiles, 3_600));
        let used = &tokens[..keys.min(TOKENS)];
        runtime.block_on(async {
            for profile in 0..profiles {
                for token in used {
                    world.warm_in(token, profile).await;
                }
            }
        });
        let turns = Turns::take(TURNS, || readers(&world, used, profiles, 1), || readers(&world, used, profiles, 2));
        bars.push((format!("{what}, 1 thread"), turns.yardstick()));
        bars.push((format!("{what}, 2 threads"), turns.subject()));
        let speedup = 2.0 / turns.ratio();
        let name = format!("2 threads against 1, {what}");
        let figure = match keys {
            1 | 100_000 => Figure::at_least(&name, speedup, "x", 1.9, 1.95),
            _ => Figure::told(&name, speedup, "x"),
        };
        findings.figures.push(figure.noted(format!(
            "by CPU time of a hit, {:.0} ns with one and {:.0} ns with two; {}",
            turns.yardstick(),
            turns.subject(),
            turns.span()
        )));
    }
    swapped(findings, &tokens);
    findings.plots.push(Plot {
        file: "cache",
        title: "A hit by number of keys, CPU time".to_owned(),
        bars,
        unit: "ns",
    });
}

/// Credentials of three seconds, so that each slot is swapped about once a second.
fn swapped(findings: &mut Findings, tokens: &[String]) {
    let [calm, restless] = [3_600, 3].map(|seconds| {
        let runtime = runtime();
        let world = runtime.block_on(World::with_profiles(Clock::system(), 100_000, 1, seconds));
        runtime.block_on(async {
            for token in tokens {
                world.warm(token).await;
            }
        });
        (runtime, world)
    });
    let over = AtomicBool::new(false);
    let calls = restless.1.aws.calls.load(Ordering::Relaxed);
    let started = cpu::wall();
    let (turns, longest) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            restless.0.block_on(async {
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        let turns = Turns::take(TURNS, || readers(&calm.1, tokens, 1, 1), || readers(&restless.1, tokens, 1, 1));
        let longest: Vec<f64> = (0..TURNS).map(|_| longest(&restless.1, tokens)).collect();
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        (turns, longest)
    });
    let swaps = restless.1.aws.calls.load(Ordering::Relaxed) - calls;
    let rate = swaps as f64 / (cpu::wall() - started).as_secs_f64();
    findings.figures.push(
        Figure::at_most("readers while every slot is swapped", turns.ratio(), "x", 1.05, None).noted(format!(
            "{rate:.0} swaps a second of {} slots; {}",
            tokens.len(),
            turns.span()
        )),
    );
    findings.figures.push(
        Figure::at_most("the longest hit meanwhile", median(longest), "ms", 1.0, None)
            .noted("CPU time of the reader; the median of the longest of many hits"),
    );
}

/// What a hit costs each of so many threads, in ns of CPU time.
fn readers(world: &World, tokens: &[String], profiles: usize, threads: usize) -> f64 {
    std::thread::scope(|scope| {
        let read = |thread: usize| {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (thread as u64 + 1));
            let started = cpu::thread();
            for _ in 0..HITS {
                let pick = random.next();
                std::hint::black_box(world.hit_in(&tokens[pick % tokens.len()], (pick >> 20) % profiles));
            }
            (cpu::thread() - started).as_nanos() as f64 / HITS as f64
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || read(thread))).collect();
        let number = threads.len() as f64;
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<f64>() / number
    })
}

/// The longest of many hits, in ms of CPU time.
fn longest(world: &World, tokens: &[String]) -> f64 {
    let hit = |token: &String| {
        let started = cpu::thread();
        std::hint::black_box(world.hit(token));
        cpu::thread() - started
    };
    tokens.iter().cycle().take(HITS).map(hit).max().unwrap_or_default().as_secs_f64() * 1_000.0
}

/// xorshift, so that keys come in no order.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap()
    }
}
