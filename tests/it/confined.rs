//! What the process has given up: nothing of it is dumped, and the kernel refuses it what it never needs.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

/// A line of `/proc/PID/status`.
fn status(daemon: &Daemon, line: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let found = text.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("{line}: {text}")).trim().to_owned()
}

/// Where a state, an audit log and a socket are; the audit log is rotated by its test.
fn places(dir: &TempDir) -> String {
    let at = |name: &str| dir.path().join(name);
    for name in ["state", "audit", "run"] {
        fs::create_dir(at(name)).unwrap();
    }
    let (state, audit, socket) = (at("state"), at("audit/log"), at("run/grpc.sock"));
    format!("grpc_uds = {socket:?}\n---[state]\ndir = {state:?}\n[audit]\nfile = {audit:?}\n")
}

#[tokio::test]
async fn a_crash_leaves_no_core_and_other_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = embedded().await;
    let text = Settings { more: &places(&dir), ..Settings::new(&proxy.url) }.text();
    let start = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cupbearer")]);
        command.args(arguments).env_clear().current_dir(dir.path());
        command
    };
    let mut scene = Scene::started_by(proxy, &text, start).await;
    scene.daemon.ready().await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    let limits = fs::read_to_string(format!("/proc/{}/limits", scene.daemon.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    assert_eq!(status(&scene.daemon, "NoNewPrivs"), "1");
    assert_eq!(status(&scene.daemon, "Seccomp"), "2");
    let confined = scene.daemon.wait_for(|daemon| {
        let log = daemon.log();
        log.lines().find(|line| line.contains("\"confined\"")).map(ToOwned::to_owned)
    });
    let confined = confined.await.unwrap();
    println!("{confined}");
    assert!(confined.contains("\"calls\":\"few\""), "{confined}");

    // What it has to write it can, after a rotation too.
    fs::rename(dir.path().join("audit/log"), dir.path().join("audit/log.1")).unwrap();
    assert_eq!(scene.ask("/v1/credentials", &token("bob")).await.status, 200);
    let again = |_: &Daemon| dir.path().join("audit/log").exists().then_some(());
    scene.daemon.wait_for(again).await.unwrap();
    assert_eq!(scene.metric("cupbearer_audit_dropped_total").await, 0.0);
    assert_eq!(scene.metric("cupbearer_state_write_failures_total").await, 0.0);
    assert!(scene.metric("process_open_fds").await > 0.0);

    // A SEGV from outside would only be looked at by the handler of stack overflows; this one ends it, and dumps.
    scene.daemon.signal(Signal::QUIT);
    let end = scene.daemon.ended().await;
    assert_eq!(end.signal(), Some(Signal::QUIT.as_raw()));
    assert!(!end.core_dumped());
    assert!(
        !fs::read_dir(dir.path()).unwrap().any(|file| file.unwrap().file_name().to_string_lossy().contains("core"))
    );
}
