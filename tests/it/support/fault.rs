//! What can be wrong with an answer of AWS, as values: a fault is a row of a table, not code.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::wire::Plan;

/// The request id that made-up answers carry.
pub const REQUEST_ID: &str = "11111111-2222-3333-4444-555555555555";

/// How one operation's answers are bent.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered after this time.
    Slow(Duration),
    /// Never answered.
    Hangs,
    /// Answered when the gate is open.
    Held(Gate),
    /// The connection is closed without an answer.
    Closes,
    /// The connection is reset without an answer.
    Resets,
    /// The connection is closed after so many bytes of the answer.
    CutAt(usize),
    /// So many bytes of the answer at a time, each after this pause.
    Trickles(usize, Duration),
    /// Answered with this status and body.
    Says(u16, String),
    /// Answered with this status, these headers and this body, and nothing of an AWS answer.
    Answers(u16, Vec<(&'static str, String)>, Bytes),
    /// The answer, with one header more.
    Adds(&'static str, String),
    /// Credentials that end this many seconds from now.
    Expires(i64),
    /// Answered for another identity.
    WrongIdentity,
    /// The answer's body, rewritten.
    Rewrites(Rewrite),
}

/// What answers wait at until the test opens it.
#[derive(Clone, Debug, Default)]
pub struct Gate(watch::Sender<bool>);

/// From a body to another.
type Change = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// A change of a body, with a name for the test's report.
#[derive(Clone)]
pub struct Rewrite {
    name: &'static str,
    change: Arc<Change>,
}

/// Which calls are bent.
#[derive(Clone, Copy, Debug)]
pub enum Rate {
    /// All.
    Always,
    /// The first, the one this many after it, and so on.
    Every(usize),
    /// So many of a hundred, chosen by a seed.
    Percent(u64, u64),
}

impl Fault {
    /// An AWS error of the JSON protocol.
    pub fn aws(status: u16, code: &str, message: &str) -> Self {
        Self::Says(status, json!({"__type": code, "message": message}).to_string())
    }

    /// An AWS error of STS, which speaks XML.
    pub fn sts(status: u16, code: &str, message: &str) -> Self {
        Self::Says(
            status,
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{REQUEST_ID}</RequestId>\
                 </ErrorResponse>"
            ),
        )
    }

    /// AWS's throttling, which may say for how many seconds.
    pub fn throttles(retry_after: Option<u32>) -> Self {
        Self::throttles_with(retry_after.map(|seconds| ("retry-after", seconds.to_string())))
    }

    /// The same with any header.
    pub fn throttles_with(header: Option<(&'static str, String)>) -> Self {
        let body = json!({"__type": "TooManyRequestsException", "message": "Rate exceeded"}).to_string();
        let mut headers = vec![("content-type", "application/x-amz-json-1.1".to_owned())];
        headers.extend(header);
        Self::Answers(400, headers, body.into())
    }

    /// A redirect to another place.
    pub fn redirects(to: &str) -> Self {
        Self::Answers(302, vec![("location", to.to_owned())], Bytes::new())
    }

    /// The body's JSON, changed.
    pub fn json(name: &'static str, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::bytes(name, move |body| {
            let mut json = serde_json::from_slice(body).unwrap();
            change(&mut json);
            json.to_string().into_bytes()
        })
    }

    /// The body's text, with one piece replaced.
    pub fn text(name: &'static str, from: &'static str, to: &'static str) -> Self {
        Self::bytes(name, move |body| String::from_utf8_lossy(body).replacen(from, to, 1).into_bytes())
    }

    /// The body's bytes, changed.
    pub fn bytes(name: &'static str, change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::Rewrites(Rewrite { name, change: Arc::new(change) })
    }

    /// What is to happen to the bytes on the wire.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        match self {
            Self::Resets => plan.reset = true,
            Self::CutAt(bytes) => plan.cut_at = Some(*bytes),
            Self::Trickles(bytes, every) => plan.trickle = Some((*bytes, *every)),
            _ => {}
        }
        plan
    }

    /// The answer that is given in place of AWS's, if one is.
    pub(super) fn own_answer(&self) -> Option<Response<Bytes>> {
        let (status, headers, body) = match self {
            Self::Says(status, text) => {
                let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amzn-requestid", REQUEST_ID)];
                (*status, headers.map(|(name, value)| (name, value.to_owned())).to_vec(), text.clone().into())
            }
            Self::Answers(status, headers, body) => (*status, headers.clone(), body.clone()),
            _ => return None,
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        headers.iter().for_each(|(name, value)| add(response.headers_mut(), name, value));
        Some(response)
    }

    /// AWS's answer, bent.
    pub(super) fn bend(&self, mut answer: Response<Bytes>) -> Response<Bytes> {
        let (changed, seconds) = match self {
            Self::Adds(name, value) => {
                add(answer.headers_mut(), name, value);
                return answer;
            }
            Self::Rewrites(rewrite) => return with_body(answer, |body| (rewrite.change)(body)),
            Self::Expires(seconds) => ("/Credentials/Expiration", *seconds),
            Self::WrongIdentity => ("/IdentityId", 0),
            _ => return answer,
        };
        let value = match self {
            Self::Expires(_) => (now_seconds() + seconds).into(),
            _ => json!("us-east-1:00000000-0000-0000-0000-000000000000"),
        };
        with_body(answer, |body| {
            let Ok(mut json) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
            if json.get("Credentials").is_some() {
                *json.pointer_mut(changed).unwrap() = value;
            }
            json.to_string().into_bytes()
        })
    }
}

impl Gate {
    /// Lets through all who wait and all who come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

impl Rate {
    /// Whether the call with this number, from 0, is bent.
    pub(super) fn takes(self, call: usize) -> bool {
        match self {
            Self::Always => true,
            Self::Every(distance) => call.is_multiple_of(distance),
            Self::Percent(percent, seed) => mixed(seed ^ (call as u64)) % 100 < percent,
        }
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Now, in seconds since 1970.
pub fn now_seconds() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// A number that looks like chance and is the same in every run (SplitMix64's last step).
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
}

fn with_body(answer: Response<Bytes>, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Response<Bytes> {
    let (mut head, body) = answer.into_parts();
    head.headers.remove("content-length");
    Response::from_parts(head, change(&body).into())
}
