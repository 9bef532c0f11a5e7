//! Another configuration while the program runs: what is taken away is refused at once, what stays is not disturbed, and
//! a faulty file changes nothing.

mod speed;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use cupbearer::dev::{
    ADMIN_ROLE_ARN, BROKER_ACCESS_KEY_ID, BROKER_SECRET_ACCESS_KEY, CLIENT_ID, EDITOR_ROLE_ARN, IDENTITY_POOL_ID,
    ISSUER, USER_POOL_ID,
};
use cupbearer::server::proto::WatchCredentialsRequest;
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::Code;

use crate::grpc::ask as call;
use crate::sessions::{client, open, with};
use crate::support::daemon::PATIENCE;
use crate::support::http;
use crate::support::proxy::Fault;
use crate::support::scene::{Scene, embedded, token, token_with};
use crate::support::settings::{HALF_PATIENT, Settings};

/// A rule of the configuration's own, so that the configuration says who may have which role.
fn rule(group: &str, role: &str) -> String {
    format!("{{ claim = \"cognito:groups\", match_type = \"Contains\", value = \"{group}\", role_arn = \"{role}\" }},")
}

/// Roles by rules in the default profile: the admin's and the editor's.
fn by_rules(text: &str) -> String {
    let (admin, editor) = (rule("admin", ADMIN_ROLE_ARN), rule("editor", EDITOR_ROLE_ARN));
    text.replacen("mapping = \"token\"", &format!("mapping = \"rules\"\nrules = [{admin}{editor}]"), 1)
}

fn without_admin(text: &str) -> String {
    text.replace(&rule("admin", ADMIN_ROLE_ARN), "")
}

/// With more keys in the table of limits.
fn with_limits(text: &str, limits: &str) -> String {
    text.replace("[limits]\n", &format!("[limits]\n{limits}\n"))
}

/// A second profile like the default one.
fn other_profile() -> String {
    format!(
        "---[profiles.other]\nidentity_pool_id = \"{IDENTITY_POOL_ID}\"\n[profiles.other.roles]\nmapping = \"token\"\n"
    )
}

/// A token of somebody with alice's groups.
fn user(name: &str) -> String {
    token_with(|claims| claims["sub"] = name.into())
}

impl Scene {
    /// The configuration file as it is.
    fn file(&self) -> String {
        fs::read_to_string(self.path("cupbearer.toml")).unwrap()
    }

    /// Puts another file in the configuration's place, as careful editors do.
    fn put(&self, text: &str) {
        fs::write(self.path("new.toml"), text).unwrap();
        fs::rename(self.path("new.toml"), self.path("cupbearer.toml")).unwrap();
    }

    async fn reloads(&self, result: &str) -> f64 {
        self.metric(&format!("cupbearer_config_reloads_total{{result=\"{result}\"}}")).await
    }

    /// Waits until there were more reloads with this result than `before`.
    async fn reloaded(&self, result: &str, before: f64) {
        let started = Instant::now();
        while self.reloads(result).await <= before {
            assert!(started.elapsed() < PATIENCE, "no reload:\n{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts another file in the configuration's place and says so; returns when it is in force.
    async fn reload(&self, text: &str) {
        assert_ne!(text, self.file(), "it changes something");
        let before = self.reloads("ok").await;
        self.put(text);
        self.daemon.signal(Signal::HUP);
        self.reloaded("ok", before).await;
    }

    async fn wait_for_metric(&self, series: &str, wanted: impl Fn(f64) -> bool) {
        let started = Instant::now();
        while !wanted(self.metric(series).await) {
            assert!(started.elapsed() < PATIENCE, "{series} is {}", self.metric(series).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait_for_calls(&self, operation: &str, count: usize) {
        let started = Instant::now();
        while self.proxy.calls(operation) < count {
            assert!(started.elapsed() < PATIENCE, "{operation} was called {} times", self.proxy.calls(operation));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_role_that_was_removed_is_refused_at_once_wherever_it_was_held() {
    let scene = Scene::edited("", "deny", |text, _| by_rules(&text)).await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200);
    let session = open(&scene, &alice, "admin").await;
    let path = format!("/v1/sessions/{}", session.session_id);
    assert_eq!(scene.ask(&path, &session.authorization_token).await.status, 200);
    let message = WatchCredentialsRequest { role: "admin".to_owned(), ..WatchCredentialsRequest::default() };
    let watch = client(&scene).await.watch_credentials(with(&alice, message)).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());

    let started = Instant::now();
    scene.reload(&without_admin(&scene.file())).await;
    for (path, token) in [("/v1/credentials/default/admin", &alice), (&*path, &session.authorization_token)] {
        let reply = scene.ask(path, token).await;
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("RoleNotAllowed")), "{path}");
    }
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(end.unwrap_err().code(), Code::PermissionDenied);
    // Nobody told it, a watch would look again after 15 seconds.
    assert!(started.elapsed() < Duration::from_secs(13), "{:?}", started.elapsed());
    scene.wait_for_metric("cupbearer_entries", |entries| entries == 0.0).await;
    assert_eq!(scene.ask("/v1/credentials/default/editor", &alice).await.status, 200, "what is left is left");
}

/// One exchange hangs in flight and another waits in the queue: both callers hear of the reload, not of a time-out.
#[tokio::test]
async fn whoever_waits_for_a_role_that_was_removed_is_refused_at_once() {
    let more = "---[upstream]\nconcurrency = 1\n[limits]\nexchange_timeout_ms = 60000\n";
    let scene = Scene::edited(more, "deny", |text, _| by_rules(&text)).await;
    scene.proxy.bend("GetCredentialsForIdentity", Fault::Hangs);
    let (first, second, untouched) = (user("first"), user("second"), user("third"));
    let waiting =
        async { tokio::join!(call(scene.grpc, &first, "admin", None), call(scene.grpc, &second, "admin", None)) };
    let third = call(scene.grpc, &untouched, "editor", None);
    let reloading = async {
        scene.wait_for_calls("GetCredentialsForIdentity", 1).await;
        scene.wait_for_metric("cupbearer_cache_lookups_total{result=\"miss\"}", |misses| misses == 3.0).await;
        let asked = Instant::now();
        scene.reload(&without_admin(&scene.file())).await;
        asked
    };
    let ((one, other), asked) = {
        let both = async { tokio::join!(waiting, reloading) };
        tokio::select! {
            done = both => done,
            done = third => panic!("the third waits for longer: {done:?}"),
        }
    };
    assert_eq!((one.unwrap_err().code(), other.unwrap_err().code()), (Code::PermissionDenied, Code::PermissionDenied));
    assert!(asked.elapsed() < PATIENCE, "before the exchange's time was up");
    assert_eq!(scene.proxy.calls("GetCredentialsForIdentity"), 1, "what was queued was not sent");
    scene.proxy.mend();
}

#[tokio::test]
async fn what_is_still_allowed_stays_cached_in_changed_and_unchanged_profiles() {
    let scene = Scene::edited(&other_profile(), "deny", |text, _| by_rules(&text)).await;
    let (alice, bob) = (token("alice"), token("bob"));
    let asks = [("/v1/credentials/other", &alice), ("/v1/credentials/other", &bob), ("/v1/credentials/default", &bob)];
    let mut held = Vec::new();
    for (path, token) in asks {
        held.push(scene.ask(path, token).await.json()["AccessKeyId"].clone());
    }
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200);
    let before = scene.proxy.calls("GetCredentialsForIdentity");
    scene.reload(&without_admin(&scene.file())).await;
    scene.wait_for_metric("cupbearer_entries", |entries| entries == 3.0).await;
    for ((path, token), held) in asks.into_iter().zip(held) {
        assert_eq!(scene.ask(path, token).await.json()["AccessKeyId"], held, "{path}");
    }
    assert_eq!(scene.proxy.calls("GetCredentialsForIdentity"), before);
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls("jwks")), (2, 1), "and nothing else was asked");
}

/// What is taken away does not wait for AWS, whatever else the new configuration brings.
#[tokio::test]
async fn a_role_is_taken_away_though_sts_does_not_answer() {
    let proxy = embedded().await;
    proxy.bend("GetCallerIdentity", Fault::Hangs);
    let more = "---[limits]\nexchange_timeout_ms = 60000\n";
    let text = by_rules(&Settings { more, ..Settings::new(&proxy.url) }.text());
    let own = [("AWS_ACCESS_KEY_ID", BROKER_ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", BROKER_SECRET_ACCESS_KEY)];
    let scene = Scene::before(proxy, &text, &own).await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200);
    let long = "[profiles.long]\nflow = \"assume-role\"\nduration_seconds = 7200\n[profiles.long.roles]\n";
    let roles = format!("mapping = \"rules\"\nrules = [{}]\n", rule("editor", EDITOR_ROLE_ARN));
    scene.reload(&(without_admin(&scene.file()) + long + &roles)).await;
    assert_eq!(scene.proxy.calls("GetCallerIdentity"), 1, "it was asked");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 403);
    scene.proxy.mend();
}

#[tokio::test]
async fn a_profile_with_another_identity_pool_serves_nothing_of_the_old_one() {
    let scene = Scene::with("", "deny").await;
    let alice = token("alice");
    let held = scene.ask("/v1/credentials", &alice).await;
    assert_eq!(held.status, 200);
    let other = "us-east-1:00000000-0000-0000-0000-000000000000";
    scene.reload(&scene.file().replace(IDENTITY_POOL_ID, other)).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 403, "AWS knows no such pool");
    scene.reload(&scene.file().replace(other, IDENTITY_POOL_ID)).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
}

#[tokio::test]
async fn an_app_client_that_was_removed_is_refused_though_its_verdict_was_remembered() {
    let scene = Scene::with("", "deny").await;
    let alice = token("alice");
    let session = open(&scene, &alice, "").await;
    let path = format!("/v1/sessions/{}", session.session_id);
    for _ in 0..2 {
        assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    }
    assert_eq!(scene.metric("cupbearer_token_verifications_total{result=\"ok\"}").await, 1.0, "and then remembered");
    scene.reload(&scene.file().replace(CLIENT_ID, "another")).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 401);
    assert_eq!(scene.ask(&path, &session.authorization_token).await.status, 404, "its session has ended");
    assert_eq!(call(scene.grpc, &alice, "", None).await.unwrap_err().code(), Code::Unauthenticated);
    scene.wait_for_metric("cupbearer_entries", |entries| entries == 0.0).await;
    scene.reload(&scene.file().replace("another", CLIENT_ID)).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    assert_eq!(scene.proxy.calls("jwks"), 1, "its keys were kept");
}

#[tokio::test]
async fn a_user_pool_that_is_added_is_served_and_one_whose_keys_are_away_makes_nobody_unready() {
    let stranger = |text: String| {
        let text =
            text.replace(ISSUER, "https://other.example/us-east-1_Other").replace(USER_POOL_ID, "us-east-1_Other");
        text.replace("us-east-1_Other/.well-known", &format!("{USER_POOL_ID}/.well-known"))
    };
    let scene = Scene::edited(&format!("---{HALF_PATIENT}"), "deny", |text, _| stranger(text)).await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 401);
    let keys = format!("{}/{USER_POOL_ID}/.well-known/jwks.json", scene.proxy.url.replace("127.0.0.1", "localhost"));
    let pool = |keys: &str| {
        format!(
            "[[user_pools]]\nid = \"{USER_POOL_ID}\"\nclient_ids = [\"{CLIENT_ID}\"]\nissuers = [\"{ISSUER}\"]\njwks_url = \"{keys}\"\n\n[profiles.default]"
        )
    };
    let old = scene.file();
    scene.reload(&old.replace("[profiles.default]", &pool(&keys))).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    assert_eq!(scene.proxy.calls("jwks"), 2);

    // Those of a pool that only moves are known; those of one that is new are not.
    let away = old.replace("[profiles.default]", &pool("http://127.0.0.1:9/jwks.json"));
    scene.reload(&away).await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    scene.reload(&old).await;
    scene.reload(&away).await;
    let reply = scene.ask("/v1/credentials", &alice).await;
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("KeysUnavailable")));
    assert_eq!(http::get(scene.admin, "/readyz", &[]).await.status, 200);
}

/// As kubelet does it: the files are links into a directory that is a link itself, which is swapped by rename.
#[tokio::test]
async fn a_swapped_config_map_is_seen_without_a_signal() {
    let scene = Scene::edited("", "deny", |text, dir| {
        fs::create_dir(dir.join("..first")).unwrap();
        symlink("..first", dir.join("..data")).unwrap();
        symlink("..data/cupbearer.toml", dir.join("cupbearer.toml")).unwrap();
        by_rules(&text)
    })
    .await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200);
    fs::create_dir(scene.path("..second")).unwrap();
    fs::write(scene.path("..second/cupbearer.toml"), without_admin(&scene.file())).unwrap();
    symlink("..second", scene.path("..data_tmp")).unwrap();
    let swapped = Instant::now();
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    scene.reloaded("ok", 0.0).await;
    assert!(swapped.elapsed() < Duration::from_secs(10), "half a second, on a machine that has time");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 403);
    assert_eq!(scene.reloads("ok").await, 1.0, "once");
}

#[tokio::test]
async fn a_file_that_the_configuration_names_counts_too() {
    let scene = Scene::edited("", "deny", |text, dir| {
        fs::write(dir.join("admin-token"), "the-first-admin-token").unwrap();
        format!("{text}\n[admin]\ntoken_file = \"{}\"\n", dir.join("admin-token").display())
    })
    .await;
    let purge = async |token: &str| {
        let body = "{\"all\": true}";
        let headers = [("Authorization", token), ("Content-Length", "13")];
        http::send(scene.admin, &(http::request("POST", "/purge", scene.admin, &headers) + body)).await.status
    };
    assert_eq!((purge("the-first-admin-token").await, purge("the-second-admin-token").await), (200, 401));
    fs::write(scene.path("admin-token"), "the-second-admin-token").unwrap();
    scene.reloaded("ok", 0.0).await;
    assert_eq!((purge("the-first-admin-token").await, purge("the-second-admin-token").await), (401, 200));
}

#[tokio::test]
async fn a_faulty_file_changes_nothing_and_each_fault_is_told_without_a_value() {
    let scene = Scene::edited("", "deny", |text, _| by_rules(&text)).await;
    let alice = token("alice");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200);
    let old = scene.file();
    let faulty = without_admin(&old).replace("region = \"us-east-1\"", "region = \"Canary!\"");
    scene.put(&with_limits(&faulty, "entries = 0\nconnections = \"Canary\""));
    scene.reloaded("invalid", 0.0).await;
    let log = scene.daemon.log();
    let file = scene.path("cupbearer.toml").display().to_string();
    for key in ["aws.region: ", "limits.entries: ", "limits.connections: "] {
        let told =
            log.lines().any(|line| line.contains("\"level\":\"ERROR\"") && line.contains(&file) && line.contains(key));
        assert!(told, "{key} is not told:\n{log}");
    }
    assert!(!log.contains("Canary"), "{log}");
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200, "not even the sound part of it");
    let calls = scene.proxy.calls("GetCredentialsForIdentity");
    fs::remove_file(scene.path("cupbearer.toml")).unwrap();
    scene.reloaded("invalid", 1.0).await;
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 200, "no file is a faulty one");
    assert_eq!(scene.proxy.calls("GetCredentialsForIdentity"), calls, "a hit throughout");
    scene.put(&without_admin(&old));
    scene.reloaded("ok", 0.0).await;
    assert_eq!(scene.ask("/v1/credentials/default/admin", &alice).await.status, 403);
}

#[tokio::test]
async fn lowered_limits_take_effect_and_what_needs_a_restart_keeps_its_value() {
    let scene = Scene::with("---", "deny").await;
    for number in 0..3 {
        assert_eq!(scene.ask("/v1/credentials", &user(&format!("user-{number}"))).await.status, 200);
    }
    let roles = ["/v1/credentials/default/admin", "/v1/credentials/default/editor", "/v1/credentials"];
    for path in roles {
        assert_eq!(scene.ask(path, &user("greedy")).await.status, 200);
    }
    assert_eq!(scene.metric("cupbearer_entries").await, 6.0);
    let old = scene.file();
    scene.reload(&with_limits(&old, "entries_per_subject = 2")).await;
    scene.wait_for_metric("cupbearer_entries", |entries| entries == 5.0).await;
    scene.reload(&with_limits(&old, "entries = 2\ntoken_bytes = 256\nheader_bytes = 8192")).await;
    scene.wait_for_metric("cupbearer_entries", |entries| entries == 2.0).await;
    assert_eq!(scene.ask("/v1/credentials", &user("user-1")).await.status, 431);

    let moved = old.replace("http = \"127.0.0.1:0\"", "http = \"127.0.0.1:1\"");
    scene.reload(&(moved + "[sessions]\nmax = 1\n[audit]\nfile = \"stdout\"\n")).await;
    let log = scene.daemon.log();
    for key in ["server.http", "audit.file"] {
        let told = |line: &str| line.contains("\"level\":\"WARN\"") && line.contains(key) && line.contains("restart");
        assert!(log.lines().any(told), "{key} is not told:\n{log}");
    }
    assert_eq!(scene.ask("/v1/credentials", &user("user-1")).await.status, 200, "where it was");
    let alice = token("alice");
    open(&scene, &alice, "").await;
    let message = cupbearer::server::proto::OpenSessionRequest::default();
    let refused = client(&scene).await.open_session(with(&alice, message)).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(scene.daemon.out(), "", "no audit log has begun");
}

#[tokio::test]
async fn fewer_connections_are_taken_from_then_on() {
    let scene = Scene::with("---", "deny").await;
    let alice = token("alice");
    let hold = async || join_all((0..2).map(|_| TcpStream::connect(scene.http))).await;
    let mut kept = hold().await;
    assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200);
    scene.reload(&with_limits(&scene.file(), "connections = 2")).await;
    let started = Instant::now();
    while scene.ask("/v1/credentials", &alice).await.status != 503 {
        // Silent ones are sent away after a while.
        assert!(started.elapsed() < PATIENCE, "two are in the house");
        kept = hold().await;
    }
    drop(kept);
    let started = Instant::now();
    while scene.ask("/v1/credentials", &alice).await.status != 200 {
        assert!(started.elapsed() < PATIENCE);
    }
}
