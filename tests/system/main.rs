//! What needs root, or more tools than a newcomer has: `cargo test --test system`, which `.ci/run` runs. `cargo test`
//! leaves it out (`test = false` in Cargo.toml).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a panic is a test's report")]
#![allow(clippy::disallowed_methods, reason = "tests see the real clock and their own environment")]
#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with tests/it, and not all of it is used here")]

#[path = "../it/support/mod.rs"]
mod support;

mod beyond;
mod cage;
mod clocks;
mod crowds;
mod go;
mod heap;
mod java;
mod least;
mod memory;
mod names;
mod observability;
mod release;
mod scenario;
mod soak;
mod status;
mod strangers;
mod threads;

use std::process::{Command, Output, Stdio};

use support::http;
use support::scene::{Scene, token};

/// Held by tests that take the whole machine for a minute or more: one at a time.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

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
