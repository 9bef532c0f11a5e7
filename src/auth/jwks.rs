//! A key set document (RFC 7517) turned into usable keys. Pure; knows no network.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::auth::token::strict_object;
use crate::digest::{Digest, sha256};

/// Most keys that one document may hold; Cognito publishes two.
pub(super) const MAX_KEYS: usize = 32;

/// Longest key id, in bytes.
const KID_BYTES: usize = 128;

/// RSA moduli from 2,048 to 4,096 bits: shorter ones are weak, longer ones are a way to make us work.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// 65,537 in base64url, the one exponent that Cognito uses.
const EXPONENT: &str = "AQAB";
const EXPONENT_BYTES: [u8; 3] = [1, 0, 1];

/// One public key.
#[derive(Clone)]
pub(super) struct Key {
    /// Parsed once: that costs a fifth of a verification.
    pub(super) public: Arc<ParsedPublicKey>,
    /// Digest of the modulus, to tell a changed key under an old id.
    pub(super) print: Digest,
}

/// The usable keys of `document` by key id. Unusable ones are left out; two keys under one id are both left out,
/// since nothing says which is meant.
///
/// # Errors
/// With what is wrong, when the document is no key set, holds too many keys, or none that can be used.
pub(super) fn parse(document: &[u8]) -> Result<HashMap<String, Key>, &'static str> {
    let document = strict_object(document).ok_or("it is not a JSON object with unique keys")?;
    let keys = document.get("keys").and_then(Value::as_array).ok_or("it has no array \"keys\"")?;
    if keys.len() > MAX_KEYS {
        return Err("it holds more than 32 keys");
    }
    let mut seen: HashMap<String, Option<Key>> = HashMap::new();
    for key in keys.iter().filter_map(Value::as_object) {
        if let Some(kid) = kid(key) {
            seen.entry(kid).and_modify(|twice| *twice = None).or_insert_with(|| usable(key));
        }
    }
    let keys: HashMap<_, _> = seen.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect();
    if keys.is_empty() { Err("it holds no usable RS256 key") } else { Ok(keys) }
}

fn kid(key: &Map<String, Value>) -> Option<String> {
    let kid = key.get("kid")?.as_str()?;
    (!kid.is_empty() && kid.len() <= KID_BYTES).then(|| kid.to_owned())
}

fn usable(key: &Map<String, Value>) -> Option<Key> {
    let is = |name: &str, value: &str| key.get(name).and_then(Value::as_str) == Some(value);
    let absent_or = |name: &str, value: &str| !key.contains_key(name) || is(name, value);
    let public = !key.contains_key("d");
    // RFC 7517 section 4.3.
    let operations = key.get("key_ops").map(|operations| operations.as_array().map_or(&[][..], Vec::as_slice));
    let verifies = operations.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if !(verifies
        && is("kty", "RSA")
        && absent_or("use", "sig")
        && absent_or("alg", "RS256")
        && public
        && is("e", EXPONENT))
    {
        return None;
    }
    let modulus = key.get("n")?.as_str()?;
    let bytes = URL_SAFE_NO_PAD.decode(modulus).ok()?;
    let sized = MODULUS_BYTES.contains(&bytes.len()) && bytes.first().is_some_and(|byte| *byte >= 0x80);
    let parts = RsaPublicKeyComponents { n: bytes.as_slice(), e: EXPONENT_BYTES.as_slice() };
    let public = parts.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
    sized.then(|| Key { public: Arc::new(public), print: sha256(&bytes) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(kid: &str, modulus_bytes: usize) -> Value {
        let modulus = URL_SAFE_NO_PAD.encode(vec![0xC1; modulus_bytes]);
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "e": EXPONENT, "n": modulus})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn kids(keys: Vec<Value>) -> Result<Vec<String>, &'static str> {
        let document = json!({ "keys": keys }).to_string();
        parse(document.as_bytes()).map(|keys| {
            let mut kids: Vec<_> = keys.into_keys().collect();
            kids.sort();
            kids
        })
    }

    #[test]
    fn unusable_keys_are_left_out_and_the_rest_loads() {
        let bad = [
            key("short", 128),
            key("long", 1024),
            with(key("e1", 256), "e", json!("AQ")),
            with(key("enc", 256), "use", json!("enc")),
            with(key("rs384", 256), "alg", json!("RS384")),
            with(key("ec", 256), "kty", json!("EC")),
            with(key("ops", 256), "key_ops", json!(["encrypt"])),
            with(key("ops2", 256), "key_ops", json!("verify")),
            with(key("private", 256), "d", json!("AQAB")),
            with(key("x", 256), "kid", json!(7)),
            key("", 256),
            key("twice", 256),
            with(key("twice", 256), "e", json!("AQ")),
            json!("not a key"),
        ];
        let mut keys = vec![key("good/1=", 256), key("good2", 512)];
        keys.extend(bad.iter().cloned());
        assert_eq!(kids(keys), Ok(vec!["good/1=".to_owned(), "good2".to_owned()]));
        assert!(kids(bad.into()).is_err(), "a set without a usable key is no set");
    }

    #[test]
    fn a_document_has_bounds() {
        let many = |count: usize| (0..count).map(|i| key(&i.to_string(), 256)).collect();
        assert_eq!(kids(many(MAX_KEYS)).map(|kids| kids.len()), Ok(MAX_KEYS));
        assert!(kids(many(MAX_KEYS + 1)).is_err());
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#, "<html>"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
