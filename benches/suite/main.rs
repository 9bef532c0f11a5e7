//! `cargo bench`: every figure of the hot path beside its yardstick, in one table.
//!
//! Figures are ratios of CPU time, which the kernel counts, within one run: yardstick and subject take turns, so that
//! what else the machine does meets both. Wall time is told where nothing else makes sense, and is noise on a shared
//! machine. Servers run in processes of their own, whose CPU is told apart from the load's. criterion has no way to let
//! two things take turns nor to read another process's clock; so the turns, the medians and the plots are here.
//!
//! `cargo bench -- NAME…` runs parts of it and prints; a whole run also writes `benches/REPORT.md` and its plots.
//! The bench target `memory`, which counts allocations and so has an allocator of its own, leaves its rows below
//! `target/bench` for the table.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on ends")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench sees the real clock, and tells figures")]
#![allow(unreachable_pub, unused_qualifications, reason = "a binary is reached by nobody")]

mod cache;
mod cpu;
mod daemon;
mod figures;
mod grpc;
mod herd;
mod hit;
mod http;
mod load;
mod refresh;
mod report;
mod startup;
mod turns;
mod verify;
#[path = "../world.rs"]
mod world;
mod yardsticks;

use figures::{Figure, Findings};

/// A part: fills in figures and plots.
type Part = fn(&mut Findings);

const PARTS: &[(&str, Part)] = &[
    ("startup", startup::run),
    ("hit", hit::run),
    ("verify", verify::run),
    ("http", http::run),
    ("grpc", grpc::run),
    ("herd", herd::run),
    ("cache", cache::run),
    ("refresh", refresh::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(yardstick) = arguments.first().and_then(|first| first.strip_prefix("serve-")) {
        return yardsticks::serve(yardstick);
    }
    let named = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let mut findings = Findings::default();
    for (name, part) in PARTS.iter().filter(|(name, _)| named(name)) {
        let started = cpu::wall();
        part(&mut findings);
        println!("-- {name}: {:.0} s", (cpu::wall() - started).as_secs_f64());
    }
    let whole = arguments.is_empty();
    if whole || named("memory") {
        findings.figures.extend(Figure::left_by("memory"));
    }
    print!("{}", report::table(&findings.figures));
    if whole {
        report::write(&findings);
    }
}
