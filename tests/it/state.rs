//! The identity map on disk, on the real program: killed at any instant, it starts again, and knows whom it knew.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cupbearer::dev::GUEST_IDENTITY_POOL_ID;
use rand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, PATIENCE, command};
use crate::support::http;
use crate::support::proxy::{Backend, Proxy};
use crate::support::scene::{EMULATOR, token, token_with};
use crate::support::settings::Settings;

const CYCLES: usize = 30;

/// A configuration with its identity map in `state`.
fn config(proxy: &Proxy, state: &Path) -> String {
    let more = format!("---[state]\ndir = \"{}\"\n", state.display());
    Settings { more: &more, ..Settings::new(&proxy.url) }.text()
}

/// The program, with a log that tells of each write.
async fn start(dir: &TempDir, config: &str) -> Daemon {
    let daemon = Daemon::serve_unready(dir.path(), config, &[("RUST_LOG", "info,cupbearer::upstream=debug")]).await;
    daemon.ready().await;
    daemon
}

/// How many identities the log says to be on disk.
fn saved(daemon: &Daemon) -> usize {
    let log = daemon.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let saved = lines.filter(|line| line["message"] == "identities are on disk");
    saved.map(|line| line["saved"].as_u64().unwrap() as usize).sum()
}

fn user(number: usize) -> String {
    token_with(|claims| claims["sub"] = format!("user-{number}").into())
}

/// Asks until there is an answer: the budget for AWS makes many users wait for their turn.
async fn served(door: SocketAddr, token: &str) {
    let started = Instant::now();
    loop {
        match http::credentials(door, "/v1/credentials", token).await.status {
            200 => return,
            503 => assert!(started.elapsed() < PATIENCE, "not served"),
            status => panic!("{status}"),
        }
    }
}

#[tokio::test]
async fn killed_at_any_instant_it_starts_again_and_asks_for_nobody_whom_it_knew() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(&proxy, state.path());
    let (mut known, mut asked): (Vec<String>, usize) = (Vec::new(), 0);
    for cycle in 0..CYCLES {
        let mut daemon = start(&dir, &config).await;
        let door = daemon.address("http").await;
        assert!(!daemon.log().contains("set aside"), "cycle {cycle}: {}", daemon.log());
        let (before, last) = (proxy.calls("GetId"), known.len().saturating_sub(10));
        for token in &known[if cycle + 1 == CYCLES { 0 } else { last }..] {
            served(door, token).await;
        }
        assert_eq!(proxy.calls("GetId"), before, "cycle {cycle}: all of them were known");
        // One new user after the other, so that the first ones are on disk first, until the program is gone.
        let mut tokens = Vec::new();
        let asking = async {
            loop {
                asked += 1;
                tokens.push(user(asked));
                if http::credentials(door, "/v1/credentials", &tokens[tokens.len() - 1]).await.status == 0 {
                    break;
                }
            }
        };
        let instant = Duration::from_micros(rand::rng().random_range(0..150_000));
        let killing = async {
            tokio::time::sleep(instant).await;
            daemon.signal(Signal::KILL);
        };
        tokio::join!(asking, killing);
        daemon.ended().await;
        known.extend(tokens.drain(..saved(&daemon)));
    }
    assert!(known.len() > CYCLES, "only {} identities were written", known.len());
}

#[tokio::test]
async fn an_orderly_end_loses_nobody_and_no_secret_is_on_disk() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let guests = format!(
        "
[profiles.guests]
identity_pool_id = \"{GUEST_IDENTITY_POOL_ID}\"
allow_unauthenticated = true
"
    );
    let config = config(&proxy, state.path()) + &guests;
    let tokens: Vec<_> = (1..=2).map(user).chain([token("alice"), token("bob")]).collect();
    let mut secrets = vec!["user-1".to_owned(), "alice".to_owned(), "kiosk-1".to_owned()];
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut daemon = start(&dir, &config).await;
        let door = daemon.address("http").await;
        let mut found = Vec::new();
        for token in &tokens {
            let reply = http::credentials(door, "/v1/credentials", token).await;
            secrets.extend(token.split('.').map(ToOwned::to_owned));
            secrets.extend(["SecretAccessKey", "Token"].map(|name| reply.json()[name].as_str().unwrap().to_owned()));
            found.push(reply.header("cupbearer-identity-id").unwrap().to_owned());
        }
        let guest = http::get(door, "/v1/unauthenticated/guests/kiosk-1", &[]).await;
        found.push(guest.header("cupbearer-identity-id").unwrap().to_owned());
        ids.push(found);
        daemon.terminate();
        assert_eq!(daemon.ended().await.code(), Some(0));
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(proxy.calls("GetId"), tokens.len() + 1, "each once, the guest as well");
    let files: Vec<_> = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let content: Vec<_> =
        files.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect();
    assert!(content.iter().any(|text| text.contains(&ids[0][0])), "the identities are there to be found");
    for secret in &secrets {
        assert!(content.iter().all(|text| !text.contains(secret.as_str())), "on disk: {secret}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_told_at_start() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _first = start(&dir, &config(&proxy, state.path())).await;
    for (place, told) in [(state.path(), "another cupbearer uses"), (&*state.path().join("none"), "cannot be used")] {
        let file = dir.path().join("second.toml");
        fs::write(&file, config(&proxy, place)).unwrap();
        let done =
            command(&["serve", "--config", file.to_str().unwrap()], &[]).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{text}");
        assert!(text.contains(told) && text.contains(place.to_str().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn a_torn_file_costs_getids_and_nothing_else() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(state.path().join("identities.redb"), "torn").unwrap();
    let daemon = start(&dir, &config(&proxy, state.path())).await;
    assert!(daemon.log().contains("set aside"), "{}", daemon.log());
    let reply = http::credentials(daemon.address("http").await, "/v1/credentials", &token("alice")).await;
    assert_eq!((reply.status, proxy.calls("GetId")), (200, 1));
    assert_eq!(fs::read(state.path().join("identities.redb.aside-1")).unwrap(), b"torn");
}
