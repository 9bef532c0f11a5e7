//! What a hit and an identity take from the heap, by an allocator that counts. A binary of its own: the allocator counts
//! for all threads.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a panic is a test's report")]
#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]
#![allow(clippy::disallowed_methods, reason = "tests see the real clock")]
#![allow(unreachable_pub, reason = "a binary is reached by nobody")]

#[path = "../benches/world.rs"]
mod world;

use std::alloc::System;
use std::time::{Duration, SystemTime};

use cupbearer::clock::Clock;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use world::{World, runtime};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So many who are there before it is counted: tables grow in leaps.
const BEFORE: usize = 512;
const COUNTED: usize = 256;

/// The heap of one identity with a session token of 1,200 bytes and a login token of about as many, in bytes; a tenth over
/// what it was when this was written.
const MOST_BYTES: usize = 4_200;

#[test]
fn a_hit_takes_nothing_and_an_identity_what_it_has_to() {
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), 10_000));
    let tokens: Vec<String> = (0..BEFORE + COUNTED).map(|subject| world.token(subject)).collect();
    let warm = |tokens: &[String]| {
        runtime.block_on(async { futures::future::join_all(tokens.iter().map(|token| world.warm(token))).await.len() })
    };
    warm(&tokens[..BEFORE]);
    let region = Region::new(ALLOCATOR);
    warm(&tokens[BEFORE..]);
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / COUNTED;
    println!("an identity takes {each} bytes of heap");
    assert!(each <= MOST_BYTES, "an identity takes {each} bytes of heap, {MOST_BYTES} at most are meant");

    // Once for what is made when it is first needed, such as a thread's own places.
    tokens.iter().for_each(|token| drop(world.hit(token)));
    let region = Region::new(ALLOCATOR);
    for token in &tokens {
        assert!(world.hit(token).len() > 1_200);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "of {} hits: {change:?}", tokens.len());
    newer_tokens_take_no_more();
}

/// Every user comes with a newer token, again and again: what is remembered of tokens is bounded.
fn newer_tokens_take_no_more() {
    const USERS: usize = 256;
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), USERS));
    let round = |round: u64| {
        let now = SystemTime::now() + Duration::from_secs(round);
        let tokens: Vec<String> = (0..USERS).map(|subject| world::token(subject, now)).collect();
        runtime.block_on(async { futures::future::join_all(tokens.iter().map(|token| world.warm(token))).await });
    };
    // The first tokens fill the tables up.
    (0..4).for_each(round);
    let region = Region::new(ALLOCATOR);
    (4..12).for_each(round);
    let change = region.change();
    let more = change.bytes_allocated.saturating_sub(change.bytes_deallocated) / USERS;
    println!("eight newer tokens take {more} bytes more of heap");
    assert!(more < 400, "eight newer tokens of a user take {more} bytes more of heap");
}
