//! A hit within the process: from the token's bytes to the reply's.

use std::hint::black_box;

use cupbearer::clock::Clock;
use cupbearer::digest::sha256;

use crate::cpu;
use crate::figures::{Figure, Findings, Plot};
use crate::turns::Turns;
use crate::world::{World, runtime};

const HITS: u32 = 20_000;
const ROUNDS: usize = 15;

pub fn run(findings: &mut Findings) {
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), 1_000));
    let token = world.token(0);
    runtime.block_on(world.warm(&token));
    // What nobody can go below who knows a token by its digest.
    let digest = || {
        timed(|| {
            black_box(sha256(black_box(token.as_bytes())));
        })
    };
    let turns = Turns::take(ROUNDS, digest, || timed(|| drop(black_box(world.hit(black_box(&token))))));
    let (floor, micros) = (turns.yardstick() / 1_000.0, turns.subject() / 1_000.0);
    findings.figures.push(Figure::at_most("in-process hit", micros, "us", 2.0, 1.2).noted(format!(
        "CPU time of one thread, a token of {} bytes; SHA-256 of the token alone takes {floor:.2} us of it",
        token.len()
    )));
    findings.plots.push(Plot {
        file: "hit",
        title: "An in-process hit, CPU time".to_owned(),
        bars: vec![("SHA-256 of the token".to_owned(), floor), ("the whole hit".to_owned(), micros)],
        unit: "us",
    });
}

/// What one of many takes, in ns of this thread's CPU time.
fn timed(mut work: impl FnMut()) -> f64 {
    let started = cpu::thread();
    (0..HITS).for_each(|_| work());
    (cpu::thread() - started).as_nanos() as f64 / f64::from(HITS)
}
