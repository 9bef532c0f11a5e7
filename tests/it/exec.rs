//! The commands that stand between a broker and a program: `exec`, `wait`, `credential-process`, and what shells know.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, command};
use crate::support::scene::{Scene, embedded, token};
use crate::support::settings::Settings;
use crate::support::tools::TOOLS;

/// Whatever else could be found: each of these goes before a container's address in some SDK.
const HOSTILE: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "somebody-else"),
    ("AWS_SESSION_TOKEN", "somebody-else"),
    ("AWS_PROFILE", "somebody-else"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/somebody-else"),
    ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/somebody-else"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/somebody-else"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/somebody-else"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "somebody-else"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/somebody-else"),
    ("AWS_CONFIG_FILE", "/somebody-else"),
    ("BOTO_CONFIG", "/somebody-else"),
];

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn out(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// A scene with alice's token in a file.
struct Stage {
    scene: Scene,
    endpoint: String,
    file: PathBuf,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let (endpoint, file) = (format!("http://{}", scene.http), scene.path("alice.jwt"));
        std::fs::write(&file, token("alice")).unwrap();
        Self { scene, endpoint, file }
    }

    /// `cupbearer COMMAND` with where the broker and the token are, and then `more`.
    fn command(&self, name: &str, more: &[&str], variables: &[(&str, &str)]) -> Command {
        let own = [name, "--endpoint", &self.endpoint, "--token-file", self.file.to_str().unwrap()];
        command(&[&own, more].concat(), variables)
    }
}

#[tokio::test]
async fn a_program_sees_the_broker_and_no_other_credentials() {
    let stage = Stage::new().await;
    let done =
        output(stage.command("exec", &["--role", "editor", "--", "env"], &[HOSTILE, &[("HOME", "/h")]].concat())).await;
    let text = out(&done);
    let mut aws: Vec<_> = text.lines().filter(|line| line.starts_with("AWS_") || line.contains("somebody")).collect();
    aws.sort_unstable();
    let file = format!("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={}", stage.file.display());
    let uri = format!("AWS_CONTAINER_CREDENTIALS_FULL_URI={}/v1/credentials/default/editor", stage.endpoint);
    let wanted = [
        "AWS_CONFIG_FILE=/dev/null",
        &file,
        &uri,
        "AWS_EC2_METADATA_DISABLED=true",
        "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
    ];
    assert_eq!(aws, wanted, "{done:?}");
    assert!(text.contains("HOME=/h"), "everything else is left alone: {text}");
}

/// Without `exec` the same program takes the static keys: this is what is prevented.
#[tokio::test]
async fn boto3_under_exec_is_the_user_and_not_the_machine() {
    let stage = Stage::new().await;
    let python = tokio::task::spawn_blocking(|| TOOLS.python("python")).await.unwrap();
    let code = "import boto3; print(boto3.Session().get_credentials().access_key)";
    let keys = &HOSTILE[..3];
    let mut bare = Command::new(&python);
    bare.args(["-c", code]).env_clear().envs(keys.iter().copied());
    assert_eq!(out(&output(bare).await).trim(), "AKIAIOSFODNN7EXAMPLE");
    let line = ["--region", "us-east-1", "--", python.to_str().unwrap(), "-c", code];
    let done = output(stage.command("exec", &line, keys)).await;
    let held = stage.scene.ask("/v1/credentials", &token("alice")).await.json();
    assert_eq!(out(&done).trim(), held["AccessKeyId"].as_str().unwrap(), "{done:?}");
}

#[tokio::test]
async fn the_program_takes_the_process_over() {
    let stage = Stage::new().await;
    let done = output(stage.command("exec", &["--", "sh", "-c", "exit 7"], &[])).await;
    assert_eq!(done.status.code(), Some(7));
    let mut daemon = Daemon::spawn(stage.command("exec", &["--", "sh", "-c", "echo $$; exec sleep 600"], &[]));
    let pid = daemon.wait_for(|daemon| daemon.out().trim().parse::<u32>().ok()).await;
    assert_eq!(pid, Some(daemon.pid()), "no process stands between");
    // Not SIGINT: a shell that runs the tests in the background has it ignored, here and below.
    daemon.terminate();
    assert_eq!(daemon.ended().await.signal(), Some(Signal::TERM.as_raw()));
}

#[tokio::test]
async fn exec_says_what_is_wrong_before_it_runs_anything() {
    let stage = Stage::new().await;
    let run = |more: &[&str]| stage.command("exec", more, &[]).output().unwrap();
    let missing = run(&["--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    let unfit = run(&["--", stage.file.to_str().unwrap()]);
    assert_eq!(unfit.status.code(), Some(126), "{unfit:?}");
    assert_eq!(run(&["--"]).status.code(), Some(2));
    for (content, told) in [("", "it is empty"), ("a.b.c\n", "line break"), ("a b", "more than a token")] {
        std::fs::write(&stage.file, content).unwrap();
        let done = run(&["--", "true"]);
        assert!(done.status.code() == Some(2) && err(&done).contains(told), "{content:?} {done:?}");
    }
    std::fs::remove_file(&stage.file).unwrap();
    assert!(err(&run(&["--", "true"])).contains("write the user's ID token there"));
}

#[tokio::test]
async fn a_profile_with_credential_process_works() {
    let stage = Stage::new().await;
    let done = output(stage.command("credential-process", &[], &[])).await;
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error} {done:?}"));
    let held = stage.scene.ask("/v1/credentials", &token("alice")).await.json();
    let wanted = json!({
        "Version": 1, "AccessKeyId": held["AccessKeyId"], "SecretAccessKey": held["SecretAccessKey"],
        "SessionToken": held["Token"], "Expiration": held["Expiration"],
    });
    assert_eq!(told, wanted);
    // The same by AWS's own library.
    let (program, config) = (env!("CARGO_BIN_EXE_cupbearer"), stage.scene.path("aws-config"));
    let line =
        format!("{program} credential-process --endpoint {} --token-file {}", stage.endpoint, stage.file.display());
    std::fs::write(&config, format!("[default]\ncredential_process = {line}\n")).unwrap();
    let mut python = Command::new(tokio::task::spawn_blocking(|| TOOLS.python("python")).await.unwrap());
    python.args(["-c", "import boto3; k = boto3.Session().get_credentials(); print(k.access_key, k.method)"]);
    python.env_clear().env("AWS_CONFIG_FILE", &config);
    let done = output(python).await;
    assert_eq!(out(&done).trim(), format!("{} custom-process", held["AccessKeyId"].as_str().unwrap()), "{done:?}");
}

#[tokio::test]
async fn credential_process_tells_why_there_are_none() {
    let stage = Stage::new().await;
    let refused = output(stage.command("credential-process", &["--profile", "unknown"], &[])).await;
    assert_eq!((refused.status.code(), out(&refused).as_str()), (Some(1), ""));
    assert!(err(&refused).contains("404 NotFound: There is no such path"), "{refused:?}");
    std::fs::write(&stage.file, "Canary.Canary.Canary").unwrap();
    let denied = output(stage.command("credential-process", &[], &[])).await;
    assert!(err(&denied).contains("401 Unauthorized") && !err(&denied).contains("Canary"), "{denied:?}");
    let file = stage.file.to_str().unwrap();
    let arguments = ["credential-process", "--endpoint", "http://127.0.0.1:9", "--token-file", file, "--timeout", "0"];
    let nobody = output(command(&arguments, &[])).await;
    assert!(nobody.status.code() == Some(1) && err(&nobody).contains("is the broker running?"), "{nobody:?}");
}

#[tokio::test]
async fn wait_ends_when_the_broker_is_ready() {
    let proxy = embedded().await;
    let text = Settings { jwks: "http://127.0.0.1:9/none".to_owned(), ..Settings::new(&proxy.url) }.text();
    let place = tempfile::tempdir().unwrap();
    let unready = Daemon::serve_unready(place.path(), &text, &[]).await;
    let admin = |address: std::net::SocketAddr| format!("http://{address}");
    let endpoint = admin(unready.address("admin").await);
    let line =
        |endpoint: &str, more: &[&str]| command(&[&["wait", "--endpoint", endpoint, "--timeout"], more].concat(), &[]);
    let done = output(line(&endpoint, &["300ms", "--", "echo", "up"])).await;
    assert_eq!((done.status.code(), out(&done).as_str()), (Some(1), ""), "{done:?}");
    assert!(err(&done).contains("not ready after 0.3 s: it waits for jwks:https://"), "{done:?}");
    let done = output(line("http://127.0.0.1:9", &["0"])).await;
    assert!(done.status.code() == Some(1) && err(&done).contains("does not answer"), "{done:?}");
    assert_eq!(output(line(&endpoint, &["soon"])).await.status.code(), Some(2));

    let ready = Scene::new().await;
    let endpoint = admin(ready.admin);
    assert_eq!(output(line(&endpoint, &["1s"])).await.status.code(), Some(0));
    let done = output(line(&endpoint, &["30s", "--", "sh", "-c", "echo up; exit 5"])).await;
    assert_eq!((done.status.code(), out(&done).as_str()), (Some(5), "up\n"));
}

#[test]
fn shells_and_man_know_every_command() {
    let commands = ["serve", "dev", "explain", "check", "exec", "wait", "credential-process", "completions", "man"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = out(&command(&["completions", shell], &[]).output().unwrap());
        for name in commands {
            assert!(text.contains(name), "{shell} does not know {name}");
        }
    }
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("completions");
    std::fs::write(&script, out(&command(&["completions", "bash"], &[]).output().unwrap())).unwrap();
    let parsed = Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(parsed.status.success(), "{parsed:?}");
    let page = out(&command(&["man"], &[]).output().unwrap());
    assert!(page.contains(".TH cupbearer 1") && page.contains("Exit codes"), "{page}");
    let page = out(&command(&["man", "exec"], &[]).output().unwrap());
    assert!(page.contains(".TH cupbearer-exec 1") || page.contains(".TH cupbearer\\-exec 1"), "{page}");
    assert!(page.contains("token\\-file"), "{page}");
    let pages = place.path().join("man1");
    assert!(command(&["man", "--dir", pages.to_str().unwrap()], &[]).output().unwrap().status.success());
    for name in commands {
        assert!(pages.join(format!("cupbearer-{name}.1")).exists(), "{name}");
    }
    assert_eq!(command(&["man", "nonsense"], &[]).output().unwrap().status.code(), Some(2));
}
