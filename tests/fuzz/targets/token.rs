//! Tokens. Half of the inputs are a token's text; the other half are signed again with the right key, so that what stands
//! behind the signature is reached.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cupbearer::auth::{FetchKeys, Fetching, Verifier};
use cupbearer::chance::Chance;
use cupbearer::clock::Clock;
use cupbearer::metrics::Metrics;
use cupbearer::secret::CupToken;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tokio::runtime::Runtime;
use url::Url;

use super::ground::{CLIENT, ISSUER, KEY, auth_config, claims, header, runtime};

/// The key set of this run.
struct Keys;

impl FetchKeys for Keys {
    fn fetch<'a>(&'a self, _url: &'a Url) -> Fetching<'a> {
        Box::pin(async { Ok(Bytes::from(KEY.document())) })
    }
}

thread_local! {
    static VERIFIER: (Runtime, Verifier) = verifier();
}

fn verifier() -> (Runtime, Verifier) {
    let runtime = runtime();
    let fetcher: Arc<dyn FetchKeys> = Arc::new(Keys);
    let metrics = Arc::new(Metrics::new("fuzz").unwrap());
    let (verifier, keepers, _) = Verifier::new(auth_config(), &fetcher, Clock::system(), Chance::seeded(1), metrics);
    keepers.into_iter().for_each(|keeper| drop(runtime.spawn(keeper.run())));
    runtime.block_on(async {
        while !verifier.waiting_for().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    (runtime, verifier)
}

/// The first byte says what the others are: a token; a header, a line break and a payload; or claims that take the place of
/// good ones.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = match kind % 4 {
        0 | 1 => String::from_utf8_lossy(rest).into_owned(),
        2 => {
            let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            KEY.sign(&rest[..at], rest.get(at + 1..).unwrap_or_default())
        }
        _ => KEY.sign(header().to_string().as_bytes(), &changed(rest)),
    };
    judge(&text);
}

/// The claims of a good token with those of `others` in their place; one that is null is left out.
fn changed(others: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(others)) = serde_json::from_slice(others) else { return others.to_vec() };
    let mut changed = claims();
    for (name, value) in others {
        if value.is_null() {
            changed.as_object_mut().unwrap().remove(&name);
        } else {
            changed[name] = value;
        }
    }
    changed.to_string().into_bytes()
}

fn judge(text: &str) {
    let done = VERIFIER.with(|(runtime, verifier)| runtime.block_on(verifier.verify(&CupToken::new(text))));
    let Ok(caller) = done else { return };
    // Whatever is taken, the reference takes, and it says what was configured.
    let key = DecodingKey::from_rsa_components(&KEY.modulus, "AQAB").unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[CLIENT]);
    rules.set_issuer(&[ISSUER]);
    let told = jsonwebtoken::decode::<Value>(text, &key, &rules).expect("taken, but not by the reference");
    assert_eq!(told.claims["token_use"], "id");
    assert_eq!(told.claims["sub"].as_str(), Some(&*caller.subject));
    assert!(!caller.subject.is_empty());
    assert_eq!((&*caller.issuer, &*caller.client_id), (ISSUER, CLIENT));
    let parts: Vec<_> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("a token has one spelling");
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), part);
    }
}
