//! Whose answer is it? Many users' requests on one connection, pipelined, interleaved, cut off anywhere: each answer
//! carries its own asker's key id (A31).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cupbearer::server::proto::GetCredentialsResponse;
use futures::future::join_all;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, enveloped};
use crate::support::scene::stranger;
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

/// The key ids of the whole answers in `text`, and where the rest begins.
fn key_ids(text: &str) -> (Vec<&str>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(end) = text[at..].find("\r\n\r\n").map(|end| at + end + 4) {
        let head = &text[at..end];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = end + length.parse::<usize>().unwrap();
        let Some(body) = text.get(end..whole) else { break };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
        let key_id = body.find("\"AccessKeyId\":\"").unwrap() + 15;
        found.push(&body[key_id..key_id + 20]);
        at = whole;
    }
    (found, at)
}

/// One connection: batches of requests of random users, and a sudden end, in the middle of an answer as often as not.
async fn over_http(door: SocketAddr, users: &[User], seed: u64, seen: &Seen) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stream = TcpStream::connect(door).await.unwrap();
    for _ in 0..rng.random_range(1..12) {
        let batch: Vec<&User> =
            (0..rng.random_range(1..40)).map(|_| &users[rng.random_range(0..users.len())]).collect();
        let asks: String = batch
            .iter()
            .map(|user| {
                format!("GET /v1/credentials HTTP/1.1\r\nHost: {door}\r\nAuthorization: {}\r\n\r\n", user.token)
            })
            .collect();
        let leaves = rng.random_bool(0.15);
        let cut = if leaves { rng.random_range(1..=asks.len()) } else { asks.len() };
        stream.write_all(&asks.as_bytes()[..cut]).await.unwrap();
        let patience = if leaves { rng.random_range(0..batch.len() * 1_000) } else { usize::MAX };
        let (mut answers, mut buffer, mut answered) = (String::new(), [0; 16 * 1024], 0);
        let mut read = 0;
        while answered < batch.len() && read < patience {
            let waited = tokio::time::timeout(
                std::time::Duration::from_millis(if leaves { 20 } else { 30_000 }),
                stream.read(&mut buffer),
            );
            let Ok(Ok(length @ 1..)) = waited.await else { break };
            answers.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            read += length;
            let (found, rest) = key_ids(&answers);
            for key_id in found {
                seen.see(key_id == batch[answered].key_id);
                answered += 1;
            }
            answers.drain(..rest);
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
            let leaves = rng.random_bool(0.2).then(|| std::time::Duration::from_micros(rng.random_range(0..5_000)));
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
