//! The HTTP door: the container-credentials protocol of the AWS SDKs
//! (`AWS_CONTAINER_CREDENTIALS_FULL_URI`, AWS SDKs and Tools Reference Guide, "Container credential provider").

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::broker::{Grant, Hit, Visit};
use crate::error::{Error, Kind};
use crate::metrics::{Listener, Outcome};
use crate::model::{Ask, Credentials, Question};
use crate::secret::CupToken;
use crate::server::accept::{serve_http1_heads, serve_spoken};
use crate::server::guard::Guard;
use crate::server::lines::Lines;
use crate::server::peer::Peer;
use crate::server::tls::{self, Card};
use crate::server::{House, Phase, reply};
use crate::trace::Trail;

/// Tells the Cognito identity, which IAM policies use in S3 keys.
static IDENTITY_ID: HeaderName = HeaderName::from_static("cupbearer-identity-id");

/// Longest profile or alias in a path.
const NAME_BYTES: usize = 64;

/// What each connection of this door is served with.
pub(super) fn door(
    house: &Arc<House>,
    address: SocketAddr,
) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture {
    let guard = Arc::new(Guard::new(address).and_of_certificate(&house.settings));
    let house = Arc::clone(house);
    move |stream, phase| {
        let (house, guard) = (Arc::clone(&house), Arc::clone(&guard));
        Box::pin(async move {
            // One who is gone already is not served.
            let Ok(peer) = stream.peer_addr().map(Peer::Address) else { return };
            let (limits, tls) = {
                let settings = house.settings.now();
                (settings.limits, settings.tls.clone())
            };
            let Some(tls) = tls else {
                return serve_http1_heads(stream, limits, phase, |request| answer(&house, &guard, peer, None, request))
                    .await;
            };
            let Some((stream, card)) = tls::greet(&house, Listener::Http, stream, tls).await else { return };
            serve_spoken(Lines::new(stream), limits, phase, |request| {
                answer(&house, &guard, peer, Some(&card), request)
            })
            .await;
        })
    }
}

/// A connection being served.
pub(super) type ServeFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers one request; a panic on the way is counted and told as our bug.
async fn answer(
    house: &House,
    guard: &Guard,
    peer: Peer,
    card: Option<&Card>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let started = house.clock.now().boot;
    let mut asked = None;
    let trail = house.trail(Listener::Http, request.headers());
    let admitted = card.map_or(Ok(()), |card| card.check(house));
    let work = AssertUnwindSafe(async {
        admitted?;
        credentials(house, guard, (peer, &trail), &request, &mut asked).await
    });
    let done = trail.around(work.catch_unwind()).await;
    let done = done.unwrap_or_else(|_panic| Err(house.panicked()));
    let (response, outcome) = match done {
        Ok(Answer::Served(response, outcome)) => (response, outcome),
        Ok(Answer::Granted(grant)) => {
            let served = (granted(&grant.credentials), outcome(grant.near_expiry));
            house.audited(Listener::Http, peer, &trail, asked.as_ref(), &Ok(grant));
            served
        }
        Err(error) => {
            house.reporter.tell(Listener::Http, &error, &trail);
            let told = (refused(&error, &request, trail.id()), reply::row(error.kind()).outcome);
            house.audited(Listener::Http, peer, &trail, asked.as_ref(), &Err(error));
            told
        }
    };
    house.answered(Listener::Http, outcome, started);
    trail.end(outcome.as_str(), response.status().is_server_error());
    response
}

/// How a question was answered.
enum Answer {
    /// By the short way, and audited.
    Served(Response<Full<Bytes>>, Outcome),
    /// By the long one.
    Granted(Grant),
}

/// The order of judgement: guard, method, framing, body, path, token, and then what the broker says. What was asked for is left
/// in `asked`.
async fn credentials(
    house: &House,
    guard: &Guard,
    (peer, trail): (Peer, &Trail),
    request: &Request<Incoming>,
    asked: &mut Option<Ask>,
) -> Result<Answer, Error> {
    let headers = request.headers();
    let settings = house.settings.now();
    guard.check(settings.limits, request.version(), request.uri(), headers)?;
    if request.method() != Method::GET {
        return Err(Error::new(Kind::MethodNotAllowed, "the method is not GET"));
    }
    if is_ambiguous(headers) {
        return Err(Error::new(Kind::InvalidRequest, "where the request ends can be read in two ways"));
    }
    if headers.get_all(UPGRADE).iter().any(|protocol| protocol != "h2c") {
        return Err(Error::new(Kind::InvalidRequest, "no other protocol is spoken here (Upgrade)"));
    }
    if has_body(headers) {
        return Err(Error::new(Kind::RequestTooLarge, "a GET with a body"));
    }
    let place = Place::of(request.uri().path())?;
    if request.uri().query().is_some() {
        let cause = "a query is not read: put the role into the path, since some SDKs drop the query";
        return Err(Error::new(Kind::InvalidRequest, cause));
    }
    let visit = Visit { holder: true, hold: settings.cold_hold, hold_failures: true };
    let grant = match place {
        Place::Credentials(question) => {
            let token = bearer_text(headers)?;
            let serve = |hit: Hit<'_>| {
                house.audited_hit(Listener::Http, peer, trail, question, &hit);
                Answer::Served(granted(hit.credentials), outcome(hit.near_expiry))
            };
            if let Some(served) = house.broker.hit(token, question, visit.holder, serve) {
                return Ok(served);
            }
            let token = CupToken::new(token).presented_by(peer.presenter());
            // In rooms of their own, these long ways: every request's future is moved, and would be as large as they are.
            Box::pin(house.broker.credentials(&token, asked.insert(question.to_ask()), visit)).await?
        }
        Place::Session(id) => {
            let session = house.broker.enter_session(id, &bearer(headers)?)?;
            *asked = Some(session.ask().clone());
            Box::pin(house.broker.session_credentials(&session, visit)).await?
        }
        Place::Guest { profile, handle } => {
            if headers.contains_key(AUTHORIZATION) {
                // Whoever brings a token wants to be somebody, and must not become nobody when it is refused.
                return Err(Error::new(Kind::InvalidRequest, "a guest's path takes no Authorization"));
            }
            *asked = Some(Ask { profile: profile.to_owned(), ..Ask::default() });
            Box::pin(house.broker.guest_credentials(profile, handle, visit)).await?
        }
    };
    Ok(Answer::Granted(grant))
}

/// What a path names.
enum Place<'a> {
    Credentials(Question<'a>),
    Session(&'a str),
    Guest { profile: &'a str, handle: &'a str },
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Result<Self, Error> {
        if let Some(id) = path.strip_prefix("/v1/sessions/") {
            let unknown = || Error::new(Kind::NotFound, "the path names no session");
            return Some(id).filter(|id| is_name(id)).map(Self::Session).ok_or_else(unknown);
        }
        if let Some(rest) = path.strip_prefix("/v1/unauthenticated/") {
            let unknown = || Error::new(Kind::NotFound, "the path is not /v1/unauthenticated/PROFILE/HANDLE");
            let named = rest.split_once('/').filter(|(profile, handle)| is_name(profile) && is_name(handle));
            let (profile, handle) = named.ok_or_else(unknown)?;
            return Ok(Self::Guest { profile, handle });
        }
        question(path).map(Self::Credentials)
    }
}

/// `/v1/credentials`, `/v1/credentials/{profile}` or `/v1/credentials/{profile}/{role}`, matched byte by byte: what
/// would need decoding is no name.
fn question(path: &str) -> Result<Question<'_>, Error> {
    let unknown = || Error::new(Kind::NotFound, "the path is none of /v1/credentials[/PROFILE[/ROLE]]");
    let rest = path.strip_prefix("/v1/credentials").ok_or_else(unknown)?;
    if rest.is_empty() {
        return Ok(Question { profile: "default", role: None });
    }
    let rest = rest.strip_prefix('/').ok_or_else(unknown)?;
    let (profile, role) = rest.split_once('/').map_or((rest, None), |(profile, role)| (profile, Some(role)));
    if !is_name(profile) || !role.is_none_or(is_name) {
        return Err(unknown());
    }
    Ok(Question { profile, role })
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The token of the one Authorization header, to keep.
pub(super) fn bearer(headers: &HeaderMap) -> Result<CupToken, Error> {
    bearer_text(headers).map(CupToken::new)
}

/// The token of the one Authorization header: raw, as all AWS SDKs send it, or after `Bearer` (RFC 6750).
pub(super) fn bearer_text(headers: &HeaderMap) -> Result<&str, Error> {
    let refuse = |cause: &'static str| Error::new(Kind::Unauthorized, cause);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| refuse("there is no Authorization header"))?;
    if values.next().is_some() {
        return Err(refuse("there are several Authorization headers"));
    }
    // As `HeaderValue::to_str` has it, which looks at one byte at a time of some thousand: no value holds a control character.
    let text = Some(value.as_bytes()).filter(|bytes| bytes.is_ascii()).and_then(|bytes| str::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| refuse("the Authorization header is not ASCII"))?.trim();
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    };
    if token.is_empty() {
        return Err(refuse("the Authorization header is empty"));
    }
    Ok(token)
}

/// What two readers may take for two requests, or for one (RFC 9112 section 6.3). Those that hyper takes at all: a coding
/// that is not `chunked`, or a length beside one.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    coding.is_some_and(|coding| coding != "chunked" || codings.next().is_some() || headers.contains_key(CONTENT_LENGTH))
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
}

fn outcome(near_expiry: bool) -> Outcome {
    if near_expiry { Outcome::NearExpiry } else { Outcome::Ok }
}

fn granted(credentials: &Credentials) -> Response<Full<Bytes>> {
    let mut response = reply::json(StatusCode::OK, credentials.expose_document());
    let identity = credentials.identity_id.as_ref().and_then(|id| HeaderValue::from_str(&id.0).ok());
    if let Some(identity) = identity {
        response.headers_mut().insert(IDENTITY_ID.clone(), identity);
    }
    response
}

fn refused(error: &Error, request: &Request<Incoming>, request_id: u64) -> Response<Full<Bytes>> {
    let mut response = reply::response(error.kind());
    response.headers_mut().insert("cupbearer-request-id", request_id.into());
    if has_body(request.headers()) {
        // The body is not read; what follows on this connection could be taken for a request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if error.kind() == Kind::RequestTooLarge {
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_byte_by_byte() {
        let asked = |path| question(path).ok().map(|question| (question.profile, question.role));
        let named = |profile, role| Some((profile, role));
        assert_eq!(asked("/v1/credentials"), named("default", None));
        assert_eq!(asked("/v1/credentials/reports"), named("reports", None));
        assert_eq!(asked("/v1/credentials/default/admin"), named("default", Some("admin")));
        for path in [
            "/",
            "",
            "/v1/credential",
            "/v1/credentials/",
            "/v1/credentialsx",
            "/V1/credentials",
            "//v1/credentials",
            "/v1/credentials//admin",
            "/v1/credentials/default/",
            "/v1/credentials/default/admin/",
            "/v1/credentials/default/%61dmin",
            "/v1/credentials/default/a;b",
            "/v1/credentials/../credentials",
            "/v1/credentials/default/arn:aws:iam::111122223333:role/admin",
        ] {
            // Dots are letters of names; no path is walked, so that ".." is just an unknown profile.
            let known = path == "/v1/credentials/../credentials";
            assert_eq!(asked(path).is_some(), known, "{path}");
        }
    }

    #[test]
    fn one_bearer_in_either_form() {
        let token = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).ok().map(|token| token.expose_secret().to_owned())
        };
        for value in ["a.b.c", "Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c ", " a.b.c"] {
            assert_eq!(token(&[value]).as_deref(), Some("a.b.c"), "{value}");
        }
        assert_eq!(token(&["Basic a.b.c"]).as_deref(), Some("Basic a.b.c"), "left for the verifier to refuse");
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[""]), None);
        assert_eq!(token(&["a.b.c", "a.b.c"]), None);
    }
}
