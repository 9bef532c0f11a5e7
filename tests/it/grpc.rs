//! The gRPC door on the real program, with tonic's client; Python's and Node's are in `clients.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use cupbearer::server::proto::{CredentialBrokerClient, GetCredentialsRequest, GetCredentialsResponse};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_types::StatusExt;

use crate::support::proxy::Fault;
use crate::support::scene::{Scene, token};

pub async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// One `GetCredentials`, with a deadline of the caller's or without.
pub async fn ask(
    address: SocketAddr,
    token: &str,
    role: &str,
    deadline: Option<Duration>,
) -> Result<GetCredentialsResponse, Status> {
    let mut client = CredentialBrokerClient::new(channel(address).await);
    let message = GetCredentialsRequest { role: role.to_owned(), ..GetCredentialsRequest::default() };
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    if let Some(deadline) = deadline {
        // The header alone: with tonic's own timer the client would give up before it hears the answer.
        let value = MetadataValue::try_from(format!("{}m", deadline.as_millis())).unwrap();
        request.metadata_mut().insert("grpc-timeout", value);
    }
    client.get_credentials(request).await.map(tonic::Response::into_inner)
}

fn reason(status: &Status) -> (Code, String, bool) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "cupbearer");
    (status.code(), info.reason.clone(), details.retry_info().is_some())
}

#[tokio::test]
async fn the_answer_has_all_fields() {
    let scene = Scene::new().await;
    let reply = ask(scene.grpc, &token("alice"), "admin", None).await.unwrap();
    let held = reply.credentials.unwrap();
    assert!(held.access_key_id.starts_with("ASIA") && held.secret_access_key.len() == 40);
    assert!(!held.session_token.is_empty() && held.identity_id.starts_with("us-east-1:"));
    assert_eq!((held.role_arn.as_str(), held.account_id.as_str()), (ADMIN_ROLE_ARN, "111122223333"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((3_500..=3_601).contains(&(held.expiration.unwrap().seconds - now)));
    assert!((3_500..=3_601).contains(&(reply.present_token_by.unwrap().seconds - now)));

    let by_arn = ask(scene.grpc, &token("alice"), EDITOR_ROLE_ARN, None).await.unwrap();
    assert_eq!(by_arn.credentials.unwrap().role_arn, EDITOR_ROLE_ARN);
    let http = scene.ask("/v1/credentials/default/admin", &token("alice")).await.json();
    assert_eq!(http["AccessKeyId"], held.access_key_id, "both doors open to one cache");
}

#[tokio::test]
async fn refusals_have_their_rows() {
    let scene = Scene::with("", "deny").await;
    let grpc = scene.grpc;
    let found = |done: Result<GetCredentialsResponse, Status>| reason(&done.unwrap_err());
    let row = |code, reason: &str, again| (code, reason.to_owned(), again);
    assert_eq!(found(ask(grpc, "garbage", "", None).await), row(Code::Unauthenticated, "UNAUTHORIZED", false));
    assert_eq!(
        found(ask(grpc, &token("bob"), "admin", None).await),
        row(Code::PermissionDenied, "ROLE_NOT_ALLOWED", false)
    );
    assert_eq!(
        found(ask(grpc, &token("carol"), "", None).await),
        row(Code::PermissionDenied, "ROLE_NOT_ALLOWED", false)
    );
    assert_eq!(found(ask(grpc, &token("bob"), "root", None).await), row(Code::NotFound, "NOT_FOUND", false));
    let large = "x".repeat(16_385);
    assert_eq!(found(ask(grpc, &large, "", None).await), row(Code::ResourceExhausted, "REQUEST_TOO_LARGE", false));

    let mut client = CredentialBrokerClient::new(channel(grpc).await);
    let policy = GetCredentialsRequest { session_policy: "{}".to_owned(), ..GetCredentialsRequest::default() };
    let status = client.get_credentials(policy).await.unwrap_err();
    assert_eq!(reason(&status), row(Code::InvalidArgument, "INVALID_REQUEST", false));
    for name in ["origin", "x-forwarded-for"] {
        let mut request = Request::new(GetCredentialsRequest::default());
        request.metadata_mut().insert(name, MetadataValue::from_static("x"));
        let status = client.get_credentials(request).await.unwrap_err();
        assert_eq!(reason(&status), row(Code::PermissionDenied, "FORBIDDEN_REQUEST", false));
    }
    let channel = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
    let elsewhere = channel.origin("http://evil.example".parse().unwrap()).connect().await.unwrap();
    let status =
        CredentialBrokerClient::new(elsewhere).get_credentials(GetCredentialsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), row(Code::PermissionDenied, "FORBIDDEN_REQUEST", false));
    assert_eq!(scene.proxy.calls("GetId"), 0);

    scene.proxy.bend("*", Fault::Closes);
    assert_eq!(found(ask(grpc, &token("bob"), "", None).await), row(Code::Unavailable, "UPSTREAM_UNAVAILABLE", true));
}

#[tokio::test]
async fn the_hold_is_the_callers_deadline() {
    let scene = Scene::new().await;
    scene.proxy.bend("GetId", Fault::Hangs);
    let started = tokio::time::Instant::now();
    let status = ask(scene.grpc, &token("bob"), "", Some(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(started.elapsed() >= Duration::from_millis(270), "all but a tenth of it");
    scene.proxy.mend();
}

#[tokio::test]
async fn health_follows_readiness() {
    let scene = Scene::with("drain_seconds = 600", "deny").await;
    let mut client = HealthClient::new(channel(scene.grpc).await);
    let mut wait_for = async |wanted: ServingStatus| {
        for service in ["", "cupbearer.v1.CredentialBroker"] {
            loop {
                let request = HealthCheckRequest { service: service.to_owned() };
                if client.check(request).await.unwrap().into_inner().status() == wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    wait_for(ServingStatus::Serving).await;
    scene.daemon.terminate();
    wait_for(ServingStatus::NotServing).await;
    assert!(ask(scene.grpc, &token("alice"), "", None).await.is_ok(), "still serving");
    let other = HealthCheckRequest { service: "nobody".to_owned() };
    assert_eq!(client.check(other).await.unwrap_err().code(), Code::NotFound);
}
