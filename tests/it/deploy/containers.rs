//! The image, the laptop and ECS: read by Docker's linter, by the schema of compose files and by AWS's own model.

use super::{complaint, content, deployed, file, read, script};

#[test]
fn docker_s_linter_finds_nothing_to_mend() {
    let file = deployed("docker/Dockerfile");
    let told = content("hadolint", &["--failure-threshold", "style", file.to_str().unwrap()], "");
    assert_eq!(told, "");
    let latest = read("docker/Dockerfile").replace("rust:1.95.0-slim-bookworm", "rust");
    let found = complaint("hadolint", &["--failure-threshold", "style", "-"], &latest);
    assert!(found.contains("DL3006"), "{found}");
}

#[test]
fn the_image_is_a_program_and_certificates_without_root_and_shell() {
    let text = read("docker/Dockerfile");
    let last = text.split("\nFROM scratch\n").nth(1).expect("the last stage begins with nothing");
    let lines: Vec<_> = last.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let of = |word: &str| lines.iter().filter(|line| line.split(' ').next() == Some(word)).copied().collect::<Vec<_>>();
    assert_eq!(of("USER"), ["USER 65532:65532"]);
    assert_eq!(of("COPY").len(), 2, "{lines:?}");
    assert_eq!(of("RUN"), [""; 0], "there is nothing that could be run");
    assert!(of("HEALTHCHECK")[0].ends_with(r#"CMD ["/cupbearer", "wait", "--timeout", "2s"]"#), "{lines:?}");
    let pinned = include_str!("../../../Cargo.toml").lines().find(|line| line.starts_with("rust-version")).unwrap();
    let version = pinned.split('"').nth(1).unwrap();
    assert!(text.contains(&format!("FROM rust:{version}.")), "the compiler is the one that Cargo.toml names");
}

#[test]
fn the_compose_file_is_one() {
    let sound = deployed("compose/docker-compose.yaml");
    let schema = ["--builtin-schema", "vendor.compose-spec"];
    content("check-jsonschema", &[&schema[..], &[sound.to_str().unwrap()]].concat(), "");
    let bent = read("compose/docker-compose.yaml").replace("read_only: true", "readonly: true");
    let bent = file(&bent, ".yaml");
    let found = complaint("check-jsonschema", &[&schema[..], &[bent.path().to_str().unwrap()]].concat(), "");
    assert!(found.contains("readonly"), "{found}");
}

#[test]
fn ecs_would_take_the_task() {
    let text = read("ecs/task-definition.json");
    content("python", &[script("ecs.py")], &text);
    let task: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(task["taskRoleArn"], serde_json::Value::Null, "a task role goes before the broker in every SDK");
    let broker = &task["containerDefinitions"][1];
    assert_eq!(
        (&broker["user"], &broker["readonlyRootFilesystem"], &broker["linuxParameters"]["capabilities"]["drop"][0]),
        (&"65532:65532".into(), &true.into(), &"ALL".into())
    );
    for (good, bad, told) in [
        (r#""interval": 10"#, r#""interval": "10""#, "interval"),
        (r#""readonlyRootFilesystem""#, r#""readOnlyRootFilesystem""#, "readOnlyRootFilesystem"),
        (r#""condition": "HEALTHY""#, r#""condition": "READY""#, "which there is not"),
    ] {
        let found = complaint("python", &[script("ecs.py")], &text.replace(good, bad));
        assert!(found.contains(told), "{found}");
    }
}
