//! Emulators that we did not write: ministack, which checks logins, and moto, which checks nothing. Each is started
//! once, on a leash that ends it with this process, and filled with the scenario.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::PATIENCE;
use super::settings::HALF_PATIENT;
use super::tools::{TOOLS, source};

/// One emulator with the scenario in it.
pub struct World {
    /// What `provision.py` tells of it.
    pub facts: Value,
    /// Where it listens.
    pub endpoint: String,
    dir: TempDir,
    _leash: Leash,
}

/// Checks the logins' signatures, audiences and expiries, and the signatures of requests.
pub static MINISTACK: LazyLock<World> = LazyLock::new(|| World::start("ministack"));

/// Checks nothing; its credentials live for 90 seconds.
pub static MOTO: LazyLock<World> = LazyLock::new(|| World::start("moto"));

impl World {
    /// A string of the facts, by the path to it.
    pub fn fact(&self, path: &str) -> &str {
        let found = path.split('.').fold(&self.facts, |facts, name| &facts[name]);
        found.as_str().unwrap_or_else(|| panic!("no fact {path}"))
    }

    /// Tokens as `mint.py` is told to make them, signed with the emulator's own keys.
    pub fn mint(&self, instructions: &Value) -> Vec<String> {
        let file = self.dir.path().join("facts.json");
        let mut mint = python("mint.py");
        mint.arg("--provision").arg(file);
        let told = feed(&mut mint, &instructions.to_string());
        told.lines().map(ToOwned::to_owned).collect()
    }

    /// Where the emulator keeps what it has.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn start(kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Somebody else may take the port between our look and the emulator's.
        let (endpoint, leash) = (0..3).find_map(|_| start(kind, dir.path())).expect("the emulator does not start");
        let mut provision = python("provision.py");
        provision.args(["--kind", kind, "--endpoint", &endpoint, "--state-dir"]).arg(dir.path());
        if kind == "moto" {
            provision = python("provision.py");
            provision.args(["--kind", kind, "--endpoint", &endpoint]);
        }
        let told = feed(&mut provision, "");
        std::fs::write(dir.path().join("facts.json"), &told).unwrap();
        Self { facts: serde_json::from_str(&told).unwrap(), endpoint, dir, _leash: leash }
    }
}

/// Ends its process when dropped, or with this process.
pub struct Leash(pub Child);

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// A free port; somebody else may take it before it is used.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A command on a leash, with a clean environment and `dir` for all that it writes.
pub fn leashed(dir: &Path) -> Command {
    let mut command = Command::new(TOOLS.python("python"));
    command.arg(source("leash.py")).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir).env("TMPDIR", dir);
    command
}

fn start(kind: &str, dir: &Path) -> Option<(String, Leash)> {
    let port = free_port();
    let mut command = leashed(dir);
    let text = port.to_string();
    let ready = if kind == "ministack" {
        command.arg(TOOLS.python("ministack")).env("STATE_DIR", dir).env("S3_DATA_DIR", dir.join("s3"));
        command.envs([
            ("AUTH", "true"),
            ("BIND_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", text.as_str()),
            ("MINISTACK_ACCOUNT_ID", "111122223333"),
            // It would open a port on all addresses.
            ("IOT_MTLS_ENABLED", "0"),
            ("SFTP_ENABLED", "0"),
            ("DOCKER_HOST", "unix:///nonexistent"),
            ("LOG_LEVEL", "WARNING"),
        ]);
        "/_ministack/ready"
    } else {
        command.arg(TOOLS.python("moto_server")).args(["-H", "127.0.0.1", "-p", &text]);
        command.env("MOTO_ACCOUNT_ID", "111122223333");
        "/moto-api/"
    };
    let mut leash = Leash(command.spawn().unwrap());
    let started = Instant::now();
    while !answers(port, ready) {
        if started.elapsed() > PATIENCE || leash.0.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Some((format!("http://127.0.0.1:{port}"), leash))
}

/// Whether a GET is answered with 200; without a runtime, since this is called once by whichever test is first.
pub fn answers(port: u16, path: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1) == Some("200")
}

/// A script of `tests/third_party`, with nothing of this machine's environment but the path.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(TOOLS.python("python"));
    command.arg(source(script)).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What `command` prints when `input` is on its standard input; it must succeed.
pub fn feed(command: &mut Command, input: &str) -> String {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A configuration for this world, reached through `cognito`: profile `default` on the editor's identity pool and
/// profile `admin` on the admin's.
pub fn configuration(world: &World, cognito: &str) -> String {
    let (admin, editor) = (world.fact("admin_role_arn"), world.fact("editor_role_arn"));
    let profile = |name: &str, pool: &str| {
        format!(
            r#"
[profiles.{name}]
identity_pool_id = "{pool}"
[profiles.{name}.roles]
ambiguous_role_resolution = "deny"
aliases = {{ admin = "{admin}", editor = "{editor}" }}
"#
        )
    };
    head(world, cognito)
        + &profile("default", world.fact("identity_pool_id"))
        + &profile("admin", world.fact("admin_identity_pool_id"))
}

/// A configuration without profiles for this world, AWS being at `aws`.
pub fn head(world: &World, aws: &str) -> String {
    format!(
        r#"
[server]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
drain_seconds = 0
[aws]
region = "us-east-1"
endpoint_url = "{aws}"

{HALF_PATIENT}
[[user_pools]]
id = "{pool}"
client_ids = ["{client}"]
issuers = ["{issuer}"]
jwks_url = "{jwks}"
"#,
        pool = world.fact("user_pool_id"),
        client = world.fact("client_id"),
        issuer = world.fact("issuer"),
        jwks = world.fact("jwks_url").replace(&world.endpoint, aws),
    )
}

/// Takes everything out of a client's environment in which it might find other credentials, or a way to other hosts.
pub fn isolate(command: &mut Command, home: &Path, endpoint: &str) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    let pinned = std::fs::read_to_string(source("clients/env.json")).unwrap();
    let pinned: Value = serde_json::from_str(&pinned).unwrap();
    for (name, value) in pinned.as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
    command.stdin(Stdio::null());
}

/// Where a script of `tests/third_party/clients` is.
pub fn client(script: &str) -> PathBuf {
    source("clients").join(script)
}
