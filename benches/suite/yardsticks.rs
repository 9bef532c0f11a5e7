//! The bare servers that ours are measured against, each in a process of its own: as plain as their makers' examples.
//! Nobody tunes them.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use cupbearer::server::proto::{
    CloseSessionRequest, CloseSessionResponse, CredentialBroker, CredentialBrokerServer, Credentials,
    ExplainRoleRequest, ExplainRoleResponse, GetCredentialsRequest, GetCredentialsResponse, OpenSessionRequest,
    OpenSessionResponse, UpdateSessionRequest, UpdateSessionResponse, WatchCredentialsRequest,
    WatchCredentialsResponse,
};
use futures::Stream;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tower_service::Service;

/// A yardstick's process; killed when dropped.
pub struct Yardstick {
    child: Child,
    pub address: SocketAddr,
}

impl Yardstick {
    /// `hyper` or `tonic`, answering with `bytes`.
    pub fn start(name: &str, bytes: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([format!("serve-{name}"), bytes.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Is a yardstick, for as long as the process lives.
pub fn serve(name: &str) {
    let bytes = std::env::args().nth(2).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        match name {
            "hyper" => constant(listener, bytes).await,
            _ => echo(listener, bytes).await,
        }
    });
}

async fn constant(listener: TcpListener, bytes: usize) {
    let body = Bytes::from(vec![b'x'; bytes]);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = body.clone();
        tokio::task::spawn(async move {
            let service = service_fn(move |_| {
                let body = body.clone();
                async move {
                    let response = http::Response::builder().header(CONTENT_TYPE, "application/json");
                    Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
                }
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn echo(listener: TcpListener, bytes: usize) {
    let text = |length: usize| "x".repeat(length);
    let credentials = Credentials {
        access_key_id: text(20),
        secret_access_key: text(40),
        session_token: text(bytes),
        expiration: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
        role_arn: text(0),
        account_id: text(0),
        identity_id: text(46),
    };
    let present_token_by = credentials.expiration;
    let answer = GetCredentialsResponse { credentials: Some(credentials), present_token_by };
    let routes = Routes::new(CredentialBrokerServer::new(Echo(answer))).prepare();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let routes = routes.clone();
        let service = service_fn(move |request: http::Request<Incoming>| routes.clone().call(request));
        tokio::task::spawn(async move {
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// Answers one call, and that always alike.
struct Echo(GetCredentialsResponse);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl CredentialBroker for Echo {
    type WatchCredentialsStream = Pin<Box<dyn Stream<Item = Result<WatchCredentialsResponse, Status>> + Send>>;

    async fn get_credentials(&self, _: Request<GetCredentialsRequest>) -> Answer<GetCredentialsResponse> {
        Ok(Response::new(self.0.clone()))
    }

    async fn watch_credentials(&self, _: Request<WatchCredentialsRequest>) -> Answer<Self::WatchCredentialsStream> {
        Err(Status::unimplemented(""))
    }

    async fn explain_role(&self, _: Request<ExplainRoleRequest>) -> Answer<ExplainRoleResponse> {
        Err(Status::unimplemented(""))
    }

    async fn open_session(&self, _: Request<OpenSessionRequest>) -> Answer<OpenSessionResponse> {
        Err(Status::unimplemented(""))
    }

    async fn update_session(&self, _: Request<UpdateSessionRequest>) -> Answer<UpdateSessionResponse> {
        Err(Status::unimplemented(""))
    }

    async fn close_session(&self, _: Request<CloseSessionRequest>) -> Answer<CloseSessionResponse> {
        Err(Status::unimplemented(""))
    }
}
