//! What an identity takes: heap by a counting allocator, and the process's RSS for a million.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on ends")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench sees the real clock, and tells figures")]
#![allow(unreachable_pub, unused_qualifications, reason = "a binary is reached by nobody")]

#[path = "suite/cpu.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod cpu;
#[path = "suite/figures.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod figures;
mod world;

use std::alloc::System;

use cupbearer::clock::Clock;
use figures::Figure;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use world::{World, runtime, tokens};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IDENTITIES: usize = 20_000;
const MANY: usize = 1_000_000;

fn main() {
    let mut figures = vec![users()];
    figures.extend(guests());
    for figure in &figures {
        println!("{}: {:.0} {}", figure.what, figure.measured, figure.unit);
    }
    Figure::leave("memory", &figures);
}

/// Users with tokens, whose verdicts and logins are kept as well.
fn users() -> Figure {
    let tokens = tokens(IDENTITIES);
    let length = tokens.iter().map(String::len).sum::<usize>() / IDENTITIES;
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), 2 * IDENTITIES));
    runtime.block_on(async {
        // Tables grow in leaps: begin with them warm.
        for token in &tokens[..IDENTITIES / 2] {
            world.warm(token).await;
        }
        let region = Region::new(ALLOCATOR);
        for token in &tokens[IDENTITIES / 2..] {
            world.warm(token).await;
            world.hit(token);
        }
        let each = held(&region) / (IDENTITIES / 2) as f64;
        Figure::at_most("heap per cached identity, session token of 1,200 bytes", each, "bytes", 2_000.0, 1_600.0).noted(format!(
            "everything that comes with it: credentials, the user's login token of {length} bytes for the next refresh, the verdict on it with its claims, the books of the refresher"
        ))
    })
}

/// A million without tokens: credentials and books alone.
fn guests() -> Vec<Figure> {
    let runtime = runtime();
    let world = runtime.block_on(World::new(Clock::system(), MANY + 1));
    let pid = std::process::id();
    let (region, rss) = (Region::new(ALLOCATOR), cpu::memory_kib(pid, "VmRSS"));
    runtime.block_on(async {
        for number in 0..MANY {
            world.warm_guest(&format!("guest-{number}")).await;
        }
    });
    let each = held(&region) / MANY as f64;
    let rss = (cpu::memory_kib(pid, "VmRSS") - rss) as f64 / 1_000.0;
    vec![
        Figure::told("heap per identity without a login, of 1,000,000", each, "bytes"),
        Figure::told("RSS of 1,000,000 identities without logins", rss, "MB"),
    ]
}

fn held(region: &Region<'_, System>) -> f64 {
    let stats = region.change();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}
