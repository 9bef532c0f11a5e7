//! A reverse proxy between the program and an emulator: it counts calls by operation and misbehaves as told. What a
//! test asserts are calls that were made, not only answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cupbearer::dev::Emulator;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Who really answers.
#[derive(Clone)]
pub enum Backend {
    /// The embedded emulator, in this process.
    Embedded(Arc<Emulator>),
    /// Somebody else's, at this address.
    Url(String),
}

/// How one operation's answers are bent.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Answered after this time.
    Slow(Duration),
    /// Never answered.
    Hangs,
    /// The connection is closed without an answer.
    Closes,
    /// Answered with this status and body.
    Says(u16, String),
    /// Credentials that end this many seconds from now.
    Expires(i64),
    /// Answered for another identity.
    WrongIdentity,
}

impl Fault {
    /// An AWS error of the JSON protocol.
    pub fn aws(status: u16, code: &str, message: &str) -> Self {
        Self::Says(status, json!({"__type": code, "message": message}).to_string())
    }
}

/// The proxy; it ends with the test.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    backend: Backend,
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<BTreeMap<String, usize>>,
    bodies: Mutex<Vec<(String, Value)>>,
    faults: Mutex<BTreeMap<String, Fault>>,
}

impl Proxy {
    pub async fn start(backend: Backend) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            backend,
            client: Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            bodies: Mutex::default(),
            faults: Mutex::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Self { url, shared, _task: task }
    }

    /// How often `operation` was called; `jwks` is the key set.
    pub fn calls(&self, operation: &str) -> usize {
        self.shared.calls.lock().unwrap().get(operation).copied().unwrap_or(0)
    }

    /// The bodies that `operation` was called with.
    pub fn bodies(&self, operation: &str) -> Vec<Value> {
        let bodies = self.shared.bodies.lock().unwrap();
        bodies.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }

    /// From now on `operation` misbehaves; `*` means every one.
    pub fn bend(&self, operation: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().insert(operation.to_owned(), fault);
    }

    /// From now on all is well.
    pub fn mend(&self) {
        self.shared.faults.lock().unwrap().clear();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await.map_err(|()| std::io::Error::other("closed as told")) }
    });
    // The far end may hang up, or be hung up on.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ()> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| ())?.to_bytes();
    let operation = operation(&head, &body);
    *shared.calls.lock().unwrap().entry(operation.clone()).or_default() += 1;
    if let Ok(json) = serde_json::from_slice(&body) {
        shared.bodies.lock().unwrap().push((operation.clone(), json));
    }
    let fault = {
        let faults = shared.faults.lock().unwrap();
        faults.get(&operation).or_else(|| faults.get("*")).cloned()
    };
    match &fault {
        Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Hangs) => std::future::pending::<()>().await,
        Some(Fault::Closes) => return Err(()),
        Some(Fault::Says(status, text)) => return Ok(says(*status, text)),
        _ => {}
    }
    let answer = forward(shared, Request::from_parts(head, body)).await.map_err(|_| ())?;
    Ok(bend(answer, fault.as_ref()).map(Full::new))
}

fn operation(head: &http::request::Parts, body: &[u8]) -> String {
    let form = url::form_urlencoded::parse(body).find(|(name, _)| name == "Action");
    if let Some((_, action)) = form {
        return action.into_owned();
    }
    match head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        Some(target) => target.rsplit('.').next().unwrap_or(target).to_owned(),
        None if head.uri.path().ends_with("/jwks.json") => "jwks".to_owned(),
        None => format!("{} {}", head.method, head.uri.path()),
    }
}

fn says(status: u16, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/x-amz-json-1.1".parse().unwrap());
    response.headers_mut().insert("x-amzn-requestid", "11111111-2222-3333-4444-555555555555".parse().unwrap());
    response
}

async fn forward(shared: &Shared, mut request: Request<Bytes>) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
    match &shared.backend {
        Backend::Embedded(emulator) => Ok(emulator.answer(request, SystemTime::now())),
        Backend::Url(url) => {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = format!("{url}{path}").parse::<Uri>()?;
            let (head, body) = shared.client.request(request.map(Full::new)).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        }
    }
}

fn bend(answer: Response<Bytes>, fault: Option<&Fault>) -> Response<Bytes> {
    let change: fn(&mut Value, i64) = match fault {
        Some(Fault::Expires(_)) => |body, seconds| body["Credentials"]["Expiration"] = seconds.into(),
        Some(Fault::WrongIdentity) => {
            |body, _| body["IdentityId"] = "us-east-1:00000000-0000-0000-0000-000000000000".into()
        }
        _ => return answer,
    };
    let until = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let until = until + if let Some(Fault::Expires(seconds)) = fault { *seconds } else { 0 };
    let (mut head, body) = answer.into_parts();
    let Ok(mut json) = serde_json::from_slice::<Value>(&body) else { return Response::from_parts(head, body) };
    if json.get("Credentials").is_some() {
        change(&mut json, until);
    }
    head.headers.remove("content-length");
    Response::from_parts(head, json.to_string().into())
}
