//! AWS's two protocols as bytes: JSON 1.1 and Query, replies and refusals. Knows no operation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// An error as AWS tells it: status, code, text. One for both protocols, which put it into different words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    /// May be empty; then it is left out.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal with status 400, the one that Cognito uses for all but its own failures.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    /// A refusal with status 403, as STS answers what it cannot authenticate or does not allow.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, code, message: message.into() }
    }

    /// Cognito's `NotAuthorizedException`.
    pub(crate) fn not_authorized(message: impl Into<String>) -> Self {
        Self::new("NotAuthorizedException", message)
    }

    /// AWS's text for a parameter that breaks a rule of the service's model; `value` is `null` when it is not there.
    pub(crate) fn constraint(code: &'static str, value: Option<&str>, name: &str, rule: &str) -> Self {
        let value = value.map_or_else(|| "null".to_owned(), |value| format!("'{value}'"));
        let message =
            format!("1 validation error detected: Value {value} at '{name}' failed to satisfy constraint: {rule}");
        Self::new(code, message)
    }

    /// The same where AWS does not repeat the value: a secret, or a list.
    pub(crate) fn unseen_constraint(code: &'static str, name: &str, rule: &str) -> Self {
        let message = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint: {rule}");
        Self::new(code, message)
    }

    /// Our own failure.
    pub(crate) fn internal(code: &'static str) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code, message: "Internal server error.".to_owned() }
    }
}

/// The reply of a JSON 1.1 operation.
pub(crate) fn json_reply(outcome: Result<Value, Refusal>) -> Response<Bytes> {
    let (status, body, code) = match outcome {
        Ok(body) => (StatusCode::OK, body, None),
        Err(refusal) if refusal.message.is_empty() => {
            (refusal.status, json!({"__type": refusal.code}), Some(refusal.code))
        }
        Err(Refusal { status, code, message }) => (status, json!({"__type": code, "message": message}), Some(code)),
    };
    let mut reply = response(status, "application/x-amz-json-1.1", body.to_string());
    set(&mut reply, "x-amzn-requestid", &guid(rand::random()));
    if let Some(code) = code {
        // The colon is AWS's: what may follow it names a namespace.
        set(&mut reply, "x-amzn-errortype", &format!("{code}:"));
    }
    reply
}

/// The reply of a Query operation; `result` is what stands inside of `<{action}Result>`.
pub(crate) fn xml_reply(action: &str, outcome: Result<String, Refusal>) -> Response<Bytes> {
    let request_id = guid(rand::random());
    let (status, body) = match outcome {
        Ok(result) => (
            StatusCode::OK,
            format!(
                "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        ),
        Err(Refusal { status, code, message }) => {
            let fault = if status.is_server_error() { "Receiver" } else { "Sender" };
            let body = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{code}</Code>\
                 <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                xml_text(&message)
            );
            (status, body)
        }
    };
    let mut reply = response(status, "text/xml", body);
    set(&mut reply, "x-amzn-requestid", &request_id);
    reply
}

/// A document that was asked for with GET, and how long it may be kept; a plain error has no request id.
pub(crate) fn document(outcome: Result<Value, Refusal>, kept: &'static str) -> Response<Bytes> {
    match outcome {
        Ok(body) => {
            let mut reply = response(StatusCode::OK, "application/json", body.to_string());
            set(&mut reply, CACHE_CONTROL.as_str(), kept);
            reply
        }
        Err(Refusal { status, code, message }) => {
            let body = json!({"code": code, "message": message});
            response(status, "application/json", body.to_string())
        }
    }
}

/// For how long key sets may be kept.
pub(crate) const KEPT_A_DAY: &str = "public, max-age=86400";
/// For secrets.
pub(crate) const NOT_KEPT: &str = "no-store";

/// `text` as the content of an XML element, without the characters that XML cannot hold. Not for attributes.
pub(crate) fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' | '\r' => escaped.push(character),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

/// `bytes` as a version 4 UUID, the form of request ids, `jti` and identity ids.
pub(crate) fn guid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// `now` in whole seconds since 1970, as tokens and Cognito's replies tell time; 0 before that.
pub(crate) fn epoch(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Seconds since 1970 as STS's replies tell time: `2026-01-31T23:59:59Z`; 1970 for what is beyond the year 9999.
pub(crate) fn iso_date(seconds: u64) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 as signatures tell time: `20260131T235959Z`.
pub(crate) fn amz_date(seconds: u64) -> String {
    iso_date(seconds).replace(['-', ':'], "")
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut reply = Response::new(Bytes::from(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Sets a header; all values that come here are made by us and printable.
fn set(reply: &mut Response<Bytes>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_forms_of_both_protocols() {
        assert_eq!(iso_date(1_440_938_160), "2015-08-30T12:36:00Z");
        assert_eq!(amz_date(1_440_938_160), "20150830T123600Z");
        assert_eq!(iso_date(u64::MAX), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_guid_is_a_version_4_uuid() {
        assert_eq!(guid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(guid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn xml_text_cannot_leave_its_element() {
        assert_eq!(xml_text("a<b>&\"'\u{1}\n"), "a&lt;b&gt;&amp;\"'\n");
    }

    #[test]
    fn a_refusal_names_its_type_in_body_and_header() {
        let reply = json_reply(Err(Refusal::not_authorized("No.")));
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
        assert_eq!(reply.headers()["x-amzn-errortype"], "NotAuthorizedException:");
        assert_eq!(reply.headers()["x-amzn-requestid"].len(), 36);
        assert_eq!(reply.body(), r#"{"__type":"NotAuthorizedException","message":"No."}"#);
    }
}
