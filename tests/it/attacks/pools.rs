//! Two user pools, and key sets with bad company (A14, A15, A18, A50).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cupbearer::dev::{AmbiguousRoleResolution, CLIENT_ID, Emulator, ISSUER};
use serde_json::{Value, json};

use super::Ground;
use super::forge::{Forge, claims, header, keys_of, own_keys};
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, Scene, embedded, token_with};
use crate::support::settings::{PLENTY, Settings};

const OTHER_ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other";

/// A second user pool, whose keys are at `jwks`.
fn with_pool(text: &str, jwks: &str) -> String {
    let pool = format!(
        "[[user_pools]]\nid = \"us-east-1_Other\"\nclient_ids = [\"{CLIENT_ID}\"]\nissuers = [\"{OTHER_ISSUER}\"]\njwks_url = \"{jwks}\"\n\n[profiles.default]"
    );
    text.replacen("[profiles.default]", &pool, 1)
}

/// Two user pools name their keys alike, and each has its own: a token of the one, signed by the other, is nobody's.
#[tokio::test]
async fn keys_are_their_own_pools_alone() {
    let other = Arc::new(Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap());
    let (here, there) = (embedded().await, Proxy::start(Backend::Embedded(Arc::clone(&other))).await);
    // The other pool's key under the names that ours has.
    let names: Vec<_> = own_keys().iter().map(|key| key["kid"].clone()).collect();
    let theirs: Vec<_> = keys_of(&other)
        .into_iter()
        .zip(&names)
        .map(|(mut key, name)| {
            key["kid"] = name.clone();
            key
        })
        .collect();
    there.bend("jwks", Fault::Says(200, json!({ "keys": theirs }).to_string()));
    let url = format!("{}/us-east-1_Other/.well-known/jwks.json", there.url);
    let text = with_pool(&Settings::new(&here.url).text(), &url);
    let mut ground = Ground::of(Scene::before(here, &text, &[]).await).await;
    let renamed = |token: &str, issuer: &str| {
        // Signed by the pool that it does not name.
        let payload: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        assert_eq!(payload["iss"], issuer);
        token.to_owned()
    };
    let of = |emulator: &Emulator, issuer: &str| {
        let mut claims = emulator.id_claims("alice", std::time::SystemTime::now()).unwrap();
        claims["iss"] = issuer.into();
        emulator.sign(&claims).unwrap()
    };
    let tokens = [renamed(&of(&EMULATOR, OTHER_ISSUER), OTHER_ISSUER), renamed(&of(&other, ISSUER), ISSUER)];
    for token in &tokens {
        assert_eq!(ground.scene.ask("/v1/credentials", token).await.status, 401, "A14");
    }
    ground.after("A14", tokens.len()).await;
}

/// Two pools have the same user: their credentials are apart. And so are users whose names run into each other.
#[tokio::test]
async fn whose_names_look_alike_are_apart() {
    let proxy = embedded().await;
    let jwks = Settings::new(&proxy.url).jwks;
    let more = format!("---{PLENTY}");
    let text = with_pool(&Settings { more: &more, ..Settings::new(&proxy.url) }.text(), &jwks);
    let mut ground = Ground::of(Scene::before(proxy, &text, &[]).await).await;
    let subjects =
        ["a|b", "a", "a|", "A|B", "a\u{0}b", "a\u{0}", "\u{e9}", "e\u{301}", "a/b", "a:b", " a", "a ", "a,b"];
    let mut keys = std::collections::BTreeSet::new();
    for subject in subjects {
        let token = token_with(|claims| claims["sub"] = subject.into());
        let reply = ground.scene.ask("/v1/credentials", &token).await;
        assert_eq!(reply.status, 200, "A18 {subject:?}: {reply:?}");
        keys.insert(reply.json()["AccessKeyId"].to_string());
    }
    assert_eq!(keys.len(), subjects.len(), "A18");
    ground.after_calls("A18", subjects.len(), 2 * subjects.len()).await;
    let here = ground.scene.ask("/v1/credentials", &ground.good).await.json();
    let there = token_with(|claims| claims["iss"] = OTHER_ISSUER.into());
    let there = ground.scene.ask("/v1/credentials", &there).await;
    // AWS looks at the issuer too and may refuse; what must not be is the other's credentials.
    assert!(there.status == 403 || there.json()["AccessKeyId"] != here["AccessKeyId"], "A50: {there:?}");
    let calls = ground.scene.proxy.calls_to_aws() - ground.calls;
    assert!(calls > 0, "A50: it was asked for, and not found under the other pool's user");
    ground.after_calls("A50", 1, calls).await;
}

/// Keys that are no keys for us stand beside a good one: it is used, and none of them is.
#[tokio::test]
async fn bad_keys_in_a_key_set_are_left_out() {
    let forge = Forge::new();
    let bent = |kid: &str, change: &dyn Fn(&mut Value)| {
        let mut key = forge.jwk();
        key["kid"] = kid.into();
        change(&mut key);
        key
    };
    let modulus = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xC1; bytes]);
    let bad = vec![
        bent("1024 bits", &|key| key["n"] = modulus(128).into()),
        bent("16384 bits", &|key| key["n"] = modulus(2_048).into()),
        bent("e is 1", &|key| key["e"] = "AQ".into()),
        bent("e is 3", &|key| key["e"] = "Aw".into()),
        bent("e is 2^64", &|key| key["e"] = "AQAAAAAAAAAA".into()),
        bent("for encryption", &|key| key["use"] = "enc".into()),
        bent("for RS512", &|key| key["alg"] = "RS512".into()),
        bent("for HS256", &|key| key["alg"] = "HS256".into()),
        bent("private", &|key| key["d"] = "AQAB".into()),
        bent("of a curve", &|key| key["kty"] = "EC".into()),
        bent("symmetric", &|key| key["kty"] = "oct".into()),
        bent("to encrypt", &|key| key["key_ops"] = json!(["encrypt"])),
        bent("twice", &|_| {}),
        bent("twice", &|_| {}),
        bent(&"k".repeat(129), &|_| {}),
        json!(null),
        json!("a key"),
    ];
    let mut ground = Ground::before(forge.published(&bad).await, "").await;
    for key in &bad {
        let Some(kid) = key["kid"].as_str() else { continue };
        let mut header = header();
        header["kid"] = kid.into();
        let token = forge.raw(&header.to_string(), &claims().to_string());
        assert_eq!(ground.scene.ask("/v1/credentials", &token).await.status, 401, "A15 {kid}");
    }
    ground.after("A15", bad.len()).await;
    assert_eq!(ground.scene.ask("/v1/credentials", &forge.sound()).await.status, 200, "the good one is used");
    ground.told("A15");
}
