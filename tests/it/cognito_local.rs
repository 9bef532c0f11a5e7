//! A user pool that is not of AWS: cognito-local from npm, with an issuer on loopback and a key set of its own. Its
//! tokens are taken because `issuers` and `jwks_url` say so, and for no other reason. Two pools at once: the scenario's
//! beside it, with a user of the same subject in both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cupbearer::dev;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::http;
use crate::support::proxy::{Backend, Proxy};
use crate::support::scene::{EMULATOR, token_with};
use crate::support::settings::Settings;
use crate::support::third_party::{Leash, answers, free_port, leashed};
use crate::support::tools::TOOLS;

struct CognitoLocal {
    address: SocketAddr,
    _leash: Leash,
    _dir: tempfile::TempDir,
}

impl CognitoLocal {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = leashed(dir.path());
        command.arg("node").arg(TOOLS.cognito_local()).current_dir(dir.path());
        command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
        let leash = Leash(command.spawn().unwrap());
        let started = Instant::now();
        while !answers(port, "/health") {
            assert!(started.elapsed() < PATIENCE, "cognito-local does not start");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), _leash: leash, _dir: dir }
    }

    async fn call(&self, operation: &str, message: Value) -> Value {
        let (body, target) = (message.to_string(), format!("AWSCognitoIdentityProviderService.{operation}"));
        let length = body.len().to_string();
        let headers = [
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Content-Length", length.as_str()),
        ];
        let reply = http::send(self.address, &(http::request("POST", "/", self.address, &headers) + &body)).await;
        assert_eq!(reply.status, 200, "{operation}: {reply:?}");
        reply.json()
    }

    /// A pool with a client and one user in the group of editors, and that user's ID token: (pool, client, token).
    async fn sign_in(&self) -> (String, String, String) {
        let pool = self.call("CreateUserPool", json!({"PoolName": "p"})).await["UserPool"]["Id"].clone();
        let client = json!({"UserPoolId": pool, "ClientName": "c", "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"]});
        let client = self.call("CreateUserPoolClient", client).await["UserPoolClient"]["ClientId"].clone();
        let (name, password) = ("alice@example.com", "Secret-123");
        self.call("AdminCreateUser", json!({"UserPoolId": pool, "Username": name, "MessageAction": "SUPPRESS"})).await;
        let password_set = json!({"UserPoolId": pool, "Username": name, "Password": password, "Permanent": true});
        self.call("AdminSetUserPassword", password_set).await;
        self.call("CreateGroup", json!({"UserPoolId": pool, "GroupName": "editor"})).await;
        let group = json!({"UserPoolId": pool, "Username": name, "GroupName": "editor"});
        self.call("AdminAddUserToGroup", group).await;
        let sign_in = json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": client,
            "AuthParameters": {"USERNAME": name, "PASSWORD": password}});
        let token = self.call("InitiateAuth", sign_in).await["AuthenticationResult"]["IdToken"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&pool), text(&client), text(&token))
    }
}

#[tokio::test]
async fn its_tokens_are_taken_where_the_configuration_says_so() {
    let local = tokio::task::spawn_blocking(CognitoLocal::start).await.unwrap();
    let (pool, client, token) = local.sign_in().await;
    let proxy = Proxy::start(Backend::Embedded(Arc::clone(&EMULATOR))).await;
    let issuer = format!("http://{}/{pool}", local.address);
    // The key set is where jwks_url says, and not below the issuer, where it would be looked for without one.
    let keys = Proxy::start(Backend::Url(format!("http://{}", local.address))).await;
    let jwks_url = format!("{}/{pool}/.well-known/jwks.json", keys.url);
    let more = format!(
        r#"---
[[user_pools]]
id = "{pool}"
client_ids = ["{client}"]
issuers = ["{issuer}"]
jwks_url = "{jwks_url}"

[profiles.local]
flow = "assume-role"
groups = [{{ name = "editor", precedence = 1, role_arn = "{role}" }}]

[profiles.aws]
flow = "assume-role"
user_pools = ["{aws}"]
groups = [{{ name = "editor", precedence = 1, role_arn = "{role}" }}]
"#,
        role = dev::EDITOR_ROLE_ARN,
        aws = dev::USER_POOL_ID,
    );
    let dir = tempfile::tempdir().unwrap();
    let text = Settings { more: &more, ..Settings::new(&proxy.url) }.text();
    let own =
        [("AWS_ACCESS_KEY_ID", dev::BROKER_ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", dev::BROKER_SECRET_ACCESS_KEY)];
    let daemon = Daemon::serve_unready(dir.path(), &text, &own).await;
    daemon.ready().await;
    let address = daemon.address("http").await;
    let reply = http::credentials(address, "/v1/credentials/local", &token).await;
    assert_eq!((reply.status, &reply.json()["RoleArn"]), (200, &json!(dev::EDITOR_ROLE_ARN)), "{reply:?}");
    assert!(keys.calls("jwks") > 0, "fetched from jwks_url");
    let refused = http::credentials(address, "/v1/credentials/aws", &token).await;
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("ProfileNotAllowed")));

    // The same subject in the other pool is another user; one token is good for several profiles.
    let payload = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&base64_url(payload)).unwrap();
    let twin = token_with(|own| own["sub"] = claims["sub"].clone());
    for path in ["/v1/credentials/local", "/v1/credentials/aws", "/v1/credentials"] {
        let other = http::credentials(address, path, &twin).await;
        assert_eq!(other.status, 200, "{path}: {other:?}");
        assert_ne!(other.json()["AccessKeyId"], reply.json()["AccessKeyId"], "{path}");
    }
    assert_eq!(proxy.calls("AssumeRole"), 3);
}

fn base64_url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}
