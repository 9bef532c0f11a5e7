//! Refresh tokens, on the real program: the embedded emulator rotates them and refuses used ones, ministack is somebody
//! else's.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{Request as HttpRequest, StatusCode};
use bytes::Bytes;
use cupbearer::dev::{self, CLIENT_ID, ROTATING_CLIENT_ID, ROTATING_CLIENT_SECRET};
use cupbearer::server::proto::{CloseSessionRequest, CredentialBrokerClient, OpenSessionRequest, OpenSessionResponse};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::grpc::channel;
use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::http::{self, Reply};
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, Scene, token_with};
use crate::support::settings::HALF_PATIENT;
use crate::support::third_party::{MINISTACK, World, head};

const ACCEPT: &str = "---[sessions]\naccept_refresh_tokens = true\n";
const RENEW: &str = "GetTokensFromRefreshToken";

/// How long a session's first login lasts: longer than a busy machine stands still between signing and opening.
const FIRST_SECONDS: u64 = 8;

/// Both of the emulator's clients are admitted; one has a secret.
pub fn both_clients(text: String, dir: &Path) -> String {
    let file = dir.join("secrets");
    std::fs::write(&file, format!("{ROTATING_CLIENT_ID} {ROTATING_CLIENT_SECRET}\n")).unwrap();
    let one = format!("client_ids = [\"{CLIENT_ID}\"]");
    let both = format!(
        "client_ids = [\"{CLIENT_ID}\", \"{ROTATING_CLIENT_ID}\"]\nclient_secret_file = \"{}\"",
        file.display()
    );
    assert!(text.contains(&one));
    text.replace(&one, &both)
}

pub fn refresh_token(client: &str) -> String {
    EMULATOR.refresh_token("alice", client, SystemTime::now()).unwrap()
}

/// A token of alice's from this client, for so long.
pub fn short(client: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    token_with(|claims| {
        claims["aud"] = client.into();
        claims["exp"] = (now + seconds).into();
    })
}

fn with<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

async fn client(grpc: std::net::SocketAddr) -> CredentialBrokerClient<Channel> {
    CredentialBrokerClient::new(channel(grpc).await)
}

async fn open(grpc: std::net::SocketAddr, token: &str, refresh_token: &str) -> OpenSessionResponse {
    let message = OpenSessionRequest { refresh_token: refresh_token.to_owned(), ..OpenSessionRequest::default() };
    client(grpc).await.open_session(with(token, message)).await.unwrap().into_inner()
}

async fn ask(http: std::net::SocketAddr, session: &OpenSessionResponse) -> Reply {
    http::credentials(http, &format!("/v1/sessions/{}", session.session_id), &session.authorization_token).await
}

/// What the emulator answers to one who brings this refresh token.
fn redeemed(token: &str, client: &str) -> (StatusCode, Value) {
    let mut body = json!({"RefreshToken": token, "ClientId": client});
    if client == ROTATING_CLIENT_ID {
        body["ClientSecret"] = ROTATING_CLIENT_SECRET.into();
    }
    let request = HttpRequest::post("/").header("x-amz-target", format!("AWSCognitoIdentityProviderService.{RENEW}"));
    let answer = EMULATOR.answer(request.body(Bytes::from(body.to_string())).unwrap(), SystemTime::now());
    (answer.status(), serde_json::from_slice(answer.body()).unwrap())
}

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_session_is_carried_on_with_rotation_and_without() {
    join_all([CLIENT_ID, ROTATING_CLIENT_ID].map(async |client| {
        let scene = Scene::edited(ACCEPT, "deny", both_clients).await;
        let refresh = refresh_token(client);
        let opened = Instant::now();
        let session = open(scene.grpc, &short(client, FIRST_SECONDS), &refresh).await;
        assert_eq!(ask(scene.http, &session).await.status, 200, "{client}");
        until("renewed", async || scene.proxy.calls(RENEW) > 0).await;
        tokio::time::sleep_until(opened + Duration::from_secs(FIRST_SECONDS + 1)).await;
        let answers = join_all((0..30).map(|_| ask(scene.http, &session))).await;
        assert!(answers.iter().all(|reply| reply.status == 200), "the first token is over: {answers:?}");
        assert_eq!(scene.proxy.calls(RENEW), 1, "one trade");
        let sent = &scene.proxy.bodies(RENEW)[0];
        assert_eq!(sent["RefreshToken"], json!(refresh));
        let secret = (client == ROTATING_CLIENT_ID).then_some(ROTATING_CLIENT_SECRET);
        assert_eq!(sent.get("ClientSecret"), secret.map(|secret| json!(secret)).as_ref(), "only one has a secret");
        let series = "cupbearer_upstream_requests_total{operation=\"GetTokensFromRefreshToken\",outcome=\"ok\"}";
        assert_eq!(scene.metric(series).await, 1.0);
    }))
    .await;
}

#[tokio::test]
async fn a_session_hears_why_it_has_ended() {
    let scene = Scene::edited(ACCEPT, "deny", both_clients).await;
    let reused = Fault::aws(400, "RefreshTokenReuseException", "Refresh token reuse detected");
    for (fault, word) in [(None, "revoked"), (Some(reused), "second time")] {
        let refresh = refresh_token(CLIENT_ID);
        let session = open(scene.grpc, &short(CLIENT_ID, 600), &refresh).await;
        let own = open(scene.grpc, &short(CLIENT_ID, 600), &refresh).await;
        match fault {
            Some(fault) => scene.proxy.bend(RENEW, fault),
            None => {
                let message = CloseSessionRequest { session_id: own.session_id, revoke_refresh_token: true };
                client(scene.grpc).await.close_session(with(&short(CLIENT_ID, 600), message)).await.unwrap();
                let (status, answer) = redeemed(&refresh, CLIENT_ID);
                assert_eq!(
                    (status, &answer["message"]),
                    (StatusCode::BAD_REQUEST, &json!("Refresh Token has been revoked"))
                );
            }
        }
        let ending = open(scene.grpc, &short(CLIENT_ID, 4), &refresh).await;
        until("ended", async || ask(scene.http, &ending).await.status == 404).await;
        let reply = ask(scene.http, &ending).await;
        assert_eq!(reply.json()["code"], json!("NotFound"));
        assert!(reply.json()["message"].as_str().unwrap().contains(word), "{reply:?}");
        assert!(!reply.body.contains(&refresh) && !scene.daemon.log().contains(&refresh[..64]), "no token is told");
        assert_eq!(ask(scene.http, &session).await.status, 200, "its own login is still good");
        let close = CloseSessionRequest { session_id: ending.session_id, ..CloseSessionRequest::default() };
        let status = client(scene.grpc).await.close_session(with(&short(CLIENT_ID, 600), close)).await.unwrap_err();
        assert!(status.code() == Code::NotFound && status.message().contains(word), "{status:?}");
    }
}

#[tokio::test]
async fn an_outage_of_the_user_pool_is_waited_out() {
    let scene = Scene::with(&format!("{ACCEPT}{HALF_PATIENT}"), "deny").await;
    scene.proxy.bend(RENEW, Fault::Closes);
    let session = open(scene.grpc, &short(CLIENT_ID, FIRST_SECONDS), &refresh_token(CLIENT_ID)).await;
    assert_eq!(ask(scene.http, &session).await.status, 200);
    until("nobody is signed in", async || ask(scene.http, &session).await.status == 503).await;
    scene.proxy.mend();
    until("served again", async || ask(scene.http, &session).await.status == 200).await;
}

#[tokio::test]
async fn refresh_tokens_are_taken_only_where_that_is_configured() {
    let scene = Scene::new().await;
    let message = OpenSessionRequest { refresh_token: refresh_token(CLIENT_ID), ..OpenSessionRequest::default() };
    let refused = client(scene.grpc).await.open_session(with(&short(CLIENT_ID, 600), message)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(scene.metric("cupbearer_sessions").await, 0.0);
}

/// A workload that signs in as itself, by a client that rotates: what is written back carries over a restart.
#[tokio::test]
async fn a_configured_session_survives_a_restart_with_what_was_written_back() {
    let place = tempfile::tempdir().unwrap();
    let (refresh, authorization) = (place.path().join("refresh"), place.path().join("authorization"));
    let first = refresh_token(ROTATING_CLIENT_ID);
    std::fs::write(&refresh, &first).unwrap();
    std::fs::write(&authorization, "the-batch-job-s-own-token\n").unwrap();
    let more = format!(
        "---[[configured_sessions]]\nname = \"batch\"\nrole = \"editor\"\nclient_id = \"{ROTATING_CLIENT_ID}\"\n\
         refresh_token_file = \"{}\"\nauthorization_token_file = \"{}\"\n",
        refresh.display(),
        authorization.display()
    );
    let mut written = vec![first];
    for _ in 0..2 {
        let scene = Scene::edited(&more, "deny", both_clients).await;
        let reply = scene.ask("/v1/sessions/batch", "the-batch-job-s-own-token").await;
        assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(dev::EDITOR_ROLE_ARN)), "{reply:?}");
        assert_eq!(scene.ask("/v1/sessions/batch", "another").await.status, 401);
        let now = std::fs::read_to_string(&refresh).unwrap();
        assert!(!written.contains(&now), "rotated and written back");
        written.push(now);
    }
}

async fn ministack() -> &'static World {
    tokio::task::spawn_blocking(|| -> &'static World { &MINISTACK }).await.unwrap()
}

#[tokio::test]
async fn ministack_renews_and_revokes() {
    let world = ministack().await;
    let proxy = Proxy::start(Backend::Url(world.endpoint.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let (pool, editor) = (world.fact("identity_pool_id"), world.fact("editor_role_arn"));
    let text = head(world, &proxy.url)
        + &format!(
            "[sessions]\naccept_refresh_tokens = true\n[profiles.default]\nidentity_pool_id = \"{pool}\"\n\
             [profiles.default.roles]\nambiguous_role_resolution = \"authenticated_role\"\n\
             authenticated_role = \"{editor}\"\n"
        );
    let daemon = Daemon::serve(dir.path(), &text).await;
    let (http, grpc) = (daemon.address("http").await, daemon.address("grpc").await);
    let refresh = world.fact("refresh_tokens.carol");
    let short = || world.mint(&json!([{"user": "carol", "lifetime": FIRST_SECONDS}])).remove(0);
    let (first, opened) = (short(), Instant::now());
    let session = open(grpc, &first, refresh).await;
    assert_eq!(ask(http, &session).await.status, 200);
    until("renewed", async || proxy.calls(RENEW) == 1).await;
    tokio::time::sleep_until(opened + Duration::from_secs(FIRST_SECONDS + 1)).await;
    assert_eq!(ask(http, &session).await.status, 200, "by the token that ministack gave");

    let other = open(grpc, &short(), refresh).await;
    let message = CloseSessionRequest { session_id: session.session_id, revoke_refresh_token: true };
    client(grpc).await.close_session(with(&short(), message)).await.unwrap();
    assert_eq!(proxy.calls("RevokeToken"), 1);
    until("ended", async || ask(http, &other).await.status == 404).await;
    assert!(ask(http, &other).await.body.contains("revoked"), "{}", daemon.log());
}
