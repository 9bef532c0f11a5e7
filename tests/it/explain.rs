//! Explanations in the flows where we choose the role, by rules and by groups: over gRPC and by the command.

use std::io::Write;
use std::process::Stdio;

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use cupbearer::server::proto::{ExplainRoleRequest, ExplainRoleResponse};
use tonic::Code;

use crate::sessions::{client, with};
use crate::support::daemon::command;
use crate::support::scene::{Scene, token};

const PROFILES: &str = r#"---
[profiles.ruled]
flow = "basic"
identity_pool_id = "us-east-1:5d81b6c4-0e2f-4a7b-8c93-1f6e3a7d2b50"
[profiles.ruled.roles]
mapping = "rules"
ambiguous_role_resolution = "deny"
rules = [
  { claim = "custom:tenant", match_type = "NotEqual", value = "x", role_arn = "arn:aws:iam::111122223333:role/rbac-users-admin-role" },
  { claim = "cognito:groups", match_type = "Equals", value = "editor", role_arn = "arn:aws:iam::111122223333:role/rbac-users-editor-role" },
]

[profiles.grouped]
flow = "assume-role"
groups = [
  { name = "editor", precedence = 2, role_arn = "arn:aws:iam::111122223333:role/rbac-users-editor-role" },
  { name = "admin", precedence = 1, role_arn = "arn:aws:iam::111122223333:role/rbac-users-admin-role" },
]
"#;

/// Profile, user, flow, who has the last word, the role or none, what the reason has, what the ways not taken have.
type Row = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>, &'static str, &'static str);

const TABLE: &[Row] = &[
    ("default", "bob", "enhanced", "cognito", Some(EDITOR_ROLE_ARN), "cognito:preferred_role", ""),
    ("ruled", "bob", "basic", "cupbearer", Some(EDITOR_ROLE_ARN), "rule 2", "rule 1"),
    ("ruled", "carol", "basic", "cupbearer", None, "match no rule", "rule 1"),
    ("grouped", "alice", "assume-role", "cupbearer", Some(ADMIN_ROLE_ARN), "lowest precedence", "editor"),
    ("grouped", "carol", "assume-role", "cupbearer", None, "", ""),
];

#[tokio::test]
async fn names_the_flow_the_judge_and_the_ways_not_taken() {
    let scene = Scene::with(PROFILES, "deny").await;
    let mut client = client(&scene).await;
    for &(profile, user, flow, judge, role, reason, considered) in TABLE {
        let message = ExplainRoleRequest { profile: profile.to_owned(), role: String::new() };
        let told = client.explain_role(with(&token(user), message)).await.unwrap().into_inner();
        let found = (told.flow.as_str(), told.decided_by.as_str(), told.allowed, told.role_arn.as_str());
        assert_eq!(found, (flow, judge, role.is_some(), role.unwrap_or_default()), "{profile} {user}: {told:?}");
        assert!(told.reason.contains(reason), "{profile} {user}: {told:?}");
        assert!(
            considered.is_empty() || told.considered.iter().any(|line| line.contains(considered)),
            "{profile} {user}: {told:?}"
        );

        let (code, text) = explained(&scene, profile, &token(user));
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(told, parsed(&text), "the command says the same");
    }
    let message = ExplainRoleRequest { profile: "nobody".to_owned(), role: String::new() };
    assert_eq!(client.explain_role(with(&token("bob"), message)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(scene.proxy.calls_to_aws(), 0, "nothing is exchanged");
}

/// What `cupbearer explain` says of `token` in `profile`.
fn explained(scene: &Scene, profile: &str, token: &str) -> (Option<i32>, String) {
    let file = scene.path("cupbearer.toml");
    let mut explain = command(&["explain", "--config", file.to_str().unwrap(), "--profile", profile], &[]);
    let mut child = explain.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code(), text)
}

/// The command's lines, as a message.
fn parsed(text: &str) -> ExplainRoleResponse {
    let all = |name: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned())).collect()
    };
    let one = |name: &str| all(name).pop().unwrap_or_else(|| panic!("no {name}: {text}"));
    ExplainRoleResponse {
        allowed: one("allowed") == "true",
        role_arn: Some(one("role")).filter(|role| role.starts_with("arn:")).unwrap_or_default(),
        reason: one("reason"),
        considered: all("considered"),
        decided_by: one("decided by"),
        flow: one("flow"),
    }
}
