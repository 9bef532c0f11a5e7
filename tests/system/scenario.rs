//! The scenario as one run: deployed from the template, examined by the doctor, used by two APIs in two languages at once,
//! seen on the status page. The picture of it is the one in the docs.

use serde_json::{Value, json};

use crate::status;
use crate::support::daemon::command;
use crate::support::example::{Api, Stage, node, python};
use crate::support::http;
use crate::support::stack::Stack;

#[tokio::test]
async fn the_scenario_is_deployed_examined_used_by_two_languages_and_seen() {
    let stack = Stack::deployed("rbac-story", &["--broker"]).await;
    let stage = prepared(&stack).await;
    is_in_order(&stack, &stage).await;
    is_used(&stack, &stage).await;
    is_seen(&stage).await;
}

/// A broker by what the stack told, with a profile more for its identity pool, and the users' tokens in files. No emulator
/// chooses roles by token, so that it is the broker's own identity that gives admins theirs.
async fn prepared(stack: &Stack) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let roles = ["AdminRoleArn", "EditorRoleArn"].map(|name| stack.output(name));
    let enhanced = format!(
        "\n[profiles.enhanced]\nflow = \"enhanced\"\nidentity_pool_id = \"{}\"\n[profiles.enhanced.roles]\nmapping = \
         \"token\"\nambiguous_role_resolution = \"deny\"\naliases = {{ admin = \"{}\", editor = \"{}\" }}\n",
        stack.output("IdentityPoolId"),
        roles[0],
        roles[1]
    );
    let daemon = stack.broker(dir.path(), &(stack.configuration() + &enhanced)).await;
    for user in ["alice", "bob"] {
        std::fs::write(dir.path().join(user), stack.token(user)).unwrap();
    }
    Stage { daemon, world: stack.world, bucket: stack.output("ContentBucketName").to_owned(), dir }
}

/// All that the doctor can look at: key set, clock, identity pool, roles, quotas, and what alice would get.
async fn is_in_order(stack: &Stack, stage: &Stage) {
    let (config, token) = (stage.dir.path().join("cupbearer.toml"), stage.dir.path().join("alice"));
    let broker = stack.facts["broker"]["arn"].as_str().unwrap();
    let line = ["doctor", "--json", "--config", config.to_str().unwrap(), "--token-file", token.to_str().unwrap()];
    // Whoever may do all, as the emulator has it.
    let own = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let mut doctor = command(&[&line[..], &["--broker-arn", broker]].concat(), &own);
    let done = tokio::task::spawn_blocking(move || doctor.output().unwrap()).await.unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error} {done:?}"));
    assert_eq!(
        (done.status.code(), &report["errors"], &report["warnings"]),
        (Some(0), &json!(0), &json!(0)),
        "{report:#}"
    );
    let [admin, editor] = ["AdminRoleArn", "EditorRoleArn"].map(|name| stack.output(name));
    let pool = format!("{} (profile enhanced)", stack.output("IdentityPoolId"));
    for (check, about) in [
        ("jwks", ""),
        ("clock", ""),
        ("pool", pool.as_str()),
        ("pool-roles", pool.as_str()),
        ("quota", "upstream"),
        ("trust-users", admin),
        ("trust-broker", admin),
        ("trust-users", editor),
        ("trust-broker", editor),
        ("token", "profile default"),
        ("token", "profile enhanced"),
    ] {
        let right = |finding: &Value| {
            finding["severity"] == "ok"
                && finding["check"] == check
                && finding["about"].as_str().is_some_and(|text| text.ends_with(about))
        };
        assert!(report["findings"].as_array().unwrap().iter().any(right), "{check} {about}: {report:#}");
    }
    let token = report["findings"].as_array().unwrap().iter().find(|finding| finding["about"] == "profile default");
    assert!(token.unwrap()["found"].as_str().unwrap().contains(admin), "{report:#}");
}

/// An admin in one language and an editor in the other, and the other way round, all at once.
async fn is_used(stack: &Stack, stage: &Stage) {
    let url = format!("http://{}", stage.daemon.address("http").await);
    let in_python = stage.api(python("python/api.py", stage.dir.path()), url.clone()).await;
    let in_javascript = stage.api(node("node/api.mjs"), url).await;
    let (alice, bob) = (stack.token("alice"), stack.token("bob"));
    tokio::join!(
        writes_and_reads(&in_python, "by-alice", alice),
        writes_and_reads(&in_javascript, "by-bob", bob),
        writes_and_reads(&in_python, "by-bob-too", bob),
        writes_and_reads(&in_javascript, "by-alice-too", alice),
    );
    for api in [&in_python, &in_javascript] {
        let refused = api.get("by-alice", stack.token("carol")).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("RoleNotAllowed")), "{refused:?}");
    }
    let as_alice = stock(stage, python("python/stock.py", stage.dir.path()), "alice");
    let as_bob = stock(stage, node("node/stock.mjs"), "bob");
    let (as_alice, as_bob) = tokio::join!(as_alice, as_bob);
    for (told, role) in [(as_alice, "admin"), (as_bob, "editor")] {
        assert!(told.contains(&format!(":assumed-role/rbac-story-{role}-role/")), "{told}");
    }
    let http = stage.daemon.address("http").await;
    assert_eq!(http::credentials(http, "/v1/credentials/enhanced", bob).await.status, 200);
}

async fn writes_and_reads(api: &Api, key: &str, token: &str) {
    let written = api.put(key, token).await;
    assert_eq!((written.status, written.body.trim()), (200, "written"), "{written:?}");
    let read = api.get(key, token).await;
    assert_eq!((read.status, read.body.as_str()), (200, "hello"), "{read:?}");
}

/// A program that knows nothing of the broker, as its user sees it: who it is, and what it read.
async fn stock(stage: &Stage, program: std::process::Command, user: &str) -> String {
    let mut command = stage.isolated(program);
    command.args([stage.bucket.as_str(), "by-alice"]);
    command.env(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        format!("http://{}/v1/credentials", stage.daemon.address("http").await),
    );
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", stage.dir.path().join(user));
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Two users of the broker's identity and one of the identity pool, each with one exchange however often they asked.
async fn is_seen(stage: &Stage) {
    let (found, shots) = status::seen(stage.daemon.address("admin").await, "scenario").await;
    let rows: Vec<_> = found["desk"]["rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    for wanted in [
        "default\tassume-role\t2\t0\t0",
        "enhanced\tenhanced\t1\t0\t0",
        "AssumeRole\t2\t",
        "GetId\t1\t",
        "GetCredentialsForIdentity\t1\t",
    ] {
        assert!(rows.iter().any(|row| row.starts_with(wanted)), "{wanted} is not in {rows:#?}");
    }
    for screen in ["phone", "desk"] {
        assert!(shots.join(format!("{screen}.png")).metadata().unwrap().len() > 5_000, "{screen}");
    }
    println!("pictures of it, of which desk.png is docs/status.png: {}", shots.display());
}
