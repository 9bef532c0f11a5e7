//! What `cupbearer doctor` finds: documents as files, each with the findings expected; then the program, live, before the
//! embedded emulator and before one that is not ours; and `cupbearer policy`, whose documents the doctor finds in order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use cupbearer::config::Config;
use cupbearer::dev::{ADMIN_ROLE_ARN, BROKER_ACCESS_KEY_ID, BROKER_ARN, BROKER_SECRET_ACCESS_KEY, EDITOR_ROLE_ARN};
use cupbearer::doctor::{self, Document, Finding, PoolDocuments, Severity, needs};
use serde_json::{Value, json};

use crate::support::daemon::command;
use crate::support::scene::{EMULATOR, embedded};
use crate::support::settings::Settings;
use crate::support::stack::Stack;

const EXPECTED: &str = include_str!("doctor/expected.txt");
const BROKER: &str = "arn:aws:iam::111122223333:role/broker";

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/doctor").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(place(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn json_of(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap()
}

fn config(name: &str) -> Config {
    let file = format!("{name}.toml");
    cupbearer::config::parse(&file, &text(&file), &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What is found in one document.
fn findings(judge: &str, name: &str) -> Vec<Finding> {
    match name.split(['-', '.']).next().unwrap() {
        "trust" | "own" | "gov" => {
            let needs = needs::all(&config(judge).broker.profiles);
            let (role, needs) = needs.iter().find(|(role, _)| role.ends_with(":role/editor")).unwrap();
            doctor::trust(role, &Document::read(&json_of(name)).unwrap(), needs, Some(BROKER))
        }
        "permissions" => doctor::permissions(name, &Document::read(&json_of(name)).unwrap()),
        "pool" | "roles" => {
            let config = config(judge);
            let mut documents = PoolDocuments::default();
            documents.add(json_of(name)).unwrap();
            doctor::pool("default", &config.broker.profiles["default"], &config, &documents)
        }
        "task" => doctor::task(&json_of(name)).unwrap(),
        "pod" => {
            let objects: Vec<Value> = serde_saphyr::from_multiple(&text(name)).unwrap();
            doctor::pods(&objects).unwrap()
        }
        "env" => doctor::environment(name, &text(name)),
        kind => panic!("nobody judges {kind}"),
    }
}

#[test]
fn every_document_has_its_findings() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for line in EXPECTED.lines().filter(|line| !line.starts_with('#')) {
        let (what, wanted) = line.split_once(": ").unwrap_or((line, ""));
        let (judge, name) = what.split_once(' ').unwrap();
        seen.insert(name.to_owned());
        let found = findings(judge, name);
        assert!(!found.is_empty(), "{line}: nothing was said");
        let told = found.iter().filter(|finding| finding.severity != Severity::Ok);
        let mut told: Vec<_> = told.map(|finding| format!("{} {}", finding.severity, finding.check)).collect();
        let mut wanted: Vec<_> = wanted.split(", ").filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect();
        told.sort();
        wanted.sort();
        if told != wanted {
            wrong.push(format!("{line}\n  but found {found:#?}"));
        }
        for finding in found {
            assert_eq!(
                finding.fix.is_empty(),
                finding.severity == Severity::Ok,
                "a fix for what is wrong: {finding:?}"
            );
            assert!(!format!("{finding:?}").contains("Canary"), "a value was repeated: {finding:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let files = std::fs::read_dir(place("")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let unjudged: Vec<_> =
        files.filter(|name| !name.ends_with(".toml") && name != "expected.txt" && !seen.contains(name)).collect();
    assert!(unjudged.is_empty(), "{unjudged:?}");
}

/// What the one prints, the other finds in order: the two cannot drift apart.
#[test]
fn the_doctor_finds_printed_policies_in_order() {
    for judge in ["enhanced", "basic", "assume-role", "govcloud"] {
        let config = config(judge);
        let all = needs::all(&config.broker.profiles);
        for (role, needs) in &all {
            let printed = Document::read(&needs.trust_policy(BROKER)).unwrap();
            let found = doctor::trust(role, &printed, needs, Some(BROKER));
            assert!(found.iter().all(|finding| finding.severity == Severity::Ok), "{judge} {role} {found:?}");
        }
        let broker = needs::broker_policy(&all);
        assert_eq!(broker.is_some(), judge == "assume-role");
        for policy in broker.into_iter().chain([needs::doctor_policy(&config, "111122223333")]) {
            let found = doctor::permissions("printed", &Document::read(&policy).unwrap());
            assert!(found.iter().all(|finding| finding.severity == Severity::Ok), "{judge} {found:?}");
        }
    }
}

#[test]
fn the_printed_policy_is_the_documented_one() {
    let config = place("enhanced.toml");
    let run = |more: &[&str]| {
        command(&[&["policy", "--config", config.to_str().unwrap()], more].concat(), &[]).output().unwrap()
    };
    let told: Value = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    let service = "cognito-identity.amazonaws.com";
    let pool = "us-east-1:2f0c1e0a-5b7d-4c3e-9a61-7d2b8c94e0f3";
    let wanted = json!([{
        "Sid": "Users", "Effect": "Allow", "Principal": {"Federated": service},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {format!("{service}:aud"): pool},
            "ForAnyValue:StringLike": {format!("{service}:amr"): "authenticated"},
        },
    }]);
    assert_eq!(told["roles"]["arn:aws:iam::111122223333:role/editor"]["trust_policy"]["Statement"], wanted);
    assert_eq!(told["broker_policy"], Value::Null, "nothing that is called is signed");
    let plain = run(&[]);
    let text = String::from_utf8_lossy(&plain.stdout);
    assert!(
        text.contains("# The trust policy of arn:aws:iam::111122223333:role/editor (profiles: default):\n{"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "colour is for terminals");
    assert_eq!(run(&["--profile", "nobody"]).status.code(), Some(2));
}

/// `doctor`, with the key of the emulator's IAM user.
async fn doctor(config: &Path, more: &[&str]) -> Output {
    let own = [("AWS_ACCESS_KEY_ID", BROKER_ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", BROKER_SECRET_ACCESS_KEY)];
    let mut command = command(&[&["doctor", "--config", config.to_str().unwrap()], more].concat(), &own);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(done: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error} {done:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| (text(&finding["severity"]), text(&finding["check"]))).collect()
}

#[tokio::test]
async fn the_scenario_is_in_order_and_its_faults_are_found() {
    let (proxy, dir) = (embedded().await, tempfile::tempdir().unwrap());
    let file = dir.path().join("cupbearer.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let text = Settings::new(&proxy.url).text();
    write(&text);
    let token = dir.path().join("alice.jwt");
    std::fs::write(&token, EMULATOR.id_token("alice", SystemTime::now()).unwrap()).unwrap();
    let mut trust = Vec::new();
    let policy = command(&["policy", "--json", "--config", file.to_str().unwrap()], &[]).output().unwrap();
    let policy: Value = serde_json::from_slice(&policy.stdout).unwrap();
    for (name, role) in [("admin", ADMIN_ROLE_ARN), ("editor", EDITOR_ROLE_ARN)] {
        let path = dir.path().join(name);
        std::fs::write(&path, policy["roles"][role]["trust_policy"].to_string()).unwrap();
        trust.extend(["--trust-policy".to_owned(), format!("{role}={}", path.display())]);
    }
    let mut line = vec!["--json", "--strict", "--broker-arn", BROKER_ARN, "--token-file", token.to_str().unwrap()];
    line.extend(trust.iter().map(String::as_str));
    let done = doctor(&file, &line).await;
    let found = told(&done);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    for check in ["jwks", "clock", "pool", "pool-roles", "quota", "trust-users", "token"] {
        assert!(found.contains(&("ok".to_owned(), check.to_owned())), "{check} is not in order: {found:?}");
    }
    for (was, is, severity, check) in [
        ("\"authenticated_role\"", "\"deny\"", "error", "pool-ambiguous"),
        ("client_ids = [\"", "client_ids = [\"nobody\", \"", "error", "pool-client"),
        ("jwks.json", "none.json", "error", "jwks"),
        ("us-east-1:2f0c1e0a", "us-east-1:ffffffff", "error", "pool"),
        (
            "mapping = \"token\"",
            "mapping = \"rules\"\nrules = [{ claim = \"email\", match_type = \"Equals\", value = \"x\", role_arn = \"arn:aws:iam::111122223333:role/x\" }]",
            "error",
            "pool-mapping",
        ),
    ] {
        write(&text.replace(was, is));
        let done = doctor(&file, &["--json"]).await;
        assert!(told(&done).contains(&(severity.to_owned(), check.to_owned())), "{is}: {done:?}");
        assert_eq!(done.status.code(), Some(1), "{is}");
    }
}

#[tokio::test]
async fn it_says_what_it_could_not_see_and_reads_as_a_table() {
    let (proxy, dir) = (embedded().await, tempfile::tempdir().unwrap());
    let file = dir.path().join("cupbearer.toml");
    std::fs::write(&file, Settings::new(&proxy.url).text()).unwrap();
    // Somebody whom the emulator does not know.
    let mut stranger = command(
        &["doctor", "--config", file.to_str().unwrap()],
        &[("AWS_ACCESS_KEY_ID", "AKIANOBODY"), ("AWS_SECRET_ACCESS_KEY", "Canary")],
    );
    let done = tokio::task::spawn_blocking(move || stranger.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.contains("skipped  pool ") && text.contains("AWS does not say: "), "{text}");
    assert!(text.contains("         fix: ") && !text.contains('\x1b') && !text.contains("Canary"), "{text}");
    assert!(text.contains("0 errors, 0 warnings"), "{text}");
    assert_eq!(done.status.code(), Some(0), "what nobody saw is no error");
    let offline = doctor(&file, &["--offline", "--json", "--brokers", "9"]).await;
    let found = told(&offline);
    assert!(
        !found.iter().any(|(_, check)| check == "jwks") && found.contains(&("warning".to_owned(), "quota".to_owned())),
        "{found:?}"
    );
    let unfit = doctor(&file, &["--pod-spec", place("pool-good.json").to_str().unwrap()]).await;
    assert!(
        unfit.status.code() == Some(2) && String::from_utf8_lossy(&unfit.stderr).contains("no pod spec"),
        "{unfit:?}"
    );
    let alone =
        command(&["doctor", "--environment", place("env-static-keys.env").to_str().unwrap()], &[]).output().unwrap();
    assert!(alone.status.code() == Some(1) && !String::from_utf8_lossy(&alone.stdout).contains("Canary"), "{alone:?}");
}

/// Where no file shows a trust policy, IAM is asked, by whoever runs it; STS says who that is.
#[tokio::test]
async fn it_asks_iam_whom_roles_trust_and_sts_who_the_broker_is() {
    let stack = Stack::deployed("doctored", &["--broker"]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cupbearer.toml");
    std::fs::write(&file, stack.configuration()).unwrap();
    let ask = async |key: &str, secret: &str| {
        let own = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
        let line = ["doctor", "--json", "--broker-arn", "self", "--config", file.to_str().unwrap()];
        let mut command = command(&line, &own);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let own = |name: &str| stack.facts["broker"][name].as_str().unwrap();
    let found = told(&ask(own("key"), own("secret")).await);
    assert!(found.contains(&("ok".to_owned(), "broker".to_owned())), "{found:?}");
    assert!(
        found.contains(&("skipped".to_owned(), "trust".to_owned())),
        "the broker's policy has no GetRole: {found:?}"
    );

    let other = ask("test", "test").await;
    assert!(
        told(&other).contains(&("error".to_owned(), "trust-broker".to_owned())),
        "others are not trusted: {other:?}"
    );
    let edited = stack.configuration().replace("doctored-admin-role", "doctored-nobodys-role");
    std::fs::write(&file, edited).unwrap();
    let missing = ask("test", "test").await;
    assert!(String::from_utf8_lossy(&missing.stdout).contains("there is no such role"), "{missing:?}");
    assert_eq!(missing.status.code(), Some(1));
}
