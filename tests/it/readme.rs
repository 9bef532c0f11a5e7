//! What the README shows is run, and what is promised on the pages that it leads to: the first lines are those of the
//! program, the configuration is read, the Python works, names are all there.

use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::support::scene::{Scene, token};
use crate::support::tools::TOOLS;

const README: &str = include_str!("../../README.md");
const USING: &str = include_str!("../../docs/using.md");
const ROLES: &str = include_str!("../../docs/roles.md");
const METRICS: &str = include_str!("../../docs/metrics.md");
const RELIABILITY: &str = include_str!("../../docs/reliability.md");

/// The texts of all fenced blocks of `language`.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    page.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The text of the only one.
fn block(page: &'static str, language: &str) -> &'static str {
    let blocks = blocks(page, language);
    assert_eq!(blocks.len(), 1, "one block of {language}");
    blocks[0]
}

/// Where a newcomer looks, there is all that it takes; and it stays one page.
#[tokio::test]
async fn its_first_lines_start_it_and_get_credentials() {
    assert!(README.lines().count() <= 135, "{} lines", README.lines().count());
    let first = blocks(README, "sh");
    let reached: Vec<_> = README.lines().take(30).collect();
    assert!(first.iter().all(|block| block.lines().all(|line| reached.contains(&line))), "not in the first 30 lines");
    let [start, ask] = first[..] else { panic!("{first:?}") };
    let (_, arguments) = start.trim().split_once("cargo run --release -- ").unwrap();
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("dev").to_str().unwrap().to_owned();
    let mut arguments: Vec<_> = arguments.split(' ').map(|word| word.replace("/tmp/cupbearer-dev", &dir)).collect();
    arguments.extend(["--port", "0", "--log-format", "json"].map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&arguments, &[]);
    let http = daemon.address("http").await.to_string();
    let asked = ask.trim().replace("/tmp/cupbearer-dev", &dir).replace("127.0.0.1:2870", &http);
    let told = daemon.wait_for(|daemon| daemon.out().contains("Ctrl-C ends").then(|| daemon.out())).await.unwrap();
    assert!(told.lines().any(|line| line == asked), "{asked} is not what it says itself:\n{told}");
}

#[test]
fn its_configuration_is_one() {
    // Each block stands on those before it, and the files that are named hold what may stand in them.
    let text = [blocks(README, "toml"), blocks(USING, "toml")].concat().join("\n");
    assert!(text.matches("_file =").count() >= 2, "{text}");
    let read = |_: &std::path::Path| Ok(b"0123456789abcdef".to_vec());
    let config = cupbearer::config::parse_with_files("README.md", &text, &|_| None, &read);
    assert!(config.is_ok(), "{}", config.err().unwrap());
}

#[test]
fn its_promises_are_held_by_tests_that_there_are() {
    let named = |word: &&str| {
        word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    let (_, rest) = README.split_once("## When things break").unwrap();
    let (short, _) = rest.split_once("\n## ").unwrap();
    let names = |page: &'static str| -> Vec<_> {
        page.split('`').skip(1).step_by(2).filter(named).filter(|name| *name != "drain_seconds").collect()
    };
    let (mut names, short) = (names(RELIABILITY), names(short));
    assert!(names.len() > 50 && short.len() > 25, "{names:?} {short:?}");
    let missing: Vec<_> = short.iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "the longer form has all that the README has: {missing:?}");
    names.extend(short);
    let mut sources = String::new();
    let house = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = vec![house.join("tests"), house.join("src")];
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
fn every_metric_is_told_of_and_no_other() {
    let contract = include_str!("metrics.txt");
    let name =
        |line: &str| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or("").to_owned();
    let ours: Vec<_> = contract.lines().map(name).filter(|name| name.starts_with("cupbearer_")).collect();
    for metric in &ours {
        assert!(METRICS.contains(&format!("`{metric}`")), "{metric} is not in docs/metrics.md");
    }
    for word in METRICS.split('`').filter(|word| word.starts_with("cupbearer_")) {
        assert!(ours.contains(&word.to_owned()), "{word} is no metric");
    }
}

#[tokio::test]
async fn its_python_gets_a_session() {
    let scene = Scene::new().await;
    let code = block(README, "python").replace("127.0.0.1:2870", &scene.http.to_string());
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
fn the_policy_of_the_templates_is_one() {
    let policy = cupbearer::templates::PolicyTemplate::parse(block(ROLES, "json")).unwrap();
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
