//! The audit log of calls that bring no credentials: a session's opening, and each refusal, has one line.

use cupbearer::dev::EDITOR_ROLE_ARN;
use cupbearer::server::proto::{
    CloseSessionRequest, ExplainRoleRequest, OpenSessionRequest, UpdateSessionRequest, WatchCredentialsRequest,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::refusals::Scene;
use crate::sessions::with;
use crate::support::scene::token;
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

/// A place in the logs with nothing under way before it: what was asked before has its line.
async fn settled(scene: &Scene) -> Told {
    let told = scene.told();
    assert_eq!(scene.ask("/v1/credentials", "settled").await.status, 401);
    told.audited(&scene.daemon, 1).await;
    scene.told()
}
