//! Refresh tokens: used, rotated, revoked, expired.

use super::*;

const GET_TOKENS: &str = "AWSCognitoIdentityProviderService.GetTokensFromRefreshToken";
const REVOKE: &str = "AWSCognitoIdentityProviderService.RevokeToken";
const INITIATE_AUTH: &str = "AWSCognitoIdentityProviderService.InitiateAuth";

fn refresh_token(client: &str) -> String {
    DENY.refresh_token("alice", client, at(NOW)).expect("a token")
}

fn ask(token: &str, client: &str) -> Value {
    let mut body = json!({"RefreshToken": token, "ClientId": client});
    if client == ROTATING_CLIENT_ID {
        body["ClientSecret"] = ROTATING_CLIENT_SECRET.into();
    }
    body
}

fn call_at(target: &str, body: &Value, seconds: u64) -> (StatusCode, Value) {
    let request =
        Request::post("/").header("x-amz-target", target).body(Bytes::from(body.to_string())).expect("request");
    let (status, body) = text(DENY.answer(request, at(seconds)));
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// The result of using a token, or type and text of the refusal.
fn used(token: &str, client: &str, seconds: u64) -> Result<Value, (String, String)> {
    let (status, reply) = call_at(GET_TOKENS, &ask(token, client), seconds);
    let member = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
    if status == StatusCode::OK {
        Ok(reply["AuthenticationResult"].clone())
    } else {
        Err((member("__type"), member("message")))
    }
}

/// The token that took the place of one that was used.
fn rotated(token: &str, seconds: u64) -> String {
    let result = used(token, ROTATING_CLIENT_ID, seconds).expect("tokens");
    result["RefreshToken"].as_str().expect("a refresh token").to_owned()
}

fn refused_as(code: &str, message: &str) -> Result<Value, (String, String)> {
    Err((code.to_owned(), message.to_owned()))
}

fn claims(token: &Value) -> Value {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = token.as_str().and_then(|token| token.split('.').nth(1)).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

#[test]
fn a_refresh_token_has_the_form_of_cognitos() {
    let token = refresh_token(CLIENT_ID);
    assert!((1700..1900).contains(&token.len()), "{}", token.len());
    assert!(token.starts_with("eyJjdHkiOiJKV1QiLCJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiUlNBLU9BRVAifQ."));
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=.".contains(&byte)));
    assert!(DENY.refresh_token("mallory", CLIENT_ID, at(NOW)).is_none());
    assert!(DENY.refresh_token("alice", "elsewhere", at(NOW)).is_none());
}

#[test]
fn refreshed_tokens_are_newer_and_of_the_same_sign_in() {
    let parameters = json!({"USERNAME": "bob", "PASSWORD": PASSWORD});
    let body = json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": CLIENT_ID, "AuthParameters": parameters});
    let (_, reply) = call(&DENY, INITIATE_AUTH, &body);
    let first = &reply["AuthenticationResult"];
    let refresh = first["RefreshToken"].as_str().expect("a refresh token");
    let second = used(refresh, CLIENT_ID, NOW + 3000).expect("tokens");
    assert!(second.get("RefreshToken").is_none());
    for name in ["IdToken", "AccessToken"] {
        let (old, new) = (claims(&first[name]), claims(&second[name]));
        for same in ["sub", "origin_jti", "event_id", "auth_time", "iss", "token_use", "cognito:groups"] {
            assert_eq!(old[same], new[same], "{same}");
        }
        assert_ne!(old["jti"], new["jti"]);
        assert_eq!((&new["iat"], &new["exp"]), (&json!(NOW + 3000), &json!(NOW + 6600)));
    }
    let parameters = json!({"REFRESH_TOKEN": refresh});
    for flow in ["REFRESH_TOKEN_AUTH", "REFRESH_TOKEN"] {
        let body = json!({"AuthFlow": flow, "ClientId": CLIENT_ID, "AuthParameters": parameters});
        let (status, reply) = call(&DENY, INITIATE_AUTH, &body);
        assert_eq!(status, StatusCode::OK, "{reply}");
        assert_eq!(claims(&reply["AuthenticationResult"]["IdToken"])["aud"], CLIENT_ID);
        assert!(reply["AuthenticationResult"].get("RefreshToken").is_none());
    }
}

#[test]
fn refreshed_tokens_are_logins_of_every_pool() {
    for client in [CLIENT_ID, ROTATING_CLIENT_ID] {
        let result = used(&refresh_token(client), client, NOW).expect("tokens");
        let id = result["IdToken"].as_str().expect("a token");
        assert_eq!(claims(&result["IdToken"])["aud"], client);
        assert_eq!(get_id(&DENY, id), get_id(&DENY, &token("alice")));
        let identity = get_id_in(&DENY, BASIC_IDENTITY_POOL_ID, json!({PROVIDER: id}));
        assert!(identity.starts_with("us-east-1:"));
    }
}

#[test]
fn a_rotated_token_has_its_grace_and_no_more() {
    let first = refresh_token(ROTATING_CLIENT_ID);
    let second = rotated(&first, NOW);
    let third = rotated(&second, NOW + 1);
    // In its grace the first can be used again, and what comes of it is the newest.
    let fourth = rotated(&first, NOW + 10);
    let reuse = refused_as("RefreshTokenReuseException", "Refresh token reuse detected");
    assert_eq!(used(&third, ROTATING_CLIENT_ID, NOW + 10), reuse);
    assert_eq!(used(&first, ROTATING_CLIENT_ID, NOW + 11), reuse);
    assert!(used(&second, ROTATING_CLIENT_ID, NOW + 11).is_ok());
    assert_eq!(used(&second, ROTATING_CLIENT_ID, NOW + 12), reuse);
    assert_eq!(used(&fourth, ROTATING_CLIENT_ID, NOW + 12), reuse);
}

#[test]
fn the_newest_token_outlives_a_detected_reuse() {
    let first = refresh_token(ROTATING_CLIENT_ID);
    let second = rotated(&first, NOW);
    assert!(used(&first, ROTATING_CLIENT_ID, NOW + 60).is_err());
    assert!(used(&second, ROTATING_CLIENT_ID, NOW + 60).is_ok());
}

#[test]
fn a_token_without_rotation_lasts() {
    let token = refresh_token(CLIENT_ID);
    for seconds in [NOW, NOW + 60, NOW + 30 * 86400 - 1] {
        assert!(used(&token, CLIENT_ID, seconds).is_ok(), "{seconds}");
    }
}

#[test]
fn refresh_tokens_expire_and_a_rotated_one_with_its_first() {
    let expired = refused_as("NotAuthorizedException", "Refresh Token has expired");
    let end = NOW + 30 * 86400;
    assert_eq!(used(&refresh_token(CLIENT_ID), CLIENT_ID, end), expired);
    let rotated = rotated(&refresh_token(ROTATING_CLIENT_ID), end - 1);
    assert_eq!(used(&rotated, ROTATING_CLIENT_ID, end), expired);
}

#[test]
fn a_revoked_sign_in_is_over() {
    let revoked = refused_as("NotAuthorizedException", "Refresh Token has been revoked");
    let first = refresh_token(ROTATING_CLIENT_ID);
    let second = rotated(&first, NOW);
    let other = refresh_token(ROTATING_CLIENT_ID);
    let body = json!({"Token": first, "ClientId": ROTATING_CLIENT_ID, "ClientSecret": ROTATING_CLIENT_SECRET});
    for _ in 0..2 {
        assert_eq!(call(&DENY, REVOKE, &body), (StatusCode::OK, json!({})));
    }
    assert_eq!(used(&second, ROTATING_CLIENT_ID, NOW), revoked);
    assert!(used(&other, ROTATING_CLIENT_ID, NOW).is_ok());
    let lasting = refresh_token(CLIENT_ID);
    call(&DENY, REVOKE, &json!({"Token": lasting, "ClientId": CLIENT_ID}));
    assert_eq!(used(&lasting, CLIENT_ID, NOW), revoked);
}

#[test]
fn revoking_is_for_refresh_tokens_and_their_client() {
    let lasting = refresh_token(CLIENT_ID);
    let with = |token: &str, client: &str, secret: Option<&str>| {
        let body = json!({"Token": token, "ClientId": client, "ClientSecret": secret});
        let (status, reply) = call(&DENY, REVOKE, &body);
        (status.as_u16(), reply["__type"].as_str().unwrap_or_default().to_owned())
    };
    let unauthorized = (401, "UnauthorizedException".to_owned());
    assert_eq!(with(&lasting, ROTATING_CLIENT_ID, None), unauthorized);
    assert_eq!(with(&lasting, ROTATING_CLIENT_ID, Some("wrong")), unauthorized);
    assert_eq!(with(&lasting, ROTATING_CLIENT_ID, Some(ROTATING_CLIENT_SECRET)), (200, String::new()));
    assert!(used(&lasting, CLIENT_ID, NOW).is_ok());
    assert_eq!(with("never-issued", CLIENT_ID, None), (200, String::new()));
    let unsupported = (400, "UnsupportedTokenTypeException".to_owned());
    assert_eq!(with(&token("alice"), CLIENT_ID, None), unsupported);
    assert_eq!(with(&lasting, "elsewhere", None), (400, "ResourceNotFoundException".to_owned()));
}

#[test]
fn refreshing_is_refused_with_cognitos_texts() {
    let invalid = refused_as("NotAuthorizedException", "Invalid Refresh Token.");
    let (lasting, rotating) = (refresh_token(CLIENT_ID), refresh_token(ROTATING_CLIENT_ID));
    assert_eq!(used(&rotating, CLIENT_ID, NOW), invalid);
    assert_eq!(used(&lasting, ROTATING_CLIENT_ID, NOW), invalid);
    let elsewhere = DEFAULT.refresh_token("alice", CLIENT_ID, at(NOW)).expect("a token");
    let mut damaged = lasting.clone();
    damaged.replace_range(900..901, if &lasting[900..901] == "A" { "B" } else { "A" });
    for token in [&elsewhere, &damaged, &token("alice"), "undefined", "a.b.c.d.e", ""] {
        assert_eq!(used(token, CLIENT_ID, NOW), invalid, "{token}");
    }
    let rotating_client = |secret: Value| {
        let body = json!({"RefreshToken": rotating, "ClientId": ROTATING_CLIENT_ID, "ClientSecret": secret});
        refused(&DENY, GET_TOKENS, &body)
    };
    let message = format!("Client {ROTATING_CLIENT_ID} is configured for secret but secret was not received");
    assert_eq!(rotating_client(json!(null)), not_authorized(&message));
    let message = format!("Unable to verify secret hash for client {ROTATING_CLIENT_ID}");
    assert_eq!(rotating_client(json!("wrong")), not_authorized(&message));
    let (_, code, message) = refused(&DENY, GET_TOKENS, &json!({"ClientId": CLIENT_ID}));
    assert_eq!(code, "InvalidParameterException");
    assert!(message.starts_with("1 validation error detected: Value null at 'refreshToken'"), "{message}");
    let body = json!({"RefreshToken": lasting, "ClientId": "elsewhere"});
    assert_eq!(refused(&DENY, GET_TOKENS, &body).2, "User pool client elsewhere does not exist.");
}

#[test]
fn the_rotating_client_signs_in_with_its_secret_hash() {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let key = hmac::Key::new(hmac::HMAC_SHA256, ROTATING_CLIENT_SECRET.as_bytes());
    let hash = STANDARD.encode(hmac::sign(&key, format!("bob{ROTATING_CLIENT_ID}").as_bytes()));
    let sign_in = |flow: &str, hash: Value| {
        let parameters = json!({"USERNAME": "bob", "PASSWORD": PASSWORD, "SECRET_HASH": hash, "REFRESH_TOKEN": "x"});
        json!({"AuthFlow": flow, "ClientId": ROTATING_CLIENT_ID, "AuthParameters": parameters})
    };
    let flow = "USER_PASSWORD_AUTH";
    let (status, reply) = call(&DENY, INITIATE_AUTH, &sign_in(flow, json!(hash)));
    assert_eq!(status, StatusCode::OK, "{reply}");
    let refresh = reply["AuthenticationResult"]["RefreshToken"].as_str().expect("a refresh token");
    assert!(used(refresh, ROTATING_CLIENT_ID, NOW).is_ok());
    let message = format!("Client {ROTATING_CLIENT_ID} is configured with secret but SECRET_HASH was not received");
    assert_eq!(refused(&DENY, INITIATE_AUTH, &sign_in(flow, json!(null))), not_authorized(&message));
    let message = format!("Unable to verify secret hash for client {ROTATING_CLIENT_ID}");
    assert_eq!(refused(&DENY, INITIATE_AUTH, &sign_in(flow, json!("wrong"))), not_authorized(&message));
    let message = "REFRESH_TOKEN_AUTH flow not enabled for this client".to_owned();
    let expected = (400, "InvalidParameterException".to_owned(), message);
    assert_eq!(refused(&DENY, INITIATE_AUTH, &sign_in("REFRESH_TOKEN_AUTH", json!(hash))), expected);
}
