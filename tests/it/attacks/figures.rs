//! What an honest caller notices of each flood, in figures, for a quiet machine:
//! `cargo test --test it -- --ignored --nocapture floods_in_figures`, with `CUPBEARER_BINARY` for a program of another build.
//!
//! Turns of a second, so that whatever else the machine does falls on all of them: health; the flood from threads of the
//! kernel's idle class, which take only what nobody else wants, so that the honest caller waits for the broker's doing alone;
//! the flood from threads that take their full share of the same processors; and each of both against a server beside that
//! does nothing, which is what the tormentor itself costs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, enveloped};
use super::floods::{Honest, ask_with_policy, badly_signed, own_kid, with_policies};
use super::wire::{CONTINUATION, HEADERS, PING, RST_STREAM, SETTINGS, block, call, flood, frame};
use crate::support::fault::Fault;
use crate::support::figures::Times;
use crate::support::line::Line;
use crate::support::scene::{Scene, stranger, token};
use crate::support::settings::PLENTY;

/// So that p99 stands on some fifty answers or more.
const ROUNDS: usize = 8;

const ROUND: Duration = Duration::from_secs(1);

/// The name of the tormentors' threads.
const TORMENTOR: &str = "tormentor";

#[derive(Clone, Copy)]
enum Flood {
    Signatures,
    Keys,
    Misses,
    SlowHeads,
    Resets,
    Pings,
    Settings,
    Continuation,
    Noise,
}

const FLOODS: [(&str, Flood); 9] = [
    ("A6, 1,600 unknown keys a second", Flood::Keys),
    ("A20, 1,000 bad signatures a second", Flood::Signatures),
    ("A30, 500 slow heads", Flood::SlowHeads),
    ("A35, rapid resets, as fast as it goes", Flood::Resets),
    ("A36, PING, as fast as it goes", Flood::Pings),
    ("A36, SETTINGS, as fast as it goes", Flood::Settings),
    ("A36, CONTINUATION, as fast as it goes", Flood::Continuation),
    ("A41, noise", Flood::Noise),
    ("A49, one tenant's 10,000 misses a second", Flood::Misses),
];

/// One way to be flooded.
struct Turn {
    name: &'static str,
    /// Of the tormentors' threads.
    class: &'static str,
    /// Not at the program.
    beside: bool,
}

const TURNS: [Turn; 4] = [
    Turn { name: "idle class", class: "--idle", beside: false },
    Turn { name: "idle class, beside", class: "--idle", beside: true },
    Turn { name: "full share", class: "--other", beside: false },
    Turn { name: "full share, beside", class: "--other", beside: true },
];

/// Where a flood goes.
#[derive(Clone, Copy)]
struct Doors {
    http: SocketAddr,
    grpc: SocketAddr,
}

#[ignore = "figures, for a quiet machine and six minutes"]
#[test]
fn floods_in_figures() {
    // The honest caller is a thread of this one, and never in their class.
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name(TORMENTOR).enable_all().build().unwrap();
    runtime.block_on(all_floods());
}

async fn all_floods() {
    let ground = Ground::of(with_policies().await).await;
    let doors = Doors { http: ground.scene.http, grpc: ground.scene.grpc };
    let (beside, runtime) = beside();
    for (name, flood) in FLOODS {
        let (mut healthy, mut turns) = (Times::default(), <[Times; TURNS.len()]>::default());
        for round in 0..ROUNDS {
            healthy.extend(noticed(&ground, tokio::time::sleep(ROUND)).await);
            for (part, (turn, times)) in TURNS.iter().zip(turns.iter_mut()).enumerate() {
                schedule(turn.class);
                let doors = if turn.beside { beside } else { doors };
                let flood = flood.begin(doors, &ground.good, round * TURNS.len() + part);
                times.extend(noticed(&ground, async { flood.await.unwrap() }).await);
            }
            schedule("--other");
        }
        println!("FLOOD {name}\n  {:24} {healthy}", "health");
        for (turn, times) in TURNS.iter().zip(&turns) {
            let ratio = |percent| times.percentile(percent).as_secs_f64() / healthy.percentile(percent).as_secs_f64();
            println!("  {:24} {times}; to health p50 x {:.2}, p99 x {:.2}", turn.name, ratio(50), ratio(99));
        }
    }
    runtime.shutdown_background();
}

/// F3: what hits notice of newcomers who wait for an AWS that hangs. A healthy turn before and one after tell how far two
/// of them are apart.
#[ignore = "figures, for a quiet machine and two minutes"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_aws_in_figures() {
    let ground = Ground::of(Scene::with(&format!("---{PLENTY}"), "authenticated_role").await).await;
    let [mut healthy, mut hanging, mut again] = <[Times; 3]>::default();
    for round in 0..ROUNDS {
        healthy.extend(noticed(&ground, tokio::time::sleep(ROUND / 2)).await);
        hanging.extend(waited_for(&ground, round).await);
        again.extend(noticed(&ground, tokio::time::sleep(ROUND / 2)).await);
    }
    let p99 = |times: &Times| times.percentile(99).as_secs_f64();
    println!(
        "F3 p99 of hits while AWS hangs and 64 wait, to healthy: {:.2}; two healthy turns: {:.2}\n  healthy {healthy}\n  hanging {hanging}\n  healthy {again}",
        p99(&hanging) / p99(&healthy),
        p99(&again) / p99(&healthy),
    );
}

/// The honest caller's hits from when the newcomers are there until they are told to come again.
async fn waited_for(ground: &Ground, round: usize) -> Times {
    let scene = &ground.scene;
    scene.proxy.bend("*", Fault::Hangs);
    let newcomers = join_all((0..64).map(async |number| {
        let asked = scene.ask("/v1/credentials", &stranger(&format!("cold-{round}-{number}"))).await;
        assert_eq!(asked.status, 503, "{asked:?}");
    }));
    let hits = async {
        tokio::time::sleep(ROUND / 5).await;
        noticed(ground, tokio::time::sleep(ROUND / 2)).await
    };
    let (_, hits) = tokio::join!(newcomers, hits);
    scene.proxy.mend();
    scene.proxy.hang_up();
    tokio::time::sleep(ROUND / 5).await;
    hits
}

/// What the honest caller sees meanwhile.
async fn noticed(ground: &Ground, meanwhile: impl Future<Output = ()>) -> Times {
    let honest = Honest::start(ground.scene.http, &ground.good);
    meanwhile.await;
    let (times, failed) = honest.end().await;
    assert_eq!(failed, 0, "hits failed");
    times
}

/// Puts the tormentors' threads, and those of the AWS that is elsewhere in truth, into a class of the kernel's scheduler.
fn schedule(class: &str) {
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        if std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == TORMENTOR) {
            let id = task.file_name();
            let set = Command::new("chrt").args([class, "--pid", "0"]).arg(id).status().unwrap();
            assert!(set.success(), "chrt {class}: {set}");
        }
    }
}

impl Flood {
    /// On the tormentors' threads.
    fn begin(self, doors: Doors, good: &str, round: usize) -> JoinHandle<()> {
        let good = good.to_owned();
        tokio::spawn(async move { self.run(doors, &good, round).await })
    }

    async fn run(self, doors: Doors, good: &str, round: usize) {
        match self {
            Self::Signatures => questions(doors.http, good, &[own_kid()], round).await,
            Self::Keys => {
                let kids: Vec<_> = (0..2).map(|number| format!("nobody-{number}-{round}")).collect();
                questions(doors.http, good, &kids, round).await;
            }
            Self::Misses => misses(doors.grpc, round).await,
            Self::SlowHeads => slow_heads(doors.http).await,
            Self::Noise => noise(doors.http).await,
            Self::Resets | Self::Pings | Self::Settings | Self::Continuation => frames(self, doors.grpc).await,
        }
    }
}

/// Bad tokens under each key's name, on a connection each, at a steady pace.
async fn questions(door: SocketAddr, good: &str, kids: &[String], round: usize) {
    let pace = if kids.len() > 1 { 800 } else { 1_000 };
    join_all(kids.iter().map(async |kid| {
        let mut line = Line::open(door).await.unwrap();
        let (mut ticks, began) = (tokio::time::interval(Duration::from_secs(1) / pace), Instant::now());
        let mut number = u32::try_from(round).unwrap() * 100_000;
        while began.elapsed() < ROUND {
            ticks.tick().await;
            number += 1;
            let reply = line.ask("/v1/credentials", &badly_signed(good, kid, number)).await.unwrap();
            assert!(matches!(reply.status, 401 | 429 | 503), "{reply:?}");
        }
    }))
    .await;
}

/// Ten of them in each millisecond, on four connections, or as many as the machine can.
async fn misses(door: SocketAddr, round: usize) {
    let (tenant, began) = (token("bob"), Instant::now());
    join_all((0..4).map(async |part: usize| {
        let caller = Caller::open(door).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        let mut asked = 0;
        while began.elapsed() < ROUND {
            ticks.tick().await;
            let calls = (0..5).map(|number| {
                let body = ask_with_policy(round * 100_000_000 + part * 10_000_000 + asked + number);
                caller.call(GET_CREDENTIALS, &[("authorization", &tenant)], body)
            });
            join_all(calls.collect::<Vec<_>>()).await.into_iter().for_each(|answer| drop(answer.unwrap()));
            asked += 5;
        }
    }))
    .await;
    // Its hits go on.
    let caller = Caller::open(door).await;
    caller.call(GET_CREDENTIALS, &[("authorization", &tenant)], enveloped(&[])).await.unwrap();
}

async fn slow_heads(door: SocketAddr) {
    let began = Instant::now();
    let mut lines = join_all((0..500).map(async |_| {
        let mut stream = TcpStream::connect(door).await.unwrap();
        stream.write_all(b"GET /v1/credentials HTTP/1.1\r\nX: ").await.unwrap();
        stream
    }))
    .await;
    while began.elapsed() < ROUND {
        for stream in &mut lines {
            // It may have been sent away.
            stream.write_all(b"y").await.ok();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn noise(door: SocketAddr) {
    let (mut ticks, began) = (tokio::time::interval(Duration::from_millis(20)), Instant::now());
    while began.elapsed() < ROUND {
        ticks.tick().await;
        let mut stream = TcpStream::connect(door).await.unwrap();
        stream.write_all(&[0xA5; 1_000]).await.ok();
        stream.read_u8().await.ok();
    }
}

/// Frames on one connection after the other, two at a time.
async fn frames(kind: Flood, door: SocketAddr) {
    let (began, fields, piece) = (Instant::now(), call(door, &[]), block(&[("x", &"y".repeat(4_000))]));
    let round = |number: u32| {
        let stream = 2 * number + 1;
        match kind {
            Flood::Pings => frame(PING, 0, 0, &[7; 8]),
            Flood::Settings => frame(SETTINGS, 0, 0, &[]),
            Flood::Continuation if number == 0 => frame(HEADERS, 0, 1, &fields),
            Flood::Continuation => frame(CONTINUATION, 0, 1, &piece),
            _ => [frame(HEADERS, 4, stream, &fields), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat(),
        }
    };
    join_all((0..2).map(async |_| {
        while began.elapsed() < ROUND {
            flood(door, &[], 5_000, (ROUND / 4, usize::MAX), round).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }))
    .await;
}

/// A server that refuses everything, on a thread of its own.
fn beside() -> (Doors, Runtime) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listen = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let _entered = runtime.enter();
        (address, TcpListener::from_std(listener).unwrap())
    };
    let ((http, plain), (grpc, framed)) = (listen(), listen());
    runtime.spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            stream.set_nodelay(true).ok();
            let refuse = service_fn(|_| async { Ok::<_, Infallible>(refusal(401)) });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), refuse));
        }
    });
    runtime.spawn(async move {
        while let Ok((stream, _)) = framed.accept().await {
            stream.set_nodelay(true).ok();
            let refuse = service_fn(|_| async { Ok::<_, Infallible>(refusal(200)) });
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), refuse));
        }
    });
    (Doors { http, grpc }, runtime)
}

fn refusal(status: u16) -> Response<Full<Bytes>> {
    let answer =
        Response::builder().status(status).header("content-type", "application/grpc").header("grpc-status", "8");
    answer.body(Full::from(if status == 401 { "{}" } else { "" })).unwrap()
}
