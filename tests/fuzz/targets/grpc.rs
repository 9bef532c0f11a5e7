//! The gRPC door: the first byte says whether the rest are frames, or a message to one of the calls.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::ground::{House, say, with_house};

const CALLS: [&str; 8] = [
    "/cupbearer.v1.CredentialBroker/GetCredentials",
    "/cupbearer.v1.CredentialBroker/WatchCredentials",
    "/cupbearer.v1.CredentialBroker/ExplainRole",
    "/cupbearer.v1.CredentialBroker/OpenSession",
    "/cupbearer.v1.CredentialBroker/UpdateSession",
    "/cupbearer.v1.CredentialBroker/CloseSession",
    "/grpc.health.v1.Health/Check",
    "/cupbearer.v1.CredentialBroker/Nothing",
];

/// An empty SETTINGS frame, which every client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    with_house(|house| {
        if kind & 0x80 == 0 {
            house.run(message(house, *kind, rest));
        } else {
            let answer = house.run(say(house.grpc, &[PREFACE, rest].concat()));
            // Whatever comes, the first frame that is said is SETTINGS.
            assert!(answer.len() < 9 || answer[3] == 4, "{answer:?}");
        }
    });
}

/// Three bits for the call, one for a token that is taken, one for a length that is right.
async fn message(house: &House, kind: u8, bytes: &[u8]) {
    let stream = TcpStream::connect(house.grpc).await.unwrap();
    let Ok((mut sender, connection)) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await
    else {
        return;
    };
    let driver = tokio::spawn(connection);
    let token = if kind & 8 == 0 { house.token() } else { "x.y.z".to_owned() };
    let mut body = Vec::new();
    if kind & 16 == 0 {
        body.push(0);
        body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    }
    body.extend(bytes);
    let request = Request::post(format!("http://{}{}", house.grpc, CALLS[usize::from(kind & 7)]))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "200m")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    // A watch goes on for as long as its token; its first answer will do.
    let answer = tokio::time::timeout(Duration::from_millis(500), async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let trailers = body.collect().await.ok()?.trailers().cloned();
        Some((head, trailers.unwrap_or_default()))
    });
    if let Ok(Some((head, trailers))) = answer.await {
        let status =
            |headers: &HeaderMap| headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u8>().ok());
        let code = status(&head.headers).or_else(|| status(&trailers));
        assert!(code.is_some_and(|code| code <= 16), "{head:?} {trailers:?}");
    }
    driver.abort();
}
