//! Nobody takes what the program says (F20): a blocked log, a full disk. Requests notice nothing, and what is lost is
//! counted.

use std::process::Command;
use std::time::{Duration, Instant};

use super::hits;
use crate::support::daemon::Daemon;
use crate::support::line::Line;
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text();
    // At this level every request is told.
    let scene = Scene::before(proxy, &text, &[("RUST_LOG", "debug")]).await;
    let alice = token("alice");
    let healthy = hits(&scene, &alice, 2_000).await;
    assert_eq!(scene.metric("cupbearer_log_dropped_total").await, 0.0);
    scene.daemon.block_log(true);
    let mut line = Line::open(scene.http).await.unwrap();
    let started = Instant::now();
    let mut lost = 0.0;
    while lost == 0.0 {
        for _ in 0..500 {
            let reply = line.ask("/v1/credentials", &alice).await.expect("held up by its log");
            assert_eq!(reply.status, 200);
        }
        lost = scene.metric("cupbearer_log_dropped_total").await;
        assert!(started.elapsed() < Duration::from_secs(60), "the log never blocked");
    }
    let blocked = hits(&scene, &alice, 2_000).await;
    let lost = scene.metric("cupbearer_log_dropped_total").await;
    println!("F20 hits with the log read: {healthy}; with nobody reading: {blocked}; {lost} lines lost");
    scene.daemon.block_log(false);
    let lines = scene.daemon.log().len();
    hits(&scene, &alice, 10).await;
    assert!(scene.daemon.wait_for(|daemon| (daemon.log().len() > lines).then_some(())).await.is_some(), "it goes on");
}

#[tokio::test]
async fn an_audit_log_that_nobody_reads_holds_nobody_up() {
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text() + "\n[audit]\nfile = \"stdout\"\n";
    let mut scene = Scene::before(proxy, &text, &[]).await;
    let alice = token("alice");
    let healthy = hits(&scene, &alice, 2_000).await;
    assert_eq!(scene.metric("cupbearer_audit_dropped_total").await, 0.0);
    scene.daemon.block_out(true);
    let started = Instant::now();
    let mut lost = 0.0;
    while lost == 0.0 {
        hits(&scene, &alice, 500).await;
        lost = scene.metric("cupbearer_audit_dropped_total").await;
        assert!(started.elapsed() < Duration::from_secs(60), "the audit log never blocked");
    }
    let blocked = hits(&scene, &alice, 2_000).await;
    let lost = scene.metric("cupbearer_audit_dropped_total").await;
    println!("F20 hits with the audit log read: {healthy}; with nobody reading: {blocked}; {lost} lines lost");
    assert!(lost >= 2_000.0, "each is counted: {lost}");
    scene.daemon.block_out(false);
    let length = scene.daemon.out().len();
    hits(&scene, &alice, 10).await;
    assert!(scene.daemon.wait_for(|daemon| (daemon.out().len() > length).then_some(())).await.is_some(), "it goes on");
    // Nor does it hold the end up.
    scene.daemon.block_out(true);
    hits(&scene, &alice, 9_000).await;
    scene.daemon.terminate();
    let status = scene.daemon.exited().await;
    assert!(status.success(), "{status:?}");
}

#[tokio::test]
async fn a_pipe_without_a_reader_is_no_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("audit");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = Settings::new("http://127.0.0.1:9").text() + &format!("\n[audit]\nfile = {pipe:?}\n");
    std::fs::write(dir.path().join("cupbearer.toml"), text).unwrap();
    let file = dir.path().join("cupbearer.toml");
    let mut daemon = Daemon::start(&["serve", "--log-format", "json", "--config", file.to_str().unwrap()], &[]);
    let status = daemon.ended().await;
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("the audit log cannot be opened"), "{}", daemon.log());
}

#[tokio::test]
async fn a_full_disk_loses_audit_lines_and_nothing_else() {
    let proxy = embedded().await;
    // Every write to this file fails as if the disk were full.
    let text = Settings::new(&proxy.url).text() + "\n[audit]\nfile = \"/dev/full\"\n";
    let scene = Scene::before(proxy, &text, &[]).await;
    hits(&scene, &token("alice"), 1_000).await;
    let started = Instant::now();
    while scene.metric("cupbearer_audit_dropped_total").await < 1_000.0 {
        assert!(started.elapsed() < Duration::from_secs(30), "lost lines are not counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = scene.daemon.log().matches("the audit log cannot be written").count();
    println!("F20 1000 audit lines lost to a full disk, told {told} times");
    assert_eq!(told, 1, "once for all of them");
}
