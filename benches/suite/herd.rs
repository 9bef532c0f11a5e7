//! Many who come at once and find nothing: one user's callers, and the start-up of a fleet.
//!
//! A client is a thread that does on the wire what botocore's ContainerProvider does: one connection for each fetch, one
//! GET with `Accept` and `Authorization`. A thousand real boto3 processes would be 43 GB. Without the broker it does what
//! an application has to do with boto3: GetId and GetCredentialsForIdentity.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

use cupbearer::clock::Clock;
use cupbearer::dev;

use crate::cpu;
use crate::daemon::{Daemon, Upstream};
use crate::figures::{Figure, Findings, Plot};
use crate::load;
use crate::turns::median;
use crate::world::token;

const HERD: usize = 64;
const HERDS: usize = 15;
const UPSTREAM_MS: u64 = 50;

const CLIENTS: usize = 1_000;
const USERS: usize = 50;

pub fn run(findings: &mut Findings) {
    let upstream = Upstream::start();
    upstream.delay_ms.store(UPSTREAM_MS, Ordering::Relaxed);
    let daemon = Daemon::ready(&upstream, "");
    one_user(findings, &upstream, &daemon);
    fleet(findings, &upstream, &daemon);
    refreshes(findings, &upstream);
}

fn one_user(findings: &mut Findings, upstream: &Upstream, daemon: &Daemon) {
    let (mut calls, mut over) = (0, Vec::new());
    for herd in 0..HERDS {
        let request = daemon.request(&fresh(1_000_000 + herd));
        let before = upstream.calls();
        let times = at_once(HERD, |_| load::once(daemon.http, &request).0 == 200);
        calls = calls.max(upstream.calls() - before);
        // GetId and GetCredentialsForIdentity, one after the other.
        over.push(median(times) - 2.0 * UPSTREAM_MS as f64);
    }
    let exchanges = calls as f64 / 2.0;
    findings.figures.push(
        Figure::at_most("cold herd of 64: exchanges", exchanges, "", 1.0, None)
            .noted(format!("the most in {HERDS} herds, of two calls each")),
    );
    let figure = Figure::at_most("cold herd of 64: p50 over the upstream's latency", median(over), "ms", 5.0, 2.0);
    findings.figures.push(figure.noted(format!(
        "wall time, median of {HERDS} herds, two calls of {UPSTREAM_MS} ms; 64 threads of the load and the upstream share the cores with it"
    )));
}

fn fleet(findings: &mut Findings, upstream: &Upstream, daemon: &Daemon) {
    let tokens: Vec<String> = (0..USERS).map(|user| fresh(2_000_000 + user)).collect();
    let requests: Vec<Vec<u8>> = tokens.iter().map(|token| as_botocore(daemon.http, token)).collect();
    let before = upstream.calls();
    let with = at_once(CLIENTS, |client| {
        // An SDK tries again when it is told to.
        (0..3).any(|_| load::once(daemon.http, &requests[client % USERS]).0 == 200)
    });
    let calls_with = upstream.calls() - before;
    let before = upstream.calls();
    let without = at_once(CLIENTS, |client| by_itself(upstream.address, &tokens[client % USERS]));
    let calls_without = upstream.calls() - before;
    let last = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    for (what, value, unit) in [
        ("1,000 clients of 50 users start: upstream calls with the broker", calls_with as f64, ""),
        ("1,000 clients of 50 users start: upstream calls without", calls_without as f64, ""),
        ("1,000 clients of 50 users start: all have credentials, with the broker", last(&with), "ms"),
        ("1,000 clients of 50 users start: all have credentials, without", last(&without), "ms"),
    ] {
        findings.figures.push(Figure::told(what, value, unit).noted(
            "wall time, an upstream without quotas; at AWS's default of 25 GetId a second, 1,000 of them take 40 s, and 50 take 2 s",
        ));
    }
    findings.plots.push(Plot {
        file: "fleet",
        title: "1,000 clients of 50 users start at once: calls to AWS".to_owned(),
        bars: vec![("with the broker".to_owned(), calls_with as f64), ("without".to_owned(), calls_without as f64)],
        unit: "calls",
    });
}

/// What an exchange costs the program through the AWS SDK: everybody is dropped by a purge and comes again, whose
/// identities are known then, as for a refresh.
fn refreshes(findings: &mut Findings, upstream: &Upstream) {
    const ENTRIES: usize = 1_000;
    upstream.delay_ms.store(0, Ordering::Relaxed);
    let secret = "bench-admin-token-of-some-length";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin.token");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::ready(upstream, &format!("[admin]\ntoken_file = \"{}\"\n", file.display()));
    let requests: Vec<Vec<u8>> = (0..ENTRIES).map(|user| daemon.request(&fresh(3_000_000 + user))).collect();
    load::anew(daemon.http, &requests, ENTRIES);
    let hits = cpu::of(daemon.pid());
    load::anew(daemon.http, &requests, ENTRIES);
    let hits = cpu::of(daemon.pid()) - hits;
    let mut micros = Vec::new();
    for _ in 0..5 {
        let purge = format!(
            "POST /purge HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {secret}\r\ncontent-length: 12\r\n\r\n{{\"all\":true}}",
            daemon.admin
        );
        assert_eq!(load::once(daemon.admin, purge.as_bytes()).0, 200);
        let (before, calls) = (cpu::of(daemon.pid()), upstream.calls());
        load::anew(daemon.http, &requests, ENTRIES);
        assert_eq!(upstream.calls() - calls, ENTRIES, "one call each");
        let spent = (cpu::of(daemon.pid()) - before).saturating_sub(hits);
        micros.push(spent.as_nanos() as f64 / 1_000.0 / ENTRIES as f64);
    }
    let each = median(micros);
    // A third of an hour's life.
    let share = each * 1e-6 * 100_000.0 / 1_200.0 * 100.0;
    let figure =
        Figure::at_most("100,000 identities, 1-h credentials, steady refresh: of one core", share, "%", 5.0, 2.0);
    findings.figures.push(figure.noted(format!(
        "{each:.0} us of CPU for an exchange through the AWS SDK over plain HTTP, measured one by one, at 83 a second (each at a third of its life)"
    )));
}

/// Milliseconds until each of `number` threads, which begin together, has what it wants.
fn at_once(number: usize, fetch: impl Fn(usize) -> bool + Sync) -> Vec<f64> {
    let start = Barrier::new(number);
    std::thread::scope(|scope| {
        let client = |client| {
            let (start, fetch) = (&start, &fetch);
            let work = move || {
                start.wait();
                let started = cpu::wall();
                assert!(fetch(client), "no credentials");
                (cpu::wall() - started).as_secs_f64() * 1_000.0
            };
            std::thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, work).unwrap()
        };
        let clients: Vec<_> = (0..number).map(client).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn fresh(user: usize) -> String {
    token(user, Clock::system().now().wall)
}

fn as_botocore(host: SocketAddr, token: &str) -> Vec<u8> {
    format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nAuthorization: {token}\r\nUser-Agent: Botocore\r\nAccept-Encoding: identity\r\n\r\n"
    )
    .into_bytes()
}

/// GetId and GetCredentialsForIdentity, on a connection each.
fn by_itself(cognito: SocketAddr, token: &str) -> bool {
    let logins = format!("\"Logins\":{{\"{}\":\"{token}\"}}", dev::PROVIDER);
    let ask = |operation: &str, body: String| {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {cognito}\r\nx-amz-target: AWSCognitoIdentityService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        load::told(cognito, request.as_bytes())
    };
    let told = ask("GetId", format!("{{\"IdentityPoolId\":\"{}\",{logins}}}", dev::IDENTITY_POOL_ID));
    let Some(identity) = told.1.split('"').find(|text| text.starts_with(dev::REGION)).map(ToOwned::to_owned) else {
        return false;
    };
    ask("GetCredentialsForIdentity", format!("{{\"IdentityId\":\"{identity}\",{logins}}}")).0 == 200
}
