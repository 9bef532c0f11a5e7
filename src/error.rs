//! What a caller can be told. Knows no status code and no protocol; `server/reply.rs` has the table to both.

use std::fmt;
use std::sync::Arc;

use crate::model::Caller;

/// Why a question got no credentials. Cheap to clone, since every waiter of one exchange gets the same.
///
/// The kind decides what the caller hears, in a constant text. The cause is for the log and the operator; it names
/// what happened, to what, and what to do, and never holds a token or a claim.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    cause: Arc<str>,
    caller: Option<Arc<Caller>>,
    aws_request_id: Option<Arc<str>>,
}

/// The classes of failure, one for each row of the error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed.
    InvalidRequest,
    /// The token is missing, bad or expired; one kind for all causes, so that a thief learns nothing.
    Unauthorized,
    /// A guard of the door refused: Host, Origin or a forwarding header.
    ForbiddenRequest,
    /// The role is not one that the bearer may have.
    RoleNotAllowed,
    /// The bearer's user pool is not admitted to the profile.
    ProfileNotAllowed,
    /// The identity pool or the role refused.
    UpstreamDenied,
    /// There is no such path, profile, alias or open session.
    NotFound,
    /// The session has ended: its refresh token was used twice.
    SessionTokenReused,
    /// The session has ended: its refresh token was revoked, or its user disabled.
    SessionTokenRevoked,
    /// The session has ended: its refresh token has expired.
    SessionTokenExpired,
    /// The method is not GET.
    MethodNotAllowed,
    /// The token, the headers or the body are too large.
    RequestTooLarge,
    /// This one caller asks for too much.
    TooManyRequests,
    /// AWS is down, slow, throttling, or the answer is not there yet.
    UpstreamUnavailable,
    /// The user pool's keys could not be fetched, so the token can be neither accepted nor refused.
    KeysUnavailable,
    /// The broker is stopping.
    Draining,
    /// A bug of ours.
    Internal,
}

impl Error {
    /// A failure of `kind`, with what the operator should know.
    pub fn new(kind: Kind, cause: impl Into<Arc<str>>) -> Self {
        Self { kind, cause: cause.into(), caller: None, aws_request_id: None }
    }

    /// The same, about this caller, whose token was verified.
    #[must_use]
    pub fn about(self, caller: &Arc<Caller>) -> Self {
        Self { caller: Some(Arc::clone(caller)), ..self }
    }

    /// The same, with the request id of AWS's refusal.
    #[must_use]
    pub fn by_request(self, aws_request_id: Option<&str>) -> Self {
        Self { aws_request_id: aws_request_id.map(Into::into), ..self }
    }

    /// Whom it is about, if the token was verified.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// The request id of AWS's refusal.
    pub fn aws_request_id(&self) -> Option<&str> {
        self.aws_request_id.as_deref()
    }

    /// The class of this failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the operator should know; not for the wire.
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

impl Kind {
    /// Whether the same question may succeed in a moment, with nothing changed by its asker.
    pub fn passes_by_itself(self) -> bool {
        matches!(self, Self::UpstreamUnavailable | Self::KeysUnavailable | Self::Draining)
    }
}

/// The text of `error` with those of its sources: a connector's own, say, is only "error sending request".
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Error {}
