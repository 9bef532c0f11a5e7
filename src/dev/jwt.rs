//! A JSON Web Token taken apart, nothing of it believed yet. Knows no key and no claim by name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::Algorithm;

/// The parts of a token.
pub(crate) struct Parts<'a> {
    header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// The parts of `token`; `None` when it is no signed token at all.
    pub(crate) fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            message: message.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// The claim of this name, if it is text.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    /// Whether it is signed by `algorithm`, with nothing critical that we do not know. `verifies` is asked whether the
    /// key of this name made this signature over this message.
    pub(crate) fn signed(&self, algorithm: Algorithm, verifies: impl FnOnce(&str, &[u8], &[u8]) -> bool) -> bool {
        let kid = self.header.get("kid").and_then(Value::as_str).unwrap_or_default();
        self.header.get("alg").is_some_and(|named| named == algorithm.name())
            && !self.header.contains_key("crit")
            && verifies(kid, self.message, &self.signature)
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
