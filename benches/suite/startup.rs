//! From exec to the first credential, what the program weighs on disk, and what it takes when it does nothing.

use std::time::Duration;

use cupbearer::clock::Clock;

use crate::cpu;
use crate::daemon::{Daemon, Upstream};
use crate::figures::{Figure, Findings};
use crate::load;
use crate::turns::median;
use crate::world::token;

const STARTS: usize = 15;

pub fn run(findings: &mut Findings) {
    let upstream = Upstream::start();
    let token = token(0, Clock::system().now().wall);
    let first = |_| {
        let started = cpu::wall();
        let daemon = Daemon::start(&upstream, "");
        // One who asks before the key set is there is held for it.
        assert_eq!(load::once(daemon.http, &daemon.request(&token)).0, 200);
        (cpu::wall() - started).as_secs_f64() * 1_000.0
    };
    let times: Vec<f64> = (0..STARTS).map(first).collect();
    let least = times.iter().copied().fold(f64::MAX, f64::min);
    let note = format!(
        "wall time, median of {STARTS} starts, the fastest {least:.1} ms; key set, GetId and GetCredentialsForIdentity are three round trips to a local upstream within it"
    );
    let figure = Figure::at_most("first credential after exec", median(times), "ms", 50.0, 16.0);
    findings.figures.push(figure.noted(note));

    let daemon = Daemon::ready(&upstream, "");
    std::thread::sleep(Duration::from_millis(300));
    let kib = cpu::memory_kib(daemon.pid(), "VmRSS");
    let figure = Figure::at_most("idle RSS", kib as f64 / 1_000.0, "MB", 13.0, 10.0);
    let anonymous = cpu::memory_kib(daemon.pid(), "RssAnon");
    findings.figures.push(figure.noted(format!(
        "ready, one credential held; {anonymous} KiB of it are its own, the rest are pages of the program's file that the kernel can drop"
    )));
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_cupbearer")).unwrap().len();
    findings.figures.push(Figure::at_most("stripped binary", bytes as f64 / 1e6, "MB", 16.0, 12.0));
}
