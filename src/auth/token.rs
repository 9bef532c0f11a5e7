//! The form of a token: three strict parts, a header we understand, a signature. Pure; knows no claim's meaning.
//!
//! The form is JWS compact serialisation (RFC 7515 section 7.1) in the strictest reading: a token has one spelling.

use std::fmt;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::auth::Rejection;
use crate::metrics::Verification;
use crate::model::Claims;

/// Longest key id that is looked up, in bytes.
const KID_BYTES: usize = 128;

/// Parameters that change what is signed, or bring a key along. Cognito sends none, and none would be believed.
const EXTENSIONS: &[&str] = &["b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"];

/// A token taken apart. Nothing of it is to be trusted before its signature is verified.
pub(super) struct Parts<'a> {
    /// Header and payload as they were signed.
    pub(super) signed: &'a str,
    /// The signature, still in base64url.
    pub(super) signature: &'a str,
    /// The key that the header names.
    pub(super) kid: String,
    /// The payload, still in base64url.
    payload: &'a str,
}

/// Takes a token apart.
///
/// # Errors
/// When it is not three parts, when the header is not a JSON object in base64url without padding or has a key twice,
/// when the algorithm is not RS256, or when the header asks for an extension (`crit`, RFC 7515 4.1.11) or brings a key along.
pub(super) fn split(text: &str) -> Result<Parts<'_>, Rejection> {
    let (signed, signature) = text.rsplit_once('.').ok_or(Rejection::PARTS)?;
    let (header, payload) = signed.split_once('.').ok_or(Rejection::PARTS)?;
    if payload.contains('.') || header.is_empty() || signature.is_empty() {
        return Err(Rejection::PARTS);
    }
    Ok(Parts { signed, signature, kid: judge_header(&object(header)?)?, payload })
}

/// The payload, as a JWT has one (RFC 7519 section 7.2).
///
/// # Errors
/// When it is not a JSON object in base64url without padding, or has a key twice.
pub(super) fn claims(parts: &Parts<'_>) -> Result<Claims, Rejection> {
    object(parts.payload)
}

/// Checks the signature with `key`. The algorithm is ours, never the header's.
///
/// # Errors
/// When the signature does not verify.
pub(super) fn verify_signature(parts: &Parts<'_>, key: &ParsedPublicKey) -> Result<(), Rejection> {
    let signature = URL_SAFE_NO_PAD.decode(parts.signature).map_err(|_| Rejection::BASE64)?;
    key.verify_sig(parts.signed.as_bytes(), &signature).map_err(|_| Rejection::SIGNATURE)
}

/// Parses `text` as one JSON object in which no key stands twice, at any depth.
pub(super) fn strict_object(text: &[u8]) -> Option<Map<String, Value>> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn judge_header(header: &Map<String, Value>) -> Result<String, Rejection> {
    if header.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(Rejection::ALGORITHM);
    }
    if EXTENSIONS.iter().any(|name| header.contains_key(*name)) {
        return Err(Rejection::EXTENSION);
    }
    match header.get("kid").and_then(Value::as_str) {
        Some(kid) if !kid.is_empty() && kid.len() <= KID_BYTES => Ok(kid.to_owned()),
        _ => Err(Rejection::KID),
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Rejection> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::BASE64)?;
    strict_object(&bytes).ok_or(Rejection::JSON)
}

impl Rejection {
    const PARTS: Self = Self::new(Verification::Malformed, "the token is not three parts joined by dots");
    const BASE64: Self = Self::new(Verification::Malformed, "a part of the token is not strict base64url");
    const JSON: Self = Self::new(Verification::Malformed, "header or payload is not a JSON object with unique keys");
    const ALGORITHM: Self = Self::new(Verification::Algorithm, "the token's algorithm is not RS256");
    const EXTENSION: Self =
        Self::new(Verification::Malformed, "the token's header asks for an extension of JWS, or brings a key");
    const KID: Self = Self::new(Verification::Malformed, "the token's header names no key id of 1 to 128 bytes");
    const SIGNATURE: Self = Self::new(Verification::Signature, "the token's signature does not verify");

    pub(super) const fn new(result: Verification, cause: &'static str) -> Self {
        Self { result, cause }
    }
}

/// Builds a [`Value`] and refuses duplicate keys, which JSON parsers otherwise resolve each in its own way.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}
