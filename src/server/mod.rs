//! The doors: bytes in, a question to the broker, bytes out. Knows no AWS type and decides nothing.
//!
//! [`Doors::bind`] takes the addresses, so that a conflict shows at start; [`Doors::run`] serves until it is told to
//! stop. Every door goes through the same accept loop ([`accept`]) and the same guard ([`guard`]), and every failure
//! through the same table ([`reply`]).

mod accept;
mod admin;
mod descriptors;
mod grpc;
mod guard;
mod http;
mod lines;
mod listen;
mod patient;
mod peer;
pub mod proto;
mod reply;
mod report;
mod settings;
mod socket;
mod status;
pub mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::http::HeaderMap;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic_health::server::HealthReporter;
use tracing::{debug, info};

use crate::audit::{Audit, Line};
use crate::broker::{Broker, Grant, Hit, KEYS};
use crate::clock::{Clock, rfc3339};
use crate::error::{Error, Kind};
use crate::metrics::{Listener, Metrics, Outcome};
use crate::model::{Ask, Caller, Question};
use crate::trace::Trail;
use crate::upstream::Flow;

pub use accept::{Connections, serve_http1};
pub use listen::{BindError, Listen};
pub use peer::LocalPeers;
pub use settings::{Places, Settings};

use listen::bind;
use peer::Peer;
use report::Reporter;
use socket::Socket;
use status::Samples;
use tls::Tls;

/// Where the doors are and how much may come in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP door; port 0 takes any free one.
    pub http: SocketAddr,
    /// The gRPC door.
    pub grpc: SocketAddr,
    /// The file of the gRPC door's Unix socket, if it has one.
    pub grpc_uds: Option<PathBuf>,
    /// Who may use that socket.
    pub grpc_uds_peers: LocalPeers,
    /// What the HTTP and the gRPC door show; without it, they are plain. The other doors always are.
    pub tls: Option<Arc<Tls>>,
    /// Whether the gRPC door tells its interface to those who ask.
    pub grpc_reflection: bool,
    /// The admin door.
    pub admin: SocketAddr,
    /// The door of scrapers and kubelets, if there is one.
    pub metrics: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// How long an HTTP caller is held for an answer that is not there yet.
    pub cold_hold: Duration,
    /// The same for a gRPC caller who sets no deadline of its own, or a later one.
    pub longest_hold: Duration,
    /// How long serving goes on after SIGTERM.
    pub drain: Duration,
    /// What `POST /purge` has to bring as its bearer token; without one it is off.
    pub admin_token: Option<SecretString>,
}

/// What one caller may send and how many callers there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of the HTTP and the gRPC door together.
    pub connections: usize,
    /// All headers of one request, names and values, in bytes.
    pub header_bytes: usize,
}

/// Most headers of one request, on every door.
const MAX_HEADERS: usize = 64;

/// Connections of the admin door and of the metrics door: each has its own, so that a flood at the others leaves room
/// for probes.
const ADMIN_CONNECTIONS: usize = 64;

/// Connections that the Unix socket has when the doors that anybody of the pod can knock at have taken all the others.
const SOCKET_CONNECTIONS: usize = 64;

/// How far the process has come in ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Not ready any more, but still serving: those who stop at the same time still need credentials.
    Draining,
    /// Taking nothing new.
    Stopping,
}

/// What all doors share.
pub struct House {
    /// Who answers.
    pub broker: Arc<Broker>,
    /// Where answers are counted.
    pub metrics: Arc<Metrics>,
    /// For durations.
    pub clock: Clock,
    /// How far the end is.
    pub phase: watch::Receiver<Phase>,
    settings: Arc<Settings>,
    health: HealthReporter,
    reporter: Reporter,
    audit: Audit,
    http: SocketAddr,
    request_ids: AtomicU64,
    ready_once: AtomicBool,
    samples: Samples,
    /// When the doors were opened, by the boot-time clock.
    started: Duration,
}

/// Bound and not yet serving.
pub struct Doors {
    http: TcpListener,
    grpc: TcpListener,
    admin: TcpListener,
    metrics: Option<TcpListener>,
    grpc_uds: Option<Socket>,
    settings: Arc<Settings>,
}

impl Doors {
    /// Binds all doors, or none: what was bound is released when one fails.
    ///
    /// # Errors
    /// With the first address that cannot be bound.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let http = bind(Listener::Http, config.http).await?;
        let grpc = bind(Listener::Grpc, config.grpc).await?;
        let admin = bind(Listener::Admin, config.admin).await?;
        let metrics = match config.metrics {
            Some(address) => Some(bind(Listener::Metrics, address).await?),
            None => None,
        };
        let grpc_uds = config.grpc_uds.as_deref().map(Socket::bind).transpose()?;
        Ok(Self { http, grpc, admin, metrics, grpc_uds, settings: Arc::new(Settings::new(config)) })
    }

    /// The addresses as bound, port 0 replaced by the real one: HTTP, gRPC, admin.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        Ok([self.http.local_addr()?, self.grpc.local_addr()?, self.admin.local_addr()?])
    }

    /// What the doors look at each time, and a reload can change.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    /// Serves until `phase` says [`Phase::Stopping`] and the requests under way are answered.
    ///
    /// # Errors
    /// When the operating system does not tell an address.
    pub async fn run(
        self,
        broker: Arc<Broker>,
        metrics: Arc<Metrics>,
        audit: Audit,
        clock: Clock,
        phase: watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let [http, grpc, admin] = self.addresses()?;
        let house = Arc::new(House {
            broker,
            metrics,
            reporter: Reporter::new(clock.clone()),
            started: clock.boot(),
            samples: Samples::default(),
            clock,
            phase: phase.clone(),
            audit,
            http,
            request_ids: AtomicU64::new(0),
            settings: self.settings,
            health: HealthReporter::new(),
            ready_once: AtomicBool::new(false),
        });
        let (shared, encrypted) = (house.settings.places(), house.settings.now().tls.is_some());
        let [own, scrapers] = std::array::from_fn(|_| Arc::new(Places::new(ADMIN_CONNECTIONS)));
        let connections =
            |places: &Arc<Places>| Connections::new(Arc::clone(places), Arc::clone(&house.metrics), phase.clone());
        // A task each, on the workers: where they all were one, each connection at one door would wake the others.
        let mut doors = JoinSet::new();
        doors.spawn(connections(shared).encrypted(encrypted).serve(self.http, http::door(&house, http)));
        doors.spawn(connections(shared).encrypted(encrypted).serve(self.grpc, grpc::door(&house, grpc)));
        doors.spawn(connections(&own).serve(self.admin, admin::door(&house, admin)));
        if let Some(listener) = self.metrics {
            doors.spawn(connections(&scrapers).serve(listener, admin::metrics_door(&house)));
        }
        if let Some(socket) = self.grpc_uds {
            let places = connections(shared).with_reserve(SOCKET_CONNECTIONS);
            doors.spawn(places.serve(socket, grpc::unix_door(&house)));
        }
        tokio::join!(
            // Whoever drops this closes them.
            doors.join_all(),
            grpc::watch_health(&house),
            tls::watch(&house),
            until_stopping(&house, house.broker.sweep_sessions()),
            until_stopping(&house, house.samples.take_always(&house.metrics)),
        );
        Ok(())
    }
}

impl House {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What the next request is known by; it came with `headers`.
    fn trail(&self, listener: Listener, headers: &HeaderMap) -> Trail {
        Trail::begin(self.request_ids.fetch_add(1, Ordering::Relaxed), headers, listener.as_str())
    }

    /// Counts a panic of a request's handler, and says what its caller is told.
    fn panicked(&self) -> Error {
        self.metrics.panics.inc();
        Error::new(Kind::Internal, "a request's handler panicked: this is a bug")
    }

    /// Counts one answered request that came in at `started`, by the boot-time clock.
    fn answered(&self, listener: Listener, outcome: Outcome, started: Duration) {
        let took = self.clock.boot().saturating_sub(started);
        self.metrics.answered(listener, outcome, took);
        debug!(listener = listener.as_str(), outcome = outcome.as_str(), took_us = took.as_micros(), "answered");
    }

    /// Where a session's credentials are.
    fn credentials_uri(&self, session_id: &str) -> String {
        let (scheme, authority) = match &self.settings.now().tls {
            Some(tls) => ("https", tls.authority(self.http)),
            None => ("http", self.http.to_string()),
        };
        format!("{scheme}://{authority}/v1/sessions/{session_id}")
    }

    /// Writes a decision on credentials into the audit log.
    fn audited(&self, listener: Listener, peer: Peer, trail: &Trail, ask: Option<&Ask>, done: &Result<Grant, Error>) {
        self.audit.tell(|| {
            let time = rfc3339(self.clock.now().wall);
            let profile = ask.map(|ask| ask.profile.clone());
            let flow = profile.as_deref().and_then(|profile| self.broker.flow(profile)).map(Flow::as_str);
            let line = Line::empty(time, listener.as_str(), peer.to_string(), profile, trail.id());
            audit_line(Line { flow, trace_id: trail.trace_id(), ..line }, done)
        });
    }

    /// The same for what was found by the short way; nothing is made of it where there is no audit log.
    fn audited_hit(&self, listener: Listener, peer: Peer, trail: &Trail, question: Question<'_>, hit: &Hit<'_>) {
        if self.audit.is_on() {
            self.audited(listener, peer, trail, Some(&question.to_ask()), &Ok(hit.to_grant()));
        }
    }

    /// What readiness waits for; empty when ready. Once ready, only an end makes unready: that AWS cannot be reached
    /// is no reason to take the broker away from those whose credentials it holds.
    fn waiting_for(&self) -> Vec<String> {
        if self.phase() > Phase::Serving {
            return vec!["draining".to_owned()];
        }
        let mut waiting = self.broker.waiting_for();
        if self.ready_once.load(Ordering::Relaxed) {
            // A reload may bring a user pool whose keys are not there yet.
            waiting.retain(|what| !what.starts_with(KEYS));
        }
        if waiting.is_empty() && !self.ready_once.swap(true, Ordering::Relaxed) {
            info!("ready");
        }
        waiting
    }
}

/// Does `work` until everything is to stop.
async fn until_stopping(house: &House, work: impl Future<Output = ()>) {
    let mut phase = house.phase.clone();
    tokio::select! {
        () = work => {}
        () = stopping(&mut phase) => {}
    }
}

/// Returns when everything is to stop, or when nobody is left to say so.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    phase.wait_for(|phase| *phase == Phase::Stopping).await.ok();
}

/// `line` with what was decided.
fn audit_line(line: Line, done: &Result<Grant, Error>) -> Line {
    match done {
        Ok(grant) => {
            let (held, decision) = (&grant.credentials, grant.decision);
            Line {
                decision: "issued",
                role_arn: held.role_arn.as_ref().map(ToString::to_string),
                reason: decision.reason.to_string(),
                access_key_id: Some(held.access_key_id.clone()),
                expiration: Some(rfc3339(held.expires.wall())),
                source: Some(if decision.hit { "hit" } else { "exchange" }),
                ..about(line, grant.caller.as_deref())
            }
        }
        Err(error) => {
            let refused = !error.kind().passes_by_itself() && error.kind() != Kind::Internal;
            Line {
                decision: if refused { "denied" } else { "error" },
                reason: error.cause().to_owned(),
                aws_request_id: error.aws_request_id().map(ToOwned::to_owned),
                ..about(line, error.caller().map(|caller| &**caller))
            }
        }
    }
}

/// `line` with whom it is about, if a token was verified.
fn about(line: Line, caller: Option<&Caller>) -> Line {
    Line {
        issuer: caller.map(|caller| Arc::clone(&caller.issuer)),
        client_id: caller.map(|caller| Arc::clone(&caller.client_id)),
        subject: caller.map(|caller| Arc::clone(&caller.subject)),
        ..line
    }
}
