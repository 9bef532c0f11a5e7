//! User pools' keys: rotated, withdrawn, unreachable, flooded (F7, F8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cupbearer::dev::{self, AmbiguousRoleResolution, Emulator};
use futures::future::join_all;
use serde_json::{Value, json};

use super::hits;
use crate::support::daemon::command;
use crate::support::fault::Fault;
use crate::support::http;
use crate::support::line::Line;
use crate::support::proxy::Backend;
use crate::support::scene::{EMULATOR, Scene, embedded, token};
use crate::support::settings::{HALF_PATIENT, Settings};
use crate::support::trap::Trap;

/// The same user pool, with other keys.
fn other_keys() -> Arc<Emulator> {
    Arc::new(Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap())
}

fn fresh(emulator: &Emulator, user: &str) -> String {
    emulator.id_token(user, std::time::SystemTime::now()).unwrap()
}

fn key_set(emulator: &Emulator) -> Value {
    let path = format!("/{}/.well-known/jwks.json", dev::USER_POOL_ID);
    let answer = emulator.answer(::http::Request::get(path).body(Bytes::new()).unwrap(), std::time::SystemTime::now());
    serde_json::from_slice(answer.body()).unwrap()
}

/// Alice's claims under a key that nobody has.
fn unknown_key(number: usize) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": format!("nobody-{number}")}).to_string());
    let claims = token("alice");
    format!("{header}.{}.{}", claims.split('.').nth(1).unwrap(), URL_SAFE_NO_PAD.encode([0x5a; 256]))
}

#[tokio::test]
async fn a_new_key_is_taken_after_one_fetch_and_a_withdrawn_one_no_more() {
    let scene = Scene::new().await;
    let (old, new) = (token("alice"), other_keys());
    assert_eq!(scene.ask("/v1/credentials", &old).await.status, 200);
    let both = [key_set(&EMULATOR), key_set(&new)].map(|set| set["keys"].as_array().unwrap().clone()).concat();
    scene.proxy.bend("jwks", Fault::Says(200, json!({ "keys": both }).to_string()));
    scene.proxy.turn_to(Backend::Embedded(Arc::clone(&new)));
    let asked = Instant::now();
    let reply = scene.ask("/v1/credentials", &fresh(&new, "bob")).await;
    println!("F7 a token under a new key is answered in {:?}", asked.elapsed());
    assert_eq!((reply.status, scene.proxy.calls("jwks")), (200, 2), "{reply:?}");
    assert_eq!(scene.ask("/v1/credentials", &old).await.status, 200, "the old key is not withdrawn");

    // The pool publishes the new keys alone. The next fetch finds out: here another unknown key brings it about.
    scene.proxy.mend();
    let started = Instant::now();
    for number in 0.. {
        assert_eq!(scene.ask("/v1/credentials", &unknown_key(number)).await.status, 401);
        if scene.proxy.calls("jwks") > 2 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no further fetch");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scene.ask("/v1/credentials", &old).await.status, 401, "whatever is cached");
    assert_eq!(scene.ask("/v1/credentials", &fresh(&new, "bob")).await.status, 200);
}

/// Tokens under keys that nobody has cost no more than a fetch in ten seconds, delay nobody, and hide no rotation.
#[tokio::test]
async fn a_flood_of_unknown_keys_neither_floods_the_pool_nor_hides_a_rotation() {
    let scene = Scene::new().await;
    let (alice, new) = (token("alice"), other_keys());
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    let healthy = hits(&scene, &alice, 1_000).await;
    let started = Instant::now();
    let flood = join_all((0..4).map(async |part| {
        let mut line = Line::open(scene.http).await.unwrap();
        for number in 0..1_500 {
            let reply = line.ask("/v1/credentials", &unknown_key(part * 1_500 + number)).await.unwrap();
            // Soon the peer has failed too often.
            assert!(matches!(reply.status, 401 | 429 | 503), "{reply:?}");
        }
    }));
    let (_, flooded) = tokio::join!(flood, hits(&scene, &alice, 1_000));
    let (took, fetches) = (started.elapsed(), scene.proxy.calls("jwks") - 1);
    println!("F7 6000 unknown keys in {took:?}: {fetches} fetches; hits before {healthy}, during {flooded}");
    assert!(fetches >= 1 && fetches as u64 <= took.as_secs() / 10 + 1, "{fetches} fetches in {took:?}");

    scene.proxy.turn_to(Backend::Embedded(Arc::clone(&new)));
    let (started, bob) = (Instant::now(), fresh(&new, "bob"));
    for number in 6_000.. {
        scene.ask("/v1/credentials", &unknown_key(number)).await;
        if scene.ask("/v1/credentials", &bob).await.status == 200 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the rotation stayed hidden");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("F7 a rotation behind the flood shows after {:?}", started.elapsed());
}

#[tokio::test]
async fn without_the_pool_known_keys_go_on_and_unknown_ones_are_not_called_wrong() {
    let scene = Scene::with(&format!("---{HALF_PATIENT}"), "authenticated_role").await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    scene.proxy.bend("jwks", Fault::Resets);
    for token in [fresh(&other_keys(), "bob"), unknown_key(1)] {
        let reply = scene.ask("/v1/credentials", &token).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")), "{reply:?}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    assert_eq!(scene.ask("/v1/credentials", &token("carol")).await.status, 200, "also for a token never seen");
    assert_eq!(http::get(scene.admin, "/readyz", &[]).await.status, 200);
}

/// Each row is a key set that is none, at the start: the program lives, waits, says 503, and recovers.
#[tokio::test]
async fn no_false_key_set_is_taken_at_the_start() {
    let trap = Trap::set().await;
    let real = key_set(&EMULATOR);
    let many: Vec<_> = (0..33).map(|_| real["keys"][0].clone()).collect();
    let padded = json!({"keys": real["keys"], "padding": "x".repeat(64 << 10)});
    let twice = format!("{{\"keys\": [], \"keys\": {}}}", real["keys"]);
    let table = [
        Fault::Closes,
        Fault::Resets,
        Fault::CutAt(200),
        Fault::Slow(Duration::from_secs(4)),
        Fault::Trickles(100, Duration::from_millis(500)),
        Fault::Says(500, String::new()),
        Fault::Says(200, "<html>sign in</html>".to_owned()),
        Fault::Says(200, "{\"keys\": []}".to_owned()),
        Fault::Says(200, json!({ "keys": many }).to_string()),
        Fault::Says(200, padded.to_string()),
        Fault::Says(200, twice),
        Fault::redirects(&format!("http://{}/jwks.json", trap.address)),
        Fault::redirects("http://169.254.169.254/latest/meta-data/"),
    ];
    let more = format!("---{HALF_PATIENT}");
    join_all(table.into_iter().map(async |fault| {
        let proxy = embedded().await;
        proxy.bend("jwks", fault.clone());
        let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
        let scene = Scene::started_by(proxy, &text, |arguments| command(arguments, &[])).await;
        let reply = scene.ask("/v1/credentials", &token("alice")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")), "{fault:?}");
        assert_eq!(http::get(scene.admin, "/livez", &[]).await.status, 200, "{fault:?}");
        assert_eq!(http::get(scene.admin, "/readyz", &[]).await.status, 503, "{fault:?}");
        scene.proxy.mend();
        scene.daemon.ready().await;
        assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200, "{fault:?}");
    }))
    .await;
    assert_eq!(trap.visits(), 0, "a key set's redirect was followed");
}
