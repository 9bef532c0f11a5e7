//! The basic and the assume-role flow, before emulators that we did not write: which calls are made, which role comes
//! of them, and what the session may do.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{self, Reply};
use crate::support::proxy::{Backend, Proxy};
use crate::support::third_party::{MINISTACK, MOTO, World, client, head, isolate};
use crate::support::tools::TOOLS;

struct Scene {
    world: &'static World,
    proxy: Proxy,
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Scene {
    /// A broker before `world` with these profiles; it runs as the world's broker user.
    async fn before(which: &'static LazyLock<World>, profiles: impl Fn(&World) -> String) -> Self {
        let world = tokio::task::spawn_blocking(|| -> &'static World { which }).await.unwrap();
        let proxy = Proxy::start(Backend::Url(world.endpoint.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        let text = head(world, &proxy.url) + &profiles(world);
        let home = dir.path().to_str().unwrap().to_owned();
        let own = [
            ("AWS_ACCESS_KEY_ID", world.fact("broker.access_key_id")),
            ("AWS_SECRET_ACCESS_KEY", world.fact("broker.secret_access_key")),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("HOME", home.as_str()),
        ];
        let daemon = Daemon::serve_unready(dir.path(), &text, &own).await;
        daemon.ready().await;
        Self { world, proxy, daemon, dir }
    }

    async fn ask(&self, path: &str, token: &str) -> Reply {
        http::credentials(self.daemon.address("http").await, path, token).await
    }

    /// What boto3 says of the credentials at `path` when it uses them.
    async fn used(&self, path: &str, token: &str) -> Value {
        let uri = format!("http://{}{path}", self.daemon.address("http").await);
        let file = self.dir.path().join("token");
        std::fs::write(&file, token).unwrap();
        let world = self.world;
        let home = self.dir.path().to_owned();
        tokio::task::spawn_blocking(move || boto3(world, &uri, &file, &home)).await.unwrap()
    }

    fn calls(&self) -> [usize; 4] {
        ["GetId", "GetOpenIdToken", "AssumeRoleWithWebIdentity", "AssumeRole"].map(|name| self.proxy.calls(name))
    }
}

fn boto3(world: &World, uri: &str, token: &Path, home: &Path) -> Value {
    let mut command = Command::new(TOOLS.python("python"));
    command.arg(client("boto3_client.py")).args(["--bucket", world.fact("bucket"), "--key", world.fact("key")]);
    isolate(&mut command, home, &world.endpoint);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_str(told.trim()).unwrap()
}

fn basic(world: &World) -> String {
    let (admin, editor) = (world.fact("admin_role_arn"), world.fact("editor_role_arn"));
    format!(
        r#"
[profiles.default]
flow = "basic"
identity_pool_id = "{pool}"
duration_seconds = 900
[profiles.default.roles]
aliases = {{ admin = "{admin}", editor = "{editor}" }}

[profiles.groups]
flow = "basic"
identity_pool_id = "{pool}"
groups = [
  {{ name = "editor", precedence = 2, role_arn = "{editor}" }},
  {{ name = "admin", precedence = 1, role_arn = "{admin}" }},
]

[profiles.rules]
flow = "basic"
identity_pool_id = "{pool}"
[profiles.rules.roles]
mapping = "rules"
ambiguous_role_resolution = "authenticated_role"
authenticated_role = "{editor}"
rules = [
  {{ claim = "cognito:groups", match_type = "Equals", value = "admin", role_arn = "{admin}" }},
]
"#,
        pool = world.fact("basic_identity_pool_id"),
    )
}

fn assume_role(world: &World) -> String {
    let (admin, editor) = (world.fact("admin_role_arn"), world.fact("editor_role_arn"));
    format!(
        r#"
[profiles.default]
flow = "assume-role"
[profiles.default.roles]
aliases = {{ admin = "{admin}", editor = "{editor}" }}

[profiles.tagged]
flow = "assume-role"
session_name = "{{{{cognito:username}}}}"
session_tags = {{ tenant = "{{{{custom:tenant}}}}", groups = "{{{{cognito:groups}}}}" }}
transitive_tag_keys = ["tenant"]

[profiles.access]
flow = "assume-role"
accept_access_tokens = true
groups = [{{ name = "editor", precedence = 2, role_arn = "{editor}" }}]
"#,
    )
}

async fn basic_flow(which: &'static LazyLock<World>) -> Scene {
    let scene = Scene::before(which, basic).await;
    let world = scene.world;
    let reply = scene.ask("/v1/credentials", world.fact("tokens.bob")).await;
    assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(world.fact("editor_role_arn"))), "{reply:?}");
    assert_eq!(scene.calls(), [1, 1, 1, 0]);
    let asked = scene.ask("/v1/credentials/default/editor", world.fact("tokens.alice")).await;
    assert_eq!(asked.json()["RoleArn"], json!(world.fact("editor_role_arn")));
    let before = scene.calls();
    assert_eq!(scene.ask("/v1/credentials/default/admin", world.fact("tokens.bob")).await.status, 403);
    assert_eq!(scene.ask("/v1/credentials", world.fact("tokens.carol")).await.status, 403);
    assert_eq!(scene.calls(), before, "AWS would not refuse: we do");
    for (path, user, role) in [
        ("/v1/credentials/groups", "alice", "admin_role_arn"),
        ("/v1/credentials/groups", "bob", "editor_role_arn"),
        ("/v1/credentials/rules", "alice", "admin_role_arn"),
        ("/v1/credentials/rules", "bob", "editor_role_arn"),
        ("/v1/credentials/rules", "carol", "editor_role_arn"),
    ] {
        // Native tokens: groups without roles.
        let reply = scene.ask(path, world.fact(&format!("native_tokens.{user}"))).await;
        assert_eq!(
            (reply.status, &reply.json()["RoleArn"]),
            (200, &json!(world.fact(role))),
            "{path} {user} {reply:?}"
        );
    }
    assert_eq!(scene.ask("/v1/credentials/groups", world.fact("native_tokens.carol")).await.status, 403);
    scene
}

#[tokio::test]
async fn ministack_basic_flow() {
    let scene = basic_flow(&MINISTACK).await;
    let world = scene.world;
    let editor = scene.used("/v1/credentials", world.fact("tokens.bob")).await;
    assert!(editor["arn"].as_str().unwrap().contains(":assumed-role/rbac-users-editor-role/"), "{editor}");
    assert_eq!((&editor["read"], &editor["write"]), (&json!(true), &json!("AccessDenied")), "{editor}");
    let admin = scene.used("/v1/credentials", world.fact("tokens.alice")).await;
    assert!(admin["arn"].as_str().unwrap().contains(":assumed-role/rbac-users-admin-role/"), "{admin}");
    assert_eq!(admin["write"], json!("ok"), "{admin}");
    // A pool with role mappings has no classic flow at AWS; ministack does not know that, the embedded emulator does.
}

#[tokio::test]
async fn moto_basic_flow() {
    basic_flow(&MOTO).await;
}

async fn assume_role_flow(which: &'static LazyLock<World>) -> Scene {
    let scene = Scene::before(which, assume_role).await;
    let world = scene.world;
    let reply = scene.ask("/v1/credentials", world.fact("tokens.bob")).await;
    assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(world.fact("editor_role_arn"))), "{reply:?}");
    assert_eq!(reply.header("cupbearer-identity-id"), None, "no identity pool is asked");
    assert_eq!(scene.calls(), [0, 0, 0, 1]);
    let before = scene.calls();
    assert_eq!(scene.ask("/v1/credentials/default/admin", world.fact("tokens.bob")).await.status, 403);
    assert_eq!(scene.ask("/v1/credentials", world.fact("tokens.carol")).await.status, 403);
    assert_eq!(scene.ask("/v1/credentials", world.fact("access_token")).await.status, 401, "ID tokens only");
    assert_eq!(
        scene.ask("/v1/credentials/tagged", world.fact("tokens.bob")).await.status,
        403,
        "no tenant, no session"
    );
    assert_eq!(scene.calls(), before);
    let access = scene.ask("/v1/credentials/access", world.fact("access_token")).await;
    assert_eq!((access.status, &access.json()["RoleArn"]), (200, &json!(world.fact("editor_role_arn"))), "{access:?}");
    scene
}

#[tokio::test]
async fn ministack_assume_role_flow_and_its_tags() {
    let scene = assume_role_flow(&MINISTACK).await;
    let world = scene.world;
    let instructions = json!([
        {"user": "bob", "claims": {"custom:tenant": "t1"}},
        {"user": "bob", "claims": {"custom:tenant": "t2"}}
    ]);
    let tokens = tokio::task::spawn_blocking(move || world.mint(&instructions)).await.unwrap();
    for (token, write) in tokens.iter().zip(["ok", "AccessDenied"]) {
        let used = scene.used("/v1/credentials/tagged", token).await;
        assert!(used["arn"].as_str().unwrap().ends_with(":assumed-role/rbac-users-editor-role/bob"), "{used}");
        assert_eq!((&used["read"], &used["write"]), (&json!(true), &json!(write)), "the tag decides: {used}");
    }
    let admin = scene.used("/v1/credentials", world.fact("tokens.alice")).await;
    assert_eq!(admin["write"], json!("ok"), "{admin}");
}

#[tokio::test]
async fn moto_assume_role_flow() {
    assume_role_flow(&MOTO).await;
}
