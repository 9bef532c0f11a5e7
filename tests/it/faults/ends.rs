//! The program is killed, or told to end, under load (F10, F11).

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::support::daemon::Daemon;
use crate::support::figures::Times;
use crate::support::http;
use crate::support::line::Line;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

/// How long each of the hundred drains goes on serving.
const DRAIN: Duration = Duration::from_secs(1);

/// Two hundred times: started, asked, killed in the middle of its work. Every start must succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_cost_no_start() {
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text();
    let alice = token("alice");
    let cycles = join_all((0..4).map(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let (mut bound, mut ready) = (Times::default(), Times::default());
        for _ in 0..50 {
            let started = Instant::now();
            let daemon = Daemon::serve_unready(dir.path(), &text, &[]).await;
            bound.add(started.elapsed());
            daemon.ready().await;
            ready.add(started.elapsed());
            let door = daemon.address("http").await;
            assert_eq!(http::credentials(door, "/v1/credentials", &alice).await.status, 200);
            let mut line = Line::open(door).await.unwrap();
            for _ in 0..20 {
                line.send("/v1/credentials", &alice).await.unwrap();
            }
            line.receive().await.unwrap();
            // Dropped, it is killed with SIGKILL, the rest of its answers unsaid.
            drop(daemon);
        }
        (bound, ready)
    }));
    let (mut bound, mut ready) = (Times::default(), Times::default());
    for (own_bound, own_ready) in cycles.await {
        bound.extend(own_bound);
        ready.extend(own_ready);
    }
    println!("F10 200 kills, 0 failed starts; all listeners bound, four at a time: {bound}");
    println!("F10 ready: {ready}");
    // A fiftieth of a second and a twentieth, on a machine that has time.
    assert!(bound.percentile(50) < Duration::from_secs(2) && ready.percentile(50) < Duration::from_secs(4));
}

/// A caller who keeps asking on one connection until there is nobody to ask.
///
/// A request fails when it is refused, or when its answer is cut off. A kept connection that the server closed before
/// the first byte of an answer is no failure yet: every client asks again then, on a new connection. When that cannot
/// be had, the program has ended.
async fn keeps_asking(door: SocketAddr, token: &str, served: &AtomicUsize) -> Result<(), String> {
    while let Ok(mut line) = Line::open(door).await {
        loop {
            match line.ask("/v1/credentials", token).await {
                Ok(reply) if reply.status == 200 => {
                    served.fetch_add(1, Ordering::Relaxed);
                    if reply.header("connection") == Some("close") {
                        break;
                    }
                }
                Ok(reply) => return Err(format!("{reply:?}")),
                Err(error) if line.is_amid_an_answer() => return Err(format!("cut off: {error}")),
                Err(error) if gone(&error) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// A hundred programs are told to end while each is asked all the time, on kept connections and on new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_drains_fail_nobody() {
    let (served, newcomers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut ends = Times::default();
    for _ in 0..5 {
        let wave = join_all((0..20).map(async |_| {
            let drain = format!("drain_seconds = {}", DRAIN.as_secs());
            let mut scene = Scene::with(&drain, "authenticated_role").await;
            let alice = token("alice");
            assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
            let door = scene.http;
            let ending = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                scene.daemon.terminate();
                let asked = Instant::now();
                // Whoever comes new while it drains is served, too, and one who was held up on the way comes too late.
                while asked.elapsed() < DRAIN - Duration::from_millis(300) {
                    let reply = http::credentials(door, "/v1/credentials", &alice).await;
                    if reply.status != 200 {
                        assert!(asked.elapsed() >= DRAIN, "a new connection while draining: {reply:?}");
                        break;
                    }
                    newcomers.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let status = scene.daemon.ended().await;
                assert_eq!(status.code(), Some(0));
                asked.elapsed()
            };
            let (first, second, took) =
                tokio::join!(keeps_asking(door, &alice, &served), keeps_asking(door, &alice, &served), ending);
            first.and(second).unwrap_or_else(|failed| panic!("failed while draining: {failed}"));
            took
        }));
        wave.await.into_iter().for_each(|took| ends.add(took));
    }
    let [served, newcomers] = [served, newcomers].map(AtomicUsize::into_inner);
    println!("F11 100 drains of 1 s: {served} requests served on kept connections, {newcomers} on new ones, 0 failed");
    println!("F11 from SIGTERM to the end: {ends}");
    assert!(newcomers >= 500, "hardly any of the drains was tried: {newcomers}");
}

/// The second signal ends at once, though a caller waits for an answer.
#[tokio::test]
async fn a_second_signal_waits_for_nobody() {
    let mut scene = Scene::with("drain_seconds = 600", "authenticated_role").await;
    scene.proxy.bend("*", crate::support::fault::Fault::Hangs);
    let mut line = Line::open(scene.http).await.unwrap();
    line.send("/v1/credentials", &token("alice")).await.unwrap();
    scene.daemon.terminate();
    assert!(scene.daemon.wait_for(|daemon| daemon.log().contains("draining").then_some(())).await.is_some());
    let asked = Instant::now();
    scene.daemon.terminate();
    assert_eq!(scene.daemon.ended().await.code(), Some(0));
    println!("F11 a second signal ends it in {:?}", asked.elapsed());
}
