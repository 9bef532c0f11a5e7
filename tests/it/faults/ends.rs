//! The program is killed, or told to end, under load (F10, F11).

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::grpc::{ask_on, channel};
use crate::support::daemon::Daemon;
use crate::support::figures::Times;
use crate::support::http;
use crate::support::line::Line;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

/// How long each of the hundred drains goes on serving.
const DRAIN: Duration = Duration::from_secs(3);

/// Before its end: what is sent later than that may come too late.
const LATE: Duration = Duration::from_secs(2);

/// The hundred are told in so many waves.
const WAVES: usize = 5;

/// Requests a second that a wave serves at least while it drains, on however busy a machine.
const RATE: usize = 500;

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

/// What is known of one drain by those who live through it.
#[derive(Default)]
struct Drain {
    /// When SIGTERM was sent.
    told: OnceLock<Instant>,
    /// Answers over HTTP and over gRPC, after that.
    served: AtomicUsize,
    called: AtomicUsize,
    /// Requests that were sent twice, as their kept connection was closed before the first byte of an answer.
    repeated: AtomicUsize,
}

impl Drain {
    fn count(&self, what: &AtomicUsize) {
        if self.told.get().is_some() {
            what.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a request that was made at `asked` has to be answered. One of the last moments may come too late, when it
    /// was held up on the way.
    fn covers(&self, asked: Instant) -> bool {
        self.told.get().is_none_or(|told| asked < *told + DRAIN - LATE)
    }
}

/// One who keeps asking on one connection until there is nobody to ask.
///
/// A request fails when it is refused, when its answer is cut off, and when it gets none. Should a kept connection be
/// closed before the first byte of an answer, the request is sent once more on a new one, as the SDKs' HTTP clients do
/// with a GET (urllib3 and net/http among them); should that be in vain, it has failed.
async fn keeps_asking(door: SocketAddr, token: &str, drain: &Drain) -> Result<(), String> {
    let mut line = Line::open(door).await.map_err(|error| error.to_string())?;
    let mut is_kept = false;
    loop {
        let asked = Instant::now();
        let done = match line.ask("/v1/credentials", token).await {
            Err(error) if is_kept && !line.is_amid_an_answer() && gone(&error) => {
                drain.count(&drain.repeated);
                match Line::open(door).await {
                    Ok(new) => {
                        line = new;
                        line.ask("/v1/credentials", token).await
                    }
                    Err(error) => Err(error),
                }
            }
            done => done,
        };
        match done {
            Ok(reply) if reply.status == 200 => {
                drain.count(&drain.served);
                is_kept = reply.header("connection") != Some("close");
            }
            Ok(reply) => return Err(format!("{reply:?}")),
            Err(error) if line.is_amid_an_answer() => return Err(format!("cut off: {error}")),
            Err(error) if drain.covers(asked) => return Err(format!("no answer: {error}")),
            // Nobody is there any more.
            Err(_) => return Ok(()),
        }
        if !is_kept {
            match Line::open(door).await {
                Ok(new) => line = new,
                Err(error) if drain.covers(Instant::now()) => return Err(format!("no new connection: {error}")),
                Err(_) => return Ok(()),
            }
        }
    }
}

/// The same over gRPC, on one channel, which makes itself a new connection when it is told that its own goes away.
async fn keeps_calling(door: SocketAddr, token: &str, drain: &Drain) -> Result<(), String> {
    let channel = channel(door).await;
    loop {
        let asked = Instant::now();
        match ask_on(channel.clone(), token, "", None).await {
            Ok(_) => drain.count(&drain.called),
            Err(status) if drain.covers(asked) => return Err(format!("over gRPC: {status:?}")),
            Err(_) => return Ok(()),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Tells one program to end while it is asked all the time, on kept connections and on new ones; how many came new
/// meanwhile, and how long its end took.
async fn ends(scene: &mut Scene, alice: &str, drain: &Drain) -> (usize, Duration) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.daemon.terminate();
    let asked = *drain.told.get_or_init(Instant::now);
    let mut newcomers = 0;
    // Whoever comes new while it drains is served, too, and one who was held up on the way comes too late.
    while asked.elapsed() < DRAIN - LATE {
        let reply = http::credentials(scene.http, "/v1/credentials", alice).await;
        if reply.status != 200 {
            assert!(asked.elapsed() >= DRAIN, "a new connection while draining: {reply:?}");
            break;
        }
        newcomers += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(scene.daemon.ended().await.code(), Some(0));
    (newcomers, asked.elapsed())
}

/// A hundred programs are told to end under load, twenty at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_drains_fail_nobody() {
    let (mut served, mut called, mut repeated, mut newcomers) = (0, 0, 0, 0);
    let mut times = Times::default();
    for _ in 0..WAVES {
        let wave = join_all((0..100 / WAVES).map(async |_| {
            let seconds = format!("drain_seconds = {}", DRAIN.as_secs());
            let mut scene = Scene::with(&seconds, "authenticated_role").await;
            let (alice, drain) = (token("alice"), Drain::default());
            assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
            let (door, grpc) = (scene.http, scene.grpc);
            let (first, second, third, (newcomers, took)) = tokio::join!(
                keeps_asking(door, &alice, &drain),
                keeps_asking(door, &alice, &drain),
                keeps_calling(grpc, &alice, &drain),
                ends(&mut scene, &alice, &drain)
            );
            first.and(second).and(third).unwrap_or_else(|failed| panic!("failed while draining: {failed}"));
            (drain, newcomers, took)
        }));
        for (drain, new, took) in wave.await {
            times.add(took);
            newcomers += new;
            served += drain.served.into_inner();
            called += drain.called.into_inner();
            repeated += drain.repeated.into_inner();
        }
    }
    println!(
        "F11 100 drains of {DRAIN:?}, 20 at a time: {served} requests served on kept connections ({} in a wave), {called} over \
         gRPC, {newcomers} on new ones; {repeated} sent twice, 0 failed",
        served / WAVES
    );
    println!("F11 from SIGTERM to the end: {times}");
    let seconds = usize::try_from(DRAIN.as_secs()).unwrap() * WAVES;
    assert!(served >= RATE * seconds, "hardly any load: {served} in {seconds} seconds");
    assert!(called >= RATE * WAVES / 10 && newcomers >= 500, "hardly any tried: {called} calls, {newcomers} new");
    // What the last requests take, and no more: the grace of a pod is far longer.
    assert!(times.percentile(50) < DRAIN + Duration::from_secs(5), "{times}");
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
