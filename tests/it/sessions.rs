//! Sessions, watches, explanations and the audit log, on the real program.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use cupbearer::server::proto::{
    CloseSessionRequest, CredentialBrokerClient, ExplainRoleRequest, ExplainRoleResponse, OpenSessionRequest,
    OpenSessionResponse, UpdateSessionRequest, WatchCredentialsRequest,
};
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::grpc::channel;
use crate::support::daemon::command;
use crate::support::http;
use crate::support::proxy::Fault;
use crate::support::scene::{Scene, token, token_with};

pub async fn client(scene: &Scene) -> CredentialBrokerClient<Channel> {
    CredentialBrokerClient::new(channel(scene.grpc).await)
}

pub fn with<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

/// A token of alice, or of another subject with her groups, that lives for so long.
fn short(subject: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    token_with(|claims| {
        claims["sub"] = subject.into();
        claims["exp"] = (now + seconds).into();
    })
}

pub async fn open(scene: &Scene, token: &str, role: &str) -> OpenSessionResponse {
    let message = OpenSessionRequest { role: role.to_owned(), ..OpenSessionRequest::default() };
    client(scene).await.open_session(with(token, message)).await.unwrap().into_inner()
}

async fn ask(scene: &Scene, session: &OpenSessionResponse, authorization: &str) -> http::Reply {
    scene.ask(&format!("/v1/sessions/{}", session.session_id), authorization).await
}

#[tokio::test]
async fn a_session_is_a_uri_and_a_token_of_its_own() {
    let scene = Scene::new().await;
    let session = open(&scene, &token("alice"), "editor").await;
    assert_eq!(session.credentials_uri, format!("http://{}/v1/sessions/{}", scene.http, session.session_id));
    assert_eq!((session.session_id.len(), session.authorization_token.len()), (22, 43), "128 and 256 bits");
    let reply = ask(&scene, &session, &session.authorization_token).await;
    assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(EDITOR_ROLE_ARN)));
    assert_eq!(ask(&scene, &session, &format!("Bearer {}", session.authorization_token)).await.status, 200);

    let mut wrong = session.authorization_token.clone();
    wrong.replace_range(..1, if wrong.starts_with('A') { "B" } else { "A" });
    for bad in [wrong.as_str(), "x", &token("alice")] {
        assert_eq!(ask(&scene, &session, bad).await.status, 401, "{bad}");
    }
    assert_eq!(http::get(scene.http, &format!("/v1/sessions/{}", session.session_id), &[]).await.status, 401);
    assert_eq!(scene.ask("/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA", &session.authorization_token).await.status, 404);
    assert_eq!(scene.ask("/v1/sessions/", &session.authorization_token).await.status, 404);
    assert_eq!(scene.ask("/v1/credentials", &session.authorization_token).await.status, 401, "good for nothing else");
    assert_eq!(scene.metric("cupbearer_sessions").await, 1.0);
}

#[tokio::test]
async fn a_session_belongs_to_its_subject_and_ends_when_told() {
    let scene = Scene::new().await;
    let session = open(&scene, &token("alice"), "").await;
    let id = &session.session_id;
    let mut client = client(&scene).await;
    let update = |token: &str| {
        let message = UpdateSessionRequest { session_id: id.clone(), ..UpdateSessionRequest::default() };
        with(token, message)
    };
    let close = |token: &str| {
        let message = CloseSessionRequest { session_id: id.clone(), ..CloseSessionRequest::default() };
        with(token, message)
    };
    let stranger = token("bob");
    assert_eq!(client.update_session(update(&stranger)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.close_session(close(&stranger)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.close_session(close("garbage")).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(ask(&scene, &session, &session.authorization_token).await.status, 200, "nothing has changed");
    client.close_session(close(&token("alice"))).await.unwrap();
    assert_eq!(ask(&scene, &session, &session.authorization_token).await.status, 404);
    assert_eq!(client.close_session(close(&token("alice"))).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(scene.metric("cupbearer_sessions").await, 0.0);
}

#[tokio::test]
async fn a_newer_token_carries_a_session_on() {
    let scene = Scene::new().await;
    let session = open(&scene, &short("carrie", 8), "").await;
    let other = open(&scene, &short("carrie", 8), "").await;
    let message = UpdateSessionRequest { session_id: session.session_id.clone(), ..UpdateSessionRequest::default() };
    let newer = with(&short("carrie", 600), message.clone());
    let until = client(&scene).await.update_session(newer).await.unwrap().into_inner().expires_at.unwrap().seconds;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 60;
    let older = token_with(|claims| {
        claims["sub"] = "carrie".into();
        claims["iat"] = before.into();
        claims["exp"] = (before + 3_000).into();
    });
    let older = with(&older, message);
    let still = client(&scene).await.update_session(older).await.unwrap().into_inner().expires_at.unwrap().seconds;
    assert_eq!(until, still, "an older one changes nothing");
    while ask(&scene, &other, &other.authorization_token).await.status == 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&scene, &other, &other.authorization_token).await.status, 404, "expired with its login");
    assert_eq!(ask(&scene, &session, &session.authorization_token).await.status, 200);
}

#[tokio::test]
async fn what_the_bearer_may_not_have_opens_no_session() {
    let scene = Scene::with("", "deny").await;
    let mut client = client(&scene).await;
    let message = |role: &str| OpenSessionRequest { role: role.to_owned(), ..OpenSessionRequest::default() };
    let code = async |client: &mut CredentialBrokerClient<Channel>, token: &str, role: &str| {
        client.open_session(with(token, message(role))).await.unwrap_err().code()
    };
    assert_eq!(code(&mut client, "garbage", "").await, Code::Unauthenticated);
    assert_eq!(code(&mut client, &token("carol"), "").await, Code::PermissionDenied);
    assert_eq!(code(&mut client, &token("bob"), "admin").await, Code::PermissionDenied);
    assert_eq!(code(&mut client, &token("bob"), "root").await, Code::NotFound);
    let refresh = OpenSessionRequest { refresh_token: "x".to_owned(), ..OpenSessionRequest::default() };
    assert_eq!(client.open_session(with(&token("bob"), refresh)).await.unwrap_err().code(), Code::InvalidArgument);
    for _ in 0..32 {
        client.open_session(with(&token("bob"), message(""))).await.unwrap();
    }
    assert_eq!(code(&mut client, &token("bob"), "").await, Code::ResourceExhausted);
    client.open_session(with(&token("alice"), message(""))).await.unwrap();
    assert_eq!(scene.proxy.calls("GetId"), 0, "opening exchanges nothing");
}

#[tokio::test]
async fn a_watch_brings_each_renewal_and_ends_with_the_token() {
    let scene = Scene::new().await;
    scene.proxy.bend("GetCredentialsForIdentity", Fault::Expires(6));
    let request = with(&short("watcher", 9), WatchCredentialsRequest::default());
    let mut stream = client(&scene).await.watch_credentials(request).await.unwrap().into_inner();
    let mut keys = Vec::new();
    let end = loop {
        match stream.message().await {
            Ok(Some(message)) => {
                assert!(message.present_token_by.is_some());
                keys.push(message.credentials.unwrap().access_key_id);
            }
            Ok(None) => panic!("it ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated);
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert!(keys.len() >= 3 && distinct.len() == keys.len(), "each once: {keys:?}");
    let refused = client(&scene).await.watch_credentials(with("garbage", WatchCredentialsRequest::default())).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_explanation_names_the_role_and_the_reason_and_costs_nothing() {
    let scene = Scene::with("", "deny").await;
    let explain = async |user: &str, role: &str| -> ExplainRoleResponse {
        let message = ExplainRoleRequest { role: role.to_owned(), ..ExplainRoleRequest::default() };
        client(&scene).await.explain_role(with(&token(user), message)).await.unwrap().into_inner()
    };
    let alice = explain("alice", "").await;
    assert_eq!((alice.allowed, alice.role_arn.as_str(), alice.decided_by.as_str()), (true, ADMIN_ROLE_ARN, "cognito"));
    assert!(alice.reason.contains("cognito:preferred_role") && !alice.considered.is_empty(), "{alice:?}");
    let carol = explain("carol", "").await;
    assert!(!carol.allowed && carol.reason.contains("ambiguous_role_resolution"), "{carol:?}");
    assert!(!explain("bob", "admin").await.allowed);
    let message = ExplainRoleRequest { role: "root".to_owned(), ..ExplainRoleRequest::default() };
    assert_eq!(
        client(&scene).await.explain_role(with(&token("bob"), message)).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(scene.proxy.calls("GetId"), 0);
}

#[tokio::test]
async fn the_command_explains_offline() {
    use std::io::Write;
    let scene = Scene::new().await;
    let file = scene.path("cupbearer.toml");
    scene.proxy.bend("*", Fault::Closes);
    let run = |arguments: &[&str], token: String| {
        let mut explain = command(&["explain", "--config", file.to_str().unwrap()], &[]);
        explain.args(arguments).stdin(std::process::Stdio::piped());
        explain.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = explain.spawn().unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr),
        )
    };
    let (code, told) = run(&[], token("alice") + "\n");
    assert!(code == Some(0) && told.contains(&format!("role: {ADMIN_ROLE_ARN}")), "{told}");
    let (code, told) = run(&["--role", "admin"], token("bob"));
    assert!(code == Some(0) && told.contains("allowed: false"), "{told}");
    let (code, told) = run(&[], "garbage".to_owned());
    assert!(code == Some(1) && told.contains("three parts"), "{told}");
}

#[tokio::test]
async fn every_decision_is_a_line_of_the_audit_log() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("audit.jsonl");
    let more = format!("---[audit]\nfile = \"{}\"\n", file.display());
    let mut scene = Scene::with(&more, "deny").await;
    let alice = token("alice");
    scene.ask("/v1/credentials/default/editor", &alice).await;
    scene.ask("/v1/credentials/default/editor", &alice).await;
    scene.ask("/v1/credentials", &token("carol")).await;
    scene.ask("/v1/credentials", "garbage").await;
    crate::grpc::ask(scene.grpc, &token("bob"), "", None).await.unwrap();
    let denial =
        Fault::aws(400, "NotAuthorizedException", "Token is not from a supported provider of this identity pool.");
    scene.proxy.bend("GetId", denial);
    scene.ask("/v1/credentials", &short("nobody", 600)).await;
    scene.daemon.terminate();
    scene.daemon.ended().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", text("decision"), text("listener"), text("source"), text("flow"))
    };
    let found: Vec<_> = lines.iter().map(told).collect();
    let wanted = [
        "issued http exchange enhanced",
        "issued http hit enhanced",
        "denied http - enhanced",
        "denied http - enhanced",
        "issued grpc exchange enhanced",
        "denied http - enhanced",
    ];
    assert_eq!(found, wanted, "{text}");
    assert_eq!(lines[0]["role_arn"], json!(EDITOR_ROLE_ARN));
    assert!(lines[0]["access_key_id"].as_str().unwrap().starts_with("ASIA"));
    assert!(lines[2]["subject"].is_string() && lines[3]["subject"].is_null(), "only a verified token names anybody");
    assert!(lines[5]["reason"].as_str().unwrap().contains("app client"), "the hint: {}", lines[5]);
    assert_eq!(lines[5]["aws_request_id"], json!("11111111-2222-3333-4444-555555555555"));
    let parts: Vec<_> = alice.split('.').collect();
    assert!(!text.contains(parts[1]) && !text.contains(parts[2]), "no token");
}

/// A stock SDK on a session URI, two users at once in one process: each is itself, ten thousand times.
#[tokio::test]
async fn two_users_of_one_process_are_never_mixed_up() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let scene = Scene::new().await;
    let mut sessions = Vec::new();
    for (user, role) in [("alice", "rbac-users-admin-role"), ("bob", "rbac-users-editor-role")] {
        let session = open(&scene, &token(user), "").await;
        sessions.push(json!({"uri": session.credentials_uri, "token": session.authorization_token, "role": role}));
    }
    let (input, endpoint) = (Value::from(sessions).to_string(), scene.proxy.url.clone());
    let run = move || {
        let mut python = Command::new(crate::support::tools::TOOLS.python("python"));
        python.arg(crate::support::third_party::client("two_users.py")).args(["--calls", "10000"]).env_clear();
        python.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
        python.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent").env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let found: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let roles = json!(["rbac-users-admin-role", "rbac-users-editor-role"]);
    assert_eq!(found, json!({"calls": 10_000, "wrong": 0, "roles": roles}));
    assert_eq!(scene.proxy.calls("GetCredentialsForIdentity"), 2);
}
