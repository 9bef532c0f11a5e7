//! Simulated hours: what the refresher's own work costs for a refresh, by the number of identities. Time is tokio's, which
//! stands still while anything is done; CPU time is real. AWS answers at once, so that its client is not in it.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use cupbearer::clock::Clock;

use crate::cpu;
use crate::figures::{Figure, Findings, Plot};
use crate::world::World;

pub fn run(findings: &mut Findings) {
    let sizes = [1_000, 10_000, 100_000, 1_000_000];
    let costs: Vec<f64> = sizes.iter().map(|size| an_hour(*size)).collect();
    let (first, last) = (costs[0], costs[3]);
    // log2 of a million over log2 of a thousand is 2.
    findings.figures.push(Figure::at_most("refresh of one of 1,000,000 against one of 1,000", last / first, "x", 2.0, None).noted(
        format!("CPU time of the refresher alone: {first:.1} and {last:.1} us; O(log n) is a factor of 2, the rest is what the processor's caches do not hold"),
    ));
    let bars = sizes.iter().zip(&costs).map(|(size, cost)| (format!("{size} identities"), *cost)).collect();
    findings.plots.push(Plot { file: "refresh", title: "Scheduling a refresh, CPU time".to_owned(), bars, unit: "us" });
}

/// us of CPU time for each refresh of an hour in which everybody is refreshed once: holders who come back late.
fn an_hour(identities: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let world = World::new(Clock::simulated(epoch), identities + 1).await;
        for number in 0..identities {
            world.warm_guest(&format!("guest-{number}")).await;
        }
        let (calls, started) = (world.aws.calls.load(Ordering::Relaxed), cpu::process());
        tokio::time::sleep(Duration::from_secs(3_500)).await;
        let spent = cpu::process() - started;
        let refreshes = world.aws.calls.load(Ordering::Relaxed) - calls;
        assert_eq!(refreshes, identities, "everybody once");
        spent.as_nanos() as f64 / 1_000.0 / refreshes as f64
    })
}
