//! The broker before emulators that we did not write. What is asserted are the calls that were made; the emulators
//! check too little to be oracles.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::http::{self, Reply};
use crate::support::outage::is_bridged_to_the_end;
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::third_party::{MINISTACK, MOTO, World, configuration};

const EXCHANGE: &str = "GetCredentialsForIdentity";

struct Scene {
    proxy: Proxy,
    daemon: Daemon,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn before(world: &'static World) -> Self {
        let proxy = Proxy::start(Backend::Url(world.endpoint.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::serve(dir.path(), &configuration(world, &proxy.url)).await;
        Self { proxy, daemon, _dir: dir }
    }

    async fn ask(&self, path: &str, token: &str) -> Reply {
        http::credentials(self.daemon.address("http").await, path, token).await
    }

    fn calls(&self) -> (usize, usize) {
        (self.proxy.calls("GetId"), self.proxy.calls(EXCHANGE))
    }
}

/// Emulators are started by whichever test comes first, off the runtime.
async fn world(which: &'static std::sync::LazyLock<World>) -> &'static World {
    tokio::task::spawn_blocking(|| -> &'static World { which }).await.unwrap()
}

async fn one_exchange_for_all(world: &'static World) {
    let scene = Scene::before(world).await;
    let alice = world.fact("tokens.alice");
    let replies = join_all((0..64).map(|_| scene.ask("/v1/credentials", alice))).await;
    let key = replies[0].json()["AccessKeyId"].clone();
    for reply in &replies {
        assert_eq!((reply.status, &reply.json()["AccessKeyId"]), (200, &key), "{reply:?}");
    }
    assert_eq!(scene.calls(), (1, 1));
    let bob = scene.ask("/v1/credentials", world.fact("tokens.bob")).await;
    assert_eq!((bob.status, scene.calls()), (200, (2, 2)));
    assert_ne!(bob.json()["SecretAccessKey"], json!(null));

    assert_eq!(scene.ask("/v1/credentials/default/editor", alice).await.status, 200);
    let sent = scene.proxy.bodies(EXCHANGE);
    assert_eq!(sent[0].get("CustomRoleArn"), None, "no role is sent that nobody asked for");
    assert_eq!(sent[2]["CustomRoleArn"], json!(world.fact("editor_role_arn")));
    let before = scene.calls();
    assert_eq!(scene.ask("/v1/credentials/default/admin", world.fact("tokens.bob")).await.status, 403);
    assert_eq!(scene.ask("/v1/credentials", world.fact("tokens.carol")).await.status, 403);
    assert_eq!(scene.ask("/v1/credentials", world.fact("native_tokens.alice")).await.status, 403, "no role claims");
    assert_eq!(scene.calls(), before);
}

#[tokio::test]
async fn ministack_one_exchange_for_all() {
    let world = world(&MINISTACK).await;
    one_exchange_for_all(world).await;
    let scene = Scene::before(world).await;
    let mut keys = HashSet::new();
    for user in ["alice", "bob"] {
        let reply = scene.ask("/v1/credentials", world.fact(&format!("tokens.{user}"))).await;
        keys.insert(reply.json()["AccessKeyId"].to_string());
    }
    assert_eq!(keys.len(), 2, "two users, two sets of credentials");
}

#[tokio::test]
async fn moto_one_exchange_for_all() {
    one_exchange_for_all(world(&MOTO).await).await;
}

/// Tokens that ministack itself may let through: GetId must never see them.
#[tokio::test]
async fn ministack_bent_tokens_never_reach_get_id() {
    let world = world(&MINISTACK).await;
    let scene = Scene::before(world).await;
    let bent = world.mint(&json!([
        {"user": "alice", "header": {"alg": "none"}},
        {"user": "alice", "header": {"alg": "HS256"}},
        {"user": "alice", "header": {"alg": "RS384"}},
        {"user": "alice", "header": {"crit": ["exp"]}},
        {"user": "alice", "header": {"kid": null}},
        {"user": "alice", "header": {"alg": null}},
        {"user": "alice", "key": "fresh"},
        {"user": "alice", "key": "foreign"},
        {"user": "alice", "lifetime": -1},
        {"user": "alice", "lifetime": 0},
        {"user": "alice", "tamper": "signature"},
        {"user": "alice", "tamper": "payload"},
        {"user": "alice", "token_use": "access"},
        {"user": "alice", "token_use": "access", "claims": {"aud": world.fact("client_id")}},
        {"user": "alice", "pool": "foreign"},
        {"user": "alice", "claims": {"aud": world.fact("other_client_id")}},
        {"user": "alice", "claims": {"aud": [world.fact("client_id")]}},
        {"user": "alice", "claims": {"iss": format!("{}/", world.fact("issuer"))}},
        {"user": "alice", "claims": {"nbf": 4_000_000_000_u64}},
        {"user": "alice", "claims": {"exp": "never"}},
        {"user": "alice", "claims": {"sub": ""}},
        {"user": "alice", "remove": ["token_use"]},
        {"user": "alice", "remove": ["sub"]},
        {"user": "alice", "remove": ["exp"]},
        {"user": "alice", "remove": ["iat"]}
    ]));
    assert_eq!(bent.len(), 25);
    let given = ["access_token", "other_client_token", "foreign_token", "expired_token", "tampered_token"];
    let given = given.iter().map(|name| world.fact(name).to_owned());
    for (number, token) in bent.into_iter().chain(given).enumerate() {
        assert_eq!(scene.ask("/v1/credentials", &token).await.status, 401, "token {number}: {token}");
    }
    assert_eq!(scene.calls(), (0, 0));
    assert_eq!(scene.ask("/v1/credentials", world.fact("tokens.alice")).await.status, 200, "the next good one");
}

/// The lifetime is the proxy's: the emulators' own are fixed.
async fn renewed_and_then_served_to_the_end(world: &'static World) {
    let scene = Scene::before(world).await;
    scene.proxy.bend(EXCHANGE, Fault::Expires(9));
    let token = world.fact("tokens.alice");
    assert_eq!(scene.ask("/v1/credentials", token).await.status, 200);
    let started = tokio::time::Instant::now();
    while scene.calls().1 < 4 {
        assert_eq!(scene.ask("/v1/credentials", token).await.status, 200, "no request fails");
        assert!(started.elapsed() < Duration::from_secs(30), "nothing is renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(scene.proxy.calls("GetId"), 1);
    let metrics = http::get(scene.daemon.address("admin").await, "/metrics", &[]).await.body;
    assert!(metrics.contains("cupbearer_cache_lookups_total{result=\"miss\"} 1\n"), "nobody waits: {metrics}");
    scene.proxy.mend();
    scene.proxy.bend("*", Fault::Closes);
    assert!(is_bridged_to_the_end(scene.daemon.address("http").await, token).await > 10);
}

#[tokio::test]
async fn ministack_renewed_and_then_served_to_the_end() {
    renewed_and_then_served_to_the_end(world(&MINISTACK).await).await;
}

#[tokio::test]
async fn moto_renewed_and_then_served_to_the_end() {
    renewed_and_then_served_to_the_end(world(&MOTO).await).await;
}
