//! The usual scene: the embedded emulator behind a proxy, the program before both, and tokens for its users.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use cupbearer::dev::{AmbiguousRoleResolution, Emulator};
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::{Daemon, command};
use super::http::{self, Reply};
use super::proxy::{Backend, Proxy};
use super::settings::Settings;

/// One emulator for all tests: its keys take a while, and nothing that tests do to it lasts.
pub static EMULATOR: LazyLock<Arc<Emulator>> =
    LazyLock::new(|| Arc::new(Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).unwrap()));

/// Everything that a wire test needs; all of it ends with the test.
pub struct Scene {
    pub proxy: Proxy,
    pub daemon: Daemon,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    dir: TempDir,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with("", "authenticated_role").await
    }

    /// With more configuration, as `Settings::more` takes it.
    pub async fn with(more: &str, ambiguous: &str) -> Self {
        Self::edited(more, ambiguous, |text, _| text).await
    }

    /// With a configuration that `edit` has changed, and perhaps files in the daemon's directory.
    pub async fn edited(more: &str, ambiguous: &str, edit: impl FnOnce(String, &Path) -> String) -> Self {
        let proxy = embedded().await;
        let dir = tempfile::tempdir().unwrap();
        let text = edit(Settings { more, ambiguous, ..Settings::new(&proxy.url) }.text(), dir.path());
        let scene = Self::started_in(dir, proxy, &text, |arguments| command(arguments, &[])).await;
        scene.daemon.ready().await;
        scene
    }

    /// Before this proxy, with this configuration and these variables.
    pub async fn before(proxy: Proxy, text: &str, variables: &[(&str, &str)]) -> Self {
        let scene = Self::started_by(proxy, text, |arguments| command(arguments, variables)).await;
        scene.daemon.ready().await;
        scene
    }

    /// Started by what `start` makes of the program's arguments; perhaps not ready.
    pub async fn started_by(proxy: Proxy, text: &str, start: impl FnOnce(&[&str]) -> Command) -> Self {
        Self::started_in(tempfile::tempdir().unwrap(), proxy, text, start).await
    }

    /// The same, in a directory that is there already.
    pub async fn started_in(dir: TempDir, proxy: Proxy, text: &str, start: impl FnOnce(&[&str]) -> Command) -> Self {
        let daemon = Daemon::serve_by(dir.path(), text, start).await;
        let (http, grpc) = (daemon.address("http").await, daemon.address("grpc").await);
        let admin = daemon.address("admin").await;
        Self { proxy, daemon, http, grpc, admin, dir }
    }

    /// `GET path` at the HTTP door, as the bearer of `token`.
    pub async fn ask(&self, path: &str, token: &str) -> Reply {
        http::credentials(self.http, path, token).await
    }

    /// A file of the daemon's own directory.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The daemon's own directory.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The value of one series on `/metrics`; 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = http::get(self.admin, "/metrics", &[]).await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The embedded emulator behind a proxy.
pub async fn embedded() -> Proxy {
    Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await
}

/// A fresh token of a scenario user.
pub fn token(user: &str) -> String {
    EMULATOR.id_token(user, SystemTime::now()).unwrap()
}

/// A token of somebody new, with alice's groups.
pub fn stranger(subject: &str) -> String {
    token_with(|claims| claims["sub"] = subject.into())
}

/// A token of alice with other claims.
pub fn token_with(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = EMULATOR.id_claims("alice", SystemTime::now()).unwrap();
    change(&mut claims);
    EMULATOR.sign(&claims).unwrap()
}
