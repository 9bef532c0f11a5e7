//! The admin door: is it alive, is it ready, what does it count, and all of it as a page for people. Never on a data port. The metrics door is the same for
//! those who come from outside, scrapers and kubelets, and takes no purge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tracing::warn;

use crate::broker::Selector;
use crate::digest::sha256;
use crate::error::{Error, Kind};
use crate::metrics::{Listener, Outcome};
use crate::server::accept::serve_http1_heads;
use crate::server::guard::Guard;
use crate::server::http::{ServeFuture, bearer, check_framing, has_body, refused};
use crate::server::lines::as_sent;
use crate::server::{House, Phase, reply, status, tls};

/// Prometheus's text format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One of the two doors.
struct Door {
    house: Arc<House>,
    guard: Guard,
    listener: Listener,
}

/// What each connection of the admin door is served with.
pub(super) fn door(
    house: &Arc<House>,
    address: SocketAddr,
) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture + use<> {
    serving(Door { house: Arc::clone(house), guard: Guard::new(address), listener: Listener::Admin })
}

/// What each connection of the metrics door is served with. A service's name, a pod's or the node's: it has them all.
pub(super) fn metrics_door(house: &Arc<House>) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture + use<> {
    serving(Door { house: Arc::clone(house), guard: Guard::of_any_name(), listener: Listener::Metrics })
}

fn serving(door: Door) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture {
    let door = Arc::new(door);
    move |stream, phase| {
        let door = Arc::clone(&door);
        Box::pin(async move {
            let limits = door.house.settings.now().limits;
            serve_http1_heads(stream, limits, phase, |request| answer(&door, request)).await;
        })
    }
}

async fn answer(door: &Door, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let house = &door.house;
    let started = house.clock.boot();
    let trail = house.trail(door.listener, request.headers());
    let has_body = has_body(request.headers());
    let (response, outcome) = match page(door, request).await {
        Ok(response) if response.status() == StatusCode::OK => (response, Outcome::Ok),
        Ok(response) => (response, Outcome::Unavailable),
        Err(error) => {
            house.reporter.tell(door.listener, &error, &trail);
            (refused(&error, has_body, trail.id()), reply::row(error.kind()).outcome)
        }
    };
    house.answered(door.listener, outcome, started);
    response
}

async fn page(door: &Door, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let house = &door.house;
    let settings = house.settings.now();
    door.guard.check(settings.limits, request.version(), request.uri(), request.headers())?;
    check_framing(request.headers())?;
    if let (Listener::Admin, &Method::POST, "/purge", Some(token)) =
        (door.listener, request.method(), request.uri().path(), &settings.admin_token)
    {
        return purge(house, token, request).await;
    }
    if request.method() != Method::GET {
        return Err(Error::new(Kind::MethodNotAllowed, "the method is not GET"));
    }
    if has_body(request.headers()) {
        return Err(Error::new(Kind::RequestTooLarge, "a GET with a body"));
    }
    match request.uri().path() {
        "/livez" => Ok(reply::json(StatusCode::OK, Bytes::from_static(br#"{"alive":true}"#))),
        "/readyz" => Ok(readiness(&house.waiting_for())),
        "/metrics" => metrics(house),
        "/" if door.listener == Listener::Admin => status::response(house).await,
        _ => Err(Error::new(Kind::NotFound, "the path is none of /livez, /readyz, /metrics, and / of the admin door")),
    }
}

fn readiness(waiting_for: &[String]) -> Response<Full<Bytes>> {
    let ready = waiting_for.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "waiting_for": waiting_for});
    reply::json(status, body.to_string().into())
}

fn metrics(house: &House) -> Result<Response<Full<Bytes>>, Error> {
    house.broker.observe();
    tls::observe(house);
    house.metrics.ready.set(house.waiting_for().is_empty().into());
    let text = house.metrics.render().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let mut response = reply::json(StatusCode::OK, text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    Ok(response)
}

/// `POST /purge` with `{"all": true}`, `{"client_id": …}` or `{"issuer": …, "subject": …}`: drops what is held for them.
async fn purge(house: &House, own: &SecretString, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let brought = sha256(bearer(request.headers())?.expose_secret().as_bytes());
    // Digests are compared, and in constant time: how much of a wrong token is right cannot be measured.
    if verify_slices_are_equal(&brought, &sha256(own.expose_secret().as_bytes())).is_err() {
        return Err(Error::new(Kind::Unauthorized, "the token is not that of admin.token_file"));
    }
    let body = Limited::new(request.into_body(), PURGE_BYTES).collect();
    let body = tokio::time::timeout(PURGE_TIMEOUT, body).await.map_err(|_elapsed| not_a_purge())?;
    let body = body.map_err(|_| Error::new(Kind::RequestTooLarge, "the body of a purge is larger than 8 KiB"))?;
    let typed: Purge = serde_json::from_slice(&as_sent(&body.to_bytes())).map_err(|_| not_a_purge())?;
    let selector = typed.selector().ok_or_else(not_a_purge)?;
    let what = match &selector {
        Selector::All => "all",
        Selector::Client(_) => "client",
        Selector::Subject { .. } => "subject",
    };
    let purged = house.broker.purge(selector).await?;
    warn!(purged, what, "purged, as the admin token's bearer asked");
    Ok(reply::json(StatusCode::OK, json!({ "purged": purged }).to_string().into()))
}

/// Longest body of a purge.
const PURGE_BYTES: usize = 8 * 1024;

/// Time for the whole of it.
const PURGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a purge may say: one of the three, and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    all: Option<bool>,
    client_id: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
}

impl Purge {
    fn selector(self) -> Option<Selector> {
        match (self.all, self.client_id, self.issuer, self.subject) {
            (Some(true), None, None, None) => Some(Selector::All),
            (None, Some(client_id), None, None) => Some(Selector::Client(client_id)),
            (None, None, Some(issuer), Some(subject)) => Some(Selector::Subject { issuer, subject }),
            _ => None,
        }
    }
}

fn not_a_purge() -> Error {
    Error::new(Kind::InvalidRequest, "a purge is {\"all\":true}, {\"client_id\":…} or {\"issuer\":…,\"subject\":…}")
}
