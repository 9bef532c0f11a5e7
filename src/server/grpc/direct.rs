//! GetCredentials by the short way: a hit is answered here, straight from the cache into the one frame that goes out,
//! without the layers and copies of tonic's path. Whatever is not a hit, or is unusual in any way, is left to tonic.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request as HttpRequest, Response as HttpResponse};
use hyper::body::{Body as HttpBody, Frame};
use prost::{Message, encode_length_delimiter, length_delimiter_len};
use tonic::body::Body;
use zeroize::Zeroizing;

use crate::broker::Hit;
use crate::clock::Expiry;
use crate::metrics::Outcome;
use crate::model::{Credentials, IdentityId, Question, RoleArn};
use crate::server::House;
use crate::server::grpc::Connection;
use crate::server::grpc::service::timestamp;
use crate::server::http::bearer_text;
use crate::server::proto::GetCredentialsRequest;
use crate::trace::Trail;

/// The method, as a request's path names it.
const PATH: &str = "/cupbearer.v1.CredentialBroker/GetCredentials";

/// Before each message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

static GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static OK: HeaderValue = HeaderValue::from_static("0");

/// Whether this request may be answered here.
pub(super) fn is_for<B>(request: &HttpRequest<B>) -> bool {
    request.uri().path() == PATH
        && request.method() == Method::POST
        && request.headers().get(CONTENT_TYPE).is_some_and(|sent| sent == GRPC)
}

/// The answer, if it is a hit. `body` is the request's, whole.
pub(super) fn answer(
    house: &House,
    connection: &Connection,
    trail: &Trail,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<HttpResponse<Body>> {
    let started = house.clock.boot();
    let asked = GetCredentialsRequest::decode(message(body)?).ok()?;
    if !asked.session_policy.is_empty() || !asked.policy_arns.is_empty() {
        return None;
    }
    let named = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let question =
        Question { profile: named(asked.profile.as_str()).unwrap_or("default"), role: named(asked.role.as_str()) };
    let serve = |hit: Hit<'_>| {
        house.audited_hit(connection.listener, connection.peer, trail, question, &hit);
        let outcome = if hit.near_expiry { Outcome::NearExpiry } else { Outcome::Ok };
        (frame(hit.credentials, hit.caller.expires), outcome)
    };
    let (frame, outcome) = house.broker.hit(bearer_text(headers).ok()?, question, false, serve)?;
    house.answered(connection.listener, outcome, started);
    let mut response = HttpResponse::new(Body::new(Reply { frame: Some(frame), over: false }));
    response.headers_mut().insert(CONTENT_TYPE, GRPC.clone());
    Some(response)
}

/// The one message of a body, if it is not compressed.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<PREFIX>()?;
    let [0, length @ ..] = *prefix else { return None };
    (u32::from_be_bytes(length) as usize == message.len()).then_some(message)
}

/// A `GetCredentialsResponse` with its prefix. Written into a buffer of its very size, which is wiped when it is sent.
fn frame(credentials: &Credentials, present_token_by: Expiry) -> Bytes {
    let role = credentials.role_arn.as_ref();
    let before =
        [&*credentials.access_key_id, credentials.expose_secret_access_key(), credentials.expose_session_token()];
    let after = [
        role.map_or("", RoleArn::as_str),
        role.and_then(RoleArn::account_id).unwrap_or_default(),
        credentials.identity_id.as_ref().map_or("", |IdentityId(id)| id),
    ];
    let (expiration, present_token_by) = (timestamp(credentials.expires.wall()), timestamp(present_token_by.wall()));
    let texts: usize = before.iter().chain(&after).map(|text| field_bytes(text.len())).sum();
    let inner = texts + field_bytes(expiration.encoded_len());
    let whole = field_bytes(inner) + field_bytes(present_token_by.encoded_len());
    let mut out = Zeroizing::new(Vec::with_capacity(PREFIX + whole));
    out.put_u8(0);
    out.put_u32(u32::try_from(whole).unwrap_or(u32::MAX));
    begin(&mut out, 1, inner);
    (1..).zip(before).for_each(|(number, text)| put_text(&mut out, number, text));
    put_message(&mut out, 4, &expiration);
    (5..).zip(after).for_each(|(number, text)| put_text(&mut out, number, text));
    put_message(&mut out, 2, &present_token_by);
    Bytes::from_owner(out)
}

/// What a field takes whose content is so long; an empty one is left out. Its number is below 16, and so takes one byte
/// (Protocol Buffers, "Encoding").
fn field_bytes(content: usize) -> usize {
    if content == 0 { 0 } else { 1 + length_delimiter_len(content) + content }
}

/// Begins a field that tells its length.
fn begin(out: &mut Vec<u8>, number: u8, length: usize) {
    out.put_u8((number << 3) | 2);
    // A vector has room for more.
    encode_length_delimiter(length, out).ok();
}

fn put_text(out: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        begin(out, number, text.len());
        out.put_slice(text.as_bytes());
    }
}

fn put_message(out: &mut Vec<u8>, number: u8, message: &impl Message) {
    let length = message.encoded_len();
    if length > 0 {
        begin(out, number, length);
        message.encode(out).ok();
    }
}

/// One frame, and the trailers that say that all is well.
struct Reply {
    frame: Option<Bytes>,
    over: bool,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frame.take() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if std::mem::replace(&mut self.over, true) {
            return Poll::Ready(None);
        }
        let trailers = HeaderMap::from_iter([(GRPC_STATUS.clone(), OK.clone())]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::Moment;
    use crate::model::Issued;
    use crate::server::proto::{self, GetCredentialsResponse};

    #[test]
    fn a_frame_is_what_tonic_would_have_sent() {
        let now = Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), boot: Duration::ZERO };
        let expires = Expiry::at(now.wall + Duration::from_secs(3_600), now);
        let by = Expiry::at(now.wall + Duration::from_millis(1_234_567), now);
        for (role_arn, identity_id, token) in [
            (Some(RoleArn::new("arn:aws:iam::111122223333:role/r")), None, "t".repeat(1_200)),
            (None, Some(IdentityId("us-east-1:0".into())), "t".to_owned()),
            (None, None, String::new()),
        ] {
            let credentials = Credentials::from(Issued {
                access_key_id: "ASIAEXAMPLE".to_owned(),
                secret_access_key: "secret".to_owned().into(),
                session_token: token.clone().into(),
                received: now,
                expires,
                role_arn: role_arn.clone(),
                identity_id: identity_id.clone(),
            });
            let frame = frame(&credentials, by);
            let wanted = GetCredentialsResponse {
                credentials: Some(proto::Credentials {
                    access_key_id: "ASIAEXAMPLE".to_owned(),
                    secret_access_key: "secret".to_owned(),
                    session_token: token,
                    expiration: Some(timestamp(expires.wall())),
                    role_arn: role_arn.as_ref().map(ToString::to_string).unwrap_or_default(),
                    account_id: role_arn.as_ref().and_then(RoleArn::account_id).unwrap_or_default().to_owned(),
                    identity_id: identity_id.map(|id| id.0.to_string()).unwrap_or_default(),
                }),
                present_token_by: Some(timestamp(by.wall())),
            };
            assert_eq!(message(&frame).map(<[u8]>::to_vec), Some(wanted.encode_to_vec()));
        }
    }

    #[test]
    fn one_message_that_is_whole_and_not_compressed() {
        assert_eq!(message(&[0, 0, 0, 0, 0]), Some(&[][..]));
        assert_eq!(message(&[0, 0, 0, 0, 1, 7]), Some(&[7][..]));
        for bent in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 7]] {
            assert_eq!(message(bent), None, "{bent:?}");
        }
    }
}
