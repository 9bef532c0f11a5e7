//! Two readings of one request (A29), byte by byte, at the HTTP door and at the admin door.

use std::net::SocketAddr;

use super::Ground;
use super::heads::{Case, PATH, case, run, run_at};
use crate::support::http::request;

/// Bodies of two lengths; hyper leaves out a length beside a coding, and the same length said again.
const CODINGS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n",
    "Transfer-Encoding: chunked;x=y\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer_Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    "Transfer-Encoding\r\n: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "X: y\r\n\tz\r\n",
];

const LENGTHS: &[&str] = &[
    "Content-Length: +5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5,6\r\n",
    "Content-Length: \r\n",
    "Content-Length: 5a\r\n",
    "Content-Length: 5.0\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length : 5\r\n",
    "Content-Length\u{0}: 5\r\n",
];

const BREAKS: &[&str] = &[
    "X: y\nZ: w\r\n",
    "X: y\rZ: w\r\n",
    "X: y\r\r\n",
    "X: y\u{0}z\r\n",
    "X\u{0}: y\r\n",
    "X y: z\r\n",
    "X\t: z\r\n",
    ": z\r\n",
    "X\r\n",
    "\u{e9}: y\r\n",
    "X: \u{7f}\r\n",
    "\n",
];

/// Requests for `path`, each with another one behind it that only one of two readers sees. With the statuses that they may
/// hear.
fn cases(door: SocketAddr, path: &str, headers: &str) -> Vec<Case> {
    let smuggled = format!("GET {path} HTTP/1.1\r\nHost: {door}\r\n{headers}\r\n");
    let head = |lines: &str| format!("GET {path} HTTP/1.1\r\nHost: {door}\r\n{lines}\r\n{smuggled}");
    let chunked = |lines: &str| format!("GET {path} HTTP/1.1\r\nHost: {door}\r\n{lines}\r\n0\r\n\r\n{smuggled}");
    let mut cases: Vec<_> = CODINGS.iter().map(|lines| case(&[400, 413], chunked(lines))).collect();
    cases.extend(LENGTHS.iter().chain(BREAKS).map(|lines| case(&[400, 413], head(lines))));
    let lines = format!("Host: {door}\r\n\r\n");
    let lines = [
        format!("GET {path} HTTP/1.1\n{lines}"),
        format!("GET {path} HTTP/1.1\nHost: {door}\n\n"),
        format!("GET {path}  HTTP/1.1\r\n{lines}"),
        format!("GET\t{path} HTTP/1.1\r\n{lines}"),
        format!(" GET {path} HTTP/1.1\r\n{lines}"),
        format!("GET {path} HTTP/1.1 \r\n{lines}"),
        format!("GET {path} HTTP/1.2\r\n{lines}"),
        format!("GET {path} HTTP/2.0\r\n{lines}"),
        format!("GET {path} http/1.1\r\n{lines}"),
        format!("GET {path} HTTP/1.1x\r\n{lines}"),
        format!("GET {path}\r\n{lines}"),
        format!("GET\r\n{lines}"),
        format!("\u{0}GET {path} HTTP/1.1\r\n{lines}"),
        format!("GE\u{0}T {path} HTTP/1.1\r\n{lines}"),
    ];
    cases.extend(lines.into_iter().map(|line| case(&[400, 505], line + &smuggled)));
    cases
}

#[tokio::test]
async fn no_request_has_two_readings() {
    let mut ground = Ground::new().await;
    let (http, token) = (ground.scene.http, format!("Authorization: {}\r\n", ground.good));
    run(&mut ground, "A29", cases(http, PATH, &token)).await;
    ground.told("A29");
}

/// The admin door takes bodies, and is as strict.
#[tokio::test]
async fn the_admin_door_has_one_reading_too() {
    let mut ground = Ground::new().await;
    let admin = ground.scene.admin;
    let of = |method: &str, headers: &[(&str, &str)]| request(method, "/metrics", admin, headers);
    let with = |headers: &[(&str, &str)]| of("GET", headers);
    let mut preflights =
        vec![case(&[400, 403, 405], format!("OPTIONS * HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"))];
    for asked in [
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Private-Network", "true"),
        ("Origin", "https://evil.example"),
    ] {
        preflights.push(case(&[403, 405], of("OPTIONS", &[asked])));
    }
    run_at(&mut ground, admin, "A23", preflights).await;
    let forwarding =
        "X-Forwarded-For X-Forwarded-Host Forwarded Via X-Real-IP X-Original-URL Proxy-Authorization Max-Forwards";
    let forwarded = forwarding.split(' ').map(|name| case(&[403], with(&[(name, "127.0.0.1")]))).collect();
    run_at(&mut ground, admin, "A24", forwarded).await;
    let unknown = "/admin /v1/credentials /purge /metrics/ //metrics /%6detrics /metrics;x /debug/pprof";
    let unknown = unknown.split(' ').map(|path| case(&[404], request("GET", path, admin, &[]))).collect();
    run_at(&mut ground, admin, "A25", unknown).await;
    let methods = "POST PUT DELETE TRACE PATCH HEAD PROPFIND get G".split(' ');
    let mut others: Vec<_> = methods.map(|method| case(&[405], of(method, &[]))).collect();
    for protocol in ["websocket", "TLS/1.2", "h2"] {
        others.push(case(&[400], with(&[("Upgrade", protocol)])));
    }
    others.push(case(&[413], with(&[("Content-Length", "4")]) + "body"));
    others.push(case(&[405], of("POST", &[("Content-Length", "4")]) + "body"));
    run_at(&mut ground, admin, "A26", others).await;
    run_at(&mut ground, admin, "A29", cases(admin, "/metrics", "")).await;
    ground.told("A23-A26, A29 at the admin door");
}
