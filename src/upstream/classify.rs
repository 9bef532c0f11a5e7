//! The border to the SDK: its errors in, [`Failure`]s out. Nothing beyond this file sees an SDK error.

use std::error::Error;

use aws_sdk_cognitoidentity::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentity::operation::RequestId;
use aws_smithy_runtime_api::http::Response;

use crate::error::chain;
use crate::metrics::Operation;
use crate::upstream::hints::hint;
use crate::upstream::{Class, Failure};

/// Longest message that is kept of an answer, in characters.
const MESSAGE_CHARS: usize = 256;

const THROTTLING: &[&str] = &[
    "LimitExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Refusals by name that pass: AWS's own trouble, or a race between two calls.
const PASSING: &[&str] =
    &["ExternalServiceException", "IDPCommunicationError", "InternalErrorException", "ResourceConflictException"];

/// Turns what the SDK says of `operation` into a failure; `secret` is kept out of its text, whoever echoed it.
pub(super) fn failure<E>(operation: Operation, error: &SdkError<E, Response>, secret: &str) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    SdkError<E, Response>: RequestId,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code();
    let class = match error {
        SdkError::ServiceError(_) => class(status, code),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Class::Unavailable,
        _ => Class::Invalid,
    };
    let message = error.message().map_or_else(|| describe(error, status), ToOwned::to_owned);
    let message = presentable(&message, secret);
    Failure {
        class,
        operation,
        code: presentable(code.unwrap_or_else(|| fallback_code(error)), secret),
        hint: hint(&message),
        message,
        request_id: error.request_id().map(|id| presentable(id, secret)),
    }
}

/// The class of an answer that is an error, by its name and, where that says nothing, by its HTTP status.
fn class(status: Option<u16>, code: Option<&str>) -> Class {
    match (code, status) {
        (Some(code), _) if THROTTLING.contains(&code) => Class::Throttled,
        (_, Some(429)) => Class::Throttled,
        (Some(code), _) if PASSING.contains(&code) => Class::Unavailable,
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
fn presentable(text: &str, secret: &str) -> String {
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
            assert_eq!(class(status, code), wanted, "{status:?} {code:?}");
        }
    }

    #[test]
    fn no_text_breaks_the_line_or_tells_the_token() {
        assert_eq!(presentable("a\r\nb\x1b[0m", "secret"), "a  b [0m");
        assert_eq!(presentable(&"x".repeat(1_000), "secret").len(), MESSAGE_CHARS);
        assert!(!presentable("your token my-secret is bad", "my-secret").contains("my-secret"));
    }
}
