//! The one table from an error to the wire, for both protocols. The texts are constant: they say what to do next, and
//! echo no token and no claim.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tonic::Code;

use crate::error::Kind;
use crate::metrics::Outcome;

/// One row.
pub(super) struct Row {
    kind: Kind,
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) grpc: Code,
    /// `code` as google.rpc.ErrorInfo spells reasons.
    pub(super) reason: &'static str,
    pub(super) message: &'static str,
    pub(super) outcome: Outcome,
}

/// Both spellings: Go and Java read the small ones, the JavaScript SDK the large ones.
#[derive(Serialize)]
struct Body {
    code: &'static str,
    message: &'static str,
    #[serde(rename = "Code")]
    large_code: &'static str,
    #[serde(rename = "Message")]
    large_message: &'static str,
}

/// The table.
const ROWS: [Row; 17] = [
    Row {
        kind: Kind::InvalidRequest,
        status: StatusCode::BAD_REQUEST,
        code: "InvalidRequest",
        grpc: Code::InvalidArgument,
        reason: "INVALID_REQUEST",
        outcome: Outcome::Invalid,
        message: "The request is malformed. Send one Host, one Authorization, no query and no unsupported field.",
    },
    Row {
        kind: Kind::Unauthorized,
        status: StatusCode::UNAUTHORIZED,
        code: "Unauthorized",
        grpc: Code::Unauthenticated,
        reason: "UNAUTHORIZED",
        outcome: Outcome::Unauthorized,
        message: "The token is missing, invalid or expired. Present a current Cognito ID token.",
    },
    Row {
        kind: Kind::ForbiddenRequest,
        status: StatusCode::FORBIDDEN,
        code: "ForbiddenRequest",
        grpc: Code::PermissionDenied,
        reason: "FORBIDDEN_REQUEST",
        outcome: Outcome::Forbidden,
        message: "The request did not come directly from a local client. Call this address itself, without a proxy.",
    },
    Row {
        kind: Kind::RoleNotAllowed,
        status: StatusCode::FORBIDDEN,
        code: "RoleNotAllowed",
        grpc: Code::PermissionDenied,
        reason: "ROLE_NOT_ALLOWED",
        outcome: Outcome::Forbidden,
        message: "The token does not entitle its bearer to this role. Check the user's groups, then sign in again.",
    },
    Row {
        kind: Kind::ProfileNotAllowed,
        status: StatusCode::FORBIDDEN,
        code: "ProfileNotAllowed",
        grpc: Code::PermissionDenied,
        reason: "PROFILE_NOT_ALLOWED",
        outcome: Outcome::Forbidden,
        message: "The token's user pool is not admitted to this profile. Use a profile that admits it.",
    },
    Row {
        kind: Kind::UpstreamDenied,
        status: StatusCode::FORBIDDEN,
        code: "UpstreamDenied",
        grpc: Code::PermissionDenied,
        reason: "UPSTREAM_DENIED",
        outcome: Outcome::Forbidden,
        message: "AWS refuses credentials for this user. The broker's log says why and what to check.",
    },
    Row {
        kind: Kind::NotFound,
        status: StatusCode::NOT_FOUND,
        code: "NotFound",
        grpc: Code::NotFound,
        reason: "NOT_FOUND",
        outcome: Outcome::NotFound,
        message: "There is no such path, profile, role alias or open session. Compare it with the configuration, or open a new session.",
    },
    Row {
        kind: Kind::SessionTokenReused,
        status: StatusCode::NOT_FOUND,
        code: "NotFound",
        grpc: Code::NotFound,
        reason: "NOT_FOUND",
        outcome: Outcome::NotFound,
        message: "The session has ended: its refresh token was used a second time. Sign in again and open a new session.",
    },
    Row {
        kind: Kind::SessionTokenRevoked,
        status: StatusCode::NOT_FOUND,
        code: "NotFound",
        grpc: Code::NotFound,
        reason: "NOT_FOUND",
        outcome: Outcome::NotFound,
        message: "The session has ended: its refresh token was revoked or is invalid. Sign in again and open a new session.",
    },
    Row {
        kind: Kind::SessionTokenExpired,
        status: StatusCode::NOT_FOUND,
        code: "NotFound",
        grpc: Code::NotFound,
        reason: "NOT_FOUND",
        outcome: Outcome::NotFound,
        message: "The session has ended: its refresh token has expired. Sign in again and open a new session.",
    },
    Row {
        kind: Kind::MethodNotAllowed,
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "MethodNotAllowed",
        grpc: Code::Unimplemented,
        reason: "METHOD_NOT_ALLOWED",
        outcome: Outcome::Invalid,
        message: "This method is not served here. Over HTTP only GET is.",
    },
    Row {
        kind: Kind::RequestTooLarge,
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "RequestTooLarge",
        grpc: Code::ResourceExhausted,
        reason: "REQUEST_TOO_LARGE",
        outcome: Outcome::Invalid,
        message: "The token, the headers or the body are too large. See limits in the configuration.",
    },
    Row {
        kind: Kind::TooManyRequests,
        status: StatusCode::TOO_MANY_REQUESTS,
        code: "TooManyRequests",
        grpc: Code::ResourceExhausted,
        reason: "TOO_MANY_REQUESTS",
        outcome: Outcome::Limited,
        message: "This caller has or asks for too much at once. Wait, or close what is open, then try again.",
    },
    Row {
        kind: Kind::UpstreamUnavailable,
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "UpstreamUnavailable",
        grpc: Code::Unavailable,
        reason: "UPSTREAM_UNAVAILABLE",
        outcome: Outcome::Unavailable,
        message: "The credentials are not there yet, or AWS cannot be reached. Try again.",
    },
    Row {
        kind: Kind::KeysUnavailable,
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "KeysUnavailable",
        grpc: Code::Unavailable,
        reason: "KEYS_UNAVAILABLE",
        outcome: Outcome::Unavailable,
        message: "The user pool's keys cannot be fetched, so the token cannot be judged. Try again.",
    },
    Row {
        kind: Kind::Draining,
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "Draining",
        grpc: Code::Unavailable,
        reason: "DRAINING",
        outcome: Outcome::Unavailable,
        message: "The broker is stopping. Try again.",
    },
    Row {
        kind: Kind::Internal,
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "InternalError",
        grpc: Code::Internal,
        reason: "INTERNAL_ERROR",
        outcome: Outcome::Error,
        message: "The broker failed. Its log says more.",
    },
];

/// The row for `kind`.
pub(super) fn row(kind: Kind) -> &'static Row {
    // The last row is our own bug, and so is a kind without a row; a test holds that there is none.
    ROWS.iter().find(|row| row.kind == kind).unwrap_or(&ROWS[ROWS.len() - 1])
}

/// The HTTP response for `kind`.
pub(super) fn response(kind: Kind) -> Response<Full<Bytes>> {
    let row = row(kind);
    let body = Body { code: row.code, message: row.message, large_code: row.code, large_message: row.message };
    let mut response = json(row.status, serde_json::to_vec(&body).unwrap_or_default().into());
    if kind.passes_by_itself() || kind == Kind::TooManyRequests {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if kind == Kind::MethodNotAllowed {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// A response that nobody may keep.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Written out, so that a new kind does not compile until somebody has thought of its row.
    fn next(kind: Kind) -> Option<Kind> {
        match kind {
            Kind::InvalidRequest => Some(Kind::Unauthorized),
            Kind::Unauthorized => Some(Kind::ForbiddenRequest),
            Kind::ForbiddenRequest => Some(Kind::RoleNotAllowed),
            Kind::RoleNotAllowed => Some(Kind::ProfileNotAllowed),
            Kind::ProfileNotAllowed => Some(Kind::UpstreamDenied),
            Kind::UpstreamDenied => Some(Kind::NotFound),
            Kind::NotFound => Some(Kind::SessionTokenReused),
            Kind::SessionTokenReused => Some(Kind::SessionTokenRevoked),
            Kind::SessionTokenRevoked => Some(Kind::SessionTokenExpired),
            Kind::SessionTokenExpired => Some(Kind::MethodNotAllowed),
            Kind::MethodNotAllowed => Some(Kind::RequestTooLarge),
            Kind::RequestTooLarge => Some(Kind::TooManyRequests),
            Kind::TooManyRequests => Some(Kind::UpstreamUnavailable),
            Kind::UpstreamUnavailable => Some(Kind::KeysUnavailable),
            Kind::KeysUnavailable => Some(Kind::Draining),
            Kind::Draining => Some(Kind::Internal),
            Kind::Internal => None,
        }
    }

    #[test]
    fn every_kind_has_its_own_row() {
        let kinds: Vec<_> = std::iter::successors(Some(Kind::InvalidRequest), |kind| next(*kind)).collect();
        assert_eq!(kinds.len(), ROWS.len());
        let messages: HashSet<_> = kinds.iter().map(|kind| row(*kind).message).collect();
        assert_eq!(messages.len(), kinds.len());
        let codes: HashSet<_> = kinds.iter().map(|kind| row(*kind).code).collect();
        assert_eq!(codes.len(), kinds.len() - 3, "how a session has ended is told in words alone");
        for kind in kinds {
            let row = row(kind);
            assert_eq!(row.kind, kind);
            let letters = |text: &str| text.replace('_', "").to_lowercase();
            assert_eq!(letters(row.reason), letters(row.code), "one name in two spellings");
            assert_eq!(row.reason.to_uppercase(), row.reason);
            assert_eq!(kind.passes_by_itself(), row.status == StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
