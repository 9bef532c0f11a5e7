//! Starting, waiting for keys, draining, ending: on the real program.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;

use cupbearer::dev;
use serde_json::json;

use crate::support::daemon::{Daemon, command};
use crate::support::http;
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, Scene, token};
use crate::support::settings::{HALF_PATIENT, IMPATIENT, Settings};

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let done = command(arguments, variables).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn exit_codes_are_a_contract() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cupbearer.toml");
    let path = file.to_str().unwrap();

    let (code, _, told) = output(&["serve"], &[]);
    assert_eq!(code, Some(2));
    assert!(told.contains("CUPBEARER_CONFIG"), "{told}");
    assert_eq!(output(&["serve", "--nonsense"], &[]).0, Some(2));
    assert_eq!(output(&["serve", "--config", path], &[]).0, Some(2), "no such file");

    let text = Settings::new("http://127.0.0.1:9").text();
    std::fs::write(&file, text.replace("[limits]", "[limits]\nentries = 0\nentrys = 1")).unwrap();
    let (code, _, told) = output(&["check", "--config", path], &[]);
    assert_eq!(code, Some(2));
    assert!(told.contains("limits.entries:") && told.contains("limits.entrys:"), "all faults at once: {told}");

    std::fs::write(&file, &text).unwrap();
    let (code, shown, _) = output(&["check"], &[("CUPBEARER_CONFIG", path)]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("exchange_timeout_ms = 5000"), "{shown}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listener in ["http", "grpc", "admin"] {
        std::fs::write(
            &file,
            text.replace(&format!("{listener} = \"127.0.0.1:0\""), &format!("{listener} = \"{address}\"")),
        )
        .unwrap();
        let (code, _, told) = output(&["serve", "--config", path, "--log-format", "json"], &[]);
        assert_eq!(code, Some(3), "{listener}");
        assert!(told.contains(&address) && told.contains(listener), "{told}");
    }
}

#[tokio::test]
async fn without_keys_it_lives_but_is_not_ready_and_refuses_nobody() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    proxy.bend("jwks", Fault::Says(500, String::new()));
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { more: &format!("---{HALF_PATIENT}"), ..Settings::new(&proxy.url) };
    let daemon = Daemon::serve_unready(dir.path(), &settings.text(), &[]).await;
    let (http, admin) = (daemon.address("http").await, daemon.address("admin").await);
    assert_eq!(http::get(admin, "/livez", &[]).await.status, 200);
    let ready = http::get(admin, "/readyz", &[]).await;
    let waiting = json!({"ready": false, "waiting_for": [format!("jwks:{}", dev::ISSUER)]});
    assert_eq!((ready.status, ready.json()), (503, waiting));
    let metrics = http::get(admin, "/metrics", &[]).await.body;
    assert!(metrics.contains("\ncupbearer_ready 0\n"), "{metrics}");
    let reply = http::credentials(http, "/v1/credentials", &token("alice")).await;
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")));
    assert_eq!(reply.header("retry-after"), Some("1"));

    proxy.mend();
    daemon.ready().await;
    assert_eq!(http::credentials(http, "/v1/credentials", &token("alice")).await.status, 200);
    proxy.bend("*", Fault::Closes);
    assert_eq!(http::get(admin, "/readyz", &[]).await.status, 200, "a later outage does not make it unready");
}

#[tokio::test]
async fn a_key_set_that_hangs_is_named_as_the_cause() {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    proxy.bend("jwks", Fault::Hangs);
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { more: &format!("---{IMPATIENT}"), ..Settings::new(&proxy.url) };
    let daemon = Daemon::serve_unready(dir.path(), &settings.text(), &[]).await;
    let reply = http::credentials(daemon.address("http").await, "/v1/credentials", &token("alice")).await;
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")));
}

#[tokio::test]
async fn a_flood_of_garbage_does_not_fill_the_log() {
    let scene = Scene::new().await;
    let started = std::time::Instant::now();
    for _ in 0..500 {
        assert_eq!(scene.ask("/v1/credentials", "garbage").await.status, 401);
    }
    let allowed = 20 * (started.elapsed().as_secs() as usize + 2);
    let lines = scene.daemon.log().lines().filter(|line| line.contains("refused")).count();
    assert!((1..=allowed).contains(&lines), "{lines} lines for 500 refusals, {allowed} at most");
    assert_eq!(scene.metric("cupbearer_requests_total{listener=\"http\",outcome=\"unauthorized\"}").await, 500.0);
}

#[tokio::test]
async fn a_signal_drains_and_a_second_one_ends() {
    let mut scene = Scene::with("drain_seconds = 600", "deny").await;
    let token = token("alice");
    assert_eq!(scene.ask("/v1/credentials", &token).await.status, 200);
    scene.daemon.terminate();
    assert!(scene.daemon.wait_for(|daemon| daemon.log().contains("draining").then_some(())).await.is_some());
    let ready = http::get(scene.admin, "/readyz", &[]).await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    assert_eq!(scene.ask("/v1/credentials", &token).await.status, 200, "those who stop at the same time are served");
    scene.daemon.terminate();
    assert_eq!(scene.daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn when_the_drain_is_over_it_ends_by_itself() {
    let mut scene = Scene::with("drain_seconds = 0", "deny").await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    scene.daemon.terminate();
    assert_eq!(scene.daemon.ended().await.code(), Some(0));
    assert_eq!(http::get(scene.http, "/v1/credentials", &[]).await.status, 0, "nobody listens");
}
