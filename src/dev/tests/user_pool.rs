//! Tokens, documents and signing in.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;

/// The claims, if the published key set verifies the token; and the kid.
fn verified(token: &str, audience: Option<&str>) -> (Value, String) {
    let (_, keys) = get(&format!("/{USER_POOL_ID}/.well-known/jwks.json"));
    let keys: JwkSet = serde_json::from_value(keys).expect("a key set");
    let kid = jsonwebtoken::decode_header(token).expect("a header").kid.expect("a kid");
    let key = DecodingKey::from_jwk(keys.find(&kid).expect("the key")).expect("a key");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = audience.is_some();
    validation.set_issuer(&[ISSUER]);
    if let Some(audience) = audience {
        validation.set_audience(&[audience]);
    }
    let token = jsonwebtoken::decode::<Value>(token, &key, &validation).expect("a valid token");
    (token.claims, kid)
}

#[test]
fn the_key_set_verifies_a_minted_token() {
    let token = DENY.id_token("alice", at(NOW)).expect("a token");
    let (claims, _) = verified(&token, Some(CLIENT_ID));
    for (name, value) in [
        ("sub", json!("0a1c2d3e-4f50-4612-9734-a1b2c3d4e5f6")),
        ("iss", json!(ISSUER)),
        ("token_use", json!("id")),
        ("auth_time", json!(NOW)),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 3600)),
        ("cognito:username", json!("alice")),
        ("email", json!("alice@example.com")),
        ("email_verified", json!(true)),
        ("cognito:groups", json!(["admin", "editor"])),
        ("cognito:roles", json!([ADMIN_ROLE_ARN, EDITOR_ROLE_ARN])),
        ("cognito:preferred_role", json!(ADMIN_ROLE_ARN)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    for name in ["jti", "origin_jti", "event_id"] {
        assert_eq!(claims[name].as_str().map(str::len), Some(36), "{name}");
    }
}

#[test]
fn bob_has_one_role_and_carol_no_group_claims() {
    let bob = DENY.id_claims("bob", at(NOW)).expect("claims");
    assert_eq!(bob["cognito:groups"], json!(["editor"]));
    assert_eq!(bob["cognito:preferred_role"], json!(EDITOR_ROLE_ARN));
    let carol = DENY.id_claims("carol", at(NOW)).expect("claims");
    for name in ["cognito:groups", "cognito:roles", "cognito:preferred_role"] {
        assert!(carol.get(name).is_none(), "{name}");
    }
    assert!(DENY.id_token("mallory", at(NOW)).is_none());
}

#[test]
fn the_key_set_has_the_members_and_the_ids_of_cognitos() {
    let (status, keys) = get(&format!("/{USER_POOL_ID}/.well-known/jwks.json"));
    assert_eq!(status, StatusCode::OK);
    let keys = keys["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"], &key["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("sig"), &json!("AQAB"))
        );
        assert_eq!(key["n"].as_str().map(str::len), Some(342));
        assert!(key["kid"].as_str().is_some_and(|kid| kid.len() == 44 && kid.ends_with('=')));
    }
}

#[test]
fn the_configuration_names_the_real_issuer_and_the_key_set_here() {
    let (_, document) = get(&format!("/{USER_POOL_ID}/.well-known/openid-configuration"));
    assert_eq!(document["issuer"], ISSUER);
    let keys = format!("http://127.0.0.1:2873/{USER_POOL_ID}/.well-known/jwks.json");
    assert_eq!(document["jwks_uri"], json!(keys));
}

#[test]
fn other_documents_are_not_here() {
    let (status, body) = get("/us-east-1_Elsewhere/.well-known/jwks.json");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["message"], "User pool us-east-1_Elsewhere does not exist.");
    for path in ["/favicon.ico", &format!("/{USER_POOL_ID}/.well-known/other")] {
        assert_eq!(get(path).0, StatusCode::NOT_FOUND, "{path}");
    }
}

fn sign_in(flow: &str, client: &str, parameters: Value) -> (StatusCode, Value) {
    let body = json!({"AuthFlow": flow, "ClientId": client, "AuthParameters": parameters});
    call(&DENY, &format!("{USERS}.InitiateAuth"), &body)
}

#[test]
fn a_password_buys_both_tokens() {
    let parameters = json!({"USERNAME": "bob", "PASSWORD": PASSWORD});
    let (status, reply) = sign_in("USER_PASSWORD_AUTH", CLIENT_ID, parameters);
    assert_eq!(status, StatusCode::OK);
    let result = &reply["AuthenticationResult"];
    assert_eq!((&result["ExpiresIn"], &result["TokenType"]), (&json!(3600), &json!("Bearer")));
    assert!(result["RefreshToken"].as_str().is_some_and(|token| token.split('.').count() == 5));
    let token = |name: &str| result[name].as_str().expect("a token").to_owned();
    let (id, id_kid) = verified(&token("IdToken"), Some(CLIENT_ID));
    let (access, access_kid) = verified(&token("AccessToken"), None);
    assert_ne!(id_kid, access_kid);
    assert_eq!(id["origin_jti"], access["origin_jti"]);
    assert_ne!(id["jti"], access["jti"]);
    assert_eq!(access["client_id"], CLIENT_ID);
    assert_eq!(access["token_use"], "access");
    assert!(access.get("aud").is_none() && access.get("cognito:roles").is_none());
}

#[test]
fn signing_in_is_refused_with_cognitos_texts() {
    let good = json!({"USERNAME": "bob", "PASSWORD": PASSWORD});
    let flow = "USER_PASSWORD_AUTH";
    for (flow, client, parameters, code, message) in [
        (
            flow,
            CLIENT_ID,
            json!({"USERNAME": "bob", "PASSWORD": "wrong"}),
            "NotAuthorizedException",
            "Incorrect username or password.",
        ),
        (
            flow,
            CLIENT_ID,
            json!({"USERNAME": "mallory", "PASSWORD": PASSWORD}),
            "NotAuthorizedException",
            "Incorrect username or password.",
        ),
        (
            flow,
            CLIENT_ID,
            json!({"USERNAME": "bob"}),
            "InvalidParameterException",
            "Missing required parameter PASSWORD",
        ),
        (flow, "elsewhere", good.clone(), "ResourceNotFoundException", "User pool client elsewhere does not exist."),
        (
            "USER_SRP_AUTH",
            CLIENT_ID,
            good,
            "InvalidParameterException",
            "USER_SRP_AUTH flow not enabled for this client",
        ),
    ] {
        let (status, reply) = sign_in(flow, client, parameters);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!((&reply["__type"], &reply["message"]), (&json!(code), &json!(message)));
    }
}
