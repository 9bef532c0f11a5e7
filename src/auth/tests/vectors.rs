//! The verifying function before vectors that we did not choose: Wycheproof's for JSON Web Signatures, where they are at
//! hand, and mutations of a sound token before another library.

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{document, raw};
use crate::auth::{Rejection, jwks, token};

/// Where the file `json_web_signature_test.json` is. Without it, the vectors are not at hand.
const PLACE: &str = "CUPBEARER_WYCHEPROOF";

/// Whether `jws` is accepted with the key set `document`: its form, its key and its signature.
fn accepts(jws: &str, document: &[u8]) -> bool {
    let keys = jwks::parse(document).unwrap_or_default();
    let judged = token::split(jws).and_then(|parts| match keys.get(&parts.kid) {
        Some(key) => token::verify_signature(&parts, &key.public),
        None => Err(Rejection::UNKNOWN_KEY),
    });
    judged.is_ok()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test is told where the vectors are, and tells how many it ran"
)]
fn wycheproofs_vectors() {
    let Some(place) = std::env::var_os(PLACE) else {
        println!("{PLACE} names no directory: the vectors are not run");
        return;
    };
    let text = std::fs::read(Path::new(&place).join("json_web_signature_test.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let (mut accepted, mut all) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        // Those of symmetric algorithms have a private key alone: given as a key set, it has no usable key.
        let key = group.get("public").unwrap_or(&group["private"]);
        let document = json!({ "keys": [key] }).to_string();
        for test in group["tests"].as_array().unwrap() {
            let wanted = test["result"] == "valid" && key["alg"] == "RS256";
            let found = accepts(test["jws"].as_str().unwrap(), document.as_bytes());
            assert_eq!(found, wanted, "{}: {} {}", test["tcId"], group["comment"], test["comment"]);
            accepted += usize::from(found);
            all += 1;
        }
    }
    assert_eq!((accepted, all), (8, 401), "all of them, those of RS256 accepted");
    println!("{all} vectors, {accepted} of them accepted");
}

/// One usable key, and what a sound token of it looks like.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document(&[("one", 0)]));
static SOUND: LazyLock<String> =
    LazyLock::new(|| raw(&json!({"alg": "RS256", "kid": "one"}).to_string(), r#"{"sub":"alice","exp":1}"#));

/// The same key, for the library.
static KEY: LazyLock<DecodingKey> = LazyLock::new(|| {
    let set: Value = serde_json::from_slice(&DOCUMENT).unwrap();
    let text = |name: &str| set["keys"][0][name].as_str().unwrap();
    DecodingKey::from_rsa_components(text("n"), text("e")).unwrap()
});

/// Whether `jsonwebtoken` accepts `token`.
fn the_library_accepts(token: &str) -> bool {
    let mut validation = Validation::new(Algorithm::RS256);
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    decode::<Value>(token, &KEY, &validation).is_ok()
}

/// Whether we accept `token`, as far as its claims.
fn we_accept(token: &str) -> bool {
    accepts(token, &DOCUMENT) && token::split(token).and_then(|parts| token::claims(&parts)).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn a_token_has_one_spelling(place in 0_usize..2_000, letter in prop::char::range('!', '~'), insert: bool, cut: bool) {
        let mut token = SOUND.clone();
        let place = place % token.len();
        match (insert, cut) {
            (true, _) => token.insert(place, letter),
            (false, true) => drop(token.remove(place)),
            (false, false) => token.replace_range(place..=place, &letter.to_string()),
        }
        prop_assert_eq!(we_accept(&token), token == *SOUND, "{}", token);
        prop_assert!(!we_accept(&token) || the_library_accepts(&token), "{}", token);
    }
}

/// Signed anew each time, so that what lies behind the signature is reached.
#[test]
fn no_header_and_no_payload_is_accepted_that_the_library_refuses() {
    let algorithms = ["RS256", "rs256", "RS384", "PS256", "HS256", "none", ""];
    let kids = [None, Some("one"), Some("two"), Some("One")];
    let extras = ["", "crit", "b64", "zip", "jwk", "jku", "x5c", "x5u", "typ", "cty"];
    let payloads = [r#"{"sub":"a"}"#, r#"{"sub":"a","sub":"b"}"#, "foo", "[]", ""];
    let mut accepted = 0;
    for alg in algorithms {
        for kid in kids {
            for extra in extras {
                let mut header = json!({"alg": alg});
                kid.iter().for_each(|kid| header["kid"] = (*kid).into());
                if !extra.is_empty() {
                    header[extra] = "x".into();
                }
                for payload in payloads {
                    let token = raw(&header.to_string(), payload);
                    let plain = matches!(extra, "" | "typ" | "cty");
                    let wanted = alg == "RS256" && kid == Some("one") && plain && payload == payloads[0];
                    assert_eq!(we_accept(&token), wanted, "{header} {payload}");
                    assert!(!wanted || the_library_accepts(&token), "{header} {payload}");
                    accepted += usize::from(wanted);
                }
            }
        }
    }
    assert_eq!(accepted, 3);
}
