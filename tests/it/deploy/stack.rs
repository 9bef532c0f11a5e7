//! The CloudFormation template: linted, deployed into an emulator that enforces IAM, and used through the broker with the
//! configuration that it renders itself.

use serde_json::json;

use super::{complaint, content, deployed, file};
use crate::support::daemon::Daemon;
use crate::support::stack::Stack;

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
    let stack = Stack::deployed("articles", &["--guests"]).await;
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
    let daemon = stack.broker(dir.path(), &stack.configuration()).await;
    for (user, role, create) in [("alice", "admin", "ok"), ("bob", "editor", "AccessDeniedException")] {
        let used = stack.used(&daemon, user).await;
        let arn = used["arn"].as_str().unwrap();
        assert!(arn.contains(&format!("assumed-role/assumed-{role}-role/")), "{used}");
        assert_eq!((&used["content"], &used["create_user"]), (&json!("ok"), &json!(create)), "{user}");
    }
    assert_eq!(stack.refused(&daemon, "carol").await, 403);
}
