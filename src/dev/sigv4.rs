//! Who signed a request: its signature is made again with AWS's own signer and compared. Knows no operation.
//!
//! Only signatures in the `Authorization` header are known, not presigned URLs.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

use super::iam::{BROKER_ACCESS_KEY_ID, BROKER_SECRET_ACCESS_KEY};
use super::scenario::REGION;
use super::sessions::{Session, Sessions};
use super::wire::{self, Refusal};

/// Whose key made a signature.
#[derive(Debug)]
pub(crate) enum Signer {
    /// The broker's IAM user, with its long-term key.
    Broker,
    /// A role's session, with temporary credentials.
    Session(Box<Session>),
}

/// Finds the signer of `request` to `service`, or says with STS's texts why there is none. `now` in seconds since 1970.
pub(crate) fn signer(
    request: &Request<Bytes>,
    service: &str,
    sessions: &Sessions,
    now: u64,
) -> Result<Signer, Refusal> {
    let authorization = Authorization::of(request.headers())?;
    let signer = owner(&authorization, request.headers(), sessions, now)?;
    let signed_at = check_date(&authorization, request.headers(), now)?;
    check_scope(&authorization, service)?;
    check_signed_headers(&authorization, request.headers())?;
    let signature = signature(request, service, &authorization, &signer, signed_at);
    let matches = signature
        .is_some_and(|made| verify_slices_are_equal(made.as_bytes(), authorization.signature.as_bytes()).is_ok());
    if matches { Ok(signer) } else { Err(mismatch(TAMPERED)) }
}

impl Signer {
    /// Access key, secret and session token, as the signer has them.
    fn credentials(&self) -> Credentials {
        let (key, secret, token) = match self {
            Self::Broker => (BROKER_ACCESS_KEY_ID, BROKER_SECRET_ACCESS_KEY, None),
            Self::Session(session) => {
                (session.access_key_id.as_str(), session.secret(), Some(session.token().to_owned()))
            }
        };
        Credentials::new(key, secret, token, None, "emulator")
    }
}

/// How far a signature's date may be from ours, in seconds.
const SKEW_SECONDS: u64 = 300;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

const TAMPERED: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";
const INVALID_TOKEN: &str = "The security token included in the request is invalid.";

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let fields = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix(ALGORITHM))
            .ok_or_else(|| {
                let message = "Request is missing Authentication Token";
                Refusal::forbidden("MissingAuthenticationToken", message)
            })?;
        let field = |name: &str| {
            fields
                .split(',')
                .filter_map(|field| field.trim().split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
                .ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter.")))
        };
        let credential: Vec<_> = field("Credential")?.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = credential[..] else {
            return Err(incomplete("Credential must have exactly 5 slash-delimited elements."));
        };
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers: field("SignedHeaders")?.split(';').collect(),
            signature: field("Signature")?,
        })
    }

    fn covers(&self, header: &str) -> bool {
        self.signed_headers.contains(&header)
    }
}

fn incomplete(message: &str) -> Refusal {
    Refusal::new("IncompleteSignature", message)
}

fn mismatch(message: impl Into<String>) -> Refusal {
    Refusal::forbidden("SignatureDoesNotMatch", message)
}

/// The owner of the access key. A long-term key comes without a session token, a temporary one with its own.
fn owner(
    authorization: &Authorization<'_>,
    headers: &HeaderMap,
    sessions: &Sessions,
    now: u64,
) -> Result<Signer, Refusal> {
    let unknown = || Refusal::forbidden("InvalidClientTokenId", INVALID_TOKEN);
    let Some(token) = headers.get(TOKEN) else {
        let known = authorization.access_key_id == BROKER_ACCESS_KEY_ID;
        return if known { Ok(Signer::Broker) } else { Err(unknown()) };
    };
    let session = token
        .to_str()
        .ok()
        .and_then(|token| sessions.known(token))
        .filter(|session| session.access_key_id == authorization.access_key_id)
        .ok_or_else(unknown)?;
    if now >= session.expires {
        let message = "The security token included in the request is expired";
        return Err(Refusal::forbidden("ExpiredToken", message));
    }
    Ok(Signer::Session(Box::new(session)))
}

/// When the request was signed, in seconds since 1970, if that is near enough to now.
fn check_date(authorization: &Authorization<'_>, headers: &HeaderMap, now: u64) -> Result<u64, Refusal> {
    let text = headers
        .get(DATE)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| incomplete("Authorization header requires existence of a 'X-Amz-Date' header."))?;
    let signed_at = OffsetDateTime::parse(text, &Iso8601::PARSING)
        .ok()
        .and_then(|date| u64::try_from(date.unix_timestamp()).ok())
        // The same moment can be written in other forms, which are not those of a signature.
        .filter(|seconds| wire::amz_date(*seconds) == text)
        .ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format'."))?;
    let ours = wire::amz_date(now);
    if signed_at.saturating_add(SKEW_SECONDS) < now {
        let earliest = wire::amz_date(now - SKEW_SECONDS);
        return Err(mismatch(format!("Signature expired: {text} is now earlier than {earliest} ({ours} - 5 min.)")));
    }
    if signed_at > now.saturating_add(SKEW_SECONDS) {
        let latest = wire::amz_date(now.saturating_add(SKEW_SECONDS));
        return Err(mismatch(format!(
            "Signature not yet current: {text} is still later than {latest} ({ours} + 5 min.)"
        )));
    }
    // Sixteen letters in all, or it would not have been read above.
    let day = &text[.."YYYYMMDD".len()];
    if authorization.date != day {
        let date = authorization.date;
        return Err(mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != \
             '{day}', from '{text}'."
        )));
    }
    Ok(signed_at)
}

fn check_scope(authorization: &Authorization<'_>, service: &str) -> Result<(), Refusal> {
    if authorization.region != REGION {
        let region = authorization.region;
        return Err(mismatch(format!("Credential should be scoped to a valid region, not '{region}'. ")));
    }
    if authorization.service != service {
        return Err(mismatch(format!("Credential should be scoped to correct service: '{service}'. ")));
    }
    Ok(())
}

/// Host, date and token must be signed, or a thief could change them.
fn check_signed_headers(authorization: &Authorization<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
    if !authorization.covers(HOST.as_str()) {
        let message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization header.";
        return Err(mismatch(message));
    }
    let token_is_signed = !headers.contains_key(TOKEN) || authorization.covers(TOKEN);
    if token_is_signed && authorization.covers(DATE) { Ok(()) } else { Err(mismatch(TAMPERED)) }
}

/// The signature that `signer` would make over just the headers that are said to be signed. `None` when the request
/// is one that cannot be signed, such as with a header that is not text.
fn signature(
    request: &Request<Bytes>,
    service: &str,
    authorization: &Authorization<'_>,
    signer: &Signer,
    signed_at: u64,
) -> Option<String> {
    let identity = Identity::from(signer.credentials());
    let mut settings = SigningSettings::default();
    // The signer leaves out some headers by itself, but a client may have signed them.
    settings.excluded_headers = None;
    let params = SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(UNIX_EPOCH + Duration::from_secs(signed_at))
        .settings(settings)
        .build()
        .ok()?
        .into();
    let signable = SignableRequest::new(
        request.method().as_str(),
        absolute(request),
        signed_headers(request, authorization)?.into_iter(),
        SignableBody::Bytes(request.body()),
    )
    .ok()?;
    Some(sign(signable, &params).ok()?.into_parts().1)
}

/// The signed headers with their values. HTTP/2 has the host in the URI.
fn signed_headers<'a>(
    request: &'a Request<Bytes>,
    authorization: &Authorization<'a>,
) -> Option<Vec<(&'a str, &'a str)>> {
    let mut signed = Vec::with_capacity(authorization.signed_headers.len());
    for name in &authorization.signed_headers {
        for value in request.headers().get_all(*name) {
            signed.push((*name, value.to_str().ok()?));
        }
    }
    if !request.headers().contains_key(HOST) {
        signed.push((HOST.as_str(), request.uri().authority()?.as_str()));
    }
    Some(signed)
}

/// The signer wants a URI with a host, and then takes the host of the headers.
fn absolute(request: &Request<Bytes>) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("http://emulator{path}")
}
