//! The CloudFormation template: linted, deployed into an emulator that enforces IAM, and used through the broker with the
//! configuration that it renders itself.

use std::process::Command;

use serde_json::{Value, json};

use super::{complaint, content, deployed, file};
use crate::support::daemon::{Daemon, command};
use crate::support::http;
use crate::support::third_party::{MINISTACK, World, client, feed, isolate, python};
use crate::support::tools::TOOLS;

/// A stack in the emulator.
struct Stack {
    world: &'static World,
    facts: Value,
}

impl Stack {
    async fn deployed(name: &'static str, more: &'static [&'static str]) -> Self {
        let deploy = move || {
            let world: &'static World = &MINISTACK;
            let mut deploy = python("stack.py");
            deploy.args(["--endpoint", &world.endpoint, "--name", name]).args(more);
            deploy.arg("--state-dir").arg(world.dir());
            Self { world, facts: serde_json::from_str(&feed(&mut deploy, "")).unwrap() }
        };
        tokio::task::spawn_blocking(deploy).await.unwrap()
    }

    fn output(&self, name: &str) -> &str {
        self.facts["outputs"][name].as_str().unwrap_or_else(|| panic!("no output {name}"))
    }

    /// The configuration that the template renders, with the emulator in the place of AWS.
    fn configuration(&self) -> String {
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

    /// What the user's credentials are good for.
    async fn used(&self, daemon: &Daemon, user: &str) -> Value {
        let token = self.facts["tokens"][user].as_str().unwrap();
        let reply = http::credentials(daemon.address("http").await, "/v1/credentials", token).await;
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

    async fn refused(&self, daemon: &Daemon, user: &str) -> u16 {
        let token = self.facts["tokens"][user].as_str().unwrap();
        http::credentials(daemon.address("http").await, "/v1/credentials", token).await.status
    }
}

#[test]
fn the_linter_of_templates_finds_nothing_to_mend() {
    let template = deployed("cloudformation/cupbearer.yaml");
    let told = content("cfn-lint", &["--include-checks", "I", "--", template.to_str().unwrap()], "");
    assert_eq!(told, "");
    let bent = std::fs::read_to_string(template).unwrap().replace("ServerSideTokenCheck", "ServerSideTokenChecks");
    let bent = file(&bent, ".yaml");
    let found = complaint("cfn-lint", &[bent.path()], "");
    assert!(found.contains("ServerSideTokenChecks"), "{found}");
}

/// The emulator gives the identity pool's default role to everybody, the editors', whatever the pool's role mapping says.
#[tokio::test]
async fn the_deployed_pools_serve_editors_and_nobody_without_a_role() {
    let stack = Stack::deployed("articles", &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::serve(dir.path(), &stack.configuration()).await;
    let arn = "arn:aws:sts::111122223333:assumed-role/articles-editor-role/CognitoIdentityCredentials";
    assert_eq!(
        stack.used(&daemon, "bob").await,
        json!({"arn": arn, "content": "ok", "create_user": "AccessDeniedException"})
    );
    assert_eq!(stack.refused(&daemon, "carol").await, 403);
}

/// By the broker's own identity, which may do what the stack's policy says and nothing else.
#[tokio::test]
async fn the_deployed_broker_policy_is_enough_for_admins_and_editors() {
    let stack = Stack::deployed("assumed", &["--broker"]).await;
    let dir = tempfile::tempdir().unwrap();
    let broker = |name: &str| stack.facts["broker"][name].as_str().unwrap().to_owned();
    let (key, secret) = (broker("key"), broker("secret"));
    let identity = [("AWS_ACCESS_KEY_ID", key.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
    let daemon = Daemon::serve_by(dir.path(), &stack.configuration(), |arguments| command(arguments, &identity)).await;
    daemon.ready().await;
    for (user, role, create) in [("alice", "admin", "ok"), ("bob", "editor", "AccessDeniedException")] {
        let used = stack.used(&daemon, user).await;
        let arn = used["arn"].as_str().unwrap();
        assert!(arn.contains(&format!("assumed-role/assumed-{role}-role/")), "{used}");
        assert_eq!((&used["content"], &used["create_user"]), (&json!("ok"), &json!(create)), "{user}");
    }
    assert_eq!(stack.refused(&daemon, "carol").await, 403);
}
