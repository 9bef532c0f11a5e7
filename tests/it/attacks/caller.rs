//! A gRPC caller that puts whatever bytes into whatever call, over hyper's HTTP/2 and no gRPC library.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::daemon::PATIENCE;

/// The path of a call of ours.
pub const GET_CREDENTIALS: &str = "/cupbearer.v1.CredentialBroker/GetCredentials";

/// One connection.
pub struct Caller {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// Of gRPC, from the trailers or from the headers.
    pub grpc: Option<u32>,
    pub body: Bytes,
}

impl Caller {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // It ends when either side wants it to.
            connection.await.ok();
        });
        Self { address, sender, _connection: task }
    }

    /// One call, which can be dropped in the middle.
    pub fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> impl Future<Output = hyper::Result<Answer>> + Send + use<> {
        let mut request = Request::post(format!("http://{}{path}", self.address)).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut sender, request) = (self.sender.clone(), request.body(Full::new(body.into())).unwrap());
        async move {
            sender.ready().await?;
            let answered = async {
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = body.collect().await?;
                let trailers = body.trailers().cloned().unwrap_or_default();
                let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
                let grpc = status.and_then(|status| status.to_str().ok()?.parse().ok());
                Ok::<_, hyper::Error>(Answer { status: head.status.as_u16(), grpc, body: body.to_bytes() })
            };
            tokio::time::timeout(PATIENCE, answered).await.expect("no answer within patience")
        }
    }
}

/// A message in its envelope (gRPC over HTTP/2, "Requests").
pub fn enveloped(message: &[u8]) -> Vec<u8> {
    envelope(0, u32::try_from(message.len()).unwrap(), message)
}

/// The same with a flag and a length of the sender's choice.
pub fn envelope(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend(length.to_be_bytes());
    bytes.extend(message);
    bytes
}
