//! The gRPC door: `cupbearer.v1.CredentialBroker` and `grpc.health.v1`, over HTTP/2 and nothing else,
//! on a TCP and on a Unix socket.

mod direct;
mod frames;
mod health;
mod message;
mod pulse;
mod reflection;
mod service;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service;
use tracing::debug;

use crate::broker::Grant;
use crate::error::{Error, Kind};
use crate::metrics::Listener;
use crate::model::Ask;
use crate::server::accept::FIRST_BYTE_TIMEOUT;
use crate::server::guard::Guard;
use crate::server::http::ServeFuture;
use crate::server::patient::Patient;
use crate::server::peer::Peer;
use crate::server::proto::CredentialBrokerServer;
use crate::server::tls::{self, Card};
use crate::server::{House, Limits, MAX_HEADERS, Phase, reply, stopping};
use crate::trace::Trail;

use frames::Frames;
use message::Message;
use pulse::{Counted, Fate, LOOK, Lasting, Pulse, Seen};
use service::Grpc;

pub(super) use health::watch_health;

/// Most requests at once on one connection.
const STREAMS: u32 = 64;

/// Most watches at once on one connection.
const WATCHES: usize = 48;

/// How often a silent connection is asked whether it is there, and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Longest message; ours are a few hundred bytes.
const MESSAGE_BYTES: usize = 32 * 1024;

/// How the calls are named whose answers have no end.
const WATCH: [(&str, Lasting); 2] = [
    ("/cupbearer.v1.CredentialBroker/WatchCredentials", Lasting::Credentials),
    ("/grpc.health.v1.Health/Watch", Lasting::Health),
];

/// Bytes of one frame, of one stream's messages that wait to be read, and of its answers that wait to be sent: a message fits.
const FRAME_BYTES: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const SEND_BYTES: usize = 64 * 1024;

/// What each connection of this door is served with.
pub(super) fn door(
    house: &Arc<House>,
    address: SocketAddr,
) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture + use<> {
    let door = Arc::new(Door::new(house, Guard::new(address).and_of_certificate(&house.settings)));
    move |stream: TcpStream, phase| {
        let door = Arc::clone(&door);
        Box::pin(async move {
            // One who is gone already is not served.
            let Ok(peer) = stream.peer_addr().map(Peer::Address) else { return };
            let connection = Connection::new(Listener::Grpc, peer);
            let Some(tls) = door.house.settings.now().tls.clone() else {
                return enter(stream, phase, &door, connection).await;
            };
            let Some((stream, card)) = tls::greet(&door.house, Listener::Grpc, stream, tls).await else { return };
            enter(stream, phase, &door, Connection { card: Some(Arc::new(card)), ..connection }).await;
        })
    }
}

/// The same for the Unix socket. Clients have no name to call it by, and send any: it is the file that they named.
pub(super) fn unix_door(house: &Arc<House>) -> impl Fn(UnixStream, watch::Receiver<Phase>) -> ServeFuture + use<> {
    let door = Arc::new(Door::new(house, Guard::of_any_name()));
    move |stream: UnixStream, phase| {
        let door = Arc::clone(&door);
        Box::pin(async move {
            let Ok(credentials) = stream.peer_cred() else { return };
            let peer = Peer::Process { uid: credentials.uid(), gid: credentials.gid() };
            let admitted = door.house.settings.now().grpc_uds_peers.admit(peer);
            let entered = enter(stream, phase, &door, Connection::new(Listener::GrpcUds, peer));
            if admitted {
                entered.await;
            } else {
                // Time to be told so, and not to take a place from others.
                tokio::time::timeout(FIRST_BYTE_TIMEOUT, entered).await.ok();
            }
        })
    }
}

/// What all connections of one socket share.
struct Door {
    house: Arc<House>,
    guard: Guard,
    routes: Routes,
}

impl Door {
    fn new(house: &Arc<House>, guard: Guard) -> Self {
        let service = CredentialBrokerServer::new(Grpc(Arc::clone(house))).max_decoding_message_size(MESSAGE_BYTES);
        let routes = reflection::add(Routes::new(service).add_service(health::server(house))).prepare();
        Self { house: Arc::clone(house), guard, routes }
    }
}

/// The connection that a request came in by, as the request's extension.
#[derive(Clone)]
struct Connection {
    listener: Listener,
    peer: Peer,
    /// What was shown, under TLS.
    card: Option<Arc<Card>>,
    watches: Arc<Semaphore>,
}

impl Connection {
    fn new(listener: Listener, peer: Peer) -> Self {
        Self { listener, peer, card: None, watches: Arc::new(Semaphore::new(WATCHES)) }
    }

    /// For a request that no connection of this door brought.
    fn unknown() -> Self {
        Self::new(Listener::Grpc, Peer::Address((Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    /// Writes a decision on what this connection's peer asked into the audit log.
    fn audited(&self, house: &House, trail: &Trail, ask: Option<&Ask>, done: &Result<Grant, Error>) {
        house.audited(self.listener, self.peer, trail, ask, done);
    }

    /// A watch lives for as long as its token, or as this connection; some streams are kept for calls that do not.
    fn place_to_watch(&self) -> Result<OwnedSemaphorePermit, Error> {
        let full = |_| Error::new(Kind::TooManyRequests, "this connection has as many watches as one may have");
        Arc::clone(&self.watches).try_acquire_owned().map_err(full)
    }
}

/// Serves `stream` until its end.
async fn enter(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    phase: watch::Receiver<Phase>,
    door: &Arc<Door>,
    connection: Connection,
) {
    let Some(mut frames) = Frames::open(stream).await else { return };
    if let Err(error) = serve(&mut frames, phase, door, connection).await {
        debug!(%error, "a connection ended early");
        frames.farewell().await;
    }
}

async fn serve(
    stream: &mut Frames<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    mut phase: watch::Receiver<Phase>,
    door: &Arc<Door>,
    connection: Connection,
) -> hyper::Result<()> {
    let limits = door.house.settings.now().limits;
    let door = Arc::clone(door);
    let pulse = Arc::new(Pulse::default());
    let felt = Arc::clone(&pulse);
    let service = service_fn(move |mut request: HttpRequest<Incoming>| {
        felt.asked();
        request.extensions_mut().insert(connection.clone());
        let (door, connection, pulse) = (Arc::clone(&door), connection.clone(), Arc::clone(&felt));
        async move {
            let lasting = WATCH.iter().find(|(path, _)| request.uri().path() == *path).map(|(_, lasting)| *lasting);
            let answer = answer(&door, &connection, request.map(Message::new)).await;
            Ok::<_, Infallible>(Counted::response(answer, &pulse, lasting))
        }
    });
    let serving = builder(limits).serve_connection(TokioIo::new(Patient::new(stream)), service);
    let mut serving = pin!(serving);
    let (mut seen, mut looks) = (Seen::default(), tokio::time::interval(LOOK));
    looks.reset();
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            _ = looks.tick() => match pulse.look(&mut seen) {
                Fate::Stays => {}
                Fate::Leaves => serving.as_mut().graceful_shutdown(),
                Fate::Ends => {
                    debug!("a connection took no answer, asked for none, or did not leave, and is closed");
                    return Ok(());
                }
            },
            () = stopping(&mut phase) => {
                serving.as_mut().graceful_shutdown();
                return serving.await;
            }
        }
    }
}

/// Answers one request: the guard, then tonic, whose own refusals get the table's form. A panic on the way is counted
/// and told as our bug.
async fn answer(door: &Door, connection: &Connection, mut request: HttpRequest<Message>) -> HttpResponse<Body> {
    let trail = door.house.trail(connection.listener, request.headers());
    request.extensions_mut().insert(trail.clone());
    let response = trail.around(judged(door, connection, &trail, request)).await;
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let failed = matches!(code, Code::Unavailable | Code::Internal);
    trail.end(if code == Code::Ok { "ok" } else { "refused" }, failed);
    response
}

async fn judged(
    door: &Door,
    connection: &Connection,
    trail: &Trail,
    request: HttpRequest<Message>,
) -> HttpResponse<Body> {
    let (house, listener) = (&door.house, connection.listener);
    if let Err(error) = judge(door, connection, &request) {
        return refuse(house, listener, trail, &error);
    }
    if request.uri().path().starts_with(reflection::PREFIX) && !house.settings.now().grpc_reflection {
        return refuse(house, listener, trail, &Error::new(Kind::MethodNotAllowed, "server.grpc_reflection is off"));
    }
    match AssertUnwindSafe(call(door, connection, trail, request)).catch_unwind().await {
        Ok(Ok(response)) => match tonics_own(response.headers()) {
            Some(error) => refuse(house, listener, trail, &error),
            None => response,
        },
        Ok(Err(error)) => refuse(house, listener, trail, &error),
        Err(_panic) => refuse(house, listener, trail, &house.panicked()),
    }
}

/// Has a request answered by the short way where there is one, and by tonic.
async fn call(
    door: &Door,
    connection: &Connection,
    trail: &Trail,
    request: HttpRequest<Message>,
) -> Result<HttpResponse<Body>, Error> {
    let request = if direct::is_for(&request) {
        let (head, body) = request.into_parts();
        // Of one message, as tonic bounds it.
        let body = Limited::new(body, MESSAGE_BYTES + direct::PREFIX).collect().await.map_err(|error| cut(&*error))?;
        let body = body.to_bytes();
        if let Some(response) = direct::answer(&door.house, connection, trail, &head.headers, &body) {
            return Ok(response);
        }
        HttpRequest::from_parts(head, Body::new(Full::new(body)))
    } else {
        request.map(Body::new)
    };
    let answered = door.routes.clone().call(request).await;
    Ok(answered.unwrap_or_else(|never| match never {}))
}

/// Why a message did not come whole.
fn cut(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if error.is::<LengthLimitError>() {
        Error::new(Kind::RequestTooLarge, "the message is larger than 32 KiB")
    } else {
        Error::new(Kind::InvalidRequest, "the message ended before its end")
    }
}

/// Whether this peer may send this request. The peer first, and with each request: a reload may have struck it out.
fn judge(door: &Door, connection: &Connection, request: &HttpRequest<Message>) -> Result<(), Error> {
    let (settings, peer) = (door.house.settings.now(), connection.peer);
    if !settings.grpc_uds_peers.admit(peer) {
        let cause = format!("{peer} is in neither of server.grpc_uds_allow_uids and grpc_uds_allow_gids");
        return Err(Error::new(Kind::ForbiddenRequest, cause));
    }
    connection.card.as_ref().map_or(Ok(()), |card| card.check(&door.house))?;
    door.guard.check(settings.limits, request.version(), request.uri(), request.headers())?;
    if !is_grpc(request.headers()) {
        return Err(Error::new(Kind::InvalidRequest, "the content type is not application/grpc"));
    }
    Ok(())
}

/// The content type that every gRPC client sends (gRPC over HTTP/2, "Requests"), and no web page may without asking first.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()?.strip_prefix("application/grpc"));
    kind.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

fn refuse(house: &House, listener: Listener, trail: &Trail, error: &Error) -> HttpResponse<Body> {
    house.reporter.tell(listener, error, trail);
    house.answered(listener, reply::row(error.kind()).outcome, house.clock.boot());
    service::status(error, trail.id()).into_http()
}

/// The failure that tonic found by itself, before our code saw the call; ours carry details, tonic's do not. That there is no
/// such service is what the health service answers.
fn tonics_own(headers: &HeaderMap) -> Option<Error> {
    let status = Status::from_header_map(headers)?;
    if matches!(status.code(), Code::Ok | Code::NotFound) || !status.details().is_empty() {
        return None;
    }
    Some(match status.code() {
        Code::Unimplemented => Error::new(Kind::MethodNotAllowed, "the method or its encoding is not served"),
        Code::OutOfRange | Code::ResourceExhausted => {
            Error::new(Kind::RequestTooLarge, "the message is larger than 32 KiB")
        }
        _ => Error::new(Kind::InvalidRequest, "the message is not what the method takes"),
    })
}

/// HTTP/2 alone, with its bounds: hyper's own are 200 streams and 16 KiB of headers, too many and too small.
fn builder(limits: Limits) -> http2::Builder<TokioExecutor> {
    // A header counts 32 bytes more than its text (RFC 9113 section 6.5.2).
    let list = limits.header_bytes + MAX_HEADERS * 32;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1);
    builder
}
