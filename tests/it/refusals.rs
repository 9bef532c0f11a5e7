//! What AWS refuses in the flows where we choose the role: the embedded emulator says AWS's own texts, and the caller
//! hears the table's row, the log and the audit log the hint.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use cupbearer::dev::{
    ADMIN_ROLE_ARN, API_ROLE_PATH, BASIC_IDENTITY_POOL_ID, CLASSIC_OFF_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, EXTERNAL_ID,
    EXTERNAL_ROLE_ARN, GUEST_IDENTITY_POOL_ID, IDENTITY_POOL_ID, UNTAGGED_ROLE_ARN,
};
use cupbearer::server::proto::CredentialBrokerClient;
use serde_json::json;
use tonic::transport::Channel;

use crate::grpc::channel;
use crate::support::daemon::Daemon;
use crate::support::http;
use crate::support::proxy::{Backend, Fault, Proxy};
use crate::support::scene::{EMULATOR, token, token_with};
use crate::support::settings::Settings;
use crate::support::told::{Told, hinted};

pub struct Scene {
    pub proxy: Proxy,
    pub daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Scene {
    /// With these profiles beside the default one, as the emulator's API role.
    pub async fn new(profiles: &str) -> Self {
        let (daemon, proxy, dir) = start(profiles).await;
        daemon.ready().await;
        Self { proxy, daemon, dir }
    }

    pub async fn ask(&self, path: &str, token: &str) -> http::Reply {
        http::credentials(self.daemon.address("http").await, path, token).await
    }

    /// A client of the gRPC door.
    pub async fn grpc(&self) -> CredentialBrokerClient<Channel> {
        CredentialBrokerClient::new(channel(self.daemon.address("grpc").await).await)
    }

    /// What is told from now on.
    pub fn told(&self) -> Told {
        Told::from_now(&self.daemon, &self.audit_log())
    }

    /// The file of the audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }
}

async fn start(profiles: &str) -> (Daemon, Proxy, tempfile::TempDir) {
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit.jsonl");
    let more = format!("---\n[audit]\nfile = \"{}\"\n{profiles}", audit.display());
    let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
    let uri = format!("{}{API_ROLE_PATH}", proxy.url);
    let home = dir.path().to_str().unwrap().to_owned();
    let own = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()), ("HOME", home.as_str())];
    let file = dir.path().join("cupbearer.toml");
    std::fs::write(&file, text).unwrap();
    let daemon = Daemon::start(&["serve", "--config", file.to_str().unwrap(), "--log-format", "json"], &own);
    (daemon, proxy, dir)
}

/// A profile that gives everybody `role`.
pub fn profile(name: &str, flow: &str, pool: &str, role: &str, more: &str) -> String {
    let pool = if pool.is_empty() { String::new() } else { format!("identity_pool_id = \"{pool}\"") };
    format!(
        r#"
[profiles.{name}]
flow = "{flow}"
{pool}
{more}
[profiles.{name}.roles]
mapping = "rules"
ambiguous_role_resolution = "deny"
rules = [{{ claim = "token_use", match_type = "Equals", value = "id", role_arn = "{role}" }}]
"#
    )
}

#[tokio::test]
async fn each_has_its_row_and_its_hint() {
    let editor = EDITOR_ROLE_ARN;
    let gone = "arn:aws:iam::111122223333:role/rbac-no-such-role";
    let tags = "session_tags = { tenant = \"{{sub}}\" }";
    let external = format!("external_id = \"{EXTERNAL_ID}\"");
    let long = "duration_seconds = 7200";
    let profiles = [
        profile("mapped", "basic", IDENTITY_POOL_ID, editor, ""),
        profile("off", "basic", CLASSIC_OFF_IDENTITY_POOL_ID, editor, ""),
        profile("gone", "basic", BASIC_IDENTITY_POOL_ID, gone, ""),
        profile("long", "basic", BASIC_IDENTITY_POOL_ID, UNTAGGED_ROLE_ARN, long),
        profile("good", "basic", BASIC_IDENTITY_POOL_ID, editor, long),
        profile("untagged", "assume-role", "", UNTAGGED_ROLE_ARN, tags),
        profile("stranger", "assume-role", "", EXTERNAL_ROLE_ARN, ""),
        profile("external", "assume-role", "", EXTERNAL_ROLE_ARN, &external),
    ];
    let scene = Scene::new(&profiles.concat()).await;
    let table = [
        ("mapped", "remove the mappings"),
        ("off", "AllowClassicFlow"),
        ("gone", "trust policy"),
        ("long", "duration_seconds"),
        ("untagged", "is missing"),
        ("stranger", "is missing"),
    ];
    for (profile, hint) in table {
        let told = scene.told();
        let reply = scene.ask(&format!("/v1/credentials/{profile}"), &token("bob")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("UpstreamDenied")), "{profile}: {reply:?}");
        let (cause, reason) = told.refusal(&scene.daemon).await;
        assert!(hinted(&cause).contains(hint) && hinted(&reason).contains(hint), "{profile}: {cause} | {reason}");
    }
    for (profile, role) in [("good", editor), ("external", EXTERNAL_ROLE_ARN)] {
        let reply = scene.ask(&format!("/v1/credentials/{profile}"), &token("bob")).await;
        assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(role)), "{profile}: {reply:?}");
    }
}

#[tokio::test]
async fn a_token_that_aged_on_the_way_is_asked_for_once_more() {
    let scene = Scene::new(&profile("basic", "basic", BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, "")).await;
    scene.proxy.bend("AssumeRoleWithWebIdentity", Fault::sts(400, "ExpiredTokenException", "Token expired"));
    assert_eq!(scene.ask("/v1/credentials/basic", &token("bob")).await.status, 403);
    assert_eq!((scene.proxy.calls("GetOpenIdToken"), scene.proxy.calls("AssumeRoleWithWebIdentity")), (2, 2));
}

#[tokio::test]
async fn a_session_of_an_assumed_role_is_what_the_templates_say() {
    let policy = r#"session_policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/{{custom:tenant}}/*"}]}'"#;
    let more = format!(
        "session_name = \"{{{{cognito:username}}}}\"\nsource_identity = \"{{{{sub}}}}\"\n\
         session_tags = {{ groups = \"{{{{cognito:groups}}}}\" }}\ntransitive_tag_keys = [\"groups\"]\n{policy}"
    );
    let scene = Scene::new(&profile("own", "assume-role", "", ADMIN_ROLE_ARN, &more)).await;
    let of = |tenant: &str| {
        let tenant = tenant.to_owned();
        token_with(|claims| claims["custom:tenant"] = tenant.into())
    };
    let reply = scene.ask("/v1/credentials/own", &of("t1")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = EMULATOR.describe_session(reply.json()["Token"].as_str().unwrap()).unwrap();
    let alice = EMULATOR.id_claims("alice", SystemTime::now()).unwrap();
    assert_eq!((&told["session_name"], &told["source_identity"]), (&json!("alice"), &alice["sub"]), "{told}");
    let (tags, transitive) = (&told["tags"], &told["transitive_tag_keys"]);
    assert_eq!((tags, transitive), (&json!({"groups": ":admin:editor:"}), &json!(["groups"])), "{told}");
    assert!(told["policy"].as_str().unwrap().contains("arn:aws:s3:::b/t1/*"), "{told}");
    let other = scene.ask("/v1/credentials/own", &of("t2")).await;
    assert_ne!(other.json()["AccessKeyId"], reply.json()["AccessKeyId"], "another policy is another entry");
    assert_eq!(scene.ask("/v1/credentials/own", &of("t1/t2")).await.status, 403, "a tenant that would reach further");
    assert_eq!(scene.ask("/v1/credentials/own", &token("alice")).await.status, 403, "no tenant, no session");
    assert_eq!(scene.proxy.calls("AssumeRole"), 2);
}

/// Whether or not another profile takes access tokens.
#[tokio::test]
async fn an_access_token_is_refused_as_one_where_an_identity_pool_is_asked() {
    let access = token_with(|claims| {
        let claims = claims.as_object_mut().unwrap();
        let client = claims.remove("aud").unwrap();
        claims.insert("client_id".to_owned(), client);
        claims.insert("token_use".to_owned(), json!("access"));
    });
    let basic = profile("basic", "basic", BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, "");
    let assumed = format!(
        "[profiles.assumed]\nflow = \"assume-role\"\naccept_access_tokens = true\n\
         groups = [{{ name = \"admin\", precedence = 1, role_arn = \"{ADMIN_ROLE_ARN}\" }}]\n"
    );
    for (profiles, taken) in [(basic.clone(), false), (basic + &assumed, true)] {
        let scene = Scene::new(&profiles).await;
        for path in ["/v1/credentials", "/v1/credentials/basic"] {
            let told = scene.told();
            assert_eq!(scene.ask(path, &access).await.status, 401, "{path}");
            let (cause, reason) = told.refusal(&scene.daemon).await;
            let text = "identity pools take ID tokens only";
            assert!(cause.contains(text) && reason.contains(text), "{path}: {cause} | {reason}");
        }
        assert_eq!(scene.proxy.calls_to_aws(), 0);
        assert_eq!(scene.ask("/v1/credentials/assumed", &access).await.status == 200, taken);
    }
}

#[tokio::test]
async fn a_role_that_chains_for_more_than_an_hour_does_not_start() {
    let long = profile("long", "assume-role", "", ADMIN_ROLE_ARN, "duration_seconds = 7200");
    let (mut daemon, _proxy, _dir) = start(&long).await;
    assert_eq!(daemon.ended().await.code(), Some(1));
    assert!(daemon.log().contains("profile long") && daemon.log().contains("3600"), "{}", daemon.log());
}

/// A guest's identity is kept for its handle, and nobody becomes a guest by bringing a bad token.
#[tokio::test]
async fn guests_have_their_own_path_and_keep_their_identity() {
    let guests =
        format!("[profiles.guests]\nidentity_pool_id = \"{GUEST_IDENTITY_POOL_ID}\"\nallow_unauthenticated = true\n");
    let scene = Scene::new(&guests).await;
    let address = scene.daemon.address("http").await;
    let visit = async |path: &str, headers: &[(&str, &str)]| http::get(address, path, headers).await;
    let kiosk = visit("/v1/unauthenticated/guests/kiosk-7", &[]).await;
    assert_eq!(kiosk.status, 200, "{kiosk:?}");
    let told = EMULATOR.describe_session(kiosk.json()["Token"].as_str().unwrap()).unwrap();
    assert!(told.to_string().contains("rbac-guest-role"), "{told}");
    let again = visit("/v1/unauthenticated/guests/kiosk-7", &[]).await;
    assert_eq!(again.json()["AccessKeyId"], kiosk.json()["AccessKeyId"]);
    let other = visit("/v1/unauthenticated/guests/kiosk-8", &[]).await;
    assert_ne!(other.header("cupbearer-identity-id"), kiosk.header("cupbearer-identity-id"));
    assert_eq!((scene.proxy.calls("GetId"), scene.proxy.calls("GetCredentialsForIdentity")), (2, 2));
    let sent = scene.proxy.bodies("GetCredentialsForIdentity");
    assert!(sent.iter().all(|body| body.get("Logins").is_none()), "no login is made up");

    for (path, headers, status) in [
        ("/v1/unauthenticated/guests/kiosk-7", vec![("Authorization", "garbage")], 400),
        ("/v1/unauthenticated/default/kiosk-7", vec![], 403),
        ("/v1/unauthenticated/nobody/kiosk-7", vec![], 404),
        ("/v1/unauthenticated/guests", vec![], 404),
        ("/v1/unauthenticated/guests/a/b", vec![], 404),
        ("/v1/credentials/guests", vec![], 401),
        ("/v1/credentials/guests", vec![("Authorization", "garbage")], 401),
    ] {
        assert_eq!(visit(path, &headers).await.status, status, "{path}");
    }
    assert_eq!(scene.proxy.calls("GetId"), 2);
}

#[tokio::test]
async fn a_purge_needs_its_token_and_drops_what_it_names() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("admin");
    std::fs::write(&file, "an-admin-token-of-some-length\n").unwrap();
    let scene = Scene::new(&format!("[admin]\ntoken_file = \"{}\"\n", file.display())).await;
    let admin = scene.daemon.address("admin").await;
    let purge = async |token: &str, body: &str| {
        let length = body.len().to_string();
        let headers = [("Authorization", token), ("Content-Length", length.as_str())];
        http::send(admin, &(http::request("POST", "/purge", admin, &headers) + body)).await
    };
    let own = "an-admin-token-of-some-length";
    let first = scene.ask("/v1/credentials", &token("alice")).await.json();
    for (token, body, status) in [
        ("wrong", "{\"all\":true}", 401),
        (own, "{}", 400),
        (own, "{\"all\":false}", 400),
        (own, "{\"all\":true,\"client_id\":\"x\"}", 400),
        (own, "{\"subject\":\"x\"}", 400),
        (own, "nonsense", 400),
    ] {
        assert_eq!(purge(token, body).await.status, status, "{token} {body}");
    }
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.json()["AccessKeyId"], first["AccessKeyId"]);
    let reply = purge(own, "{\"all\":true}").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"purged": 1})));
    assert_ne!(scene.ask("/v1/credentials", &token("alice")).await.json()["AccessKeyId"], first["AccessKeyId"]);
    let without = Scene::new("").await;
    let admin = without.daemon.address("admin").await;
    let off = http::send(admin, &http::request("POST", "/purge", admin, &[("Authorization", own)])).await;
    assert_eq!(off.status, 405, "off");
}
