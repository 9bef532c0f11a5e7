//! Who is spoken to (F19, F22, F23): the configured hosts, over TLS that holds, and nobody else whatever the
//! environment says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::EXCHANGE;
use crate::support::daemon::{PATIENCE, command};
use crate::support::fault::Fault;
use crate::support::old_tls::OldServer;
use crate::support::proxy::{Backend, Proxy};
use crate::support::scene::{EMULATOR, Scene, embedded, stranger, token};
use crate::support::settings::{HALF_PATIENT, IMPATIENT, Settings};
use crate::support::tls::{Authority, self_signed_server};
use crate::support::trap::Trap;

/// Each row shows another certificate to calls, and to fetches of keys: only the right one is spoken to.
#[tokio::test]
async fn a_false_certificate_gets_no_login_and_no_answer_through() {
    let (authority, other) = (Authority::new(), Authority::new());
    let table = [
        ("expired", authority.expired_server("localhost")),
        ("another name", authority.server("cognito-identity.us-east-1.amazonaws.com")),
        ("self-signed", self_signed_server("localhost")),
        ("another authority", other.server("localhost")),
    ];
    let trusted = authority.file();
    let variables = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let backend = || Backend::Embedded(Arc::clone(&EMULATOR));
    let keys = embedded().await;
    let aws = Proxy::start_tls(backend(), authority.server("localhost")).await;
    let more = format!("---{HALF_PATIENT}");
    let settings = Settings { jwks: Settings::new(&keys.url).jwks, more: &more, ..Settings::new(&aws.url) }.text();
    let scene = Scene::before(keys, &settings, &variables).await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200, "the right certificate");
    let calls = || aws.calls("GetId") + aws.calls(EXCHANGE);
    let before = calls();
    for (name, certificate) in &table {
        aws.show(certificate.clone());
        aws.hang_up();
        let reply = scene.ask("/v1/credentials", &stranger(name)).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "{name}");
        assert_eq!(calls(), before, "{name}: a login was sent");
    }
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200, "what is held is served");
    aws.show(authority.server("localhost"));
    assert_eq!(scene.ask("/v1/credentials", &stranger("after all")).await.status, 200, "the right one again");

    let more = format!("---{IMPATIENT}");
    join_all(table.into_iter().map(async |(name, certificate)| {
        let keys = Proxy::start_tls(backend(), certificate).await;
        let settings = Settings { jwks: Settings::new(&keys.url).jwks, more: &more, ..Settings::new(&aws.url) }.text();
        let scene = Scene::started_by(keys, &settings, |arguments| command(arguments, &variables)).await;
        let reply = scene.ask("/v1/credentials", &token("alice")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")), "{name}");
        assert_eq!(scene.proxy.calls("jwks"), 0, "{name}");
    }))
    .await;
}

/// A fatal alert `protocol_version` (RFC 8446, section 6.2), and nothing else.
fn is_a_refusal(said: &[u8]) -> bool {
    said.len() == 7 && said[0] == 21 && said[3..] == [0, 2, 2, 70]
}

/// What speaks no newer TLS than 1.1 hears so, neither a login nor a question for keys.
#[tokio::test]
async fn old_tls_is_refused() {
    let more = format!("---{IMPATIENT}");
    join_all([1, 2].map(async |minor| {
        let (keys, old) = (embedded().await, OldServer::start(minor).await);
        let https = format!("https://localhost:{}", old.address.port());
        let right_keys = Settings { jwks: Settings::new(&keys.url).jwks, more: &more, ..Settings::new(&https) }.text();
        let right_aws = Settings { jwks: Settings::new(&https).jwks, more: &more, ..Settings::new(&keys.url) }.text();
        for (settings, code) in [(right_keys, "UpstreamUnavailable"), (right_aws, "KeysUnavailable")] {
            let before = old.heard().len();
            let scene = Scene::started_by(embedded().await, &settings, |arguments| command(arguments, &[])).await;
            let started = Instant::now();
            while old.heard().len() == before {
                let reply = scene.ask("/v1/credentials", &token("alice")).await;
                assert_eq!(reply.status, 503, "{reply:?}");
                assert!(started.elapsed() < PATIENCE, "nobody came");
            }
            let reply = scene.ask("/v1/credentials", &token("alice")).await;
            assert_eq!((reply.status, &reply.json()["code"]), (503, &json!(code)), "TLS 1.{}", minor - 1);
        }
        let heard = old.heard();
        assert!(heard.iter().all(|said| is_a_refusal(said)), "TLS 1.{}: {heard:?}", minor - 1);
    }))
    .await;
}

/// TLS is asked of one who speaks plain HTTP: nothing is said to it in the clear.
#[tokio::test]
async fn there_is_no_way_back_to_plain_text() {
    let (keys, plain) = (embedded().await, embedded().await);
    let https = plain.url.replace("http://", "https://");
    let more = format!("---{IMPATIENT}");
    let settings = Settings { jwks: Settings::new(&keys.url).jwks, more: &more, ..Settings::new(&https) }.text();
    let scene = Scene::before(keys, &settings, &[]).await;
    let reply = scene.ask("/v1/credentials", &token("alice")).await;
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")));
    assert_eq!(plain.calls("GetId"), 0);
}

/// Every variable that moves an SDK elsewhere names a trap, and AWS is down for a while: nobody goes there, neither for
/// a proxy nor for another endpoint nor for credentials of our own.
#[tokio::test]
async fn no_variable_and_no_outage_sends_a_request_elsewhere() {
    let trap = Trap::set().await;
    let there = format!("http://{}", trap.address);
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY",
        "AWS_ENDPOINT_URL_STS",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let mut variables: Vec<_> = names.iter().map(|name| (*name, there.as_str())).collect();
    variables.extend([
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ]);
    let proxy = embedded().await;
    let text = Settings { more: &format!("---{HALF_PATIENT}"), ..Settings::new(&proxy.url) }.text();
    let scene = Scene::before(proxy, &text, &variables).await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    for (number, fault) in
        [Fault::Closes, Fault::Says(503, String::new()), Fault::throttles(None)].into_iter().enumerate()
    {
        scene.proxy.bend("*", fault);
        let reply = scene.ask("/v1/credentials", &stranger(&format!("stranded-{number}"))).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(trap.visits(), 0, "somebody went where no configuration sent it");
    // The trap works.
    tokio::net::TcpStream::connect(trap.address).await.unwrap();
    while trap.visits() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
