//! Real clients, which we did not write either: they find their credentials in the usual way, and prove them by use.
//!
//! Every other source of credentials is pinned to nothing (`clients/env.json`), so that a client which fails here has
//! nowhere else to turn. ministack checks signatures, session tokens and policies; only it can prove a role by use.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::example::built;
use crate::support::http;
use crate::support::third_party::{MINISTACK, World, client, configuration, isolate};
use crate::support::tools::TOOLS;

/// How a client is run: the program and its script, and whether it comes by HTTP or by gRPC.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Boto3,
    AwsCli,
    JavaScript,
    Rust,
    GrpcPython,
    GrpcNode,
}

const BY_HTTP: [Client; 4] = [Client::Boto3, Client::AwsCli, Client::JavaScript, Client::Rust];
const BY_GRPC: [Client; 2] = [Client::GrpcPython, Client::GrpcNode];

/// What a client needs to know.
struct Errand<'a> {
    endpoint: &'a str,
    /// Where the HTTP door is, with the path.
    uri: String,
    grpc: String,
    profile: &'a str,
    token: &'a Path,
    home: &'a Path,
    bucket: &'a str,
    key: &'a str,
}

impl Client {
    fn command(self, errand: &Errand<'_>) -> Command {
        let python = |script: &str| {
            let mut command = Command::new(TOOLS.python("python"));
            command.arg(client(script));
            command
        };
        let node = |script: &str| {
            let mut command = Command::new("node");
            command.arg(client(script));
            command
        };
        let mut command = match self {
            Self::Boto3 => python("boto3_client.py"),
            Self::AwsCli => python("aws_cli_client.py"),
            Self::JavaScript => node("js_client.mjs"),
            Self::Rust => Command::new(built("whoami")),
            Self::GrpcPython => python("grpc_client.py"),
            Self::GrpcNode => node("grpc_client.mjs"),
        };
        match self {
            Self::Rust => command.args([errand.bucket, errand.key]),
            _ => command.args(["--bucket", errand.bucket, "--key", errand.key]),
        };
        if BY_GRPC.contains(&self) {
            let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
            command.args(["--address", &errand.grpc, "--profile", errand.profile, "--proto-dir"]).arg(proto);
            command.arg("--token-file").arg(errand.token);
        }
        if self == Self::GrpcPython {
            command.arg("--gen").arg(errand.home);
        }
        command
    }

    /// Runs it with nothing in its environment but what is said here.
    fn run(self, errand: &Errand<'_>) -> Output {
        let mut command = self.command(errand);
        isolate(&mut command, errand.home, errand.endpoint);
        command.env("NODE_PATH", TOOLS.node_modules());
        if BY_HTTP.contains(&self) {
            command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &errand.uri);
            command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", errand.token);
        }
        command.output().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// What it says when it succeeds.
    fn answer(self, errand: &Errand<'_>) -> Value {
        let done = self.run(errand);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{self:?}: {out}{err}");
        serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{self:?}: {error}: {out}{err}"))
    }
}

struct Scene {
    daemon: Daemon,
    world: &'static World,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let world = tokio::task::spawn_blocking(|| -> &'static World { &MINISTACK }).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::serve(dir.path(), &configuration(world, &world.endpoint)).await;
        for user in ["alice", "bob"] {
            std::fs::write(dir.path().join(user), world.fact(&format!("tokens.{user}"))).unwrap();
        }
        std::fs::write(dir.path().join("expired"), world.fact("expired_token")).unwrap();
        Self { daemon, world, dir }
    }

    /// Has the broker hold what `user` is going to ask for: the JavaScript SDK gives up after a second, and does not try
    /// again, and a busy machine may need longer for a first answer.
    async fn warm(&self, door: SocketAddr, user: &str, profile: &str) {
        let path = format!("/v1/credentials/{profile}");
        for _ in 0..20 {
            // Nobody listens any more where the broker has ended.
            if http::credentials(door, &path, self.world.fact(&format!("tokens.{user}"))).await.status != 503 {
                return;
            }
        }
    }

    /// Lets `client` do its errand as `user`, with the named profile.
    async fn send<T: Send + 'static>(
        &self,
        client: Client,
        user: &str,
        profile: &'static str,
        how: impl FnOnce(Client, &Errand<'_>) -> T + Send + 'static,
    ) -> T {
        let (http, grpc) = (self.daemon.address("http").await, self.daemon.address("grpc").await);
        if client == Client::JavaScript && user != "expired" {
            self.warm(http, user, profile).await;
        }
        let token = self.dir.path().join(user);
        let world = self.world;
        let errand = move || {
            let home = tempfile::tempdir().unwrap();
            let errand = Errand {
                endpoint: &world.endpoint,
                uri: format!("http://{http}/v1/credentials/{profile}"),
                grpc: grpc.to_string(),
                profile,
                token: &token,
                home: home.path(),
                bucket: world.fact("bucket"),
                key: world.fact("key"),
            };
            how(client, &errand)
        };
        tokio::task::spawn_blocking(errand).await.unwrap()
    }
}

async fn proves_the_roles(client: Client) {
    let scene = Scene::new().await;
    let editor = scene.send(client, "bob", "default", Client::answer).await;
    let arn = editor["arn"].as_str().unwrap();
    assert!(arn.contains(":assumed-role/rbac-users-editor-role/"), "{arn}");
    assert_eq!((&editor["read"], &editor["write"]), (&true.into(), &"AccessDenied".into()), "{editor}");
    let admin = scene.send(client, "alice", "admin", Client::answer).await;
    let arn = admin["arn"].as_str().unwrap();
    assert!(arn.contains(":assumed-role/rbac-users-admin-role/"), "{arn}");
    assert_eq!((&admin["read"], &admin["write"]), (&true.into(), &"ok".into()), "{admin}");
}

async fn gets_nothing_without_the_broker(client: Client) {
    let mut scene = Scene::new().await;
    let refused = scene.send(client, "expired", "default", Client::run).await;
    assert_eq!(refused.status.code(), Some(1), "{client:?}: {refused:?}");
    scene.daemon.address("http").await;
    scene.daemon.terminate();
    scene.daemon.ended().await;
    let failed = scene.send(client, "bob", "default", Client::run).await;
    assert_eq!(failed.status.code(), Some(1), "{client:?}: {failed:?}");
}

#[tokio::test]
async fn boto3_proves_the_roles() {
    proves_the_roles(Client::Boto3).await;
}

#[tokio::test]
async fn aws_cli_proves_the_roles() {
    proves_the_roles(Client::AwsCli).await;
}

#[tokio::test]
async fn javascript_proves_the_roles() {
    proves_the_roles(Client::JavaScript).await;
}

#[tokio::test]
async fn rust_proves_the_roles() {
    proves_the_roles(Client::Rust).await;
}

#[tokio::test]
async fn grpc_python_proves_the_roles() {
    proves_the_roles(Client::GrpcPython).await;
}

#[tokio::test]
async fn grpc_node_proves_the_roles() {
    proves_the_roles(Client::GrpcNode).await;
}

#[tokio::test]
async fn no_client_gets_anything_without_the_broker() {
    for client in BY_HTTP.into_iter().chain(BY_GRPC) {
        gets_nothing_without_the_broker(client).await;
    }
}

/// The lines that `cupbearer dev` prints: the CLI before the embedded emulator.
#[tokio::test]
async fn the_cli_line_of_dev_names_the_role() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("dev");
    let daemon = Daemon::start(&["dev", "--port", "0", "--log-format", "json", "--dir", dir.to_str().unwrap()], &[]);
    daemon.ready().await;
    let lines = daemon.wait_for(|daemon| daemon.out().contains("Ctrl-C ends").then(|| daemon.out())).await.unwrap();
    let aws = tokio::task::spawn_blocking(|| TOOLS.python("aws")).await.unwrap();
    for (user, role) in [("alice", "admin"), ("bob", "editor"), ("carol", "editor")] {
        let wanted = |line: &&str| ["unset ", "export ", "aws "].iter().any(|start| line.starts_with(start));
        let script: String = lines.lines().filter(wanted).map(|line| line.replace("alice", user) + "\n").collect();
        let path = std::env::join_paths([aws.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-euc", &script]).env_clear().env("PATH", path).env("HOME", place.path());
        shell.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(told.contains(&format!("assumed-role/rbac-users-{role}-role/")), "{user}: {done:?}");
    }
}
