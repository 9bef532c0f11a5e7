//! The CloudFormation template of `deploy/`, deployed into ministack with users in it, and the configuration that the stack
//! renders itself.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::daemon::{Daemon, command};
use super::http;
use super::third_party::{MINISTACK, World, client, feed, isolate, python};
use super::tools::TOOLS;

/// A stack in the emulator.
pub struct Stack {
    pub world: &'static World,
    pub facts: Value,
}

impl Stack {
    /// Deploys it; `more` for `stack.py`.
    pub async fn deployed(name: &'static str, more: &'static [&'static str]) -> Self {
        let deploy = move || {
            let world: &'static World = &MINISTACK;
            let mut deploy = python("stack.py");
            deploy.args(["--endpoint", &world.endpoint, "--name", name]).args(more);
            deploy.arg("--state-dir").arg(world.dir());
            Self { world, facts: serde_json::from_str(&feed(&mut deploy, "")).unwrap() }
        };
        tokio::task::spawn_blocking(deploy).await.unwrap()
    }

    /// One of the template's outputs.
    pub fn output(&self, name: &str) -> &str {
        self.facts["outputs"][name].as_str().unwrap_or_else(|| panic!("no output {name}"))
    }

    /// The configuration that the template renders, with the emulator in the place of AWS.
    pub fn configuration(&self) -> String {
        let endpoint = &self.world.endpoint;
        let jwks = format!("\njwks_url = \"{endpoint}/{}/.well-known/jwks.json\"", self.output("UserPoolId"));
        let pool = format!("id = \"{}\"", self.output("UserPoolId"));
        let rendered = self.output("Configuration");
        assert!(rendered.contains(&pool), "{rendered}");
        let doors =
            "[server]\nhttp = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndrain_seconds = 0\n";
        doors.to_owned()
            + &rendered
                .replace("[aws]", &format!("[aws]\nendpoint_url = \"{endpoint}\""))
                .replace(&pool, &(pool.clone() + &jwks))
    }

    /// The user's ID token.
    pub fn token(&self, user: &str) -> &str {
        self.facts["tokens"][user].as_str().unwrap()
    }

    /// A broker with this configuration, as the identity that the stack was made for.
    pub async fn broker(&self, dir: &Path, config: &str) -> Daemon {
        let own = |name: &str| self.facts["broker"][name].as_str().unwrap();
        let own = [("AWS_ACCESS_KEY_ID", own("key")), ("AWS_SECRET_ACCESS_KEY", own("secret"))];
        let daemon = Daemon::serve_by(dir, config, |arguments| command(arguments, &own)).await;
        daemon.ready().await;
        daemon
    }

    /// What the user's credentials are good for.
    pub async fn used(&self, daemon: &Daemon, user: &str) -> Value {
        let reply = http::credentials(daemon.address("http").await, "/v1/credentials", self.token(user)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut using = Command::new(TOOLS.python("python"));
        using.arg(client("stack_client.py")).args(["--bucket", self.output("ContentBucketName")]);
        using.args(["--user-pool", self.output("UserPoolId"), "--new-user", &format!("by-{user}")]);
        let home = tempfile::tempdir().unwrap();
        isolate(&mut using, home.path(), &self.world.endpoint);
        let told = tokio::task::spawn_blocking(move || feed(&mut using, &reply.body)).await.unwrap();
        drop(home);
        serde_json::from_str(&told).unwrap()
    }

    /// The status that the user gets.
    pub async fn refused(&self, daemon: &Daemon, user: &str) -> u16 {
        http::credentials(daemon.address("http").await, "/v1/credentials", self.token(user)).await.status
    }
}
