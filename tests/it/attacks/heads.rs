//! Requests that no honest local caller makes: other names, browsers, proxies, methods, paths and bodies (A21 to A27, A30,
//! A32), byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use super::Ground;
use crate::support::http::{self, request};
use crate::support::scene::token;

pub(super) const PATH: &str = "/v1/credentials";

/// One input and the statuses it may hear; 0 is a connection closed without a word.
pub(super) struct Case {
    bytes: String,
    wanted: &'static [u16],
}

pub(super) fn case(wanted: &'static [u16], bytes: impl Into<String>) -> Case {
    Case { bytes: bytes.into(), wanted }
}

/// Sends each, and sees that there is one answer, without a header for browsers, and without credentials unless it is 200.
pub(super) async fn run(ground: &mut Ground, row: &str, cases: Vec<Case>) {
    run_at(ground, ground.scene.http, row, cases).await;
}

/// The same at another door, which has no credentials.
pub(super) async fn run_at(ground: &mut Ground, door: SocketAddr, row: &str, cases: Vec<Case>) {
    let has_credentials = door == ground.scene.http;
    for Case { bytes, wanted } in &cases {
        let start: String = bytes.chars().take(200).collect();
        let asked = tokio::time::timeout(Duration::from_secs(15), http::send(door, bytes)).await;
        let reply = asked.unwrap_or_else(|_| panic!("{row}: kept open after {start:?}"));
        assert!(wanted.contains(&reply.status), "{row}: {start:?}: {reply:?}");
        assert!(!reply.body.contains("HTTP/1.1 "), "{row}: a second request was read out of {start:?}: {reply:?}");
        let text = format!("{}{}", reply.head, reply.body).to_lowercase();
        assert!(!text.contains("access-control-") && !text.contains("upgrade"), "{row}: {start:?}: {reply:?}");
        let gives = has_credentials && reply.status == 200;
        assert_eq!(reply.body.contains("SecretAccessKey"), gives, "{row}: {start:?}");
        assert!(
            reply.head.is_empty()
                || reply.status == 431
                || reply.header("cache-control") == Some("no-store")
                || reply.body.is_empty(),
            "{row}: {reply:?}"
        );
    }
    ground.after(row, cases.len()).await;
}

#[tokio::test]
async fn only_its_own_names_open_the_door() {
    let mut ground = Ground::new().await;
    let (http, port, good) = (ground.scene.http, ground.scene.http.port(), ground.good.clone());
    let named = |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        format!("GET {target} HTTP/1.1\r\n{hosts}Authorization: {good}\r\nConnection: close\r\n\r\n")
    };
    let names = [
        "evil.example",
        "127.0.0.1.nip.io",
        "localhost.",
        "localhost.evil.example",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.2",
        "169.254.170.2",
        "user@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1#",
        "127.0.0.1/",
        "127.0.0.1,evil.example",
        "127.0.0.1 evil.example",
        "\u{3b1}.example",
        "",
    ];
    let with_port = names.iter().map(|name| format!("{name}:{port}"));
    let mut cases: Vec<_> = names
        .iter()
        .map(|name| (*name).to_owned())
        .chain(with_port)
        .map(|name| case(&[400, 403], named(PATH, &[&name])))
        .collect();
    for port in ["1", "", "00080", "65536", "x", "-1"] {
        cases.push(case(&[400, 403], named(PATH, &[&format!("127.0.0.1:{port}")])));
    }
    let own = http.to_string();
    cases.push(case(&[400], named(PATH, &[])));
    cases.push(case(&[400], named(PATH, &[&own, &own])));
    cases.push(case(&[400], named(PATH, &[&own, "evil.example"])));
    cases.push(case(&[400], format!("GET {PATH} HTTP/1.0\r\n\r\n")));
    for target in [
        "http://evil.example",
        "http://127.0.0.1:1",
        "http://user@evil.example",
        "https://evil.example",
        "ftp://evil.example",
    ] {
        cases.push(case(&[400, 403], named(&format!("{target}{PATH}"), &[&own])));
        cases.push(case(&[400, 403], named(&format!("http://{own}{PATH}"), &[&target[7..]])));
    }
    run(&mut ground, "A21", cases).await;
    let admin = ground.scene.admin;
    for host in ["evil.example", "localhost.", "127.0.0.1:1"] {
        let bytes = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(http::send(admin, &bytes).await.status, 403, "A21 at the admin door: {host}");
    }
    for honest in [own.as_str(), "127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        assert_eq!(http::send(http, &named(PATH, &[honest])).await.status, 200, "{honest}");
    }
    ground.told("A21");
}

#[tokio::test]
async fn browsers_and_proxies_are_sent_away() {
    let mut ground = Ground::new().await;
    let (http, good) = (ground.scene.http, ground.good.clone());
    let with = |method: &str, headers: &[(&str, &str)]| {
        let all: Vec<_> = [("Authorization", good.as_str())].into_iter().chain(headers.iter().copied()).collect();
        request(method, PATH, http, &all)
    };
    let own = format!("http://{http}");
    let mut cases = Vec::new();
    for origin in ["https://evil.example", "null", "", &own, "file://", "chrome-extension://abc"] {
        cases.push(case(&[403], with("GET", &[("Origin", origin)])));
        cases.push(case(&[403], with("GET", &[("Referer", origin)])));
    }
    for site in ["cross-site", "same-site", "same-origin", "", "None", "none, cross-site"] {
        cases.push(case(&[403], with("GET", &[("Sec-Fetch-Site", site)])));
    }
    cases.push(case(&[403], with("GET", &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")])));
    run(&mut ground, "A22", cases).await;

    let asks = [
        vec![],
        vec![("Access-Control-Request-Method", "GET")],
        vec![("Access-Control-Request-Headers", "authorization")],
        vec![("Access-Control-Request-Private-Network", "true")],
        vec![("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")],
        vec![("Origin", "null"), ("Access-Control-Request-Private-Network", "true")],
    ];
    let mut cases: Vec<_> = asks.iter().map(|headers| case(&[403, 405], with("OPTIONS", headers))).collect();
    cases.push(case(&[400, 403, 405], format!("OPTIONS * HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")));
    run(&mut ground, "A23", cases).await;

    let names = "X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Server X-Forwarded-Prefix \
        X-Forwarded X-Forwarded-Client-Cert Forwarded Via X-Real-IP CF-Connecting-IP True-Client-IP X-Client-IP Client-IP \
        X-Cluster-Client-IP Fastly-Client-IP X-Original-Host X-Original-URL X-Rewrite-URL Proxy-Connection \
        Proxy-Authorization Max-Forwards X-Original-Forwarded-For x-forwarded-for X-FORWARDED-FOR";
    let values = ["127.0.0.1", "", "for=127.0.0.1;host=evil.example", "unknown"];
    let cases =
        names.split_whitespace().flat_map(|name| values.map(|value| case(&[403], with("GET", &[(name, value)]))));
    let cases = cases.collect();
    run(&mut ground, "A24", cases).await;
    ground.told("A22-A24");
}

#[tokio::test]
async fn a_forged_request_without_a_token_learns_nothing() {
    let mut ground = Ground::new().await;
    let http = ground.scene.http;
    let get = |path: &str| request("GET", path, http, &[]);
    let unknown = "/ /metrics /admin /healthz /livez /readyz /purge /v1 /v1/ /latest/meta-data/ /debug/pprof \
        /latest/meta-data/iam/security-credentials/ /v2/credentials /favicon.ico /robots.txt /.env /v1/sessions";
    let mut cases: Vec<_> = unknown.split_whitespace().map(|path| case(&[404], get(path))).collect();
    for path in ["/v1/credentials", "/v1/credentials/default", "/v1/credentials/default/admin", "/v1/sessions/x"] {
        cases.push(case(&[401], get(path)));
    }
    run(&mut ground, "A25", cases).await;
    let admin = ground.scene.admin;
    let live = http::get(admin, "/livez", &[]).await;
    assert_eq!((live.status, live.body.as_str()), (200, "{\"alive\":true}"), "A25: no more than that");
    assert_eq!(http::get(admin, "/v1/credentials", &[("Authorization", &ground.good)]).await.status, 404);

    let methods = "POST PUT DELETE TRACE PATCH HEAD PROPFIND LINK MKCOL SEARCH get GETT G";
    let own = [("Authorization", ground.good.as_str())];
    let mut cases: Vec<_> = methods.split(' ').map(|method| case(&[405], request(method, PATH, http, &own))).collect();
    for target in ["evil.example:80", "127.0.0.1:80", &http.to_string()] {
        cases.push(case(
            &[400, 403, 405],
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"),
        ));
    }
    let upgrade = |protocol: &str| {
        format!(
            "GET {PATH} HTTP/1.1\r\nHost: {http}\r\nConnection: close, Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    for protocol in ["websocket", "WebSocket", "TLS/1.2", "h2", "HTTP/2.0", "x"] {
        cases.push(case(&[400], upgrade(protocol)));
    }
    // Java's own client offers h2c to every server: it is answered in HTTP/1.1, as one who has no token.
    cases.push(case(&[401], upgrade("h2c")));
    cases.push(case(&[0, 400, 405], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    cases.push(case(&[413], request("GET", PATH, http, &[("Content-Length", "4")]) + "body"));
    cases.push(case(&[405], request("POST", PATH, http, &[("Content-Length", "4")]) + "body"));
    run(&mut ground, "A26", cases).await;
    ground.told("A25, A26");
}

#[tokio::test]
async fn a_token_counts_in_one_place_and_one_form() {
    let mut ground = Ground::new().await;
    let (http, good, bob) = (ground.scene.http, ground.good.clone(), token("bob"));
    let authorized = |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("Authorization", *value)).collect();
        request("GET", PATH, http, &headers)
    };
    let refused: Vec<Vec<String>> = vec![
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![good.clone(), good.clone()],
        vec![good.clone(), bob.clone()],
        vec![good.clone(), String::new()],
        vec!["Basic YWxpY2U6cGFzc3dvcmQ=".to_owned()],
        vec![format!("Basic {good}")],
        vec![format!("Digest {good}")],
        vec![format!("Bearer {good} {bob}")],
        vec![format!("Bearer {good},{bob}")],
        vec![format!("Bearer {good}, Bearer {bob}")],
        vec![format!("Bearer Bearer {good}")],
        vec![format!("Bearer={good}")],
        vec![format!("Bearer:{good}")],
        vec![format!("\"{good}\"")],
        vec![format!("{good}\u{e9}")],
        vec![format!("b\u{e9}arer {good}")],
        vec![format!("{good};{bob}")],
        vec!["null".to_owned()],
        vec!["undefined".to_owned()],
        vec!["AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/sts/aws4_request".to_owned()],
    ];
    let mut cases: Vec<_> = refused
        .iter()
        .map(|values| case(&[400, 401], authorized(&values.iter().map(String::as_str).collect::<Vec<_>>())))
        .collect();
    for end in ["\n", "\r", "\u{0}", "\u{b}", "\r\n "] {
        cases.push(case(&[400, 401], authorized(&[&format!("{good}{end}")])));
    }
    for (name, value) in [
        ("Cookie", format!("Authorization={good}; token={good}")),
        ("X-Authorization", good.clone()),
        ("Proxy-Authorization", good.clone()),
        ("X-Amz-Security-Token", good.clone()),
        ("X-aws-ec2-metadata-token", good.clone()),
    ] {
        cases.push(case(&[401, 403], request("GET", PATH, http, &[(name, &value)])));
    }
    for query in ["token=", "access_token=", "Authorization=", "authorization=Bearer%20"] {
        cases.push(case(&[400], request("GET", &format!("{PATH}?{query}{good}"), http, &[])));
    }
    run(&mut ground, "A27", cases).await;
    ground.told("A27");
}

#[tokio::test]
async fn what_is_too_much_is_cut_off() {
    let mut ground = Ground::new().await;
    let http = ground.scene.http;
    // Whoever is refused would stay; it is the door that closes.
    let head = |headers: String| format!("GET {PATH} HTTP/1.1\r\nHost: {http}\r\n{headers}\r\n");
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let mut cases: Vec<_> = [64, 101, 1_000].iter().map(|count| case(&[431], head(many(*count)))).collect();
    // By the guard, and by hyper before it.
    for size in [33_000, 65_536, 200_000] {
        cases.push(case(&[431, 0], head(format!("X: {}\r\n", "y".repeat(size)))));
        cases.push(case(&[400, 431, 0], head(format!("{}: y\r\n", "x".repeat(size)))));
        cases.push(case(&[431, 0], head((0..30).map(|n| format!("X{n}: {}\r\n", "y".repeat(size / 30))).collect())));
    }
    for length in ["1", "1073741824", "9223372036854775807", "18446744073709551615"] {
        cases.push(case(&[400, 413, 431], head(format!("Content-Length: {length}\r\n"))));
    }
    let endless = "FFFF\r\n".to_owned() + &"z".repeat(65_535) + "\r\n";
    cases.push(case(&[413, 0], head("Transfer-Encoding: chunked\r\n".to_owned()) + &endless.repeat(4)));
    cases.push(case(&[413, 0], head("Transfer-Encoding: chunked\r\n".to_owned()) + &"1;x=y\r\nz\r\n".repeat(10_000)));
    cases.push(case(&[413], head("Expect: 100-continue\r\nContent-Length: 7\r\n".to_owned())));
    run(&mut ground, "A30", cases).await;
    ground.told("A30");
}

/// A cache between us and a caller is given nothing to keep, and no part of an answer.
#[tokio::test]
async fn an_answer_is_whole_whatever_is_asked_of_it() {
    let mut ground = Ground::new().await;
    let http = ground.scene.http;
    let asks = [
        ("If-None-Match", "*"),
        ("If-None-Match", "\"x\""),
        ("If-Match", "\"x\""),
        ("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Range", "bytes=0-9"),
        ("Range", "bytes=0-0,5-6"),
        ("If-Range", "\"x\""),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip, br"),
        ("Cache-Control", "only-if-cached, max-stale=99999"),
        ("Pragma", "x"),
        ("TE", "gzip"),
    ];
    for (name, value) in asks {
        let headers = [("Authorization", ground.good.as_str()), (name, value)];
        let reply = http::get(http, PATH, &headers).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "A32 {name}: {reply:?}");
        assert!(reply.json()["SecretAccessKey"].is_string() && reply.header("etag").is_none(), "A32 {name}: {reply:?}");
        assert_eq!((reply.header("content-encoding"), reply.header("content-range")), (None, None), "A32 {name}");
    }
    ground.after("A32", asks.len()).await;
}
