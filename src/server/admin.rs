//! The admin door: is it alive, is it ready, what does it count. Never on a data port.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::error::{Error, Kind};
use crate::metrics::{Listener, Outcome};
use crate::server::accept::serve_http1;
use crate::server::guard::Guard;
use crate::server::http::ServeFuture;
use crate::server::{House, Phase, reply};

/// Prometheus's text format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What each connection of this door is served with.
pub(super) fn door(
    house: &Arc<House>,
    address: SocketAddr,
) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture {
    let limits = house.config.limits;
    let guard = Arc::new(Guard::new(address, limits));
    let house = Arc::clone(house);
    move |stream, phase| {
        let (house, guard) = (Arc::clone(&house), Arc::clone(&guard));
        Box::pin(async move {
            serve_http1(stream, limits, phase, |request| {
                let response = answer(&house, &guard, &request);
                async move { response }
            })
            .await;
        })
    }
}

fn answer(house: &House, guard: &Guard, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let started = house.clock.now().boot;
    let (response, outcome) = match page(house, guard, request) {
        Ok(response) if response.status() == StatusCode::OK => (response, Outcome::Ok),
        Ok(response) => (response, Outcome::Unavailable),
        Err(error) => {
            house.reporter.tell(Listener::Admin, &error);
            (reply::response(error.kind()), reply::row(error.kind()).outcome)
        }
    };
    house.answered(Listener::Admin, outcome, started);
    response
}

fn page(house: &House, guard: &Guard, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    guard.check(request.version(), request.uri(), request.headers())?;
    if request.method() != Method::GET {
        return Err(Error::new(Kind::MethodNotAllowed, "the method is not GET"));
    }
    match request.uri().path() {
        "/livez" => Ok(reply::json(StatusCode::OK, Bytes::from_static(br#"{"alive":true}"#))),
        "/readyz" => Ok(readiness(&house.waiting_for())),
        "/metrics" => metrics(house),
        _ => Err(Error::new(Kind::NotFound, "the path is none of /livez, /readyz, /metrics")),
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
    let text = house.metrics.render().map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let mut response = reply::json(StatusCode::OK, text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    Ok(response)
}
