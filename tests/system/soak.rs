//! Hours in short (F24): constant load with faults, and nothing grows, sticks or panics. A minute by default;
//! `CUPBEARER_SOAK_SECONDS=1800` for as long as one likes, and from half an hour on memory may not grow by more than 1 MiB
//! an hour.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::MACHINE;
use crate::support::fault::{Fault, Rate};
use crate::support::line::Line;
use crate::support::scene::{Scene, embedded, stranger};
use crate::support::settings::{IMPATIENT, PLENTY, Settings};

const EXCHANGE: &str = "GetCredentialsForIdentity";
const DEFAULT_SECONDS: u64 = 60;
/// From so long a run on, the slope itself is judged, its first third being the time to warm up.
const LONG_SECONDS: u64 = 1_800;
const MOST_MIB_AN_HOUR: f64 = 1.0;
const USERS: usize = 100;
/// Requests a second, of all lines together.
const RATE: u64 = 500;
const LINES: u64 = 10;

/// One look at the process.
struct Sample {
    at: f64,
    rss_kib: f64,
    files: usize,
}

fn sample(scene: &Scene, started: Instant) -> Sample {
    let files = std::fs::read_dir(format!("/proc/{}/fd", scene.daemon.pid())).unwrap().count();
    Sample { at: started.elapsed().as_secs_f64(), rss_kib: scene.daemon.memory_kib("VmRSS") as f64, files }
}

/// Least squares: KiB a second.
fn slope(samples: &[Sample]) -> f64 {
    let number = samples.len() as f64;
    let (mean_at, mean_kib) =
        samples.iter().fold((0.0, 0.0), |(at, kib), sample| (at + sample.at / number, kib + sample.rss_kib / number));
    let (mut both, mut square) = (0.0, 0.0);
    for sample in samples {
        both += (sample.at - mean_at) * (sample.rss_kib - mean_kib);
        square += (sample.at - mean_at).powi(2);
    }
    both / square
}

/// Asks at a steady pace for as long as told; says how many were served and how many were told to come again.
async fn load(scene: &Scene, users: &[String], seconds: u64, number: u64) -> (u64, u64) {
    let mut line = Line::open(scene.http).await.unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(1_000 * LINES / RATE));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let started = Instant::now();
    let (mut served, mut put_off) = (0, 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        pace.tick().await;
        let user = &users[((served + put_off) * LINES + number) as usize % users.len()];
        match line.ask("/v1/credentials", user).await.unwrap().status {
            200 => served += 1,
            503 => put_off += 1,
            other => panic!("{other}"),
        }
    }
    (served, put_off)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_and_faults_nothing_grows() {
    let seconds = std::env::var("CUPBEARER_SOAK_SECONDS").map_or(DEFAULT_SECONDS, |text| text.parse().unwrap());
    let _machine = MACHINE.lock().await;
    let proxy = embedded().await;
    let text =
        Settings { more: &format!("---[refresh]\nat = 0.3\n{IMPATIENT}{PLENTY}"), ..Settings::new(&proxy.url) }.text();
    let scene = Scene::before(proxy, &text, &[]).await;
    scene.proxy.bend(EXCHANGE, Fault::Expires(30));
    let users: Vec<_> = (0..USERS).map(|number| stranger(&format!("soaked-{number}"))).collect();
    for user in &users {
        while scene.ask("/v1/credentials", user).await.status == 503 {}
    }
    let faults = [
        Fault::Resets,
        Fault::CutAt(100),
        Fault::Says(500, String::new()),
        Fault::throttles(None),
        Fault::Slow(Duration::from_millis(700)),
        Fault::WrongIdentity,
        Fault::Says(200, "<html>".to_owned()),
    ];
    // Nine of ten are answered well, and briefly.
    let rows = (0..70).map(|row| if row % 10 == 0 { faults[row / 10].clone() } else { Fault::Expires(30) });
    scene.proxy.bend_some(EXCHANGE, Rate::Always, rows.collect());

    let started = Instant::now();
    let watch = async {
        let mut samples = Vec::new();
        while started.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            samples.push(sample(&scene, started));
        }
        samples
    };
    let lines = join_all((0..LINES).map(|number| load(&scene, &users, seconds, number)));
    let (samples, loads) = tokio::join!(watch, lines);
    let (served, put_off) = loads.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));

    let settled = &samples[samples.len() / 3..];
    let (first, last) = (&settled[0], settled.last().unwrap());
    let mib_an_hour = slope(settled) * 3_600.0 / 1_024.0;
    let (rss_first, rss_last) = (first.rss_kib / 1_024.0, last.rss_kib / 1_024.0);
    let (fewest, most) = (
        settled.iter().map(|sample| sample.files).min().unwrap(),
        settled.iter().map(|sample| sample.files).max().unwrap(),
    );
    let calls = scene.proxy.calls(EXCHANGE);
    println!("F24 {seconds} s: {served} served, {put_off} told to come again, {calls} exchanges");
    println!(
        "F24 RSS {rss_first:.1} MiB after a third, {rss_last:.1} MiB at the end, slope {mib_an_hour:.1} MiB an hour"
    );
    println!("F24 files {fewest} to {most}");
    assert!(served > seconds * RATE / 4, "there was load: {served}");
    assert!(calls as u64 > seconds * 5, "there were refreshes: {calls}");
    // Half a MiB is what an allocator's pages come and go by; a leak of a few bytes a request is far above it.
    assert!(rss_last - rss_first < 0.5 + served as f64 * 8.0 / f64::from(1 << 20), "it grows");
    // Over half an hour, what comes and goes no longer hides what stays.
    assert!(seconds < LONG_SECONDS || mib_an_hour <= MOST_MIB_AN_HOUR, "it grows by {mib_an_hour:.2} MiB an hour");
    assert!(most <= fewest + 40, "files: {fewest} to {most}");
    assert_eq!(scene.metric("cupbearer_panics_total").await, 0.0);

    scene.proxy.mend();
    let started = Instant::now();
    for user in &users {
        while scene.ask("/v1/credentials", user).await.status != 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "a user is stuck");
        }
    }
    assert_eq!(scene.metric("cupbearer_entries").await, USERS as f64);
}
