//! Whose answer is it? Many users' requests on one connection, pipelined, interleaved, cut off anywhere: each answer
//! carries its own asker's key id (A31).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cupbearer::server::proto::{GetCredentialsRequest, GetCredentialsResponse};
use futures::future::join_all;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, enveloped};
use super::floods::with_policies;
use crate::support::daemon::PATIENCE;
use crate::support::fault::Fault;
use crate::support::proxy::Rate;
use crate::support::scene::{EMULATOR, stranger};
use crate::support::settings::PLENTY;

/// Answers that are looked at, over HTTP and over gRPC.
const OVER_HTTP: usize = 80_000;
const OVER_GRPC: usize = 20_000;

const USERS: usize = 8;

/// A user and the key id that is theirs.
#[derive(Clone)]
struct User {
    token: String,
    key_id: String,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    right: AtomicUsize,
    wrong: AtomicUsize,
    dropped: AtomicUsize,
}

impl Seen {
    fn see(&self, right: bool) {
        if right { &self.right } else { &self.wrong }.fetch_add(1, Ordering::Relaxed);
    }

    fn right(&self) -> usize {
        self.right.load(Ordering::Relaxed)
    }
}

/// The bodies of the whole answers in `text`, and where the rest begins.
fn answers(text: &str) -> (Vec<&str>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(end) = text[at..].find("\r\n\r\n").map(|end| at + end + 4) {
        let head = &text[at..end];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = end + length.parse::<usize>().unwrap();
        let Some(body) = text.get(end..whole) else { break };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
        found.push(body);
        at = whole;
    }
    (found, at)
}

fn key_id(body: &str) -> &str {
    let at = body.find("\"AccessKeyId\":\"").unwrap() + 15;
    &body[at..at + 20]
}

/// The requests of these users at `path`, one after the other.
fn pipelined<'a>(door: SocketAddr, path: &str, tokens: impl Iterator<Item = &'a str>) -> String {
    tokens.map(|token| format!("GET {path} HTTP/1.1\r\nHost: {door}\r\nAuthorization: {token}\r\n\r\n")).collect()
}

/// One connection: batches of requests of random users, and a sudden end, in the middle of an answer as often as not.
async fn over_http(door: SocketAddr, users: &[User], seed: u64, seen: &Seen) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stream = TcpStream::connect(door).await.unwrap();
    for _ in 0..rng.random_range(1..12) {
        let batch: Vec<&User> =
            (0..rng.random_range(1..40)).map(|_| &users[rng.random_range(0..users.len())]).collect();
        let asks = pipelined(door, "/v1/credentials", batch.iter().map(|user| &*user.token));
        let leaves = rng.random_bool(0.15);
        let cut = if leaves { rng.random_range(1..=asks.len()) } else { asks.len() };
        stream.write_all(&asks.as_bytes()[..cut]).await.unwrap();
        let patience = if leaves { rng.random_range(0..batch.len() * 1_000) } else { usize::MAX };
        let (mut text, mut buffer, mut answered) = (String::new(), [0; 16 * 1024], 0);
        let mut read = 0;
        while answered < batch.len() && read < patience {
            let waited =
                tokio::time::timeout(Duration::from_millis(if leaves { 20 } else { 30_000 }), stream.read(&mut buffer));
            let Ok(Ok(length @ 1..)) = waited.await else { break };
            text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            read += length;
            let (found, rest) = answers(&text);
            for body in found {
                seen.see(key_id(body) == batch[answered].key_id);
                answered += 1;
            }
            text.drain(..rest);
        }
        if leaves {
            seen.dropped.fetch_add(batch.len() - answered, Ordering::Relaxed);
            return;
        }
        assert_eq!(answered, batch.len(), "each is answered");
    }
}

/// One connection: many calls at once, some of them let go while they are under way.
async fn over_grpc(door: SocketAddr, users: &[User], seed: u64, seen: &Seen) {
    let mut rng = StdRng::seed_from_u64(seed);
    let caller = Caller::open(door).await;
    for _ in 0..20 {
        let calls = (0..rng.random_range(1..40)).map(|_| {
            let user = &users[rng.random_range(0..users.len())];
            let call = caller.call(GET_CREDENTIALS, &[("authorization", &user.token)], enveloped(&[]));
            let leaves = rng.random_bool(0.2).then(|| Duration::from_micros(rng.random_range(0..5_000)));
            async move {
                let Some(after) = leaves else { return Some((user, call.await.unwrap())) };
                tokio::time::timeout(after, call).await.ok().map(|answer| (user, answer.unwrap()))
            }
        });
        for answered in join_all(calls.collect::<Vec<_>>()).await {
            let Some((user, answer)) = answered else {
                seen.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            assert_eq!(answer.grpc, Some(0), "{answer:?}");
            let held = GetCredentialsResponse::decode(&answer.body[5..]).unwrap().credentials.unwrap();
            seen.see(held.access_key_id == user.key_id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_answers_and_each_is_its_askers_own() {
    let mut ground = Ground::with(&format!("---{PLENTY}")).await;
    let mut users = Vec::new();
    for number in 0..USERS {
        let token = stranger(&format!("crossed-{number}"));
        let held = ground.scene.ask("/v1/credentials", &token).await.json();
        users.push(User { token, key_id: held["AccessKeyId"].as_str().unwrap().to_owned() });
    }
    assert!((0..USERS).all(|one| (0..one).all(|other| users[one].key_id != users[other].key_id)));
    let calls = 2 * USERS;
    let (http, grpc, users) = (Seen::default(), Seen::default(), &users);
    let started = Instant::now();
    let mut seed = 0;
    while http.right() < OVER_HTTP || grpc.right() < OVER_GRPC {
        seed += 8;
        let lines = join_all((0..8).map(|n| over_http(ground.scene.http, users, seed + n, &http)));
        let calls = async {
            if grpc.right() < OVER_GRPC {
                join_all((0..2).map(|n| over_grpc(ground.scene.grpc, users, seed + n, &grpc))).await;
            }
        };
        tokio::join!(
            async {
                if http.right() < OVER_HTTP {
                    lines.await;
                }
            },
            calls
        );
        assert_eq!((http.wrong.load(Ordering::Relaxed), grpc.wrong.load(Ordering::Relaxed)), (0, 0), "A31: mixed up");
    }
    let dropped = [&http, &grpc].map(|seen| seen.dropped.load(Ordering::Relaxed));
    println!(
        "A31 {} answers over HTTP, {} over gRPC, {dropped:?} let go, 0 mixed up, in {:?}",
        http.right(),
        grpc.right(),
        started.elapsed()
    );
    ground.after_calls("A31", http.right() + grpc.right(), calls).await;
}

/// Users whom nobody has seen, so that their first answers are AWS's.
const COLD: usize = 180;

/// How long AWS takes for them, in turn.
const TAKES: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(120), Duration::from_millis(50)];

/// Somebody with a name, by which STS knows the session.
#[derive(Clone)]
struct Cold {
    name: String,
    token: String,
}

impl Cold {
    /// Whether the credentials are this user's, by what the emulator of STS was told when it made them: nothing that the
    /// program remembers is asked.
    fn has(&self, access_key_id: &str, session_token: &str) -> bool {
        let session = EMULATOR.describe_session(session_token).unwrap();
        session["session_name"] == self.name.as_str() && session["access_key_id"] == access_key_id
    }
}

/// One connection that asks for some of them at once, and leaves when its patience is at its end.
async fn cold_over_http(door: SocketAddr, users: Vec<Cold>, patience: Duration, seen: &Seen) {
    let mut stream = TcpStream::connect(door).await.unwrap();
    let asks = pipelined(door, "/v1/credentials/own", users.iter().map(|user| &*user.token));
    stream.write_all(asks.as_bytes()).await.unwrap();
    let (mut text, mut answered) = (String::new(), 0);
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        while answered < users.len() {
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(length > 0, "{answered} answers");
            text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            let (found, rest) = answers(&text);
            for body in found {
                let held: Value = serde_json::from_str(body).unwrap();
                let [key_id, token] = ["AccessKeyId", "Token"].map(|name| held[name].as_str().unwrap());
                seen.see(users[answered].has(key_id, token));
                answered += 1;
            }
            text.drain(..rest);
        }
    };
    let whole = tokio::time::timeout(patience, reading).await.is_ok();
    assert!(whole || patience < PATIENCE, "each is answered");
    seen.dropped.fetch_add(users.len() - answered, Ordering::Relaxed);
}

/// The same over gRPC, where each call has a patience of its own.
async fn cold_over_grpc(door: SocketAddr, users: Vec<(Cold, Duration)>, seen: &Seen) {
    let caller = Caller::open(door).await;
    let calls = users.iter().map(async |(user, patience)| {
        let ask = GetCredentialsRequest { profile: "own".to_owned(), ..Default::default() };
        let call = caller.call(GET_CREDENTIALS, &[("authorization", &user.token)], enveloped(&ask.encode_to_vec()));
        let Ok(answer) = tokio::time::timeout(*patience, call).await else {
            assert!(*patience < PATIENCE, "each is answered");
            seen.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let answer = answer.unwrap();
        assert_eq!(answer.grpc, Some(0), "{answer:?}");
        let held = GetCredentialsResponse::decode(&answer.body[5..]).unwrap().credentials.unwrap();
        seen.see(user.has(&held.access_key_id, &held.session_token));
    });
    join_all(calls).await;
}

/// Who leaves while AWS is asked leaves an answer that is under way: it is nobody's but that user's, now and later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_answer_that_nobody_waits_for_is_its_askers_own() {
    let mut ground = Ground::of(with_policies().await).await;
    let faults = TAKES.map(Fault::Slow).to_vec();
    ground.scene.proxy.bend_some("AssumeRole", Rate::Always, faults);
    let users: Vec<_> = (0..COLD).map(|number| format!("cold-{number}")).collect();
    let users: Vec<_> = users.into_iter().map(|name| Cold { token: stranger(&name), name }).collect();
    let (mut rng, seen) = (StdRng::seed_from_u64(31), Seen::default());
    // Half of them leave, at any time from before they are heard to after they are answered.
    let mut patience = || if rng.random_bool(0.5) { Duration::from_millis(rng.random_range(0..150)) } else { PATIENCE };
    // Each user is asked for by two connections at about the same time.
    let lines: Vec<_> = (0..COLD / 3).map(|n| (users[3 * n..3 * n + 3].to_vec(), patience())).collect();
    let shifted = (0..COLD).map(|n| (users[(n + 1) % COLD].clone(), patience())).collect::<Vec<_>>();
    let lines = lines.into_iter().map(|(users, patience)| cold_over_http(ground.scene.http, users, patience, &seen));
    let calls = shifted.chunks(12).map(|users| cold_over_grpc(ground.scene.grpc, users.to_vec(), &seen));
    tokio::join!(join_all(lines), join_all(calls));
    let (right, dropped) = (seen.right(), seen.dropped.load(Ordering::Relaxed));
    println!("A31 {right} first answers, {dropped} let go");
    assert!(right > 0 && dropped > 0, "A31: {right} answers, {dropped} let go");
    ground.scene.proxy.mend();
    // Whatever was let go of has landed by now, or lands while it is asked for again.
    cold_over_http(ground.scene.http, users.clone(), PATIENCE, &seen).await;
    let calls = users.chunks(12).map(|users| users.iter().map(|user| (user.clone(), PATIENCE)).collect());
    join_all(calls.map(|users| cold_over_grpc(ground.scene.grpc, users, &seen))).await;
    assert_eq!(seen.wrong.load(Ordering::Relaxed), 0, "A31: mixed up");
    assert_eq!(seen.right(), right + 2 * COLD, "A31");
    // One exchange for each, and the broker's own credentials.
    ground.after_calls("A31", right + dropped + 2 * COLD, COLD + 1).await;
}
