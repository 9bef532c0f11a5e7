//! The examples of `examples/clients`, run as their users would run them, beside a broker before ministack.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::daemon::Daemon;
use super::http::{self, Reply};
use super::third_party::{MINISTACK, World, head, isolate};
use super::tools::TOOLS;

/// A broker whose default profile gives each user the role of the token, before an S3 that checks it.
pub struct Stage {
    pub daemon: Daemon,
    pub world: &'static World,
    pub bucket: String,
    pub dir: tempfile::TempDir,
}

/// A running API of the examples; it is killed when dropped.
pub struct Api {
    child: Child,
    address: SocketAddr,
}

/// Where a file of the examples is.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(name)
}

/// `cargo build --examples` made it.
pub fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_cupbearer")).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

/// A Python example, with the modules made of the `.proto` in `generated`.
pub fn python(name: &str, generated: &Path) -> Command {
    let mut command = Command::new(TOOLS.python("python"));
    command.arg(file(name)).env("PYTHONPATH", generated);
    command
}

/// A Node example.
pub fn node(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(file(name)).env("NODE_PATH", TOOLS.node_modules());
    command
}

impl Stage {
    pub async fn new() -> Self {
        let world = tokio::task::spawn_blocking(|| -> &'static World { &MINISTACK }).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let profile = format!(
            "[profiles.default]\nflow = \"basic\"\nidentity_pool_id = \"{}\"\n",
            world.fact("basic_identity_pool_id")
        );
        let daemon = Daemon::serve(dir.path(), &(head(world, &world.endpoint) + &profile)).await;
        for user in ["alice", "bob"] {
            std::fs::write(dir.path().join(user), world.fact(&format!("tokens.{user}"))).unwrap();
        }
        Self { daemon, world, bucket: world.fact("bucket").to_owned(), dir }
    }

    /// `command` in an environment where nothing but the broker has credentials; what `command` set before stays.
    pub fn isolated(&self, mut command: Command) -> Command {
        let own: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        isolate(&mut command, self.dir.path(), &self.world.endpoint);
        command.envs(own);
        command
    }

    /// The API that `command` starts, listening.
    pub async fn api(&self, mut command: Command, broker: String) -> Api {
        command.arg("0");
        let mut command = self.isolated(command);
        command.env("BROKER", broker).env("BUCKET", &self.bucket);
        let started = tokio::task::spawn_blocking(move || {
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            (child, line)
        });
        let (child, line) = started.await.unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        Api { child, address: address.parse().unwrap_or_else(|error| panic!("{error} in {line:?}")) }
    }
}

impl Api {
    /// The document, read as the bearer of `token`.
    pub async fn get(&self, key: &str, token: &str) -> Reply {
        http::credentials(self.address, &format!("/documents/{key}"), token).await
    }

    /// The document, written as the bearer of `token`.
    pub async fn put(&self, key: &str, token: &str) -> Reply {
        let headers = [("Authorization", token), ("Content-Length", "5")];
        let request = http::request("PUT", &format!("/documents/{key}"), self.address, &headers);
        http::send(self.address, &(request + "hello")).await
    }

    /// An admin reads and writes, an editor reads, whoever has no good token is told what the broker says.
    pub async fn proves_the_roles(&self, stage: &Stage) {
        let world = stage.world;
        let (alice, bob, key) = (world.fact("tokens.alice"), world.fact("tokens.bob"), world.fact("key"));
        let own = format!("notes/{}", self.address.port());
        let written = self.put(&own, alice).await;
        assert_eq!((written.status, written.body.trim()), (200, "written"), "{written:?}");
        for token in [alice, bob] {
            let read = self.get(&own, token).await;
            assert_eq!((read.status, read.body.as_str()), (200, "hello"), "{read:?}");
        }
        assert_eq!(self.get(key, bob).await.status, 200);
        let refused = self.put(&own, bob).await;
        assert_eq!((refused.status, refused.body.trim()), (403, "AccessDenied"), "{refused:?}");
        let expired = self.get(key, world.fact("expired_token")).await;
        assert_eq!((expired.status, &expired.json()["code"]), (401, &"Unauthorized".into()), "{expired:?}");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
