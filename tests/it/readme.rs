//! What the README shows is run: its configuration is read, its Python works, its names are all there.

use std::process::{Command, Stdio};

use crate::support::scene::{Scene, token};
use crate::support::tools::TOOLS;

const README: &str = include_str!("../../README.md");

/// The texts of all fenced blocks of `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    README.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The text of the only one.
fn block(language: &str) -> &'static str {
    let blocks = blocks(language);
    assert_eq!(blocks.len(), 1, "one block of {language}");
    blocks[0]
}

#[test]
fn its_configuration_is_one() {
    // Each block stands on those before it, and the files that are named hold what may stand in them.
    let text = blocks("toml").join("\n");
    assert!(text.matches("_file =").count() >= 2, "{text}");
    let read = |_: &std::path::Path| Ok(b"0123456789abcdef".to_vec());
    let config = cupbearer::config::parse_with_files("README.md", &text, &|_| None, &read);
    assert!(config.is_ok(), "{}", config.err().unwrap());
}

#[test]
fn its_promises_are_held_by_tests_that_there_are() {
    let section = README.split("## When things break").nth(1).unwrap().split("\n## ").next().unwrap();
    let named = |word: &&str| {
        word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    let names: Vec<_> =
        section.split('`').skip(1).step_by(2).filter(named).filter(|name| *name != "drain_seconds").collect();
    assert!(names.len() > 25, "{names:?}");
    let mut sources = String::new();
    let mut places = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                places.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}

#[test]
fn it_names_every_metric_and_no_other() {
    let contract = include_str!("metrics.txt");
    let name =
        |line: &str| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or("").to_owned();
    let ours: Vec<_> = contract.lines().map(name).filter(|name| name.starts_with("cupbearer_")).collect();
    for metric in &ours {
        assert!(README.contains(&format!("`{metric}`")), "{metric} is not in the README");
    }
    for word in README.split('`').filter(|word| word.starts_with("cupbearer_")) {
        assert!(ours.contains(&word.to_owned()), "{word} is no metric");
    }
}

#[tokio::test]
async fn its_python_gets_a_session() {
    let scene = Scene::new().await;
    let code = block("python").replace("127.0.0.1:2870", &scene.http.to_string());
    let code = code
        + "\nimport sys\nkeys = session_of(sys.argv[1]).get_credentials()\nprint(keys.access_key, len(keys.token))\n";
    let alice = token("alice");
    let python = tokio::task::spawn_blocking(|| TOOLS.python("python")).await.unwrap();
    let run =
        move || Command::new(python).args(["-c", &code, &alice]).env_clear().stdin(Stdio::null()).output().unwrap();
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let held = scene.ask("/v1/credentials", &token("alice")).await.json();
    assert!(told.starts_with(held["AccessKeyId"].as_str().unwrap()), "{done:?}");
}

#[test]
fn its_policy_is_one() {
    let policy = cupbearer::templates::PolicyTemplate::parse(block("json")).unwrap();
    let claims = |tenant: &str| {
        let mut claims = cupbearer::model::Claims::new();
        claims.insert("custom:tenant".to_owned(), tenant.into());
        claims
    };
    let filled = policy.fill(&claims("t1")).unwrap();
    assert!(filled.contains("arn:aws:s3:::documents/t1/*"), "{filled}");
    assert!(policy.fill(&claims("t1/t2")).is_err(), "a tenant cannot reach into another's prefix");
    assert!(policy.fill(&claims("*")).is_ok_and(|filled| filled.contains("documents/${*}/*")));
}
