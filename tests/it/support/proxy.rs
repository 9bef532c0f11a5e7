//! The fault proxy: a reverse proxy between the program and an emulator that counts calls by operation and misbehaves
//! as its table of faults says. What a test asserts are calls that were made, not only answers.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use cupbearer::dev::Emulator;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use super::fault::{Fault, Rate};
use super::wire::{SharedPlan, Wire};

/// Who really answers.
#[derive(Clone)]
pub enum Backend {
    /// The embedded emulator, in this process.
    Embedded(Arc<Emulator>),
    /// Somebody else's, at this address.
    Url(String),
}

/// The proxy; it ends with the test.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    backend: Mutex<Backend>,
    tls: Mutex<Option<TlsAcceptor>>,
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<Calls>,
    faults: Mutex<BTreeMap<String, Row>>,
    /// Goes up when every connection is to end.
    hang_ups: watch::Sender<u64>,
    silences: watch::Sender<u64>,
}

/// What came in.
#[derive(Default)]
struct Calls {
    by_operation: BTreeMap<String, usize>,
    bodies: Vec<(String, Value)>,
    heads: Vec<(String, HeaderMap)>,
    times: Vec<(String, Instant)>,
    under_way: usize,
    most_under_way: usize,
}

/// A row of the table: these faults in turn, for these calls.
struct Row {
    rate: Rate,
    faults: Vec<Fault>,
    calls: usize,
    bent: usize,
}

/// A call under way; it ends when its caller hangs up, too.
struct UnderWay<'a>(&'a Shared);

impl Proxy {
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, None).await
    }

    /// With TLS: the address is `https://localhost` and whatever port is free.
    pub async fn start_tls(backend: Backend, tls: TlsAcceptor) -> Self {
        Self::start_with(backend, Some(tls)).await
    }

    async fn start_with(backend: Backend, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url =
            if tls.is_some() { format!("https://localhost:{}", address.port()) } else { format!("http://{address}") };
        let shared = Arc::new(Shared {
            backend: Mutex::new(backend),
            tls: Mutex::new(tls),
            client: Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            hang_ups: watch::Sender::default(),
            silences: watch::Sender::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Self { url, shared, _task: task }
    }

    /// How often `operation` was called; `jwks` is the key set.
    pub fn calls(&self, operation: &str) -> usize {
        self.shared.calls.lock().unwrap().by_operation.get(operation).copied().unwrap_or(0)
    }

    /// How often AWS was called, whatever for; fetches of key sets apart.
    pub fn calls_to_aws(&self) -> usize {
        let calls = self.shared.calls.lock().unwrap();
        calls.by_operation.iter().filter(|(operation, _)| *operation != "jwks").map(|(_, count)| count).sum()
    }

    /// The bodies that `operation` was called with.
    pub fn bodies(&self, operation: &str) -> Vec<Value> {
        let calls = self.shared.calls.lock().unwrap();
        calls.bodies.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }

    /// The headers that `operation` was called with.
    pub fn heads(&self, operation: &str) -> Vec<HeaderMap> {
        let calls = self.shared.calls.lock().unwrap();
        calls.heads.iter().filter(|(name, _)| name == operation).map(|(_, head)| head.clone()).collect()
    }

    /// When `operation` was called.
    pub fn times(&self, operation: &str) -> Vec<Instant> {
        let calls = self.shared.calls.lock().unwrap();
        calls.times.iter().filter(|(name, _)| name == operation).map(|(_, at)| *at).collect()
    }

    /// The most calls that were ever under way at once.
    pub fn most_at_once(&self) -> usize {
        self.shared.calls.lock().unwrap().most_under_way
    }

    /// The calls that are under way now.
    pub fn under_way(&self) -> usize {
        self.shared.calls.lock().unwrap().under_way
    }

    /// From now on `operation` misbehaves; `*` means every one.
    pub fn bend(&self, operation: &str, fault: Fault) {
        self.bend_some(operation, Rate::Always, vec![fault]);
    }

    /// From now on those calls of `operation` misbehave that `rate` takes, in turn by each of `faults`.
    pub fn bend_some(&self, operation: &str, rate: Rate, faults: Vec<Fault>) {
        self.shared.faults.lock().unwrap().insert(operation.to_owned(), Row { rate, faults, calls: 0, bent: 0 });
    }

    /// How many calls of `operation` were bent since its row was set.
    pub fn bent(&self, operation: &str) -> usize {
        self.shared.faults.lock().unwrap().get(operation).map_or(0, |row| row.bent)
    }

    /// From now on all is well.
    pub fn mend(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// From now on somebody else answers.
    pub fn turn_to(&self, backend: Backend) {
        *self.shared.backend.lock().unwrap() = backend;
    }

    /// Ends all connections that there are.
    pub fn hang_up(&self) {
        self.shared.hang_ups.send_modify(|times| *times += 1);
    }

    /// From now on nothing is read or written on the connections that there are, nor are they closed: their far end has
    /// vanished. New ones are served.
    pub fn fall_silent(&self) {
        self.shared.silences.send_modify(|times| *times += 1);
    }

    /// From now on new connections see another certificate.
    pub fn show(&self, tls: TlsAcceptor) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }
}

impl Shared {
    fn arrived(&self, operation: &str, head: &HeaderMap, body: &Bytes) -> UnderWay<'_> {
        let mut calls = self.calls.lock().unwrap();
        *calls.by_operation.entry(operation.to_owned()).or_default() += 1;
        calls.heads.push((operation.to_owned(), head.clone()));
        calls.times.push((operation.to_owned(), Instant::now()));
        // STS speaks in forms.
        let form =
            || url::form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), Value::from(value))).collect();
        let body = serde_json::from_slice(body).unwrap_or_else(|_| Value::Object(form()));
        calls.bodies.push((operation.to_owned(), body));
        calls.under_way += 1;
        calls.most_under_way = calls.most_under_way.max(calls.under_way);
        UnderWay(self)
    }

    fn fault(&self, operation: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let name = if faults.contains_key(operation) { operation } else { "*" };
        let row = faults.get_mut(name)?;
        row.calls += 1;
        if !row.rate.takes(row.calls - 1) {
            return None;
        }
        row.bent += 1;
        Some(row.faults[(row.bent - 1) % row.faults.len()].clone())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.calls.lock().unwrap().under_way -= 1;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let plan = SharedPlan::default();
    let wire = Wire::new(stream, Arc::clone(&plan));
    let tls = shared.tls.lock().unwrap().clone();
    match tls {
        // One who does not like our certificate hangs up.
        Some(tls) => {
            if let Ok(stream) = tls.accept(wire).await {
                serve(stream, plan, shared).await;
            }
        }
        None => serve(wire, plan, shared).await,
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, plan: SharedPlan, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let (shared, plan) = (Arc::clone(&shared), Arc::clone(&plan));
        async move { answer(&shared, &plan, request).await.map_err(|()| std::io::Error::other("closed as told")) }
    });
    let (mut hang_up, mut silence) = (shared.hang_ups.subscribe(), shared.silences.subscribe());
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // The far end may hang up, or be hung up on.
        _ended = &mut serving => {}
        _told = hang_up.changed() => {}
        _told = silence.changed() => std::future::pending().await,
    }
}

async fn answer(shared: &Shared, plan: &SharedPlan, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ()> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| ())?.to_bytes();
    let operation = operation(&head, &body);
    let _under_way = shared.arrived(&operation, &head.headers, &body);
    let fault = shared.fault(&operation);
    *plan.lock().unwrap() = fault.as_ref().map(Fault::plan).unwrap_or_default();
    match &fault {
        Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Held(gate)) => gate.passed().await,
        Some(Fault::Hangs) => std::future::pending::<()>().await,
        Some(Fault::Closes | Fault::Resets) => return Err(()),
        _ => {}
    }
    if let Some(own) = fault.as_ref().and_then(Fault::own_answer) {
        return Ok(own.map(Full::new));
    }
    let answer = forward(shared, Request::from_parts(head, body)).await.map_err(|_| ())?;
    let bent = match &fault {
        Some(fault) => fault.bend(answer),
        None => answer,
    };
    Ok(bent.map(Full::new))
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

async fn forward(shared: &Shared, mut request: Request<Bytes>) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
    let backend = shared.backend.lock().unwrap().clone();
    match backend {
        Backend::Embedded(emulator) => Ok(emulator.answer(request, SystemTime::now())),
        Backend::Url(url) => {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = format!("{url}{path}").parse::<Uri>()?;
            let (head, body) = shared.client.request(request.map(Full::new)).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        }
    }
}
