//! The HTTP and the admin door, byte by byte, on the real program.

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{self, request, send};
use crate::support::scene::{Scene, token, token_with};

#[tokio::test]
async fn the_answer_is_what_sdks_expect() {
    let scene = Scene::new().await;
    let reply = scene.ask("/v1/credentials/default/editor", &token("alice")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.header("cupbearer-identity-id").unwrap().starts_with("us-east-1:"));
    assert!(!reply.head.to_lowercase().contains("access-control-"));
    let body = reply.json();
    let mut names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let wanted = [
        "AccessKeyId",
        "AccountId",
        "Code",
        "Expiration",
        "LastUpdated",
        "RoleArn",
        "SecretAccessKey",
        "Token",
        "Type",
    ];
    assert_eq!(names, wanted);
    assert_eq!((&body["Code"], &body["Type"]), (&json!("Success"), &json!("AWS-HMAC")));
    assert_eq!((&body["RoleArn"], &body["AccountId"]), (&json!(EDITOR_ROLE_ARN), &json!("111122223333")));
    for name in ["Expiration", "LastUpdated"] {
        let date = body[name].as_str().unwrap();
        assert!(date.len() == 20 && date.ends_with('Z') && !date.contains('.'), "{date}");
    }
    assert!(reply.body.len() < 10_000);
    let by_rule = scene.ask("/v1/credentials", &token("alice")).await.json();
    assert!(by_rule.get("RoleArn").is_none(), "a role that Cognito chose is not guessed");
}

#[tokio::test]
async fn the_role_that_was_asked_for_is_sent_and_no_other() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    assert_eq!(scene.ask("/v1/credentials/default/admin", &token("alice")).await.status, 200);
    let sent = scene.proxy.bodies("GetCredentialsForIdentity");
    let roles: Vec<_> = sent.iter().map(|body| body.get("CustomRoleArn").cloned()).collect();
    assert_eq!(roles, [None, Some(json!(ADMIN_ROLE_ARN))]);
    assert_eq!(scene.proxy.calls("GetId"), 1, "the identity is remembered");
}

/// Every refusal, in the order of judgement, and never a call to AWS for it.
#[tokio::test]
async fn refusals_have_their_rows_and_cost_no_call() {
    let scene = Scene::with("", "deny").await;
    let http = scene.http;
    let (alice, bob) = (token("alice"), token("bob"));
    let expired = token_with(|claims| claims["exp"] = 1_000_000_000.into());
    let foreign = token_with(|claims| claims["aud"] = "another".into());
    let other_pool =
        token_with(|claims| claims["iss"] = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other".into());
    let large = "x".repeat(16_385);
    let many: Vec<_> = (0..70).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let path = "/v1/credentials";
    let mut table = vec![
        (401, "Unauthorized", request("GET", path, http, &[])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", "garbage")])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", "Basic YTpi")])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", &alice), ("Authorization", &alice)])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", &expired)])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", &foreign)])),
        (401, "Unauthorized", request("GET", path, http, &[("Authorization", &other_pool)])),
        (401, "Unauthorized", request("GET", "/v1/credentials/nobody", http, &[("Authorization", "garbage")])),
        (403, "ForbiddenRequest", request("POST", "/nowhere", http, &[("X-Forwarded-For", "10.0.0.1")])),
        (403, "ForbiddenRequest", request("GET", path, http, &[("Origin", "https://evil.example")])),
        (403, "RoleNotAllowed", request("GET", "/v1/credentials/default/admin", http, &[("Authorization", &bob)])),
        (403, "RoleNotAllowed", request("GET", path, http, &[("Authorization", &token("carol"))])),
        (404, "NotFound", request("GET", "/nowhere", http, &[])),
        (404, "NotFound", request("GET", "/v1/credentials/nobody", http, &[("Authorization", &alice)])),
        (404, "NotFound", request("GET", "/v1/credentials/default/root", http, &[("Authorization", &alice)])),
        (404, "NotFound", request("GET", "/metrics", http, &[])),
        (400, "InvalidRequest", request("GET", "/v1/credentials?role=admin", http, &[("Authorization", &alice)])),
        (405, "MethodNotAllowed", request("POST", "/nowhere", http, &[])),
        (
            405,
            "MethodNotAllowed",
            request("OPTIONS", path, http, &[("Access-Control-Request-Private-Network", "true")]),
        ),
        (413, "RequestTooLarge", format!("{}body", request("GET", path, http, &[("Content-Length", "4")]))),
        (431, "RequestTooLarge", request("GET", path, http, &[("Authorization", &large)])),
    ];
    for host in ["evil.example", "localhost.", "127.1", "127.0.0.1:1"] {
        table.push((
            403,
            "ForbiddenRequest",
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        ));
    }
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n"] {
        table.push((400, "InvalidRequest", format!("GET {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")));
    }
    for (status, code, bytes) in &table {
        let reply = send(http, bytes).await;
        let line = bytes.lines().next().unwrap_or_default();
        assert_eq!((reply.status, &reply.json()["code"]), (*status, &json!(code)), "{line}");
        assert_eq!(reply.json()["Code"], reply.json()["code"]);
        assert_eq!(reply.json()["Message"], reply.json()["message"]);
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{line}");
        assert_eq!(reply.header("retry-after"), None, "{line}");
    }
    let text = "The token is missing, invalid or expired. Present a current Cognito ID token.";
    assert_eq!(scene.ask(path, "garbage").await.json()["message"], text);
    assert_eq!(send(http, &request("GET", path, http, &many)).await.status, 431);
    assert_eq!(send(http, "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n").await.status, 400);
    assert_eq!(send(http, &format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000))).await.status, 431);
    assert_eq!(scene.proxy.calls("GetId"), 0, "no refusal reached AWS");
    assert_eq!(scene.proxy.calls("jwks"), 1, "nor fetched keys");
    assert_eq!(scene.ask(path, &alice).await.status, 200, "the next good one is served");
}

#[tokio::test]
async fn the_token_may_come_raw_or_as_bearer_and_the_port_may_be_left_out() {
    let scene = Scene::new().await;
    let alice = token("alice");
    for value in [alice.clone(), format!("Bearer {alice}"), format!("bearer {alice}")] {
        assert_eq!(scene.ask("/v1/credentials", &value).await.status, 200);
    }
    let bare = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: {alice}\r\n\r\n"
    );
    assert_eq!(send(scene.http, &bare).await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_many_and_answers_each_with_its_own() {
    let scene = Scene::new().await;
    let users = ["alice", "bob", "carol"];
    let mut own = Vec::new();
    for user in users {
        own.push(scene.ask("/v1/credentials", &token(user)).await.json()["AccessKeyId"].clone());
    }
    let mut stream = TcpStream::connect(scene.http).await.unwrap();
    let pipelined: String = (0..60)
        .map(|number| {
            let token = token(users[number % 3]);
            format!("GET /v1/credentials HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n\r\n", scene.http)
        })
        .collect();
    let last = request("GET", "/v1/credentials", scene.http, &[("Authorization", &token("alice"))]);
    stream.write_all((pipelined + &last).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let keys: Vec<_> =
        answer.match_indices("\"AccessKeyId\":\"").map(|(at, mark)| &answer[at + mark.len()..][..20]).collect();
    assert_eq!(keys.len(), 61);
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(json!(key), own[number % 3], "reply {number}");
    }
}

#[tokio::test]
async fn over_the_connection_limit_is_503_at_once_and_admin_still_answers() {
    let scene = Scene::with("---[limits]\nconnections = 2\n", "deny").await;
    // Silent connections are sent away after a while, and each counts when its own door accepts it: new ones for each try.
    let hold = async || (TcpStream::connect(scene.http).await.unwrap(), TcpStream::connect(scene.grpc).await.unwrap());
    let mut held = hold().await;
    let mut reply = scene.ask("/v1/credentials", &token("alice")).await;
    for _ in 0..100 {
        if reply.status == 503 {
            break;
        }
        held = hold().await;
        reply = scene.ask("/v1/credentials", &token("alice")).await;
    }
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{reply:?}");
    assert_eq!(http::get(scene.admin, "/livez", &[]).await.status, 200);
    drop(held);
    let mut status = 0;
    for _ in 0..500 {
        status = scene.ask("/v1/credentials", &token("alice")).await.status;
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn the_admin_door_shows_its_pages_and_nothing_else() {
    let scene = Scene::new().await;
    let admin = scene.admin;
    let ready = http::get(admin, "/readyz", &[]).await;
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "waiting_for": []})));
    assert_eq!(http::get(admin, "/livez", &[]).await.status, 200);
    let metrics = http::get(admin, "/metrics", &[]).await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.body.contains("cupbearer_build_info{version=\""));
    for (status, bytes) in [
        (404, request("GET", "/v1/credentials", admin, &[("Authorization", &token("alice"))])),
        (405, request("POST", "/metrics", admin, &[])),
        (403, request("GET", "/metrics", admin, &[("Origin", "https://evil.example")])),
        (403, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned()),
    ] {
        assert_eq!(send(admin, &bytes).await.status, status);
    }
}
