//! The gRPC door on the real program, with tonic's client; Python's and Node's are in `clients.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use cupbearer::server::proto::{
    CredentialBrokerClient, GetCredentialsRequest, GetCredentialsResponse, WatchCredentialsRequest,
};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_types::StatusExt;

use crate::sessions::with;
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
    ask_on(channel(address).await, token, role, deadline).await
}

/// The same on a channel that there is.
pub async fn ask_on(
    channel: Channel,
    token: &str,
    role: &str,
    deadline: Option<Duration>,
) -> Result<GetCredentialsResponse, Status> {
    let mut client = CredentialBrokerClient::new(channel);
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
    let mut request = Request::new(policy);
    let value = MetadataValue::try_from(format!("Bearer {}", token("bob"))).unwrap();
    request.metadata_mut().insert("authorization", value);
    let status = client.get_credentials(request).await.unwrap_err();
    assert_eq!(reason(&status), row(Code::InvalidArgument, "INVALID_REQUEST", false), "not in the enhanced flow");
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

/// What tonic finds by itself has the table's form too, and is counted.
#[tokio::test]
async fn malformed_calls_have_their_rows_and_are_counted() {
    let scene = Scene::new().await;
    let mut client = tonic::client::Grpc::new(channel(scene.grpc).await);
    let call = async |client: &mut tonic::client::Grpc<Channel>, path: &'static str, bytes: &[u8]| {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Raw, Raw>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        client.unary(Request::new(Raw { bytes: bytes.to_vec() }), path, codec).await.unwrap_err()
    };
    let found = call(&mut client, "/cupbearer.v1.CredentialBroker/GetCredentials", b"\xff").await;
    assert_eq!(reason(&found), (Code::InvalidArgument, "INVALID_REQUEST".to_owned(), false));
    for path in ["/cupbearer.v1.CredentialBroker/Nothing", "/nobody/Nothing"] {
        let found = call(&mut client, path, b"").await;
        assert_eq!(reason(&found), (Code::Unimplemented, "METHOD_NOT_ALLOWED".to_owned(), false));
    }
    let large = call(&mut client, "/cupbearer.v1.CredentialBroker/GetCredentials", &[b'x'; 40_000]).await;
    assert_eq!(reason(&large), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".to_owned(), false));
    assert_eq!(scene.metric("cupbearer_requests_total{listener=\"grpc\",outcome=\"invalid\"}").await, 4.0);
}

/// A message whose one field tonic's side reads as a text: bytes that are no UTF-8 do not decode there.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

#[tokio::test]
async fn who_does_not_speak_http2_is_sent_away() {
    let scene = Scene::new().await;
    for said in ["P", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let asked = tokio::time::Instant::now();
        let reply = crate::support::http::send(scene.grpc, said).await;
        assert_eq!(reply.status, 0, "{reply:?}");
        assert!(asked.elapsed() < Duration::from_secs(20), "not for ever");
    }
}

#[tokio::test]
async fn who_watches_health_does_not_hold_the_end_up() {
    let mut scene = Scene::new().await;
    let mut client = HealthClient::new(channel(scene.grpc).await);
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = client.watch(request).await.unwrap().into_inner();
    while watched.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    let quiet = tokio::time::timeout(Duration::from_millis(800), watched.message()).await;
    assert!(quiet.is_err(), "only changes are told");
    scene.daemon.terminate();
    scene.daemon.ended().await;
    assert!(!scene.daemon.log().contains("are cut"), "{}", scene.daemon.log());
}

/// Health is for everybody, without a token: who watches it by the dozen leaves room for calls all the same.
#[tokio::test]
async fn watches_leave_room_for_calls() {
    const WATCHES: usize = 48;
    let scene = Scene::new().await;
    let channel = channel(scene.grpc).await;
    let mut health = HealthClient::new(channel.clone());
    let mut watched = Vec::new();
    for _ in 0..WATCHES {
        let mut stream = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        watched.push(stream);
    }
    let full = (Code::ResourceExhausted, "TOO_MANY_REQUESTS".to_owned(), true);
    for _ in 0..3 {
        assert_eq!(reason(&health.watch(HealthCheckRequest::default()).await.unwrap_err()), full);
    }
    let mut client = CredentialBrokerClient::new(channel.clone());
    let request = with(&token("alice"), WatchCredentialsRequest::default());
    assert_eq!(reason(&client.watch_credentials(request).await.unwrap_err()), full);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    assert!(ask_on(channel, &token("alice"), "", None).await.is_ok());
    watched.pop();
    let again = async {
        // The place is free when the broker has heard of it.
        while health.watch(HealthCheckRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("no place becomes free");
}

#[tokio::test]
async fn the_hold_is_the_callers_deadline() {
    let scene = Scene::new().await;
    scene.proxy.bend("GetId", Fault::Hangs);
    let started = tokio::time::Instant::now();
    let status = ask(scene.grpc, &token("bob"), "", Some(Duration::from_secs(2))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(started.elapsed() >= Duration::from_millis(1_900), "all but a tenth of a second");
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

/// The services that reflection names, or why it does not.
async fn reflected(address: SocketAddr) -> Result<Vec<String>, Status> {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};

    let request =
        |asked| ServerReflectionRequest { message_request: Some(asked), ..ServerReflectionRequest::default() };
    let asked = [
        request(MessageRequest::ListServices(String::new())),
        request(MessageRequest::FileContainingSymbol("cupbearer.v1.CredentialBroker".to_owned())),
    ];
    let mut client = ServerReflectionClient::new(channel(address).await);
    let mut answers = client.server_reflection_info(futures::stream::iter(asked)).await?.into_inner();
    let mut names = Vec::new();
    while let Some(answer) = answers.message().await? {
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                names.extend(list.service.into_iter().map(|one| one.name))
            }
            Some(MessageResponse::FileDescriptorResponse(file)) => {
                let text = String::from_utf8_lossy(&file.file_descriptor_proto[0]).into_owned();
                assert!(text.contains("WatchCredentials"), "{text}");
                names.push("file".to_owned());
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(names)
}

#[tokio::test]
async fn reflection_is_off_until_it_is_asked_for() {
    let scene = Scene::new().await;
    assert_eq!(reflected(scene.grpc).await.unwrap_err().code(), Code::Unimplemented);
    let file = scene.path("cupbearer.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[server]", "[server]\ngrpc_reflection = true")).unwrap();
    scene.daemon.wait_for(|daemon| daemon.log().contains("is in force").then_some(())).await.unwrap();
    let names = reflected(scene.grpc).await.unwrap();
    for name in
        ["cupbearer.v1.CredentialBroker", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "file"]
    {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert_eq!(scene.proxy.calls("GetId"), 0);
}
