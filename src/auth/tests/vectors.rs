//! The verifying function before vectors that we did not choose: Wycheproof's for JSON Web Signatures, where they are at
//! hand, and mutations of a sound token before another library.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use url::Url;

use super::{CLIENT, ISSUER, document, payload, raw};
use crate::auth::{Config, Rejection, UserPool, jwks, read_unverified, token};
use crate::clock::{Clock, Moment, epoch_seconds};

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

/// Which tokens are taken.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let pool = UserPool {
        id: "us-east-1_AbCdEf123".into(),
        client_ids: vec![CLIENT.into()],
        issuers: vec![ISSUER.into()],
        jwks_url: Url::parse("https://keys.invalid/").unwrap(),
    };
    let verdicts = NonZeroUsize::MIN;
    Config { user_pools: vec![pool], token_bytes: 16_384, access_tokens: false, verdicts }
});

/// Whether we accept `token` at `now`, with all its claims.
fn we_trust(token: &str, now: Moment) -> bool {
    accepts(token, &DOCUMENT) && read_unverified(token, &CONFIG, now).is_ok()
}

/// Why `jsonwebtoken` refuses `token` now, if it does: it has one leeway for all times, of which we give `exp` none and the
/// others five minutes.
fn the_library_mistrusts(token: &str) -> Option<jsonwebtoken::errors::Error> {
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[CLIENT]);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    rules.leeway = 0;
    let mut early = rules.clone();
    (early.validate_exp, early.validate_nbf, early.leeway) = (false, true, 300);
    decode::<Value>(token, &KEY, &rules).and_then(|_| decode::<Value>(token, &KEY, &early)).err()
}

/// A time: none, one of any type, or so many seconds from now, about where something changes.
#[derive(Clone, Debug)]
enum Time {
    Absent,
    Is(Value),
    In(i64),
    TextIn(i64),
    FloatIn(f64),
}

impl Time {
    fn claim(&self, now: i64) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Is(value) => Some(value.clone()),
            Self::In(seconds) => Some(json!(now + seconds)),
            Self::TextIn(seconds) => Some(json!((now + seconds).to_string())),
            #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
            Self::FloatIn(seconds) => Some(json!(now as f64 + seconds)),
        }
    }
}

/// Times of which those in `sound` are as frequent as all others.
fn time(sound: std::ops::Range<i64>) -> impl Strategy<Value = Time> {
    let near = vec![-302, -300, -298, -2, 0, 2, 298, 300, 302];
    let odd = [json!(null), json!(true), json!("never"), json!([]), json!({}), json!(-1), json!(0), json!(u64::MAX)];
    prop_oneof![
        12 => sound.prop_map(Time::In),
        6 => (proptest::sample::select(near), -2..3_i64).prop_map(|(near, by)| Time::In(near + by)),
        2 => proptest::sample::select(odd.to_vec()).prop_map(Time::Is),
        1 => any::<u64>().prop_map(|seconds| Time::Is(json!(seconds))),
        1 => (-400..4_000_i64).prop_map(Time::TextIn),
        1 => (-400.0..4_000.0).prop_map(Time::FloatIn),
        1 => Just(Time::Absent),
    ]
}

/// `sound`, or as often something else, or nothing.
fn text(sound: &'static str, others: &[Value]) -> impl Strategy<Value = Option<Value>> + use<> {
    let shapes = [json!([sound]), json!([sound, "another"]), json!([]), json!(7), json!(null), json!({}), json!("")];
    let others = [&shapes, others].concat();
    prop_oneof![
        6 => Just(Some(json!(sound))),
        2 => proptest::sample::select(others).prop_map(Some),
        1 => Just(None),
    ]
}

/// Signed anew each time. What we accept, the library accepts, whenever between two looks at the clock it looks; and what it
/// does not judge is as it has to be.
#[test]
fn no_claims_are_accepted_that_the_library_refuses() {
    let times = (time(1..4_000), time(-4_000..300), prop_oneof![3 => Just(Time::Absent), 2 => time(-4_000..300)]);
    let texts = (
        text(ISSUER, &[json!(format!("{ISSUER}/")), json!("https://another")]),
        text(CLIENT, &[json!("another")]),
        text("id", &[json!("access"), json!("ID")]),
        text("6f0c1e2a", &[]),
    );
    let (clock, accepted) = (Clock::system(), Cell::new(0));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) };
    let done = TestRunner::new(config).run(&(times, texts), |((exp, iat, nbf), (iss, aud, token_use, sub))| {
        let before = clock.now();
        let now = i64::try_from(epoch_seconds(before.wall)).unwrap();
        let changed = [
            ("exp", exp.claim(now)),
            ("iat", iat.claim(now)),
            ("nbf", nbf.claim(now)),
            ("iss", iss),
            ("aud", aud),
            ("token_use", token_use),
            ("sub", sub),
        ];
        let mut claims = payload();
        for (name, value) in changed {
            match value {
                Some(value) => claims[name] = value,
                None => drop(claims.as_object_mut().unwrap().remove(name)),
            }
        }
        let token = raw(r#"{"alg":"RS256","kid":"one"}"#, &claims.to_string());
        let refused = the_library_mistrusts(&token);
        if we_trust(&token, before) && we_trust(&token, clock.now()) {
            prop_assert!(refused.is_none(), "{:?}: {}", refused, claims);
            prop_assert_eq!(&claims["token_use"], "id");
            prop_assert!(claims["iat"].as_i64().unwrap() <= now + 301, "{}", claims);
            prop_assert!(claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()), "{}", claims);
            accepted.set(accepted.get() + 1);
        }
        Ok(())
    });
    done.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(accepted.get() > 10, "{} were accepted: nothing was compared", accepted.get());
}
