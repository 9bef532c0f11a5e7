//! GetId and GetCredentialsForIdentity.

use super::*;

const GET_ID: &str = "AWSCognitoIdentityService.GetId";
const GET_CREDENTIALS: &str = "AWSCognitoIdentityService.GetCredentialsForIdentity";

#[test]
fn bad_logins_are_refused_with_cognitos_texts() {
    let alice = token("alice");
    let (head, _) = alice.rsplit_once('.').expect("a token");
    let foreign = DEFAULT.id_token("alice", at(NOW)).expect("a token");
    let none_alg = format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').expect("a token").1);
    let unverified = "Invalid login token. Couldn't verify signed token.";
    let not_a_token = "Invalid login token. Not a valid OpenId Connect identity token.";
    let unsupported = "Token is not from a supported provider of this identity pool.";
    let elsewhere = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Elsewhere";
    let expired = format!("Invalid login token. Token expired: {NOW} >= {}", NOW - 1);
    for (token, message) in [
        (altered(json!({"iss": elsewhere})), "Invalid login token. Issuer doesn't match providerName"),
        (altered(json!({"aud": "another"})), unsupported),
        (altered(json!({"aud": [CLIENT_ID]})), unsupported),
        (altered(json!({"exp": NOW - 1})), &expired),
        (altered(json!({"exp": null})), "Invalid login token. Missing a required claim: exp"),
        (
            altered(json!({"aud": null, "client_id": CLIENT_ID, "token_use": "access"})),
            "Invalid login token. Missing a required claim: aud",
        ),
        (altered(json!({"token_use": "access"})), not_a_token),
        (altered(json!({"sub": ""})), not_a_token),
        (foreign, unverified),
        (none_alg, unverified),
        (format!("{head}.AAAA"), unverified),
        ("undefined".to_owned(), not_a_token),
        (String::new(), not_a_token),
    ] {
        let logins = json!({PROVIDER: token});
        let body = json!({"IdentityPoolId": IDENTITY_POOL_ID, "Logins": logins});
        assert_eq!(refused(&DENY, GET_ID, &body), not_authorized(message));
        let body = json!({"IdentityId": get_id(&DENY, &alice), "Logins": logins});
        assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_authorized(message));
    }
}

#[test]
fn a_token_expires_at_its_second_and_not_before() {
    let body = |exp: u64| {
        let token = altered(json!({"exp": exp}));
        json!({"IdentityPoolId": IDENTITY_POOL_ID, "Logins": {PROVIDER: token}})
    };
    assert_eq!(call(&DENY, GET_ID, &body(NOW + 1)).0, StatusCode::OK);
    let message = format!("Invalid login token. Token expired: {NOW} >= {NOW}");
    assert_eq!(refused(&DENY, GET_ID, &body(NOW)), not_authorized(&message));
}

#[test]
fn a_provider_that_the_pool_does_not_have_is_refused() {
    let keyed = |key: &str| json!({"IdentityPoolId": IDENTITY_POOL_ID, "Logins": {key: token("alice")}});
    let message = "Token is not from a supported provider of this identity pool.";
    for key in [ISSUER, "accounts.google.com", &format!("{PROVIDER}:{CLIENT_ID}")] {
        assert_eq!(refused(&DENY, GET_ID, &keyed(key)), not_authorized(message), "{key}");
    }
}

#[test]
fn guests_are_refused() {
    let known = get_id(&DENY, &token("alice"));
    for logins in [json!(null), json!({})] {
        let body = json!({"IdentityPoolId": IDENTITY_POOL_ID, "Logins": logins});
        let message = "Unauthenticated access is not supported for this identity pool.";
        assert_eq!(refused(&DENY, GET_ID, &body), not_authorized(message));
        let body = json!({"IdentityId": known, "Logins": logins});
        let message = format!("Access to Identity '{known}' is forbidden.");
        assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_authorized(&message));
    }
}

#[test]
fn unknown_pools_and_identities_are_not_found() {
    let other = "us-east-1:00000000-0000-4000-8000-000000000000";
    let logins = json!({PROVIDER: token("alice")});
    let not_found = |message: String| (400, "ResourceNotFoundException".to_owned(), message);
    let body = json!({"IdentityPoolId": other, "Logins": logins});
    let message = format!("IdentityPool '{other}' not found.");
    assert_eq!(refused(&DENY, GET_ID, &body), not_found(message));
    for logins in [logins, json!({})] {
        let body = json!({"IdentityId": other, "Logins": logins});
        let message = format!("Identity '{other}' not found.");
        assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_found(message));
    }
}

#[test]
fn an_identity_of_someone_else_is_refused() {
    let alices = get_id(&DENY, &token("alice"));
    let body = json!({"IdentityId": alices, "Logins": {PROVIDER: token("bob")}});
    let message = "Logins don't match. Please include at least one valid login for this identity or identity pool.";
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_authorized(message));
}

#[test]
fn malformed_parameters_are_refused_by_the_model() {
    let pattern = "failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w-]+:[0-9a-f-]+";
    for (target, body, message) in [
        (
            GET_ID,
            json!({}),
            "1 validation error detected: Value null at 'identityPoolId' failed to satisfy constraint: Member must \
             not be null"
                .to_owned(),
        ),
        (
            GET_ID,
            json!({"IdentityPoolId": "us-east-1:ABC"}),
            format!("1 validation error detected: Value 'us-east-1:ABC' at 'identityPoolId' {pattern}"),
        ),
        (
            GET_CREDENTIALS,
            json!({"IdentityId": "none"}),
            format!("1 validation error detected: Value 'none' at 'identityId' {pattern}"),
        ),
        (
            GET_CREDENTIALS,
            json!({"IdentityId": IDENTITY_POOL_ID, "CustomRoleArn": "admin"}),
            "1 validation error detected: Value 'admin' at 'customRoleArn' failed to satisfy constraint: Member must \
             have length greater than or equal to 20"
                .to_owned(),
        ),
    ] {
        let expected = (400, "ValidationException".to_owned(), message);
        assert_eq!(refused(&DENY, target, &body), expected);
    }
    let refusal = refused(&DENY, GET_ID, &json!({"Logins": 1}));
    assert_eq!(refusal, (400, "SerializationException".to_owned(), String::new()));
}

#[test]
fn an_identity_is_stable_for_its_user_and_no_other() {
    let alice = get_id(&DENY, &token("alice"));
    assert_eq!(get_id(&DENY, &token("alice")), alice);
    assert_eq!(get_id(&DEFAULT, &DEFAULT.id_token("alice", at(NOW)).expect("a token")), alice);
    assert_ne!(get_id(&DENY, &token("bob")), alice);
    assert!(alice.starts_with("us-east-1:") && alice.len() == 46, "{alice}");
}

#[test]
fn credentials_are_fresh_each_time_and_have_aws_forms() {
    let reply = credentials(&DENY, &token("alice"), None);
    let member = |name: &str| reply[name].as_str().expect("text");
    let key = member("AccessKeyId");
    assert!(key.starts_with("ASIA") && key.len() == 20, "{key}");
    assert_eq!(member("SecretKey").len(), 40);
    assert!(member("SessionToken").starts_with("IQoJb3JpZ2luX2Vj"));
    assert_eq!(member("SessionToken").len(), 1024);
    assert_eq!(reply["Expiration"].as_f64(), Some((NOW + 3600) as f64));
    let again = credentials(&DENY, &token("alice"), None);
    for name in ["AccessKeyId", "SecretKey", "SessionToken"] {
        assert_ne!(reply[name], again[name], "{name}");
    }
}

/// The role of the credentials that the emulator gives for a token: a role's name, or the refusal's text.
fn role(emulator: &Emulator, token: &str, custom_role: Option<&str>) -> Result<&'static str, String> {
    let body = json!({
        "IdentityId": get_id(emulator, token),
        "Logins": {PROVIDER: token},
        "CustomRoleArn": custom_role,
    });
    let (_, reply) = call(emulator, GET_CREDENTIALS, &body);
    let Some(session) = reply["Credentials"]["SessionToken"].as_str() else {
        return Err(reply["message"].as_str().unwrap_or_default().to_owned());
    };
    Ok(emulator.sessions.known(session).expect("a known session").role.arn)
}

#[test]
fn the_role_follows_the_token() {
    let denied = Err(format!("The ambiguous role mapping rules for: {PROVIDER}:{CLIENT_ID} denied this request."));
    for (emulator, carols) in [(&DENY, denied), (&DEFAULT, Ok(AUTHENTICATED_ROLE_ARN))] {
        let token = |user: &str| emulator.id_token(user, at(NOW)).expect("a token");
        assert_eq!(role(emulator, &token("alice"), None), Ok(ADMIN_ROLE_ARN));
        assert_eq!(role(emulator, &token("bob"), None), Ok(EDITOR_ROLE_ARN));
        assert_eq!(role(emulator, &token("carol"), None), carols);
    }
}

#[test]
fn a_custom_role_must_be_in_the_token() {
    let forbidden = |arn: &str| Err(format!("Access to Role '{arn}' is forbidden."));
    assert_eq!(role(&DENY, &token("alice"), Some(EDITOR_ROLE_ARN)), Ok(EDITOR_ROLE_ARN));
    assert_eq!(role(&DENY, &token("alice"), Some(ADMIN_ROLE_ARN)), Ok(ADMIN_ROLE_ARN));
    assert_eq!(role(&DENY, &token("bob"), Some(ADMIN_ROLE_ARN)), forbidden(ADMIN_ROLE_ARN));
    assert_eq!(role(&DENY, &token("carol"), Some(EDITOR_ROLE_ARN)), forbidden(EDITOR_ROLE_ARN));
}

#[test]
fn a_tie_is_ambiguous_and_a_role_of_another_account_is_no_role() {
    let tie = altered(json!({"cognito:preferred_role": null}));
    assert!(role(&DENY, &tie, None).is_err_and(|text| text.starts_with("The ambiguous role mapping")));
    assert_eq!(role(&DENY, &tie, Some(ADMIN_ROLE_ARN)), Ok(ADMIN_ROLE_ARN));
    let foreign = "arn:aws:iam::444455556666:role/rbac-users-admin-role";
    let message = "Invalid identity pool configuration. Check assigned IAM roles for this pool.";
    let token = altered(json!({"cognito:preferred_role": foreign, "cognito:roles": [foreign]}));
    assert_eq!(role(&DENY, &token, None), Err(message.to_owned()));
    assert_eq!(role(&DENY, &token, Some(foreign)), Err(message.to_owned()));
}
