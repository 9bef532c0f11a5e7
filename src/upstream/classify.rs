//! The border to the SDK: its errors in, [`Failure`]s out. Nothing beyond this file sees an SDK error.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::{Duration, SystemTime};

use aws_sdk_cognitoidentity::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentity::operation::RequestId;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_smithy_types::retry::ErrorKind;
use http_body_util::LengthLimitError;

use crate::error::chain;
use crate::metrics::Operation;
use crate::upstream::hints::hint;
use crate::upstream::{Class, Failure};

/// Longest message that is kept of an answer, in characters.
const MESSAGE_CHARS: usize = 256;

/// The longest pause that an answer can ask for: a mistake in a header is not to silence an API for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

const THROTTLING: &[&str] = &[
    "LimitExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Refusals by name that pass: AWS's own trouble, or a race between two calls.
const PASSING: &[&str] = &[
    "ExternalServiceException",
    "IDPCommunicationError",
    "InternalErrorException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ResourceConflictException",
];

/// Refusals of AssumeRole that are about the broker's own credentials or clock (IAM, "Common errors"), and not about the
/// user: whoever asked may well be served when that is mended.
const OWN_TROUBLE: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Turns what the SDK says of `operation` at `now` into a failure; `secret` is kept out of its text, whoever echoed it.
pub(super) fn failure<E>(operation: Operation, error: &SdkError<E, Response>, secret: &str, now: SystemTime) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    SdkError<E, Response>: RequestId,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code();
    let broken = is_broken(error);
    let class = match error {
        _ if broken => Class::Unavailable,
        SdkError::ServiceError(_) => class(operation, status, code),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Class::Unavailable,
        _ => Class::Invalid,
    };
    let message = error.message().map_or_else(|| describe(error, status), ToOwned::to_owned);
    let message = presentable(&message, secret);
    let code = presentable(code.unwrap_or_else(|| fallback_code(error)), secret);
    Failure {
        class,
        operation,
        // Only a guest has no login that has to be kept out of the text.
        hint: hint(operation, secret.is_empty(), &code, &message),
        code,
        message,
        request_id: error.request_id().map(|id| presentable(id, secret)),
        retry_after: error.raw_response().and_then(|response| retry_after(&|name| response.headers().get(name), now)),
        broken,
    }
}

/// Whether the connection broke: refused, reset, or ended in the middle of the answer. Whoever shows a certificate that
/// does not hold, or answers without end, would do so again; and a request that could not be signed was never sent.
fn is_broken<E: Error + 'static>(error: &SdkError<E, Response>) -> bool {
    match error {
        SdkError::DispatchFailure(failure) => failure.as_connector_error().is_some_and(broke),
        SdkError::ResponseError(failure) => {
            let cut = failure.raw().status().is_success() && failure.raw().body().bytes().is_none();
            cut && !causes(error).any(|cause| cause.is::<LengthLimitError>())
        }
        _ => false,
    }
}

fn broke(error: &ConnectorError) -> bool {
    // Rustls' refusals come as invalid data (tokio-rustls); nothing else that happens to a socket does.
    let refused = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
    };
    let passing = error.is_io() || error.as_other() == Some(ErrorKind::TransientError);
    passing && !causes(error).any(refused)
}

/// `error` and what lies behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        // An I/O error's own source is its payload's: the payload would be skipped.
        Some(payload) => Some(payload as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// What an answer's headers say of the next try: `x-amz-retry-after` in milliseconds, `Retry-After` in seconds or as a
/// date (RFC 9110, 10.2.3). Of two the longer one counts; none counts for more than [`LONGEST_RETRY_AFTER`].
fn retry_after<'a>(header: &dyn Fn(&'static str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let own = header("x-amz-retry-after").and_then(number).map(Duration::from_millis);
    let standard = header("retry-after").and_then(|text| {
        let by_date = || DateTime::from_str(text.trim(), Format::HttpDate).ok();
        let at = || SystemTime::try_from(by_date()?).ok();
        number(text).map(Duration::from_secs).or_else(|| Some(at()?.duration_since(now).unwrap_or_default()))
    });
    own.max(standard).map(|time| time.min(LONGEST_RETRY_AFTER))
}

/// The class of an answer that is an error, by its name and, where that says nothing, by its HTTP status.
fn class(operation: Operation, status: Option<u16>, code: Option<&str>) -> Class {
    match (code, status) {
        (Some(code), _) if THROTTLING.contains(&code) => Class::Throttled,
        (_, Some(429)) => Class::Throttled,
        (Some(code), _) if PASSING.contains(&code) => Class::Unavailable,
        (Some(code), _) if operation == Operation::AssumeRole && OWN_TROUBLE.contains(&code) => Class::Unavailable,
        (_, Some(500..)) => Class::Unavailable,
        (Some(_), _) => Class::Denied,
        (None, _) => Class::Invalid,
    }
}

fn fallback_code<E>(error: &SdkError<E, Response>) -> &'static str {
    match error {
        SdkError::TimeoutError(_) => "Timeout",
        SdkError::DispatchFailure(_) => "ConnectionFailure",
        SdkError::ServiceError(_) => "UnnamedError",
        SdkError::ResponseError(_) => "UnreadableResponse",
        _ => "RequestFailure",
    }
}

/// What went wrong where AWS said nothing. The SDK's own text is of no use here: it holds the whole answer, and an
/// answer may hold credentials.
fn describe<E>(error: &SdkError<E, Response>, status: Option<u16>) -> String {
    let status = status.map_or_else(String::new, |status| format!(" (HTTP status {status})"));
    match error {
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => failure
            .as_connector_error()
            .map_or_else(|| "the request could not be sent".to_owned(), |error| chain(error)),
        SdkError::ResponseError(_) => format!("the answer cannot be read{status}"),
        SdkError::ServiceError(_) => format!("an error without a message{status}"),
        _ => "the request could not be made".to_owned(),
    }
}

/// `text` cut to a length, on one line, without `secret`.
pub(super) fn presentable(text: &str, secret: &str) -> String {
    if !secret.is_empty() && text.contains(secret) {
        return "(text withheld: it echoes the token)".to_owned();
    }
    text.chars().take(MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_statuses() {
        let table = [
            (Some(400), Some("TooManyRequestsException"), Class::Throttled),
            (Some(400), Some("LimitExceededException"), Class::Throttled),
            (Some(429), None, Class::Throttled),
            (Some(429), Some("Whatever"), Class::Throttled),
            (Some(500), Some("InternalErrorException"), Class::Unavailable),
            (Some(400), Some("ExternalServiceException"), Class::Unavailable),
            (Some(400), Some("ResourceConflictException"), Class::Unavailable),
            (Some(400), Some("RequestTimeout"), Class::Unavailable),
            (Some(503), None, Class::Unavailable),
            (Some(500), Some("Unknown"), Class::Unavailable),
            (Some(400), Some("NotAuthorizedException"), Class::Denied),
            (Some(400), Some("ResourceNotFoundException"), Class::Denied),
            (Some(400), Some("InvalidParameterException"), Class::Denied),
            (Some(400), Some("InvalidIdentityPoolConfigurationException"), Class::Denied),
            (Some(403), Some("AccessDenied"), Class::Denied),
            (Some(400), None, Class::Invalid),
        ];
        for (status, code, wanted) in table {
            assert_eq!(class(Operation::GetId, status, code), wanted, "{status:?} {code:?}");
        }
    }

    #[test]
    fn the_brokers_own_trouble_is_no_refusal_of_the_user() {
        for code in OWN_TROUBLE {
            assert_eq!(class(Operation::AssumeRole, Some(403), Some(code)), Class::Unavailable, "{code}");
        }
        assert_eq!(class(Operation::AssumeRole, Some(403), Some("AccessDenied")), Class::Denied);
        // There the token that expired is the user's.
        let by_token = Operation::AssumeRoleWithWebIdentity;
        assert_eq!(class(by_token, Some(400), Some("ExpiredTokenException")), Class::Denied);
    }

    #[test]
    fn only_a_connection_that_broke_is_worth_another_try() {
        let io = |kind| ConnectorError::io(io::Error::new(kind, "as the test wants it").into());
        let nested = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate"));
        let other = |kind| ConnectorError::other("as the test wants it".into(), kind);
        let table = [
            ("reset", io(io::ErrorKind::ConnectionReset), true),
            ("refused", io(io::ErrorKind::ConnectionRefused), true),
            ("ended early", io(io::ErrorKind::UnexpectedEof), true),
            ("incomplete", other(Some(ErrorKind::TransientError)), true),
            ("a certificate", io(io::ErrorKind::InvalidData), false),
            ("a certificate within", ConnectorError::io(nested.into()), false),
            ("no credentials to sign with", other(None), false),
            ("late", ConnectorError::timeout("as the test wants it".into()), false),
        ];
        for (what, error, wanted) in table {
            let error: SdkError<io::Error, Response> = SdkError::dispatch_failure(error);
            assert_eq!(is_broken(&error), wanted, "{what}");
        }
    }

    #[test]
    fn headers_say_when_to_come_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_400);
        let table = [
            (None, None, None),
            (Some("3"), None, Some(3_000)),
            (Some("Wed, 21 Oct 2015 07:28:00 GMT"), None, Some(80_000)),
            (Some("Wed, 21 Oct 2005 07:28:00 GMT"), None, Some(0)),
            (None, Some("1500"), Some(1_500)),
            (Some("1"), Some("1500"), Some(1_500)),
            (Some("2"), Some("1500"), Some(2_000)),
            (Some("86400"), None, Some(300_000)),
            (Some("soon"), Some("-1"), None),
        ];
        for (standard, own, wanted) in table {
            let header = |name| if name == "retry-after" { standard } else { own };
            let found = retry_after(&header, now);
            assert_eq!(found, wanted.map(Duration::from_millis), "{standard:?} {own:?}");
        }
    }

    #[test]
    fn no_text_breaks_the_line_or_tells_the_token() {
        assert_eq!(presentable("a\r\nb\x1b[0m", "secret"), "a  b [0m");
        assert_eq!(presentable(&"x".repeat(1_000), "secret").len(), MESSAGE_CHARS);
        assert!(!presentable("your token my-secret is bad", "my-secret").contains("my-secret"));
    }
}
