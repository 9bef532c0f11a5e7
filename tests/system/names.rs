//! The resolver fails (F19): it is silent, says SERVFAIL, or names another address. What is held is served, callers are
//! held no longer than ever, and nobody but the one with the right certificate is told a login.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::proxy::{Backend, Proxy};
use crate::support::scene::{EMULATOR, Scene, embedded, stranger, token};
use crate::support::settings::Settings;
use crate::support::tls::Authority;

/// The name that AWS has here.
pub(crate) const NAME: &str = "cognito-identity.test";

/// What the resolver does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Says(Ipv4Addr),
    Fails,
    Silent,
}

/// A resolver on an address of its own, since its port cannot be chosen; it ends with the process.
pub(crate) struct Resolver {
    pub(crate) address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
}

impl Resolver {
    pub(crate) fn start() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(53);
        let pid = std::process::id();
        let [.., high, low] = pid.to_be_bytes();
        let second = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::new(127, second, high, low.clamp(1, 254)), 53));
        let socket = UdpSocket::bind(address).expect("port 53 of a loopback address; be root");
        let mood = Arc::new(Mutex::new(Mood::Silent));
        let told = Arc::clone(&mood);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let mood = *told.lock().unwrap();
                if let Some(reply) = reply(&query[..length], mood) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        Self { address, mood }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

/// An answer (RFC 1035, section 4) to a query with one question.
fn reply(query: &[u8], mood: Mood) -> Option<Vec<u8>> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0)?;
    let question = &query[12..name_end + 5];
    let asks_for_ipv4 = question[question.len() - 4..] == [0, 1, 0, 1];
    let (code, address) = match mood {
        Mood::Silent => return None,
        Mood::Fails => (2, None),
        Mood::Says(address) => (0, Some(address).filter(|_| asks_for_ipv4)),
    };
    let answers = u8::from(address.is_some());
    let mut reply = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if let Some(address) = address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

#[tokio::test]
async fn a_resolver_that_fails_costs_no_hit_and_lets_nobody_in() {
    let (authority, resolver) = (Authority::new(), Resolver::start());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {}\noptions timeout:15 attempts:2\n", resolver.address.ip())).unwrap();
    let start = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]).arg(&file);
        command.arg(env!("CARGO_BIN_EXE_cupbearer")).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("SSL_CERT_FILE", authority.file());
        command
    };
    let keys = embedded().await;
    let aws = Proxy::start_tls(Backend::Embedded(Arc::clone(&EMULATOR)), authority.server(NAME)).await;
    let there = aws.url.replace("localhost", NAME);
    let more = "---[limits]\ncold_hold_ms = 900\nexchange_timeout_ms = 60_000\n";
    let text = Settings { jwks: Settings::new(&keys.url).jwks, more, ..Settings::new(&there) }.text();
    let scene = Scene::started_by(keys, &text, start).await;
    scene.daemon.ready().await;
    let alice = token("alice");

    resolver.set(Mood::Says(Ipv4Addr::LOCALHOST));
    let asked = Instant::now();
    while scene.ask("/v1/credentials", &alice).await.status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(30), "{}", scene.daemon.log());
    }
    for (number, mood) in [Mood::Silent, Mood::Fails, Mood::Says(Ipv4Addr::new(127, 0, 0, 2))].into_iter().enumerate() {
        resolver.set(mood);
        aws.hang_up();
        let asked = Instant::now();
        let cold = scene.ask("/v1/credentials", &stranger(&format!("nameless-{number}"))).await;
        let took = asked.elapsed();
        assert_eq!((cold.status, &cold.json()["code"]), (503, &json!("UpstreamUnavailable")), "{mood:?}");
        // The resolver is given up after 30 seconds, AWS after 60.
        assert!(took < Duration::from_secs(10), "{mood:?}: held for {took:?}");
        let asked = Instant::now();
        assert_eq!(scene.ask("/v1/credentials", &alice).await.status, 200, "{mood:?}");
        println!("F19 {mood:?}: a cold caller is held {took:?}, a hit takes {:?}", asked.elapsed());
    }
    resolver.set(Mood::Says(Ipv4Addr::LOCALHOST));
    let asked = Instant::now();
    while scene.ask("/v1/credentials", &stranger("named again")).await.status != 200 {
        assert!(asked.elapsed() < Duration::from_secs(30), "it did not recover:\n{}", scene.daemon.log());
    }
    println!("F19 with the resolver back, a cold caller is served after {:?}", asked.elapsed());
}
