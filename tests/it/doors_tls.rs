//! The HTTP and the gRPC door under TLS: who is let in, what is closed, and certificates that change while they are open.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use cupbearer::server::proto::{CredentialBrokerClient, OpenSessionRequest};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Request};

use crate::grpc::ask_on;
use crate::support::daemon::PATIENCE;
use crate::support::http;
use crate::support::scene::{Scene, token};
use crate::support::tls::{Authority, Caller, DAY, NAME, Pair};

/// Puts a pair where the scene's configuration has it, as a volume of Kubernetes does: both files at once.
fn put(dir: &Path, pair: &Pair, number: usize) {
    let version = dir.join(format!("v{number}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("tls.crt"), &pair.certificate).unwrap();
    fs::write(version.join("tls.key"), &pair.key).unwrap();
    fs::set_permissions(version.join("tls.key"), Permissions::from_mode(0o600)).unwrap();
    symlink(&version, dir.join("next")).unwrap();
    fs::rename(dir.join("next"), dir.join("pair")).unwrap();
}

/// A scene whose doors show `pair`, with `more` in `[server.tls]`.
async fn scene(pair: &Pair, more: &str) -> Scene {
    Scene::edited("", "authenticated_role", |text, dir| {
        put(dir, pair, 0);
        let place = dir.join("pair");
        let tls = format!(
            "[server.tls]\ncert_file = {:?}\nkey_file = {:?}\n{more}\n[audit]\nfile = \"stdout\"\n",
            place.join("tls.crt"),
            place.join("tls.key")
        );
        text.replacen("[aws]", &format!("{tls}[aws]"), 1)
    })
    .await
}

/// The status of `alice`'s question at the HTTP door.
async fn status(caller: &Caller, scene: &Scene, alice: &str) -> u16 {
    caller.get(scene.http, "/v1/credentials", &[("Host", NAME), ("Authorization", alice)]).await.status
}

async fn reloads(scene: &Scene, result: &str) -> f64 {
    scene.metric(&format!("cupbearer_config_reloads_total{{result=\"{result}\"}}")).await
}

async fn until_reloaded(scene: &Scene, result: &str, count: f64) {
    let started = Instant::now();
    while reloads(scene, result).await < count {
        assert!(started.elapsed() < PATIENCE, "{result} {count}: {}", scene.daemon.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn both_doors_serve_those_who_find_the_certificate_right() {
    let authority = Authority::new();
    let pair = authority.pair(&[NAME, "*.svc.test", "127.0.0.1"], 30 * DAY);
    let mut scene = scene(&pair, "").await;
    let (caller, alice) = (authority.caller(), token("alice"));
    for caller in [&caller, &caller.of_tls12()] {
        assert_eq!(status(caller, &scene, &alice).await, 200, "{}", scene.daemon.log());
        let held = ask_on(caller.channel(scene.grpc).await.unwrap(), &alice, "", None).await.unwrap();
        assert!(held.credentials.unwrap().access_key_id.starts_with("ASIA"));
    }
    for (host, expected) in [
        (scene.http.to_string(), 200),
        ("BROKER.test:9443".to_owned(), 200),
        ("a.svc.test".to_owned(), 200),
        ("a.b.svc.test".to_owned(), 403),
        ("evil.example".to_owned(), 403),
        ("broker.test.evil.example".to_owned(), 403),
        (format!("{NAME}:x"), 403),
    ] {
        let reply = caller.get(scene.http, "/v1/credentials", &[("Host", &host), ("Authorization", &alice)]).await;
        assert_eq!(reply.status, expected, "{host}: {reply:?}");
    }
    for protocol in ["http/1.1", "h2"] {
        let door = if protocol == "h2" { scene.grpc } else { scene.http };
        let stream = caller.connect(door, protocol).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let other = if protocol == "h2" { scene.http } else { scene.grpc };
        assert!(caller.connect(other, protocol).await.is_err(), "{protocol} at the other door");
    }
    let mut client = CredentialBrokerClient::new(caller.channel(scene.grpc).await.unwrap());
    let mut request = Request::new(OpenSessionRequest::default());
    request.metadata_mut().insert("authorization", alice.parse().unwrap());
    let opened = client.open_session(request).await.unwrap().into_inner();
    let (address, path) = opened.credentials_uri.strip_prefix("https://").unwrap().split_once('/').unwrap();
    assert_eq!(address, scene.http.to_string(), "the certificate is for the address");
    let headers = [("Host", address), ("Authorization", opened.authorization_token.as_str())];
    assert_eq!(caller.get(scene.http, &format!("/{path}"), &headers).await.status, 200);

    let expires = scene.metric("cupbearer_tls_certificate_expiry_timestamp_seconds").await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((29.0..30.1).contains(&((expires - now) / DAY.as_secs_f64())), "{expires}");
    assert!(!scene.daemon.log().contains("expires in less than"));
    scene.daemon.terminate();
    assert!(scene.daemon.ended().await.success());
    assert!(scene.daemon.out().contains("\"listener\":\"grpc\",\"peer\":\"127.0.0.1:"), "{}", scene.daemon.out());
}

/// OpenSSL's side of the handshake, by Python.
#[tokio::test]
async fn pythons_client_is_served() {
    let authority = Authority::new();
    let scene = scene(&authority.pair(&["localhost"], DAY), "").await;
    let script = "import os, ssl, urllib.request as u\n\
                  trust = ssl.create_default_context(cafile=os.environ['CA'])\n\
                  ask = u.Request(os.environ['URL'], headers={'Authorization': os.environ['TOKEN']})\n\
                  print(u.urlopen(ask, context=trust, timeout=20).status)";
    let url = format!("https://localhost:{}/v1/credentials", scene.http.port());
    let mut python = Command::new("python3");
    python
        .args(["-c", script])
        .env("no_proxy", "*")
        .env("CA", authority.file())
        .env("URL", url)
        .env("TOKEN", token("alice"));
    let done = tokio::task::spawn_blocking(move || python.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "200\n", "{told}{}", scene.daemon.log());
}

#[tokio::test]
async fn a_caller_shows_a_certificate_where_one_is_asked_for() {
    let (authority, callers, foreign) = (Authority::new(), Authority::new(), Authority::new());
    let ca = format!("client_ca_file = {:?}", callers.file());
    let scene = scene(&authority.pair(&[NAME], DAY), &ca).await;
    let (nobody, alice) = (authority.caller(), token("alice"));
    let right = nobody.showing(callers.pair(&["app.test"], DAY));
    let expired = nobody.showing(callers.pair_until(&["app.test"], SystemTime::now() - DAY));
    let wrong = nobody.showing(foreign.pair(&["app.test"], DAY));
    for caller in [&nobody, &wrong, &expired, &wrong.of_tls12()] {
        assert_eq!(status(caller, &scene, &alice).await, 0);
        // The channel may stand before the refusal comes back.
        if let Ok(channel) = caller.channel(scene.grpc).await {
            assert!(ask_on(channel, &alice, "", None).await.is_err());
        }
    }
    assert_eq!(scene.proxy.calls("GetId"), 0);
    assert_eq!(status(&right, &scene, &alice).await, 200, "{}", scene.daemon.log());
    let channel = right.channel(scene.grpc).await.unwrap();
    assert!(ask_on(channel.clone(), &alice, "", None).await.is_ok());
    assert!(scene.daemon.log().contains("the TLS handshake failed: "), "{}", scene.daemon.log());

    // Who is struck out is refused on connections that are open, too.
    let file = scene.path("cupbearer.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&ca, &format!("client_ca_file = {:?}", foreign.file()))).unwrap();
    until_reloaded(&scene, "ok", 1.0).await;
    assert_eq!(ask_on(channel, &alice, "", None).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(status(&right, &scene, &alice).await, 0);
    assert_eq!(status(&wrong, &scene, &alice).await, 200);
}

/// What a peer that is spoken to like this does: how long until it closes, and what it said before.
async fn closed_after(address: std::net::SocketAddr, said: &[u8]) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "{address} stays open after {said:?}");
    (started.elapsed(), answer)
}

#[tokio::test]
async fn what_speaks_something_else_or_nothing_is_closed() {
    let authority = Authority::new();
    let (plain, tls) = (Scene::new().await, scene(&authority.pair(&[NAME], DAY), "").await);
    let request = http::request("GET", "/v1/credentials", tls.http, &[("Authorization", &token("alice"))]);
    // A record that begins a handshake and does not end.
    let hello = [&[0x16, 3, 1, 0x02, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 64]].concat();
    for (address, said) in [
        (tls.http, request.as_bytes()),
        (tls.grpc, request.as_bytes()),
        (tls.grpc, &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..]),
        (plain.http, &hello[..]),
        (plain.grpc, &hello[..]),
    ] {
        let (_, answer) = closed_after(address, said).await;
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "{answer:?}");
    }
    let silent: [&[u8]; 2] = [b"", &hello];
    let waits = silent.iter().flat_map(|said| [tls.http, tls.grpc].map(|address| closed_after(address, said)));
    let serves = async {
        // Those who are silent hold up nobody.
        let started = Instant::now();
        assert_eq!(status(&authority.caller(), &tls, &token("alice")).await, 200);
        started.elapsed()
    };
    let (waits, served) = tokio::join!(join_all(waits), serves);
    let waits: Vec<_> = waits.into_iter().map(|(wait, _)| wait).collect();
    println!("TLS: silence was ended after {waits:?}, another was served in {served:?}");
    // After the handshake, too.
    let silent = async |address, protocol| {
        let mut stream = authority.caller().connect(address, protocol).await.unwrap();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "{protocol}: silence under TLS is not ended");
    };
    tokio::join!(silent(tls.http, "http/1.1"), silent(tls.grpc, "h2"));
    assert_eq!(tls.proxy.calls("GetCredentialsForIdentity"), 1);
}

#[tokio::test]
async fn a_rotation_under_load_fails_nobody() {
    let authority = Authority::new();
    let scene = scene(&authority.pair(&[NAME], DAY), "").await;
    let (caller, alice) = (authority.caller(), token("alice"));
    let channel = caller.channel(scene.grpc).await.unwrap();
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let over_http = async {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(status(&caller, &scene, &alice).await, 200);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let over_grpc = async {
        while !done.load(Ordering::Relaxed) {
            assert!(ask_on(channel.clone(), &alice, "", None).await.is_ok());
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let rotate = async {
        for number in 1..=3_usize {
            let pair = authority.pair(&[NAME], (number as u32 + 1) * DAY);
            put(&scene.path(""), &pair, number);
            until_reloaded(&scene, "ok", number as f64).await;
            let stream = caller.connect(scene.http, "http/1.1").await.unwrap();
            assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], pair.der(), "the new one is shown");
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(over_http, over_grpc, rotate);
    println!("TLS: 3 rotations, {} requests, 0 failed", asked.load(Ordering::Relaxed));
    assert_eq!(reloads(&scene, "invalid").await, 0.0);
}

#[tokio::test]
async fn a_bad_pair_keeps_the_old_one_and_is_told() {
    let authority = Authority::new();
    let first = authority.pair(&[NAME], 2 * DAY);
    let scene = scene(&first, "").await;
    let (caller, alice) = (authority.caller(), token("alice"));
    let warned = scene.daemon.wait_for(|daemon| daemon.log().contains("expires in less than 7 days").then_some(()));
    assert!(warned.await.is_some(), "{}", scene.daemon.log());
    let other = authority.pair(&[NAME], 40 * DAY);
    let no_pair = Pair { key: first.key.clone(), ..other.clone() };
    let garbage = Pair { certificate: "garbage".to_owned(), ..other.clone() };
    for (number, pair, told) in
        [(1, &no_pair, "not the key of the certificate"), (2, &garbage, "the file holds no certificate")]
    {
        put(&scene.path(""), pair, number);
        until_reloaded(&scene, "invalid", number as f64).await;
        // A reload is counted before its line is written, by a thread of its own.
        let written = scene.daemon.wait_for(|daemon| daemon.log().contains(told).then_some(()));
        assert!(written.await.is_some(), "{told}: {}", scene.daemon.log());
        let stream = caller.connect(scene.http, "http/1.1").await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], first.der());
        assert_eq!(status(&caller, &scene, &alice).await, 200);
    }
    put(&scene.path(""), &other, 3);
    until_reloaded(&scene, "ok", 1.0).await;
    let stream = caller.connect(scene.http, "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], other.der());
    // Whether there is TLS at all is settled at the start.
    let file = scene.path("cupbearer.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("[server.tls]").unwrap();
    fs::write(&file, format!("{before}{}", &rest[rest.find("[audit]").unwrap()..])).unwrap();
    until_reloaded(&scene, "ok", 2.0).await;
    assert_eq!(status(&caller, &scene, &alice).await, 200, "it is not plain all of a sudden");
    let written = scene.daemon.wait_for(|daemon| daemon.log().contains("\"key\":\"server.tls\"").then_some(()));
    assert!(written.await.is_some(), "{}", scene.daemon.log());
}
