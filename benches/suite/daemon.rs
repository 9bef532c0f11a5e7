//! The program itself in a process of its own, over the embedded emulator, which is served from here.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cupbearer::clock::Clock;
use cupbearer::dev;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::load;
use crate::world::EMULATOR;

/// Cognito, on a thread of this process.
pub struct Upstream {
    pub address: SocketAddr,
    pub calls: Arc<AtomicUsize>,
    /// How long each answer is held back.
    pub delay_ms: Arc<AtomicU64>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, calls: Arc::default(), delay_ms: Arc::default() };
        let (calls, delay) = (Arc::clone(&upstream.calls), Arc::clone(&upstream.delay_ms));
        std::thread::spawn(move || crate::world::runtime().block_on(serve(listener, calls, delay)));
        upstream
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn serve(listener: std::net::TcpListener, calls: Arc<AtomicUsize>, delay: Arc<AtomicU64>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (calls, delay) = (Arc::clone(&calls), Arc::clone(&delay));
        tokio::task::spawn(async move {
            let service = service_fn(|request: http::Request<Incoming>| {
                let (calls, delay) = (Arc::clone(&calls), Arc::clone(&delay));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let asked = http::Request::from_parts(head, body);
                    if asked.headers().contains_key("x-amz-target") {
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
                    let answer = EMULATOR.answer(asked, Clock::system().now().wall);
                    Ok::<_, Infallible>(answer.map(|body: Bytes| Full::new(body)))
                }
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// A running `cupbearer serve`; killed when dropped.
pub struct Daemon {
    child: Child,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    _dir: TempDir,
}

impl Daemon {
    /// Bound, perhaps not ready. `more` goes to the end of the configuration; its `{dir}` is a directory of its own.
    pub fn start(upstream: &Upstream, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cupbearer.toml");
        let more = more.replace("{dir}", dir.path().to_str().unwrap());
        std::fs::write(&file, configuration(upstream.address, &more)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cupbearer"))
            .args(["serve", "--log-format", "json", "--config", file.to_str().unwrap()])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut bound = |listener: &str| -> SocketAddr {
            let mut lines = lines.by_ref().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            let line = lines.find(|line| line["message"] == "listening" && line["listener"] == listener).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        };
        let (http, grpc, admin) = (bound("http"), bound("grpc"), bound("admin"));
        // Or a full pipe would cost it lines.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, http, grpc, admin, _dir: dir }
    }

    /// Ready as well: it knows the key set.
    pub fn ready(upstream: &Upstream, more: &str) -> Self {
        let daemon = Self::start(upstream, more);
        let request = daemon.request(&crate::world::token(0, Clock::system().now().wall));
        while load::once(daemon.http, &request).0 != 200 {
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request for credentials, kept alive.
    pub fn request(&self, token: &str) -> Vec<u8> {
        let host = self.http;
        format!("GET /v1/credentials HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\nauthorization: {token}\r\n\r\n")
            .into_bytes()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(upstream: SocketAddr, more: &str) -> String {
    format!(
        r#"[server]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
[aws]
region = "{region}"
endpoint_url = "http://{upstream}"
[[user_pools]]
id = "{pool}"
client_ids = ["{client}"]
issuers = ["{issuer}"]
jwks_url = "http://{upstream}/{pool}/.well-known/jwks.json"
[profiles.default]
flow = "enhanced"
identity_pool_id = "{identity_pool}"
[profiles.default.roles]
mapping = "token"
ambiguous_role_resolution = "deny"
[upstream]
get_id_per_second = 10_000
get_credentials_for_identity_per_second = 10_000
{more}
"#,
        region = dev::REGION,
        pool = dev::USER_POOL_ID,
        client = dev::CLIENT_ID,
        issuer = dev::ISSUER,
        identity_pool = dev::IDENTITY_POOL_ID,
    )
}
