//! The HTTP door: the container-credentials protocol of the AWS SDKs
//! (`AWS_CONTAINER_CREDENTIALS_FULL_URI`, AWS SDKs and Tools Reference Guide, "Container credential provider").

use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::Either;
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

/// AWS SDKs keep what they get, and come back for more.
const HOLDER: bool = true;

/// How RFC 6750 has it (section 2.1), in any case.
const SCHEME: &str = "bearer ";

/// What each connection of this door is served with.
pub(super) fn door(
    house: &Arc<House>,
    address: SocketAddr,
) -> impl Fn(TcpStream, watch::Receiver<Phase>) -> ServeFuture + use<> {
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
pub(super) type ServeFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a request is answered: before [`answer`] returns, or by the long way.
type Answering<'a> =
    Either<Ready<Response<Full<Bytes>>>, Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send + 'a>>>;

/// Answers one request; a panic on the way is counted and told as our bug.
///
/// A hit, and a refusal that needs nothing but the head, are answered before this returns: the request is gone by then, and
/// hyper reads on into the buffer that its head lay in, instead of making another and wiping this one.
fn answer<'a>(
    house: &'a House,
    guard: &Guard,
    peer: Peer,
    card: Option<&Card>,
    request: Request<Incoming>,
) -> Answering<'a> {
    let trail = house.trail(Listener::Http, request.headers());
    let turn = Turn { house, peer, trail, started: house.clock.boot() };
    let work = AssertUnwindSafe(|| {
        card.map_or(Ok(()), |card| card.check(house))?;
        at_once(&turn, guard, &request)
    });
    let done = match std::panic::catch_unwind(work).unwrap_or_else(|_panic| Err(house.panicked())) {
        Ok(None) => return Either::Right(Box::pin(at_length(turn, request))),
        Ok(Some((response, outcome))) => turn.end(response, outcome),
        Err(error) => turn.refuse(error, None, request.headers()),
    };
    Either::Left(ready(done))
}

/// An answer, and how it is counted.
type Answered = (Response<Full<Bytes>>, Outcome);

/// One request's turn.
struct Turn<'a> {
    house: &'a House,
    peer: Peer,
    trail: Trail,
    /// By the boot-time clock.
    started: Duration,
}

impl Turn<'_> {
    fn end(&self, response: Response<Full<Bytes>>, outcome: Outcome) -> Response<Full<Bytes>> {
        self.house.answered(Listener::Http, outcome, self.started);
        self.trail.end(outcome.as_str(), response.status().is_server_error());
        response
    }

    fn refuse(&self, error: Error, asked: Option<&Ask>, headers: &HeaderMap) -> Response<Full<Bytes>> {
        self.house.reporter.tell(Listener::Http, &error, &self.trail);
        let (response, outcome) =
            (refused(&error, has_body(headers), self.trail.id()), reply::row(error.kind()).outcome);
        self.house.audited(Listener::Http, self.peer, &self.trail, asked, &Err(error));
        self.end(response, outcome)
    }
}

/// The order of judgement: guard, method, framing, body, path, token. None, if all is well and there is no hit.
fn at_once(turn: &Turn<'_>, guard: &Guard, request: &Request<Incoming>) -> Result<Option<Answered>, Error> {
    let (house, headers) = (turn.house, request.headers());
    guard.check(house.settings.now().limits, request.version(), request.uri(), headers)?;
    if request.method() != Method::GET {
        return Err(Error::new(Kind::MethodNotAllowed, "the method is not GET"));
    }
    check_framing(headers)?;
    if has_body(headers) {
        return Err(Error::new(Kind::RequestTooLarge, "a GET with a body"));
    }
    let place = Place::of(request.uri().path())?;
    if request.uri().query().is_some() {
        let cause = "a query is not read: put the role into the path, since some SDKs drop the query";
        return Err(Error::new(Kind::InvalidRequest, cause));
    }
    match place {
        Place::Credentials(question) => {
            let serve = |hit: Hit<'_>| {
                house.audited_hit(Listener::Http, turn.peer, &turn.trail, question, &hit);
                (granted(hit.credentials), outcome(hit.near_expiry))
            };
            Ok(house.broker.hit(bearer_text(headers)?, question, HOLDER, serve))
        }
        Place::Session(_) => Ok(None),
        Place::Guest { .. } if headers.contains_key(AUTHORIZATION) => {
            // Whoever brings a token wants to be somebody, and must not become nobody when it is refused.
            Err(Error::new(Kind::InvalidRequest, "a guest's path takes no Authorization"))
        }
        Place::Guest { .. } => Ok(None),
    }
}

async fn at_length(turn: Turn<'_>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (house, mut asked) = (turn.house, None);
    let work = AssertUnwindSafe(grant(&turn, &request, &mut asked)).catch_unwind();
    let done = turn.trail.around(work).await.unwrap_or_else(|_panic| Err(house.panicked()));
    match done {
        Ok(grant) => {
            let (response, outcome) = (granted(&grant.credentials), outcome(grant.near_expiry));
            house.audited(Listener::Http, turn.peer, &turn.trail, asked.as_ref(), &Ok(grant));
            turn.end(response, outcome)
        }
        Err(error) => turn.refuse(error, asked.as_ref(), request.headers()),
    }
}

/// What the broker says. What was asked for is left in `asked`.
async fn grant(turn: &Turn<'_>, request: &Request<Incoming>, asked: &mut Option<Ask>) -> Result<Grant, Error> {
    let (broker, headers) = (&turn.house.broker, request.headers());
    let visit = Visit { holder: HOLDER, hold: turn.house.settings.now().cold_hold, hold_failures: true };
    match Place::of(request.uri().path())? {
        Place::Credentials(question) => {
            let token = bearer(headers)?.presented_by(turn.peer.presenter());
            broker.credentials(&token, asked.insert(question.to_ask()), visit).await
        }
        Place::Session(id) => {
            let session = broker.enter_session(id, &bearer(headers)?)?;
            *asked = Some(session.ask().clone());
            broker.session_credentials(&session, visit).await
        }
        Place::Guest { profile, handle } => {
            *asked = Some(Ask { profile: profile.to_owned(), ..Ask::default() });
            broker.guest_credentials(profile, handle, visit).await
        }
    }
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
    let token = match text.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token.trim(),
        _ => text,
    };
    if token.is_empty() {
        return Err(refuse("the Authorization header is empty"));
    }
    Ok(token)
}

/// Whether there is one request here, and one protocol.
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    if is_ambiguous(headers) {
        return Err(Error::new(Kind::InvalidRequest, "where the request ends can be read in two ways"));
    }
    if headers.get_all(UPGRADE).iter().any(|protocol| protocol != "h2c") {
        return Err(Error::new(Kind::InvalidRequest, "no other protocol is spoken here (Upgrade)"));
    }
    Ok(())
}

/// What two readers may take for two requests, or for one (RFC 9112 section 6.3). Those that hyper takes at all: a coding
/// that is not `chunked`, or a length beside one.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    coding.is_some_and(|coding| coding != "chunked" || codings.next().is_some() || headers.contains_key(CONTENT_LENGTH))
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}

pub(super) fn has_body(headers: &HeaderMap) -> bool {
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

/// A refusal of a request, whose body, if it has one, is not read.
pub(super) fn refused(error: &Error, has_body: bool, request_id: u64) -> Response<Full<Bytes>> {
    let mut response = reply::response(error.kind());
    response.headers_mut().insert("cupbearer-request-id", request_id.into());
    let is_too_large = error.kind() == Kind::RequestTooLarge;
    if has_body || is_too_large {
        // What follows of a body could be taken for a request; and who sends too much may have more of it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if has_body && is_too_large {
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
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
