//! Two user pools, and key sets with bad company (A14, A15, A18, A50).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cupbearer::dev::{
    AmbiguousRoleResolution, BROKER_ACCESS_KEY_ID, BROKER_SECRET_ACCESS_KEY, CLIENT_ID, EDITOR_ROLE_ARN, Emulator,
    ISSUER,
};
use serde_json::{Value, json};

use super::Ground;
use super::forge::{Forge, claims, header, keys_of, own_keys};
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, Scene, embedded, token_with};
use crate::support::settings::{PLENTY, Settings};

const OTHER_ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other";

/// Real keys that no library at hand would sign with, and a token of alice by each, good until the year 9999: of `openssl
/// genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024` or `rsa_keygen_pubexp:3`, and of `openssl dgst -sha256 -sign`. What
/// an exponent of 1 makes of a signature is the signature, so that there it is the padded digest (RFC 8017, section 9.2).
/// The first is as good as any, and shows that of the others nothing is odd but the key.
const ODD_KEYS: &str = include_str!("odd_keys.json");

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
    // Of Cognito only our own pool's users get anything; of STS whoever we speak for.
    let more = format!(
        "---{PLENTY}assume_role_per_second = 500\n[profiles.own]\nflow = \"assume-role\"\n\
         groups = [{{ name = \"editor\", precedence = 1, role_arn = \"{EDITOR_ROLE_ARN}\" }}]\n"
    );
    let text = with_pool(&Settings { more: &more, ..Settings::new(&proxy.url) }.text(), &jwks);
    let own = [("AWS_ACCESS_KEY_ID", BROKER_ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", BROKER_SECRET_ACCESS_KEY)];
    let mut ground = Ground::of(Scene::before(proxy, &text, &own).await).await;
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
    let entries = ground.scene.metric("cupbearer_entries").await;
    let twins = [ISSUER, OTHER_ISSUER].map(|issuer| {
        token_with(|claims| {
            claims["sub"] = "twin".into();
            claims["iss"] = issuer.into();
        })
    });
    let mut held = Vec::new();
    for round in 0..2 {
        for (pool, twin) in twins.iter().enumerate() {
            let reply = ground.scene.ask("/v1/credentials/own", twin).await;
            assert_eq!(reply.status, 200, "A50 pool {pool}, round {round}: {reply:?}");
            held.push(reply.json()["AccessKeyId"].clone());
        }
    }
    assert_ne!(held[0], held[1], "A50: the other pool's");
    assert_eq!(held[..2], held[2..], "A50: each keeps its own");
    assert_eq!(ground.scene.metric("cupbearer_entries").await, entries + 2.0, "A50");
    ground.after_calls("A50", held.len(), 2).await;
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
    let bad = vec![
        // Whose signatures are good for one who takes every exponent for the usual one.
        bent("e is told as 1", &|key| key["e"] = "AQ".into()),
        bent("e is told as 3", &|key| key["e"] = "Aw".into()),
        bent("e is told as 2^64", &|key| key["e"] = "AQAAAAAAAAAA".into()),
        bent("no e", &|key| drop(key.as_object_mut().unwrap().remove("e"))),
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
    let odd: Vec<Value> = serde_json::from_str(ODD_KEYS).unwrap();
    let published = |key: &Value| json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key["kid"], "n": key["n"], "e": key["e"]});
    let keys = [bad.clone(), odd.iter().map(published).collect()].concat();
    let mut ground = Ground::before(forge.published(&keys).await, "").await;
    for (number, key) in odd.iter().enumerate() {
        let wanted = if number == 0 { 200 } else { 401 };
        let reply = ground.scene.ask("/v1/credentials", key["token"].as_str().unwrap()).await;
        assert_eq!(reply.status, wanted, "A15 {}: {reply:?}", key["kid"]);
    }
    for key in &bad {
        let Some(kid) = key["kid"].as_str() else { continue };
        let mut header = header();
        header["kid"] = kid.into();
        let token = forge.raw(&header.to_string(), &claims().to_string());
        assert_eq!(ground.scene.ask("/v1/credentials", &token).await.status, 401, "A15 {kid}");
    }
    ground.after("A15", keys.len()).await;
    assert_eq!(ground.scene.ask("/v1/credentials", &forge.sound()).await.status, 200, "the good one is used");
    ground.told("A15");
}
