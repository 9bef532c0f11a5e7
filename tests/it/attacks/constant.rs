//! How much of a wrong secret is right cannot be measured, since secrets are compared by their digests and in constant
//! time (A34): shown by construction, since every comparison is in the source, and with a clock.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::Rng;

use super::Ground;
use crate::support::scene::Scene;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn secrets_are_compared_by_digest_and_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut constant = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code.lines().filter(|line| line.contains("expose_secret")) {
            let compared = [" == ", " != ", ".eq(", ".cmp(", "starts_with(", "strip_prefix(", "contains("];
            let compared = compared.iter().any(|sign| line.contains(sign)) && !line.contains("sha256(");
            assert!(!compared, "{name}: a secret is compared: {}", line.trim());
        }
        constant += code.matches("verify_slices_are_equal(").count();
    }
    assert!(constant >= 2, "the admin token and the sessions' tokens are compared in constant time");
}

const ADMIN_TOKEN: &str = "an-admin-token-of-some-length";

/// Questions of either kind.
const ASKED: usize = 10_000;

/// Far above what chance brings, so that a busy machine is no fault.
const MOST: f64 = 10.0;

/// What dudect takes for a difference.
const DUDECT: f64 = 4.5;

#[tokio::test]
async fn how_much_of_a_wrong_secret_is_right_cannot_be_measured() {
    judge(ASKED, MOST).await;
}

#[ignore = "figures, for a quiet machine and some minutes"]
#[tokio::test]
async fn a_million_wrong_secrets_in_figures() {
    judge(500_000, DUDECT).await;
}

/// Asks with so many wrong secrets of either kind.
async fn judge(count: usize, most: f64) {
    let with_token = |text: String, dir: &Path| {
        fs::write(dir.join("admin-token"), ADMIN_TOKEN).unwrap();
        format!("{text}\n[admin]\ntoken_file = {:?}\n", dir.join("admin-token"))
    };
    let mut ground = Ground::of(Scene::edited("", "authenticated_role", with_token).await).await;
    let admin = ground.scene.admin;
    let times = tokio::task::spawn_blocking(move || asked(admin, count)).await.unwrap();
    let t = welch(&times);
    println!("A34 {} wrong admin tokens, all but the last letter right against none: t = {t:.2}", 2 * count);
    assert!(t.abs() < most, "A34: t = {t}");
    ground.after("A34", 2 * count).await;
}

/// How long the answers to wrong tokens took: of those that are almost right, and of those that are not at all. In an order
/// by chance, so that whatever else the machine does falls on both.
fn asked(admin: SocketAddr, count: usize) -> [Vec<Duration>; 2] {
    let almost = format!("{}X", &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1]);
    let asks = [almost, "X".repeat(ADMIN_TOKEN.len())].map(|token| {
        format!("POST /purge HTTP/1.1\r\nHost: {admin}\r\nAuthorization: {token}\r\nContent-Length: 0\r\n\r\n")
    });
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut times, mut rng, mut buffer) = ([Vec::new(), Vec::new()], rand::rng(), [0; 4_096]);
    while times.iter().any(|times: &Vec<_>| times.len() < count) {
        let kind = rng.random_range(0..2);
        let began = Instant::now();
        stream.write_all(asks[kind].as_bytes()).unwrap();
        let mut length = 0;
        while length == 0 || buffer[length - 1] != b'}' {
            let read = stream.read(&mut buffer[length..]).unwrap();
            assert!(read > 0, "A34: the connection was closed");
            length += read;
        }
        times[kind].push(began.elapsed());
        assert!(buffer.starts_with(b"HTTP/1.1 401 "), "A34: {}", String::from_utf8_lossy(&buffer[..length]));
    }
    times
}

/// Welch's t of the two, without the slowest tenth of both together, which is what else the machine does.
fn welch(times: &[Vec<Duration>; 2]) -> f64 {
    let mut all = times.concat();
    all.sort_unstable();
    let slowest = all[all.len() * 9 / 10];
    let [one, other] = times.each_ref().map(|times| {
        let kept: Vec<_> = times.iter().filter(|time| **time < slowest).map(Duration::as_secs_f64).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}
