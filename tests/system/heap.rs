//! The process's own memory (A57): what is over is not in it any more. Root reads all of it, as a debugger would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cupbearer::dev::CLIENT_ID;
use cupbearer::server::proto::{
    CloseSessionRequest, CredentialBrokerClient, GetCredentialsRequest, OpenSessionRequest, WatchCredentialsRequest,
};
use memchr::memmem;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::support::daemon::PATIENCE;
use crate::support::http;
use crate::support::line::Line;
use crate::support::proxy::Fault;
use crate::support::scene::{EMULATOR, Scene, token_with};

/// How long after its end a secret may still be there, on a machine that does other things too.
const GRACE: Duration = Duration::from_secs(5);

/// So many bytes in a row of a secret, in any form, are a hit.
const PIECE: usize = 16;

/// What every session token begins with, those too that are still held.
const BEGINNING: &str = "IQoJb3JpZ2luX2Vj";

/// Secrets by what they are, and where in memory pieces of them stand.
#[derive(Default)]
struct Hunt(BTreeMap<String, Vec<Vec<u8>>>);

impl Hunt {
    fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= PIECE, "{name} is too short to look for");
        let own = self.0.entry(name.to_owned()).or_default();
        for form in forms(secret.as_bytes()) {
            let last = form.len() - PIECE;
            own.extend([0, last / 2, last].map(|start| form[start..start + PIECE].to_vec()));
        }
    }

    fn add_token(&mut self, name: &str, token: &str) {
        // The claims are no secret, and a verdict keeps them: without the signature nobody is let in.
        let signature = token.rsplit('.').next().unwrap();
        self.add(name, signature);
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let own = self.0.get_mut(name).unwrap();
        own.extend([0, 100, bytes.len() - PIECE].map(|start| bytes[start..start + PIECE].to_vec()));
    }

    /// What is found in the memory of `pid`, by name: how often, and what stands around it.
    fn search(&self, pid: u32) -> BTreeMap<&str, Vec<String>> {
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (place, memory) in writable(pid) {
            for (name, pieces) in &self.0 {
                for piece in pieces {
                    let hits = memmem::find_iter(&memory, piece);
                    found.entry(name).or_default().extend(hits.map(|at| around(&place, &memory, at)));
                }
            }
        }
        found.retain(|_, hits| !hits.is_empty());
        found
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The secret as it is, in base64 wherever it begins in what was encoded, and as a form or a JSON text has it.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for shift in 0..3 {
        let shifted: Vec<u8> = [0].repeat(shift).into_iter().chain(secret.iter().copied()).collect();
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted).into_bytes();
            // The ends depend on what stands before and after.
            forms.push(text[4..text.len() - 4].to_vec());
        }
    }
    forms.push(url::form_urlencoded::byte_serialize(secret).collect::<String>().into_bytes());
    forms.push(String::from_utf8_lossy(secret).replace('/', "\\/").into_bytes());
    forms
}

/// All that the process can write to, by name.
fn writable(pid: u32) -> Vec<(String, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).expect("another process's memory is for root to read");
    let mut found = Vec::new();
    for line in maps.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (range, mode) = (fields[0], fields[1]);
        if !mode.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // A mapping may go while it is looked at.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            found.push((fields.get(5).map_or(format!("anonymous {start:x}"), ToString::to_string), bytes));
        }
    }
    assert!(found.len() > 3, "there is memory to look at");
    found
}

fn around(place: &str, memory: &[u8], at: usize) -> String {
    let near = &memory[at.saturating_sub(48)..(at + 96).min(memory.len())];
    let plain = near.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
    format!("{place}+{at:x} {}", plain.collect::<String>())
}

/// Waits until nothing is found any more.
async fn gone(hunt: &Hunt, scene: &Scene, what: &str) {
    let started = Instant::now();
    loop {
        let found = hunt.search(scene.daemon.pid());
        if found.is_empty() {
            println!("A57 {what}: 0 hits after {:?}", started.elapsed());
            return;
        }
        let counts: BTreeMap<_, _> = found.iter().map(|(name, hits)| (name, hits.len())).collect();
        if started.elapsed() > GRACE {
            panic!("{what}: still in memory: {counts:?}\n{found:#?}");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn client(scene: &Scene) -> CredentialBrokerClient<Channel> {
    let channel = Endpoint::from_shared(format!("http://{}", scene.grpc)).unwrap().connect().await.unwrap();
    CredentialBrokerClient::new(channel)
}

fn with<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

/// A token of a subject with alice's groups, for so long.
fn token(subject: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    token_with(|claims| {
        claims["sub"] = subject.into();
        claims["exp"] = (now + seconds).into();
    })
}

fn add_reply(hunt: &mut Hunt, reply: &http::Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    for name in ["SecretAccessKey", "Token"] {
        hunt.add(name, body[name].as_str().unwrap().trim_start_matches(BEGINNING));
    }
}

/// Through every door: both protocols, a watch, a session with a refresh token, refusals. Every connection is closed at the
/// end, and the session.
async fn use_everything(scene: &Scene, hunt: &mut Hunt, subject: &str, seconds: u64) {
    let token = token(subject, seconds);
    hunt.add_token("ID token", &token);
    let mut line = Line::open(scene.http).await.unwrap();
    for _ in 0..3 {
        add_reply(hunt, &line.ask("/v1/credentials", &token).await.unwrap());
    }
    add_reply(hunt, &scene.ask("/v1/credentials/default/editor", &format!("Bearer {token}")).await);
    assert_eq!(scene.ask("/v1/credentials/default/unknown", &token).await.status, 404);

    let mut grpc = client(scene).await;
    let held = grpc.get_credentials(with(&token, GetCredentialsRequest::default())).await.unwrap().into_inner();
    let held = held.credentials.unwrap();
    hunt.add("SecretAccessKey", &held.secret_access_key);
    hunt.add("Token", &held.session_token);
    let mut watch =
        grpc.watch_credentials(with(&token, WatchCredentialsRequest::default())).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    let refresh_token = EMULATOR.refresh_token("alice", CLIENT_ID, SystemTime::now()).unwrap();
    hunt.add("refresh token", &refresh_token);
    let message = OpenSessionRequest { refresh_token, ..OpenSessionRequest::default() };
    let session = grpc.open_session(with(&token, message)).await.unwrap().into_inner();
    hunt.add("session's token", &session.authorization_token);
    add_reply(hunt, &scene.ask(&format!("/v1/sessions/{}", session.session_id), &session.authorization_token).await);

    // A refused exchange, whose error holds the token.
    let refused = self::token(&format!("{subject}-refused"), seconds);
    hunt.add_token("refused ID token", &refused);
    scene.proxy.bend("GetId", Fault::aws(400, "NotAuthorizedException", &format!("Invalid login token {refused}")));
    assert_eq!(scene.ask("/v1/credentials", &refused).await.status, 403);
    scene.proxy.mend();

    let message = CloseSessionRequest { session_id: session.session_id, ..CloseSessionRequest::default() };
    grpc.close_session(with(&token, message)).await.unwrap();
}

const MORE: &str = "---[sessions]\naccept_refresh_tokens = true\n";

fn with_admin_token(text: String, dir: &Path) -> String {
    fs::write(dir.join("admin-token"), ADMIN_TOKEN).unwrap();
    format!("{text}\n[admin]\ntoken_file = {:?}\n", dir.join("admin-token"))
}

const ADMIN_TOKEN: &str = "the-admin-token-of-the-test-of-memory";

#[tokio::test]
async fn what_is_purged_leaves_the_memory() {
    let scene = Scene::edited(MORE, "authenticated_role", with_admin_token).await;
    held_then_purged(&scene, "purged").await;
}

async fn held_then_purged(scene: &Scene, what: &str) {
    let mut hunt = Hunt::default();
    use_everything(scene, &mut hunt, "purged", 600).await;
    let found = hunt.search(scene.daemon.pid());
    for name in ["ID token", "SecretAccessKey", "Token"] {
        assert!(found.contains_key(name), "{name} is held, and would be found: {found:?}");
    }
    let counts: BTreeMap<_, _> = found.iter().map(|(name, hits)| (name, hits.len())).collect();
    println!("A57 while held, pieces in memory: {counts:?}");
    let body = "{\"all\": true}";
    let request = format!(
        "POST /purge HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {ADMIN_TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        scene.admin,
        body.len()
    );
    assert_eq!(http::send(scene.admin, &request).await.status, 200);
    gone(&hunt, scene, what).await;
    // The admin token is in force: it stays as long as the program.
    hunt.clear();
    hunt.add("admin token", ADMIN_TOKEN);
    println!(
        "A57 the admin token, in force: {:?}",
        hunt.search(scene.daemon.pid()).values().map(Vec::len).sum::<usize>()
    );
}

#[tokio::test]
async fn what_has_expired_leaves_the_memory() {
    let scene = Scene::edited(MORE, "authenticated_role", with_admin_token).await;
    let mut hunt = Hunt::default();
    scene.proxy.bend("GetCredentialsForIdentity", Fault::Expires(8));
    let started = Instant::now();
    let token = token("expired", 8);
    hunt.add_token("ID token", &token);
    add_reply(&mut hunt, &scene.ask("/v1/credentials", &token).await);
    assert!(!hunt.search(scene.daemon.pid()).is_empty(), "it is held, and would be found");
    while scene.metric("cupbearer_entries").await > 0.0 {
        assert!(started.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gone(&hunt, &scene, "expired").await;
}

/// Whose entry had to make room for another's.
#[tokio::test]
async fn what_is_pushed_out_leaves_the_memory() {
    let scene = Scene::edited("---[limits]\nentries = 1\n", "authenticated_role", with_admin_token).await;
    let mut hunt = Hunt::default();
    let first = token("pushed-out", 600);
    hunt.add_token("ID token", &first);
    add_reply(&mut hunt, &scene.ask("/v1/credentials", &first).await);
    assert!(!hunt.search(scene.daemon.pid()).is_empty(), "it is held, and would be found");
    assert_eq!(scene.ask("/v1/credentials", &token("another", 600)).await.status, 200);
    assert_eq!(scene.metric("cupbearer_entries").await, 1.0);
    gone(&hunt, &scene, "pushed out").await;
}

/// Credentials that were renewed, while their user stays.
#[tokio::test]
async fn what_is_replaced_leaves_the_memory() {
    let scene = Scene::edited(MORE, "authenticated_role", with_admin_token).await;
    let mut hunt = Hunt::default();
    scene.proxy.bend("GetCredentialsForIdentity", Fault::Expires(8));
    let token = token("renewed", 600);
    let first = scene.ask("/v1/credentials", &token).await;
    add_reply(&mut hunt, &first);
    assert!(!hunt.search(scene.daemon.pid()).is_empty(), "it is held, and would be found");
    scene.proxy.mend();
    let started = Instant::now();
    while scene.ask("/v1/credentials", &token).await.json()["Token"] == first.json()["Token"] {
        assert!(started.elapsed() < PATIENCE, "it is not renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scene.metric("cupbearer_entries").await, 1.0);
    gone(&hunt, &scene, "replaced").await;
}

/// Nor is a secret where every user of the machine can see it, or whatever the program might start.
#[tokio::test]
async fn no_secret_is_an_argument_or_in_the_environment() {
    let scene = Scene::edited(MORE, "authenticated_role", with_admin_token).await;
    let mut hunt = Hunt::default();
    use_everything(&scene, &mut hunt, "arguments", 600).await;
    let pid = scene.daemon.pid();
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        for (name, pieces) in &hunt.0 {
            assert!(pieces.iter().all(|piece| memmem::find(&text, piece).is_none()), "{name} in {file}");
        }
        assert!(memmem::find(&text, ADMIN_TOKEN.as_bytes()).is_none(), "{file}");
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    assert_eq!(children.trim(), "", "it starts no other program");
}
