//! What surrounds the program is hostile: connections that come from elsewhere, users who choose session names, AWS that
//! answers for others, redirects, drips and never ends, a purge in the middle of an exchange, the environment, and whoever
//! writes the configuration (A33, A46, A47, A51, A52, A60 to A63).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use cupbearer::dev::ADMIN_ROLE_ARN;
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::Ground;
use super::caller::{Caller, GET_CREDENTIALS, enveloped};
use super::floods::{ask_with_policy, with_policies};
use crate::support::daemon::{PATIENCE, command};
use crate::support::fault::{Fault, Gate};
use crate::support::http;
use crate::support::scene::{Scene, embedded, stranger};
use crate::support::settings::{HALF_PATIENT, Settings};
use crate::support::tls::Authority;
use crate::support::trap::Trap;

const PATH: &str = "/v1/credentials";
const EXCHANGE: &str = "GetCredentialsForIdentity";
const ADMIN_TOKEN: &str = "an-admin-token-of-some-length";

/// An address of this machine that is not of loopback, if it has one. No packet is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().unwrap().ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// What `door` answers to one who comes from `from`.
async fn answer_to(from: IpAddr, door: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(door).await.unwrap();
    // It is closed at once.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is kept").ok();
    answer
}

/// A loopback door asks who is there, whatever the routes let through, and is nowhere else unless that is asked for.
#[tokio::test]
async fn callers_from_elsewhere_are_not_heard() {
    let mut ground = Ground::new().await;
    let doors = [ground.scene.http, ground.scene.grpc, ground.scene.admin];
    let mut tried = 0;
    for name in ["http", "grpc", "admin"] {
        let text = Settings::new(&ground.scene.proxy.url).text();
        let text = text.replace(&format!("{name} = \"127.0.0.1:0\""), &format!("{name} = \"0.0.0.0:0\""));
        let file = ground.scene.path("elsewhere.toml");
        std::fs::write(&file, text).unwrap();
        let done = command(&["serve", "--config", file.to_str().unwrap()], &[]).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(2) && told.contains(&format!("server.{name}:")), "A33 {name}: {told}");
        tried += 1;
    }
    match own_address() {
        None => println!("A33: this machine has no address but loopback, so that nobody comes from elsewhere"),
        Some(from) => {
            for door in doors {
                let ask = http::request("GET", PATH, door, &[("Authorization", &ground.good)]);
                let answer = answer_to(from, door, ask.as_bytes()).await;
                assert!(answer.is_empty(), "A33 {from}: {}", String::from_utf8_lossy(&answer));
                tried += 1;
            }
            let told =
                ground.scene.daemon.wait_for(|daemon| daemon.log().contains("came from elsewhere").then_some(()));
            told.await.unwrap_or_else(|| panic!("A33: {}", ground.scene.daemon.log()));
        }
    }
    ground.after("A33", tried).await;
    ground.told("A33");
}

/// A role whose trust policy does not say which pool, or lets guests in, is found by the doctor.
#[tokio::test]
async fn a_role_that_trusts_too_many_is_found() {
    let mut ground = Ground::new().await;
    let file = ground.scene.path("cupbearer.toml");
    let config = file.to_str().unwrap();
    let policy = command(&["policy", "--json", "--config", config], &[]).output().unwrap();
    let policy: Value = serde_json::from_slice(&policy.stdout).unwrap();
    let good = policy["roles"][ADMIN_ROLE_ARN]["trust_policy"].to_string();
    let key = |name: &str| format!("cognito-identity.amazonaws.com:{name}");
    let without = |name: &str| {
        let mut document: Value = serde_json::from_str(&good).unwrap();
        for statement in document["Statement"].as_array_mut().unwrap() {
            for condition in statement["Condition"].as_object_mut().unwrap().values_mut() {
                condition.as_object_mut().unwrap().remove(&key(name));
            }
        }
        document.to_string()
    };
    let guests = good.replace("\"authenticated\"", "\"unauthenticated\"");
    let table = [
        ("good", good.clone(), false),
        ("no aud", without("aud"), true),
        ("no amr", without("amr"), true),
        ("guests", guests, true),
    ];
    for (name, document, faulty) in &table {
        assert!(!faulty || *document != good, "A46 {name} is another document");
        let path = ground.scene.path("trust.json");
        std::fs::write(&path, document).unwrap();
        let trust = format!("{ADMIN_ROLE_ARN}={}", path.display());
        let mut asked = command(&["doctor", "--json", "--config", config, "--trust-policy", &trust], &[]);
        let done = tokio::task::spawn_blocking(move || asked.output().unwrap()).await.unwrap();
        let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        let is_found =
            report["findings"].as_array().unwrap().iter().any(|finding| {
                finding["severity"] == "error" && finding["check"].as_str().unwrap().starts_with("trust")
            });
        assert_eq!(is_found, *faulty, "A46 {name}: {report}");
    }
    // The doctor asks AWS itself; the broker does not.
    ground.calls = ground.scene.proxy.calls_to_aws();
    ground.after("A46", table.len()).await;
}

/// CloudTrail is told who it was, whatever the user calls itself.
#[tokio::test]
async fn no_user_chooses_a_session_name() {
    let mut ground = Ground::of(with_policies().await).await;
    let long = "x".repeat(200);
    let subjects = [
        "alice,admin",
        "alice admin",
        "alice\u{0}",
        "al\u{ef}ce",
        "\u{1f600}",
        "a/../b",
        "=61lice",
        "a",
        &long,
        &format!("{long}y"),
    ];
    let caller = Caller::open(ground.scene.grpc).await;
    for subject in subjects {
        let token = stranger(subject);
        let answer = caller.call(GET_CREDENTIALS, &[("authorization", &token)], ask_with_policy(0)).await.unwrap();
        assert_eq!(answer.grpc, Some(0), "A47 {subject:?}");
    }
    let sent = ground.scene.proxy.bodies("AssumeRole");
    let names: std::collections::BTreeSet<_> =
        sent.iter().map(|body| body["RoleSessionName"].as_str().unwrap().to_owned()).collect();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    for name in &names {
        assert!((2..=64).contains(&name.len()) && name.chars().all(allowed), "A47 {name:?}");
    }
    assert_eq!(names.len(), subjects.len(), "A47: users share a name: {names:?}");
    println!("A47 {names:?}");
    // And once for the broker's own credentials.
    ground.after_calls("A47", subjects.len(), subjects.len() + 1).await;
}

/// An answer for somebody else is nobody's.
#[tokio::test]
async fn an_answer_for_another_identity_is_nobodys() {
    let mut ground = Ground::with(&format!("---{HALF_PATIENT}")).await;
    ground.scene.proxy.bend(EXCHANGE, Fault::WrongIdentity);
    let replies =
        join_all((0..4).map(async |number| ground.scene.ask(PATH, &stranger(&format!("mixed-{number}"))).await));
    for reply in replies.await {
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "A51");
    }
    assert!(ground.scene.metric("cupbearer_identity_mismatch_total").await >= 4.0, "A51");
    assert_eq!(ground.scene.metric("cupbearer_entries").await, 1.0, "A51: only the honest caller's is held");
    ground.scene.proxy.mend();
    let calls = ground.scene.proxy.calls_to_aws() - ground.calls;
    assert!((8..=40).contains(&calls), "A51: {calls} calls for four strangers");
    ground.after_calls("A51", 4, calls).await;
}

fn with_admin_token(text: String, dir: &std::path::Path) -> String {
    std::fs::write(dir.join("admin-token"), ADMIN_TOKEN).unwrap();
    format!("{text}\n[admin]\ntoken_file = {:?}\n", dir.join("admin-token"))
}

/// A user who is gone is purged within a second, also while an answer for them is on its way: it is not kept.
#[tokio::test]
async fn what_is_purged_stays_away_whatever_is_on_its_way() {
    let mut ground = Ground::of(Scene::edited("", "authenticated_role", with_admin_token).await).await;
    let (gone, gate) = (stranger("gone"), Gate::default());
    let first = ground.scene.ask(PATH, &ground.good).await.json();
    ground.scene.proxy.bend(EXCHANGE, Fault::Held(gate.clone()));
    let exchanges = ground.scene.proxy.calls(EXCHANGE);
    let asked_of_aws = async |times: usize| {
        let began = Instant::now();
        while ground.scene.proxy.calls(EXCHANGE) < exchanges + times {
            assert!(began.elapsed() < PATIENCE, "A52: AWS is not asked {times} times");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asking = ground.scene.ask(PATH, &gone);
    let purging = async {
        asked_of_aws(1).await;
        let body = "{\"all\":true}";
        let length = body.len().to_string();
        let headers = [("Authorization", ADMIN_TOKEN), ("Content-Length", length.as_str())];
        let (admin, began) = (ground.scene.admin, Instant::now());
        let reply = http::send(admin, &(http::request("POST", "/purge", admin, &headers) + body)).await;
        assert_eq!(reply.status, 200, "A52 {reply:?}");
        let took = began.elapsed();
        // The purge is over when it is answered: the very next ask is AWS's, while the answer of before is on its way.
        let next = ground.scene.ask(PATH, &ground.good);
        let opening = async {
            asked_of_aws(2).await;
            gate.open();
        };
        let (next, ()) = tokio::join!(next, opening);
        assert_ne!(next.json()["AccessKeyId"], first["AccessKeyId"], "A52");
        took
    };
    let (reply, took) = tokio::join!(asking, purging);
    ground.scene.proxy.mend();
    println!("A52 a purge took {took:?}; who asked meanwhile heard {}", reply.status);
    let again = ground.scene.ask(PATH, &gone).await;
    assert_eq!(again.status, 200, "A52");
    let late = ground.scene.proxy.calls(EXCHANGE) - exchanges;
    assert_eq!(late, 3, "A52: what was on its way was kept, or asked for more than once more");
    // And the identity of who is gone, which outlives a purge.
    ground.after_calls("A52", 2, late + 1).await;
}

/// Everything that a process inherits points elsewhere, and asks for everything to be logged.
#[tokio::test]
async fn the_environment_decides_nothing() {
    let trap = Trap::set().await;
    let there = format!("http://{}", trap.address);
    let authority = Authority::new();
    let trusted = authority.file();
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "AWS_ENDPOINT_URL"];
    let mut variables: Vec<_> = names.iter().map(|name| (*name, there.as_str())).collect();
    variables.extend([
        ("AWS_ENDPOINT_URL_COGNITO_IDENTITY", there.as_str()),
        ("AWS_REGION", "eu-west-1"),
        ("SSL_CERT_FILE", trusted.to_str().unwrap()),
        ("LD_PRELOAD", "/nonexistent.so"),
        ("RUST_LOG", "trace,aws_smithy_runtime=trace,hyper=trace"),
        ("TZ", ":/etc/shadow"),
    ]);
    let proxy = embedded().await;
    let text = Settings::new(&proxy.url).text();
    let mut ground = Ground::of(Scene::before(proxy, &text, &variables).await).await;
    assert_eq!(ground.scene.ask(PATH, &stranger("new")).await.status, 200, "A60");
    ground.after_calls("A60", variables.len(), 2).await;
    assert_eq!(trap.visits(), 0, "A60: somebody went where no configuration sent it");
    let log = ground.scene.daemon.log();
    assert!(!log.contains(ground.good.rsplit('.').next().unwrap()), "A60: a token is in the log");
    assert!(!log.contains("root:"), "A60");
    // The one that is honoured, as OpenSSL's users are used to, is told.
    assert!(log.contains("\"variable\":\"SSL_CERT_FILE\""), "A60: {log}");
}

/// A configuration that is at fault is told without its values, and the one before stays in force.
#[tokio::test]
async fn a_hostile_configuration_changes_nothing() {
    const SECRET: &str = "a-secret-in-a-wrong-place";
    let mut ground = Ground::new().await;
    let file = ground.scene.path("cupbearer.toml");
    let sound = std::fs::read_to_string(&file).unwrap();
    let shadow = ground.scene.path("shadow");
    std::fs::write(&shadow, format!("root:{SECRET}:19000:0:99999:7:::\n")).unwrap();
    let written = [
        ("a NUL", format!("{sound}\n\0")),
        ("no UTF-8, almost", format!("{sound}\nx = \"\u{fffe}\u{0}\"")),
        ("an unknown key", format!("{sound}\n[limits2]\n{SECRET} = 1\n")),
        ("a key twice", format!("{sound}\n[aws]\nregion = \"{SECRET}\"\n")),
        ("a secret in a wrong place", sound.replace("region = \"us-east-1\"", &format!("region = \"{SECRET}!\""))),
        ("a bomb of arrays", format!("{sound}\nx = {}", "[".repeat(200_000))),
        ("a bomb of tables", format!("{sound}\n[{}x]\n", "a.".repeat(100_000))),
        ("4 MiB", format!("{sound}\n{}", "# x\n".repeat(1 << 20))),
        ("nothing", String::new()),
    ];
    let invalid =
        async |ground: &Ground| ground.scene.metric("cupbearer_config_reloads_total{result=\"invalid\"}").await;
    let reload = async |ground: &Ground, name: &str| {
        let before = invalid(ground).await;
        let began = Instant::now();
        ground.scene.daemon.signal(Signal::HUP);
        while invalid(ground).await == before {
            assert!(began.elapsed() < PATIENCE, "A61 {name}: {}", ground.scene.daemon.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for (name, text) in &written {
        std::fs::write(&file, text).unwrap();
        reload(&ground, name).await;
    }
    std::fs::write(&file, &sound).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    reload(&ground, "one that everybody can write").await;
    for (name, to) in
        [("another file", shadow.as_path()), ("no end", "/dev/zero".as_ref()), ("a directory", "/".as_ref())]
    {
        std::fs::remove_file(&file).unwrap();
        symlink(to, &file).unwrap();
        reload(&ground, name).await;
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &sound).unwrap();
    assert!(!ground.scene.daemon.log().contains(SECRET), "A61: a value is told: {}", ground.scene.daemon.log());
    ground.after("A61", written.len() + 4).await;
    ground.told("A61");
}

/// AWS sends us elsewhere, gives us cookies, never ends, or says a byte at a time.
#[tokio::test]
async fn odd_answers_of_aws_are_given_up() {
    let mut ground = Ground::with("---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 1_000\n").await;
    let trap = Trap::set().await;
    let headers = || vec![("content-type", "application/x-amz-json-1.1".to_owned())];
    let table = [
        ("A62 plain http", Fault::redirects(&format!("http://{}/", trap.address))),
        ("A62 a metadata service", Fault::redirects("http://169.254.169.254/latest/meta-data/")),
        ("A63 64 MiB", Fault::Answers(200, headers(), vec![b' '; 64 << 20].into())),
        ("A63 a byte at a time", Fault::Trickles(1, Duration::from_secs(1))),
        ("A63 half an answer", Fault::CutAt(150)),
    ];
    for (number, (name, fault)) in table.iter().enumerate() {
        ground.scene.proxy.bend("*", fault.clone());
        let reply = ground.scene.ask(PATH, &stranger(&format!("odd-{number}"))).await;
        assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("UpstreamUnavailable")), "{name}");
        assert_eq!(ground.scene.ask(PATH, &ground.good).await.status, 200, "{name}: what is held is served");
    }
    assert_eq!(trap.visits(), 0, "A62: a redirect was followed");
    ground.scene.proxy.mend();
    ground.scene.proxy.bend("*", Fault::Adds("set-cookie", "who=alice; Path=/".to_owned()));
    for number in 0..2 {
        let somebody = stranger(&format!("with-cookie-{number}"));
        while ground.scene.ask(PATH, &somebody).await.status == 503 {}
    }
    let heads = [ground.scene.proxy.heads("GetId"), ground.scene.proxy.heads(EXCHANGE)].concat();
    assert!(heads.iter().all(|head| !head.contains_key("cookie")), "A63: a cookie was sent back");
    ground.scene.proxy.mend();
    let calls = ground.scene.proxy.calls_to_aws() - ground.calls;
    assert!(calls <= 100, "A63: {calls} calls for seven strangers");
    ground.after_calls("A63", table.len() + 2, calls).await;
    let caller = Caller::open(ground.scene.grpc).await;
    let answer = caller.call(GET_CREDENTIALS, &[("authorization", &ground.good)], enveloped(&[])).await.unwrap();
    assert_eq!(answer.grpc, Some(0), "A63");
}
