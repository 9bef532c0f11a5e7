//! What needs root, or more tools than a newcomer has: `cargo test --test system`, which `.ci/run` runs. `cargo test`
//! leaves it out (`test = false` in Cargo.toml).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a panic is a test's report")]
#![allow(clippy::disallowed_methods, reason = "tests see the real clock and their own environment")]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with tests/it, and not all of it is used here")]

#[path = "../it/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use support::daemon::Daemon;
use support::http;
use support::proxy::{Backend, Proxy};
use support::scene::{EMULATOR, Scene, token, token_with};
use support::settings::Settings;

/// The output of a tool; without the tool, the line that installs it.
fn tool(command: &mut Command, install: &str) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; to install it: {install}"))
}

/// The real clients once more, where only loopback exists: whatever they fall back to, it is not there, and what they
/// prove they prove with the broker's credentials.
#[test]
fn real_clients_need_nothing_but_loopback() {
    let cargo = env!("CARGO");
    let script = format!(
        "ip link set lo up && test \"$(ip -o link | wc -l)\" = 1 && {cargo} build --offline --quiet --examples \
         && {cargo} test --offline --test it -- clients::"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-euc", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let done = tool(&mut command, "apt-get install util-linux iproute2, and be root");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    assert!(told.contains("test result: ok. 8 passed"), "{told}");
}

/// Prometheus's own linter reads what we export.
#[tokio::test]
async fn promtool_finds_nothing_to_mend() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    let text = http::get(scene.admin, "/metrics", &[]).await.body;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let read = std::fs::File::open(file.path()).unwrap();
    let mut command = Command::new("promtool");
    let done =
        tool(command.args(["check", "metrics"]).stdin(read), "apt-get install prometheus (or its promtool alone)");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.is_empty(), "{told}");
}

fn libfaketime() -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime"];
    let found = places.iter().map(|place| Path::new(place).join("libfaketime.so.1")).find(|path| path.exists());
    found.expect("libfaketime is missing; to install it: apt-get install faketime")
}

/// The wall clock of the real program jumps three hours ahead, and back.
#[tokio::test]
async fn a_clock_that_jumps_ahead_gets_nobody_expired_credentials() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let dir = tempfile::tempdir().unwrap();
    let stamp = dir.path().join("faketime");
    std::fs::write(&stamp, "+0").unwrap();
    let (library, stamp_path) = (libfaketime(), stamp.to_str().unwrap().to_owned());
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", stamp_path.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let daemon = Daemon::serve_unready(dir.path(), &Settings::new(&proxy.url).text(), &variables).await;
    daemon.ready().await;
    let address = daemon.address("http").await;
    let day = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let until = day.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let token = token_with(|claims| claims["exp"] = until.into());
    assert_eq!(http::credentials(address, "/v1/credentials", &token).await.status, 200);

    std::fs::write(&stamp, "+10800").unwrap();
    let reply = http::credentials(address, "/v1/credentials", &token).await;
    // What the emulator gives is expired by that clock as well, and is not taken.
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")));
    std::fs::write(&stamp, "+0").unwrap();
    let calls = proxy.calls("GetCredentialsForIdentity");
    assert!(calls < 10, "no storm: {calls} calls");
    let mut status = 0;
    for _ in 0..100 {
        status = http::credentials(address, "/v1/credentials", &token).await.status;
        if status == 200 {
            break;
        }
    }
    assert_eq!(status, 200, "and it recovers:\n{}", daemon.log());
}
