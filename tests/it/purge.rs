//! A purge of one app client: its entries and its sessions end, another client's of the same user go on.

use cupbearer::dev::{CLIENT_ID, ROTATING_CLIENT_ID};
use cupbearer::server::proto::{OpenSessionRequest, OpenSessionResponse};
use serde_json::{Value, json};

use crate::refresh::{both_clients, short};
use crate::sessions::{client, with};
use crate::support::http;
use crate::support::scene::Scene;

const ADMIN: &str = "an-admin-token-of-some-length";

async fn purge(scene: &Scene, body: Value) -> http::Reply {
    // With line feeds, as people type it.
    let body = format!("{body:#}");
    let length = body.len().to_string();
    let headers = [("Authorization", ADMIN), ("Content-Length", length.as_str())];
    http::send(scene.admin, &(http::request("POST", "/purge", scene.admin, &headers) + &body)).await
}

/// The access key id that a session answers with, or the status with which it refuses.
async fn key(scene: &Scene, session: &OpenSessionResponse) -> Result<Value, u16> {
    let reply = scene.ask(&format!("/v1/sessions/{}", session.session_id), &session.authorization_token).await;
    if reply.status == 200 { Ok(reply.json()["AccessKeyId"].clone()) } else { Err(reply.status) }
}

#[tokio::test]
async fn of_a_client_ends_its_sessions_and_no_other_s() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("admin");
    std::fs::write(&file, ADMIN).unwrap();
    let more = format!("---[admin]\ntoken_file = \"{}\"\n", file.display());
    let scene = Scene::edited(&more, "deny", both_clients).await;
    let mut sessions = Vec::new();
    for id in [CLIENT_ID, ROTATING_CLIENT_ID] {
        let message = with(&short(id, 600), OpenSessionRequest::default());
        sessions.push(client(&scene).await.open_session(message).await.unwrap().into_inner());
    }
    let first = [key(&scene, &sessions[0]).await.unwrap(), key(&scene, &sessions[1]).await.unwrap()];
    assert_ne!(first[0], first[1], "an entry for each client");

    let reply = purge(&scene, json!({"client_id": "nobody"})).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"purged": 0})));
    for (session, key_id) in sessions.iter().zip(&first) {
        assert_eq!(key(&scene, session).await.as_ref(), Ok(key_id), "nobody's purge is nobody's");
    }
    let reply = purge(&scene, json!({"client_id": CLIENT_ID})).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"purged": 1})));
    assert_eq!(key(&scene, &sessions[0]).await, Err(404), "its session has ended");
    assert_eq!(key(&scene, &sessions[1]).await.as_ref(), Ok(&first[1]), "the other client's goes on");
    let again = scene.ask("/v1/credentials", &short(CLIENT_ID, 600)).await.json();
    assert!(again["AccessKeyId"].is_string() && again["AccessKeyId"] != first[0], "exchanged anew: {again}");
    assert_eq!(scene.metric("cupbearer_sessions").await, 1.0);
}
