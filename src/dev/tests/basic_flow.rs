//! GetOpenIdToken, and which of the identity pools has it.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;

const GET_TOKEN: &str = "AWSCognitoIdentityService.GetOpenIdToken";
const GET_CREDENTIALS: &str = "AWSCognitoIdentityService.GetCredentialsForIdentity";

const POOLS: [&str; 4] =
    [IDENTITY_POOL_ID, BASIC_IDENTITY_POOL_ID, CLASSIC_OFF_IDENTITY_POOL_ID, GUEST_IDENTITY_POOL_ID];

fn ask(pool: &str, user: &str) -> Value {
    let logins = json!({PROVIDER: token(user)});
    json!({"IdentityId": get_id_in(&DENY, pool, logins.clone()), "Logins": logins})
}

/// The claims, if the published key set verifies the token.
fn verified(token: &str) -> Value {
    let (status, keys) = get("/.well-known/jwks_uri");
    assert_eq!(status, StatusCode::OK);
    let keys: JwkSet = serde_json::from_value(keys).expect("a key set");
    let header = jsonwebtoken::decode_header(token).expect("a header");
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::RS512, Some("JWS")));
    let key = keys.find(&header.kid.expect("a kid")).expect("the key");
    let mut validation = Validation::new(Algorithm::RS512);
    validation.validate_exp = false;
    validation.set_audience(&[BASIC_IDENTITY_POOL_ID]);
    validation.set_issuer(&[IDENTITY_ISSUER]);
    let key = DecodingKey::from_jwk(key).expect("a key");
    jsonwebtoken::decode::<Value>(token, &key, &validation).expect("a valid token").claims
}

#[test]
fn a_user_has_an_identity_in_each_pool() {
    let identities = POOLS.map(|pool| get_id_in(&DENY, pool, json!({PROVIDER: token("alice")})));
    for (place, identity) in identities.iter().enumerate() {
        assert!(!identities[..place].contains(identity), "{identity}");
        assert_eq!(&get_id_in(&DENY, POOLS[place], json!({PROVIDER: token("alice")})), identity);
    }
}

#[test]
fn a_token_names_identity_pool_and_login() {
    let ask = ask(BASIC_IDENTITY_POOL_ID, "bob");
    let (status, reply) = call(&DENY, GET_TOKEN, &ask);
    assert_eq!((status, &reply["IdentityId"]), (StatusCode::OK, &ask["IdentityId"]), "{reply}");
    let claims = verified(reply["Token"].as_str().expect("a token"));
    for (name, value) in [
        ("sub", ask["IdentityId"].clone()),
        ("iat", json!(NOW)),
        ("exp", json!(NOW + 600)),
        (
            "amr",
            json!([
                "authenticated",
                PROVIDER,
                format!("{PROVIDER}:CognitoSignIn:1b2d3e4f-5061-4723-8845-b2c3d4e5f607")
            ]),
        ),
        (
            "https://cognito-identity.amazonaws.com/identity-pool-arn",
            json!(format!("arn:aws:cognito-identity:us-east-1:111122223333:identitypool/{BASIC_IDENTITY_POOL_ID}")),
        ),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
}

#[test]
fn a_guests_token_says_so() {
    let identity = get_id_in(&DENY, BASIC_IDENTITY_POOL_ID, json!(null));
    let (_, reply) = call(&DENY, GET_TOKEN, &json!({"IdentityId": identity}));
    let claims = verified(reply["Token"].as_str().expect("a token"));
    assert_eq!((&claims["amr"], &claims["sub"]), (&json!(["unauthenticated"]), &json!(identity)));
}

#[test]
fn pools_without_the_basic_flow_say_why() {
    let with_mappings = "Basic (classic) flow is not supported with RoleMappings, please use enhanced flow.";
    let off = "Basic (classic) flow is not enabled, please use enhanced flow.";
    for (pool, message) in
        [(IDENTITY_POOL_ID, with_mappings), (CLASSIC_OFF_IDENTITY_POOL_ID, off), (GUEST_IDENTITY_POOL_ID, off)]
    {
        let expected = (400, "InvalidParameterException".to_owned(), message.to_owned());
        assert_eq!(refused(&DENY, GET_TOKEN, &ask(pool, "alice")), expected);
    }
}

#[test]
fn bad_logins_and_identities_are_refused_as_in_the_enhanced_flow() {
    let alice = ask(BASIC_IDENTITY_POOL_ID, "alice");
    let identity = alice["IdentityId"].as_str().expect("an identity");
    let with = |logins: Value| refused(&DENY, GET_TOKEN, &json!({"IdentityId": identity, "Logins": logins}));
    assert_eq!(with(json!({})), not_authorized(&format!("Access to Identity '{identity}' is forbidden.")));
    let mismatch = "Logins don't match. Please include at least one valid login for this identity or identity pool.";
    assert_eq!(with(json!({PROVIDER: token("bob")})), not_authorized(mismatch));
    let expired = format!("Invalid login token. Token expired: {NOW} >= {NOW}");
    assert_eq!(with(json!({PROVIDER: altered(json!({"exp": NOW}))})), not_authorized(&expired));
    let unknown = "us-east-1:00000000-0000-4000-8000-000000000000";
    let body = json!({"IdentityId": unknown, "Logins": alice["Logins"]});
    let expected = (400, "ResourceNotFoundException".to_owned(), format!("Identity '{unknown}' not found."));
    assert_eq!(refused(&DENY, GET_TOKEN, &body), expected);
    assert_eq!(refused(&DENY, GET_TOKEN, &json!({})).1, "ValidationException");
}

#[test]
fn a_pool_without_role_mapping_has_one_role_for_all_its_users() {
    for pool in [CLASSIC_OFF_IDENTITY_POOL_ID, GUEST_IDENTITY_POOL_ID] {
        for user in USER_NAMES {
            let (status, reply) = call(&DENY, GET_CREDENTIALS, &ask(pool, user));
            assert_eq!(status, StatusCode::OK, "{reply}");
            let session = reply["Credentials"]["SessionToken"].as_str().expect("a token");
            assert_eq!(DENY.describe_session(session).expect("a session")["role_arn"], AUTHENTICATED_ROLE_ARN);
        }
        let mut custom = ask(pool, "alice");
        custom["CustomRoleArn"] = ADMIN_ROLE_ARN.into();
        let message = format!("Access to Role '{ADMIN_ROLE_ARN}' is forbidden.");
        assert_eq!(refused(&DENY, GET_CREDENTIALS, &custom), not_authorized(&message));
    }
}

#[test]
fn the_basic_pool_has_no_role_for_users() {
    let message = "Invalid identity pool configuration. Check assigned IAM roles for this pool.";
    let expected = (400, "InvalidIdentityPoolConfigurationException".to_owned(), message.to_owned());
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &ask(BASIC_IDENTITY_POOL_ID, "alice")), expected);
}

#[test]
fn a_role_that_does_not_trust_the_pool_is_no_role() {
    let claims = json!({"cognito:preferred_role": API_ROLE_ARN, "cognito:roles": [API_ROLE_ARN, UNTAGGED_ROLE_ARN]});
    let token = altered(claims);
    let mut body = json!({"IdentityId": get_id(&DENY, &token), "Logins": {PROVIDER: token}});
    for custom in [json!(null), json!(UNTAGGED_ROLE_ARN)] {
        body["CustomRoleArn"] = custom;
        assert_eq!(refused(&DENY, GET_CREDENTIALS, &body).1, "InvalidIdentityPoolConfigurationException");
    }
}
