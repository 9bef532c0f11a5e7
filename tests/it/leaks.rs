//! No secret is ever seen (A55, A56): known secrets go through every path at every level of the log, and then everything
//! that the program said or wrote is searched for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cupbearer::dev::{self, CLIENT_ID, ROTATING_CLIENT_ID, ROTATING_CLIENT_SECRET};
use cupbearer::server::proto;
use cupbearer::server::proto::{
    CloseSessionRequest, CredentialBrokerClient, ExplainRoleRequest, GetCredentialsRequest, OpenSessionRequest,
    UpdateSessionRequest, WatchCredentialsRequest,
};
use tonic::transport::{Channel, Endpoint};

use crate::grpc::channel;
use crate::sessions::with;
use crate::support::daemon::{Daemon, command};
use crate::support::http;
use crate::support::line::Line;
use crate::support::proxy::Fault;
use crate::support::scene::{EMULATOR, Scene, embedded, token_with};
use crate::support::settings::Settings;

const ADMIN_TOKEN: &str = "an-admin-token-that-nobody-may-see";
const WRONG_TOKEN: &str = "a-wrong-token-that-nobody-may-see";
const OWN_TOKEN: &str = "a-configured-session-s-own-token";
const MISPLACED: &str = "a-secret-in-a-wrong-place";
/// What tests put there to be read, and what is rewritten there as asked.
const OURS: [&str; 4] = ["admin", "secrets", "refresh", "own"];

/// What must not be found, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() > 15, "{name}: {secret}");
        self.0.insert(format!("{name} {}", self.0.len()), secret.to_owned());
    }

    fn add_token(&mut self, name: &str, token: &str) {
        token.split('.').for_each(|part| self.add(name, part));
    }

    fn add_reply(&mut self, reply: &http::Reply) {
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        ["SecretAccessKey", "Token"].iter().for_each(|name| self.add(name, body[*name].as_str().unwrap()));
    }

    fn check(&self, place: &str, text: &str) {
        for (name, secret) in &self.0 {
            assert!(!text.contains(secret.as_str()), "{name} is in {place}:\n{text}");
        }
        for word in ["MARKER", dev::PASSWORD] {
            assert!(!text.contains(word), "{word} is in {place}:\n{text}");
        }
    }
}

/// A configuration with everything that may know a secret or write a file.
fn settings(endpoint: &str, dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    fs::write(path("admin"), ADMIN_TOKEN).unwrap();
    fs::write(path("secrets"), format!("{ROTATING_CLIENT_ID} {ROTATING_CLIENT_SECRET}\n")).unwrap();
    fs::write(path("refresh"), refresh_token(ROTATING_CLIENT_ID)).unwrap();
    fs::write(path("own"), OWN_TOKEN).unwrap();
    fs::create_dir_all(path("state")).unwrap();
    let more = format!(
        "grpc_uds = {socket:?}\n---[state]\ndir = {state:?}\n[audit]\nfile = {audit:?}\n[admin]\ntoken_file = {admin:?}\n\
         [sessions]\naccept_refresh_tokens = true\n[[configured_sessions]]\nname = \"batch\"\nrole = \"editor\"\n\
         client_id = \"{ROTATING_CLIENT_ID}\"\nrefresh_token_file = {refresh:?}\nauthorization_token_file = {own:?}\n",
        socket = path("grpc.sock"),
        state = path("state"),
        audit = path("audit.jsonl"),
        admin = path("admin"),
        refresh = path("refresh"),
        own = path("own"),
    );
    let text = Settings { more: &more, ..Settings::new(endpoint) }.text();
    let both =
        format!("client_ids = [\"{CLIENT_ID}\", \"{ROTATING_CLIENT_ID}\"]\nclient_secret_file = {:?}", path("secrets"));
    text.replace(&format!("client_ids = [\"{CLIENT_ID}\"]"), &both)
}

fn refresh_token(client: &str) -> String {
    EMULATOR.refresh_token("alice", client, SystemTime::now()).unwrap()
}

fn marked(subject: &str) -> String {
    token_with(|claims| {
        claims["sub"] = subject.into();
        claims["custom:marker"] = "MARKER-CLAIM".into();
    })
}

async fn scene(level: &str, format: &str) -> Scene {
    let proxy = embedded().await;
    let dir = tempfile::tempdir().unwrap();
    let text = settings(&proxy.url, dir.path());
    let place = dir.path().to_owned();
    let started = |arguments: &[&str]| {
        let [most @ .., "json"] = arguments else { panic!("{arguments:?}") };
        let mut command = command(&[most, &[format]].concat(), &[("RUST_LOG", level)]);
        command.current_dir(&place);
        command
    };
    let scene = Scene::started_in(dir, proxy, &text, started).await;
    scene.daemon.ready().await;
    scene
}

/// Over HTTP: answers, hits, refusals of every kind.
async fn over_http(scene: &Scene, secrets: &mut Secrets, said: &mut String) {
    let token = marked("http");
    secrets.add_token("ID token", &token);
    for path in ["/v1/credentials", "/v1/credentials", "/v1/credentials/default/editor"] {
        secrets.add_reply(&scene.ask(path, &token).await);
    }
    secrets.add("session token", OWN_TOKEN);
    secrets.add_reply(&scene.ask("/v1/sessions/batch", OWN_TOKEN).await);
    secrets.add("wrong token", WRONG_TOKEN);
    secrets.add_token("bent token", &format!("{token}MARKER-that-was-added"));
    for (path, authorization) in [
        ("/v1/credentials", WRONG_TOKEN.to_owned()),
        ("/v1/credentials", format!("{token}MARKER-that-was-added")),
        ("/v1/credentials/nobody", token.clone()),
        ("/v1/credentials/default/root", token.clone()),
        ("/v1/sessions/batch", WRONG_TOKEN.to_owned()),
        ("/v1/sessions/none", token.clone()),
    ] {
        *said += &scene.ask(path, &authorization).await.body;
    }
    *said += &http::get(scene.http, &format!("/v1/credentials?token={token}"), &[]).await.body;
    *said += &http::get(scene.http, &format!("/v1/credentials/{token}"), &[("Origin", &token)]).await.body;
    *said += &http::send(scene.http, &http::request("POST", "/v1/credentials", scene.http, &[("Cookie", &token)]))
        .await
        .body;
}

/// Over gRPC: every call, on TCP and the Unix socket.
async fn over_grpc(channel: Channel, secrets: &mut Secrets, said: &mut String, subject: &str) {
    let token = marked(subject);
    secrets.add_token("ID token", &token);
    let mut client = CredentialBrokerClient::new(channel);
    let held = client.get_credentials(with(&token, GetCredentialsRequest::default())).await.unwrap().into_inner();
    let mut add = |held: proto::Credentials| {
        secrets.add("SecretAccessKey", &held.secret_access_key);
        secrets.add("Token", &held.session_token);
    };
    add(held.credentials.unwrap());
    let role = WatchCredentialsRequest { role: "editor".to_owned(), ..WatchCredentialsRequest::default() };
    let mut watch = client.watch_credentials(with(&token, role)).await.unwrap().into_inner();
    add(watch.message().await.unwrap().unwrap().credentials.unwrap());
    client.explain_role(with(&token, ExplainRoleRequest::default())).await.unwrap();
    let refused = client.get_credentials(with(WRONG_TOKEN, GetCredentialsRequest::default())).await.unwrap_err();
    *said += &format!("{refused:?}");

    let refresh_token = refresh_token(CLIENT_ID);
    secrets.add("refresh token", &refresh_token);
    let message = OpenSessionRequest { refresh_token, ..OpenSessionRequest::default() };
    let session = client.open_session(with(&token, message)).await.unwrap().into_inner();
    secrets.add("session token", &session.authorization_token);
    let refresh_token = self::refresh_token(CLIENT_ID);
    secrets.add("refresh token", &refresh_token);
    let message = UpdateSessionRequest { session_id: session.session_id.clone(), refresh_token: refresh_token.clone() };
    client.update_session(with(&token, message)).await.unwrap();
    let message = UpdateSessionRequest { session_id: "no-such-session".to_owned(), refresh_token };
    *said += &format!("{:?}", client.update_session(with(&token, message)).await.unwrap_err());
    let message = CloseSessionRequest { session_id: session.session_id, revoke_refresh_token: true };
    client.close_session(with(&token, message)).await.unwrap();
}

/// An upstream that echoes what it was sent, in errors and in place of answers, to a caller and to a session's renewal.
async fn upstream_echoes(scene: &Scene, secrets: &mut Secrets, said: &mut String) {
    let token = marked("echoed");
    secrets.add_token("ID token", &token);
    for fault in [
        Fault::aws(400, "NotAuthorizedException", &format!("Invalid login token {token}")),
        Fault::aws(400, &token, "no such code"),
        Fault::Says(200, format!("{{\"IdentityId\": \"{token}\"")),
        Fault::Says(500, token.clone()),
        Fault::Answers(
            400,
            vec![("x-amzn-requestid", token.clone()), ("x-amzn-errortype", token.clone())],
            "{}".into(),
        ),
    ] {
        scene.proxy.bend("*", fault);
        *said += &scene.ask("/v1/credentials", &token).await.body;
    }
    // An answer that makes no sense, with the login for a request id.
    scene.proxy.mend();
    let token = marked("echoed in an answer");
    secrets.add_token("ID token", &token);
    let echo = Fault::Answers(200, vec![("x-amzn-requestid", token.clone())], "{\"IdentityId\": \"another\"}".into());
    scene.proxy.bend("GetCredentialsForIdentity", echo);
    *said += &scene.ask("/v1/credentials", &token).await.body;
    let refresh_token = refresh_token(CLIENT_ID);
    secrets.add("refresh token", &refresh_token);
    scene
        .proxy
        .bend("*", Fault::aws(400, "NotAuthorizedException", &format!("Refresh Token {refresh_token} is revoked")));
    let mut client = CredentialBrokerClient::new(channel(scene.grpc).await);
    let message = OpenSessionRequest { refresh_token, ..OpenSessionRequest::default() };
    // It lives for so short a time that it is renewed at once.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let short = token_with(|claims| claims["exp"] = (now + 3).into());
    secrets.add_token("ID token", &short);
    client.open_session(with(&short, message)).await.unwrap();
    let log = |daemon: &Daemon| daemon.log().contains("refresh token is of no use").then_some(());
    // Below WARN nothing tells of it.
    tokio::time::timeout(Duration::from_secs(4), scene.daemon.wait_for(log)).await.ok();
    scene.proxy.mend();
}

/// The admin door, and a reload whose faults are secrets in wrong places.
async fn operators_err(scene: &Scene, secrets: &mut Secrets, said: &mut String) {
    secrets.add("admin token", ADMIN_TOKEN);
    for token in [WRONG_TOKEN, ADMIN_TOKEN] {
        let body = format!("{{\"issuer\": \"{}\", \"subject\": \"http\"}}", dev::ISSUER);
        let length = body.len().to_string();
        let headers = [("Authorization", token), ("Content-Length", length.as_str())];
        *said += &http::send(scene.admin, &(http::request("POST", "/purge", scene.admin, &headers) + &body)).await.body;
    }
    secrets.add("misplaced secret", MISPLACED);
    secrets.add("client secret", ROTATING_CLIENT_SECRET);
    let sound = fs::read_to_string(scene.path("cupbearer.toml")).unwrap();
    let faulty = format!("{sound}\n[limits]\nentries = \"{MISPLACED}\"\n[upstream]\nclient_secret = \"{MISPLACED}\"\n");
    let faulty = faulty.replace("region = \"us-east-1\"", &format!("region = \"{MISPLACED}!\""));
    for text in [faulty, format!("{sound}\nsecret = \"{MISPLACED}"), format!("{MISPLACED}\n{sound}")] {
        let failed = scene.metric("cupbearer_config_reloads_total{result=\"invalid\"}").await;
        fs::write(scene.path("cupbearer.toml"), text).unwrap();
        scene.daemon.signal(rustix::process::Signal::HUP);
        while scene.metric("cupbearer_config_reloads_total{result=\"invalid\"}").await == failed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    fs::write(scene.path("cupbearer.toml"), sound).unwrap();
    for page in ["/metrics", "/readyz", "/livez", "/"] {
        *said += &http::get(scene.admin, page, &[]).await.body;
    }
}

/// All files below `dir` but those that hold a secret because we put it there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && !OURS.iter().any(|name| path.ends_with(name)) {
            found.push(path);
        }
    }
    found
}

/// After so many lines of the log, if the paths alone do not make as many.
async fn nothing_is_seen(level: &str, format: &str, lines: usize) {
    let mut scene = scene(level, format).await;
    let (mut secrets, mut said) = (Secrets::default(), String::new());
    over_http(&scene, &mut secrets, &mut said).await;
    over_grpc(channel(scene.grpc).await, &mut secrets, &mut said, "grpc").await;
    let socket = format!("unix://{}", scene.path("grpc.sock").display());
    let socket = Endpoint::from_shared(socket).unwrap().connect().await.unwrap();
    over_grpc(socket, &mut secrets, &mut said, "socket").await;
    upstream_echoes(&scene, &mut secrets, &mut said).await;
    operators_err(&scene, &mut secrets, &mut said).await;
    secrets.add("rotated refresh token", &fs::read_to_string(scene.path("refresh")).unwrap());
    let mut line = Line::open(scene.http).await.unwrap();
    let token = marked("again and again");
    secrets.add_token("ID token", &token);
    while scene.daemon.log_lines() < lines {
        for number in 0..1_000 {
            let authorization = if number % 10 == 0 { WRONG_TOKEN } else { &token };
            line.ask("/v1/credentials", authorization).await.unwrap();
        }
    }
    scene.daemon.terminate();
    scene.daemon.ended().await;

    let log = scene.daemon.log();
    secrets.check("what was answered", &said);
    secrets.check("the log", &log);
    secrets.check("what was printed", &scene.daemon.out());
    let written = files(scene.directory());
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.contains(&"audit.jsonl".to_owned()) && names.len() >= 3, "there is something to search: {names:?}");
    for file in &written {
        secrets.check(&file.display().to_string(), &String::from_utf8_lossy(&fs::read(file).unwrap()));
    }
    println!(
        "A56 at {level}, as {format}: {} lines of log, {} files, {} secrets, 0 hits",
        log.lines().count(),
        written.len(),
        secrets.0.len()
    );
}

const LOUD: &str = "trace,cupbearer=trace,aws_smithy_runtime=trace,hyper=trace,h2=trace,tonic=trace,rustls=trace";

#[tokio::test]
async fn no_secret_is_logged_counted_written_or_echoed() {
    // Quieter ones tell less of the same, and not even where the doors are.
    for (level, format) in [("info", "json"), ("debug", "json"), ("trace", "json"), (LOUD, "json"), (LOUD, "text")] {
        nothing_is_seen(level, format, 0).await;
    }
}

#[ignore = "figures, for some minutes"]
#[tokio::test]
async fn a_million_lines_in_figures() {
    nothing_is_seen(LOUD, "json", 1_000_000).await;
}

/// The emulator's own secrets, and those that it gives away.
#[tokio::test]
async fn dev_tells_where_its_tokens_are_and_not_what() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("dev");
    let arguments = ["dev", "--port", "0", "--log-format", "json", "--dir", dir.to_str().unwrap()];
    let mut daemon = Daemon::start(&arguments, &[("RUST_LOG", "trace")]);
    daemon.ready().await;
    let address = daemon.address("http").await;
    let mut secrets = Secrets::default();
    for user in dev::USER_NAMES {
        let token = fs::read_to_string(dir.join(format!("{user}.jwt"))).unwrap();
        secrets.add_token(user, &token);
        secrets.add_reply(&http::credentials(address, "/v1/credentials", &token).await);
    }
    daemon.terminate();
    daemon.ended().await;
    secrets.check("the log", &daemon.log());
    secrets.check("what was printed", &daemon.out());
}
