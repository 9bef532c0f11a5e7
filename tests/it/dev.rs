//! `cupbearer dev` as a newcomer meets it: it is up, its lines work, and its configuration is the one in force.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN, USER_NAMES};
use serde_json::json;

use crate::support::daemon::{Daemon, command};
use crate::support::http::{self, Reply};

/// The answer, where callers are held for 900 ms only: a machine that stood still makes them ask again.
async fn held_out(door: SocketAddr, path: &str, token: &str) -> Reply {
    let mut reply = http::credentials(door, path, token).await;
    for _ in 0..10 {
        if reply.status != 503 {
            break;
        }
        reply = http::credentials(door, path, token).await;
    }
    reply
}

#[tokio::test]
async fn a_newcomer_gets_credentials() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("dev");
    let arguments = ["dev", "--port", "0", "--log-format", "json", "--dir", dir.to_str().unwrap()];
    let daemon = Daemon::start(&arguments, &[]);
    daemon.ready().await;
    let (http, admin) = (daemon.address("http").await, daemon.address("admin").await);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("alice.jwt"), mode("cupbearer.toml")), (0o700, 0o600, 0o600));
    for user in USER_NAMES {
        let token = std::fs::read_to_string(dir.join(format!("{user}.jwt"))).unwrap();
        assert!(!token.ends_with('\n'));
        let reply = held_out(http, "/v1/credentials", &token).await;
        assert_eq!((reply.status, &reply.json()["Code"]), (200, &json!("Success")), "{user}");
    }
    assert_eq!(http::credentials(http, "/v1/credentials", "garbage").await.status, 401);
    let told = daemon.wait_for(|daemon| daemon.out().contains("Ctrl-C ends").then(|| daemon.out())).await.unwrap();
    for line in [
        format!("$(cat '{}/alice.jwt')\" http://{http}/v1/credentials", dir.display()),
        format!("export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{http}/v1/credentials"),
        "aws sts get-caller-identity --endpoint-url http://127.0.0.1:".to_owned(),
        "cargo run --release --example get_credentials -- 127.0.0.1:".to_owned(),
        format!("curl -s http://{admin}/metrics"),
    ] {
        assert!(told.contains(&line), "{line} is not among:\n{told}");
    }
    let mut grpc = std::process::Command::new(crate::support::example::built("get_credentials"));
    grpc.arg(daemon.address("grpc").await.to_string()).arg(dir.join("alice.jwt")).arg("editor");
    let done = tokio::task::spawn_blocking(move || grpc.output().unwrap()).await.unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("role/rbac-users-editor-role"), "{done:?}");
    let check = command(&["check", "--config", dir.join("cupbearer.toml").to_str().unwrap()], &[]).output().unwrap();
    assert_eq!(check.status.code(), Some(0));
    let written = std::fs::read_to_string(dir.join("cupbearer.toml")).unwrap();
    assert!(written.contains(&format!("http = \"{http}\"")), "the ports in force: {written}");
    let second = command(&arguments, &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(2), "the directory is taken: {second:?}");
}

/// The scenario in all three flows: by precedence, by default role, and as the API's own role.
#[tokio::test]
async fn the_scenario_runs_in_every_flow() {
    let place = tempfile::tempdir().unwrap();
    for ambiguous in ["authenticated_role", "deny"] {
        let dir = place.path().join(ambiguous);
        let path = dir.to_str().unwrap();
        let arguments = ["dev", "--port", "0", "--log-format", "json", "--dir", path, "--ambiguous", ambiguous];
        let daemon = Daemon::start(&arguments, &[]);
        daemon.ready().await;
        let address = daemon.address("http").await;
        for profile in ["basic", "assume-role"] {
            for (user, role) in [("alice", ADMIN_ROLE_ARN), ("bob", EDITOR_ROLE_ARN), ("carol", EDITOR_ROLE_ARN)] {
                let token = std::fs::read_to_string(dir.join(format!("{user}.jwt"))).unwrap();
                let reply = held_out(address, &format!("/v1/credentials/{profile}"), &token).await;
                if user == "carol" && ambiguous == "deny" {
                    assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("RoleNotAllowed")), "{profile}");
                } else {
                    assert_eq!(
                        (reply.status, &reply.json()["RoleArn"]),
                        (200, &json!(role)),
                        "{profile} {user} {reply:?}"
                    );
                }
            }
            let bob = std::fs::read_to_string(dir.join("bob.jwt")).unwrap();
            let reply = http::credentials(address, &format!("/v1/credentials/{profile}/admin"), &bob).await;
            assert_eq!(reply.status, 403, "{profile}");
        }
    }
}

#[tokio::test]
async fn carol_is_denied_when_that_is_configured() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("dev");
    let path = dir.to_str().unwrap();
    let daemon =
        Daemon::start(&["dev", "--port", "0", "--log-format", "json", "--dir", path, "--ambiguous", "deny"], &[]);
    daemon.ready().await;
    let token = std::fs::read_to_string(dir.join("carol.jwt")).unwrap();
    let reply = http::credentials(daemon.address("http").await, "/v1/credentials", &token).await;
    assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("RoleNotAllowed")));
}

#[test]
fn a_directory_that_others_may_read_is_refused() {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let dir = place.path().to_str().unwrap();
    let done = command(&["dev", "--port", "0", "--dir", dir], &[]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("mode 0700"));
}
