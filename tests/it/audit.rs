//! The audit log of calls that bring no credentials: a session's opening, and each refusal, has one line. And what a line
//! may hold: no more than it should, and no name where none is wanted.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use cupbearer::dev::EDITOR_ROLE_ARN;
use cupbearer::server::proto::{
    CloseSessionRequest, ExplainRoleRequest, GetCredentialsRequest, OpenSessionRequest, UpdateSessionRequest,
    WatchCredentialsRequest,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::refusals::Scene;
use crate::sessions::with;
use crate::support::scene::{EMULATOR, token};
use crate::support::told::Told;

/// A scenario user's, as the audit log tells it.
async fn subject_of(scene: &Scene, user: &str) -> Value {
    let told = scene.told();
    assert_eq!(scene.ask("/v1/credentials", &token(user)).await.status, 200);
    told.audited(&scene.daemon, 1).await[0]["subject"].clone()
}

/// The one line that a refused call has.
async fn refused(scene: &Scene, told: Told, status: Status, code: Code) -> Value {
    assert_eq!(status.code(), code, "{status:?}");
    let line = told.audited(&scene.daemon, 1).await.swap_remove(0);
    assert_eq!((&line["decision"], &line["listener"]), (&json!("denied"), &json!("grpc")), "{line}");
    assert!(line["access_key_id"].is_null() && !line["reason"].as_str().unwrap().is_empty(), "{line}");
    line
}

#[tokio::test]
async fn a_session_s_opening_has_a_line_with_its_id_and_role() {
    let scene = Scene::new("").await;
    let bob = subject_of(&scene, "bob").await;
    let told = scene.told();
    let message = OpenSessionRequest { role: "editor".to_owned(), ..OpenSessionRequest::default() };
    let session = scene.grpc().await.open_session(with(&token("bob"), message)).await.unwrap().into_inner();
    let line = told.audited(&scene.daemon, 1).await.swap_remove(0);
    let found =
        ["decision", "listener", "flow", "profile", "role_arn", "subject", "access_key_id"].map(|name| &line[name]);
    let wanted = [&json!("issued"), &json!("grpc"), &json!("enhanced"), &json!("default"), &json!(EDITOR_ROLE_ARN)];
    assert_eq!(found, [wanted[0], wanted[1], wanted[2], wanted[3], wanted[4], &bob, &Value::Null], "{line}");
    assert!(line["reason"].as_str().unwrap().contains(&session.session_id), "{line}");
    assert!(!line.to_string().contains(&session.authorization_token), "{line}");
}

#[tokio::test]
async fn each_refusal_of_a_call_on_a_session_has_a_line() {
    let scene = Scene::new("").await;
    let bob = subject_of(&scene, "bob").await;
    let mut client = scene.grpc().await;
    let session = client.open_session(with(&token("alice"), OpenSessionRequest::default())).await.unwrap();
    let id = session.into_inner().session_id;
    let update = || UpdateSessionRequest { session_id: id.clone(), ..UpdateSessionRequest::default() };
    let close = || CloseSessionRequest { session_id: id.clone(), ..CloseSessionRequest::default() };
    let unknown = ExplainRoleRequest { role: "root".to_owned(), ..ExplainRoleRequest::default() };
    let stranger = token("bob");
    // Each by a token that is none, and by somebody else's.
    for (token, code) in [("garbage", Code::Unauthenticated), (stranger.as_str(), Code::NotFound)] {
        let whose = if code == Code::NotFound { &bob } else { &Value::Null };
        let told = settled(&scene).await;
        let status = client.update_session(with(token, update())).await.unwrap_err();
        assert_eq!(&refused(&scene, told, status, code).await["subject"], whose, "UpdateSession");
        let told = settled(&scene).await;
        let status = client.close_session(with(token, close())).await.unwrap_err();
        assert_eq!(&refused(&scene, told, status, code).await["subject"], whose, "CloseSession");
        let told = settled(&scene).await;
        let status = client.explain_role(with(token, unknown.clone())).await.unwrap_err();
        assert_eq!(&refused(&scene, told, status, code).await["subject"], whose, "ExplainRole");
    }
    let told = settled(&scene).await;
    let message = OpenSessionRequest { refresh_token: "x".to_owned(), ..OpenSessionRequest::default() };
    let status = client.open_session(with(&stranger, message)).await.unwrap_err();
    assert_eq!(refused(&scene, told, status, Code::InvalidArgument).await["subject"], bob, "OpenSession");
    let told = settled(&scene).await;
    let status = client.watch_credentials(with("garbage", WatchCredentialsRequest::default())).await.unwrap_err();
    refused(&scene, told, status, Code::Unauthenticated).await;

    let told = settled(&scene).await;
    client.close_session(with(&token("alice"), close())).await.unwrap();
    let status = client.close_session(with(&token("alice"), close())).await.unwrap_err();
    refused(&scene, told, status, Code::NotFound).await;
    assert_eq!(settled(&scene).await.audit().len(), 0);
}

/// A name of 30 KiB of control characters, which JSON spells with six for each, from somebody without a token.
#[tokio::test]
async fn what_callers_write_is_cut_and_stays_one_line() {
    let scene = Scene::new("").await;
    let mut client = scene.grpc().await;
    let profile = "\u{1b}\n\u{7f}".repeat(10_000);
    let told = scene.told();
    for role in ["", "editor"] {
        let message = GetCredentialsRequest { profile: profile.clone(), role: role.to_owned(), ..Default::default() };
        let status = client.get_credentials(with("garbage", message)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        let message = GetCredentialsRequest { profile: profile.clone(), role: role.to_owned(), ..Default::default() };
        let status = client.get_credentials(with(&token("alice"), message)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
    for line in told.audited(&scene.daemon, 4).await {
        assert_eq!(line["profile"].as_str().unwrap().chars().count(), 256, "{line}");
        assert!(line.to_string().len() < 4_000, "{line}");
    }
    assert_eq!(scene.told().audit().len(), 0, "a line each");
    assert!(scene.daemon.log().lines().all(|line| line.len() < 4_000), "{}", scene.daemon.log());
}

#[tokio::test]
async fn a_hashed_subject_is_one_user_s_and_names_nobody() {
    let scene = Scene::new("subject = \"hashed\"\n").await;
    let told = scene.told();
    for user in ["alice", "bob", "alice"] {
        assert_eq!(scene.ask("/v1/credentials", &token(user)).await.status, 200);
    }
    let refused = scene.ask("/v1/credentials/default/admin", &token("bob")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let lines = told.audited(&scene.daemon, 4).await;
    let subjects: Vec<_> = lines.iter().map(|line| line["subject"].as_str().unwrap()).collect();
    assert_eq!((subjects[0], subjects[1]), (subjects[2], subjects[3]), "{subjects:?}");
    assert_ne!(subjects[0], subjects[1]);
    let own = ["alice", "bob"].map(|user| EMULATOR.id_claims(user, SystemTime::now()).unwrap()["sub"].clone());
    for (line, sub) in lines.iter().flat_map(|line| own.iter().map(move |sub| (line, sub.as_str().unwrap()))) {
        assert!(line["subject"].as_str().unwrap().starts_with("sha256:"), "{line}");
        assert!(!line.to_string().contains(sub), "{line}");
    }
}

/// A rename and a SIGHUP, as logrotate has it, again and again while users ask: each decision has its line, in one of the
/// files.
#[tokio::test]
async fn rotation_loses_no_line() {
    let scene = Scene::new("").await;
    let (log, tokens) = (scene.audit_log(), [token("alice"), token("bob")]);
    let lines = |file: &Path| fs::read_to_string(file).map_or(0, |text| text.lines().count());
    let rotated = |number: usize| log.with_extension(number.to_string());
    for number in 0..5 {
        for token in tokens.iter().cycle().take(20) {
            assert_eq!(scene.ask("/v1/credentials", token).await.status, 200);
        }
        fs::rename(&log, rotated(number)).unwrap();
        scene.daemon.signal(Signal::HUP);
        // The next one has to be there before it can be renamed in turn.
        assert_eq!(scene.ask("/v1/credentials", &tokens[0]).await.status, 200);
        assert!(scene.daemon.wait_for(|_| (lines(&log) > 0).then_some(())).await.is_some(), "no new file");
    }
    let all = || (0..5).map(rotated).map(|file| lines(&file)).sum::<usize>() + lines(&log);
    assert!(scene.daemon.wait_for(|_| (all() == 5 * 21).then_some(())).await.is_some(), "{} lines", all());
    for file in (0..5).map(rotated).chain([log.clone()]) {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert_eq!(line["decision"], "issued", "{line}");
        }
    }
}

/// A place in the logs with nothing under way before it: what was asked before has its line.
async fn settled(scene: &Scene) -> Told {
    let told = scene.told();
    assert_eq!(scene.ask("/v1/credentials", "settled").await.status, 401);
    told.audited(&scene.daemon, 1).await;
    scene.told()
}
