//! What a caller of the gRPC door asks of a session reaches STS, and what STS says of it reaches the log: the embedded
//! emulator tells what a session was given, and how full its space is.

use std::time::SystemTime;

use cupbearer::clock::epoch_seconds;
use cupbearer::dev::{ADMIN_ROLE_ARN, BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN};
use cupbearer::server::proto::{GetCredentialsRequest, OpenSessionRequest, WatchCredentialsRequest};
use serde_json::{Value, json};

use crate::refusals::{Scene, profile};
use crate::sessions::with;
use crate::support::scene::{EMULATOR, token};

const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
const ARNS: [&str; 2] = ["arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::111122223333:policy/own"];

fn profiles() -> String {
    let basic = profile("basic", "basic", BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, "");
    basic + &profile("assumed", "assume-role", "", ADMIN_ROLE_ARN, "")
}

fn arns() -> Vec<String> {
    ARNS.map(str::to_owned).to_vec()
}

/// A policy of exactly this many characters.
fn policy_of(length: usize) -> String {
    let text = |resource: &str| POLICY.replace("\"*\"", &format!("\"arn:aws:s3:::{resource}\""));
    text(&"x".repeat(length - text("").len()))
}

fn told(session_token: &str) -> Value {
    EMULATOR.describe_session(session_token).unwrap()
}

#[tokio::test]
async fn a_caller_s_session_policy_and_arns_reach_sts() {
    let scene = Scene::new(&profiles()).await;
    let mut client = scene.grpc().await;
    for profile in ["basic", "assumed"] {
        let plain = GetCredentialsRequest { profile: profile.to_owned(), ..GetCredentialsRequest::default() };
        let limited = GetCredentialsRequest { session_policy: POLICY.to_owned(), policy_arns: arns(), ..plain.clone() };
        let mut keys = Vec::new();
        for (message, policy, arns) in [(plain, Value::Null, json!([])), (limited, json!(POLICY), json!(ARNS))] {
            let answer = client.get_credentials(with(&token("bob"), message)).await.unwrap().into_inner();
            let held = answer.credentials.unwrap();
            let session = told(&held.session_token);
            assert_eq!((&session["policy"], &session["policy_arns"]), (&policy, &arns), "{profile}");
            keys.push(held.access_key_id);
        }
        assert_ne!(keys[0], keys[1], "{profile}: another session is another entry");

        let message = OpenSessionRequest {
            profile: profile.to_owned(),
            session_policy: policy_of(200),
            policy_arns: arns()[..1].to_vec(),
            ..OpenSessionRequest::default()
        };
        let opened = client.open_session(with(&token("bob"), message)).await.unwrap().into_inner();
        let reply = scene.ask(&format!("/v1/sessions/{}", opened.session_id), &opened.authorization_token).await;
        let session = told(reply.json()["Token"].as_str().unwrap());
        let wanted = (&json!(policy_of(200)), &json!(ARNS[..1]));
        assert_eq!((&session["policy"], &session["policy_arns"]), wanted, "{profile}: by its session");

        let message = WatchCredentialsRequest {
            profile: profile.to_owned(),
            session_policy: policy_of(201),
            policy_arns: arns()[1..].to_vec(),
            ..WatchCredentialsRequest::default()
        };
        let mut watch = client.watch_credentials(with(&token("bob"), message)).await.unwrap().into_inner();
        let held = watch.message().await.unwrap().unwrap().credentials.unwrap();
        let (session, wanted) = (told(&held.session_token), (&json!(policy_of(201)), &json!(ARNS[1..])));
        assert_eq!((&session["policy"], &session["policy_arns"]), wanted, "{profile}: by its watch");
    }
}

#[tokio::test]
async fn the_log_tells_the_packed_size_and_warns_from_four_fifths_on() {
    let scene = Scene::new(&profiles()).await;
    let mut client = scene.grpc().await;
    // The emulator counts a character of a policy as one of 2,560.
    for (profile, operation) in [("basic", "AssumeRoleWithWebIdentity"), ("assumed", "AssumeRole")] {
        for (length, percent, level) in [(2_023, 79, "INFO"), (2_048, 80, "WARN")] {
            let told = scene.told();
            let session_policy = policy_of(length);
            let profile = profile.to_owned();
            let message = GetCredentialsRequest { profile, session_policy, ..GetCredentialsRequest::default() };
            client.get_credentials(with(&token("bob"), message)).await.unwrap();
            let found = |line: &Value| line["operation"] == operation && line["percent"].is_number();
            let line = scene.daemon.wait_for(|daemon| told.log(daemon).into_iter().find(found)).await;
            let line = line.unwrap_or_else(|| panic!("{:?}", told.log(&scene.daemon)));
            assert_eq!((&line["percent"], &line["level"]), (&json!(percent), &json!(level)), "{line}");
        }
    }
}

#[tokio::test]
async fn the_duration_reaches_sts() {
    let durations = [("shortest", 900_u64), ("long", 3_000), ("longest", 43_200)];
    let basic = durations.map(|(name, seconds)| {
        profile(name, "basic", BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, &format!("duration_seconds = {seconds}"))
    });
    // The emulator's API role is a role, whose sessions end after an hour.
    let assumed = durations.map(|(name, seconds)| {
        let more = format!("duration_seconds = {}", seconds.min(3_600));
        profile(&format!("assumed-{name}"), "assume-role", "", ADMIN_ROLE_ARN, &more)
    });
    let scene = Scene::new(&(basic.concat() + &assumed.concat())).await;
    for (name, seconds) in durations {
        for (path, seconds) in [(name.to_owned(), seconds), (format!("assumed-{name}"), seconds.min(3_600))] {
            let before = epoch_seconds(SystemTime::now());
            let reply = scene.ask(&format!("/v1/credentials/{path}"), &token("bob")).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            let session = told(reply.json()["Token"].as_str().unwrap());
            let left = session["expires"].as_u64().unwrap() - before;
            // A machine that stands still for a minute is no fault of the program.
            assert!((seconds..seconds + 60).contains(&left), "{path}: {left}");
            let expires =
                cupbearer::clock::rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(before + left));
            assert_eq!(reply.json()["Expiration"], json!(expires), "{path}");
        }
    }
}
