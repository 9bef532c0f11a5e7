//! Hits by number, for callgrind to count what they execute: `.ci/instructions` runs it, `cargo bench` does not.
//!
//! `hits N` or `digests N`. What is counted is in functions of these names. The token is one that was signed long ago and
//! ends in 2100, so that no key has to be made under valgrind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on ends")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench sees the real clock, and tells figures")]
#![allow(unreachable_pub, unused_qualifications, reason = "a binary is reached by nobody")]

mod world;

use std::hint::black_box;

use cupbearer::clock::Clock;
use cupbearer::digest::sha256;
use world::{World, runtime};

/// A token, and the key set that verifies it. Nobody has its private key.
const KNOWN: &str = include_str!("known.txt");

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(what), Some(number)) = (arguments.next(), arguments.next().and_then(|number| number.parse().ok())) else {
        return;
    };
    let mut lines = KNOWN.lines();
    let (Some(token), Some(keys)) = (lines.next(), lines.next()) else { return };
    let runtime = runtime();
    let world = runtime.block_on(World::knowing(Clock::system(), keys));
    runtime.block_on(world.warm(token));
    match what.as_str() {
        "hits" => counted_hits(&world, token, number),
        _ => counted_digests(token, number),
    }
}

#[inline(never)]
fn counted_hits(world: &World, token: &str, number: usize) {
    (0..number).for_each(|_| drop(black_box(world.hit(black_box(token)))));
}

#[inline(never)]
fn counted_digests(token: &str, number: usize) {
    for _ in 0..number {
        black_box(sha256(black_box(token.as_bytes())));
    }
}
