//! AssumeRoleWithWebIdentity.

use super::*;

fn identity_token(pool: &str, logins: Value) -> String {
    let identity = get_id_in(&DENY, pool, logins.clone());
    let body = json!({"IdentityId": identity, "Logins": logins});
    let (status, reply) = call(&DENY, &format!("{IDENTITY}.GetOpenIdToken"), &body);
    assert_eq!(status, StatusCode::OK, "{reply}");
    reply["Token"].as_str().expect("a token").to_owned()
}

fn alices() -> String {
    identity_token(BASIC_IDENTITY_POOL_ID, json!({PROVIDER: token("alice")}))
}

fn ask(role: &str, token: &str, pairs: &[(&str, &str)]) -> Request<Bytes> {
    let fixed = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", "alice"),
        ("WebIdentityToken", token),
    ];
    unsigned(form(&[&fixed, pairs].concat()))
}

fn denied() -> (u16, String, String) {
    let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    (403, "AccessDenied".to_owned(), message.to_owned())
}

fn invalid_token(message: &str) -> (u16, String, String) {
    (400, "InvalidIdentityToken".to_owned(), message.to_owned())
}

#[test]
fn a_token_buys_any_role_that_trusts_its_pool() {
    let identity = get_id_in(&DENY, BASIC_IDENTITY_POOL_ID, json!({PROVIDER: token("carol")}));
    let carols = identity_token(BASIC_IDENTITY_POOL_ID, json!({PROVIDER: token("carol")}));
    // Even a user in no group: no claim is looked at here.
    let (status, body) = answer(ask(ADMIN_ROLE_ARN, &carols, &[("DurationSeconds", "43200")]));
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("<AssumeRoleWithWebIdentityResponse xmlns="));
    let arn = "arn:aws:sts::111122223333:assumed-role/rbac-users-admin-role/alice";
    for (name, value) in [
        ("SubjectFromWebIdentityToken", identity.as_str()),
        ("Audience", BASIC_IDENTITY_POOL_ID),
        ("Provider", "cognito-identity.amazonaws.com"),
        ("Arn", arn),
        ("AssumedRoleId", "AROA5CUPBEARERADMIN01:alice"),
        ("Expiration", &wire::iso_date(NOW + 43200)),
        ("PackedPolicySize", ""),
    ] {
        assert_eq!(element(&body, name), value, "{name}");
    }
    assert_eq!(element(&answer(signed(WHO_AM_I, &assumed(&body), NOW)).1, "Arn"), arn);
}

#[test]
fn a_role_trusts_pools_and_methods_of_its_own() {
    let guests = identity_token(BASIC_IDENTITY_POOL_ID, json!({}));
    assert_eq!(answer(ask(GUEST_ROLE_ARN, &guests, &[])).0, 200);
    assert_eq!(answer(ask(UNTAGGED_ROLE_ARN, &alices(), &[])).0, 200);
    let unknown = "arn:aws:iam::111122223333:role/other";
    for role in [EDITOR_ROLE_ARN, ADMIN_ROLE_ARN, UNTAGGED_ROLE_ARN, unknown] {
        assert_eq!(refusal(ask(role, &guests, &[])), denied(), "{role}");
    }
    for role in [GUEST_ROLE_ARN, API_ROLE_ARN, EXTERNAL_ROLE_ARN, unknown] {
        assert_eq!(refusal(ask(role, &alices(), &[])), denied(), "{role}");
    }
}

#[test]
fn a_token_lasts_ten_minutes() {
    let at_second = |seconds| {
        let (status, body) = text(DENY.answer(ask(EDITOR_ROLE_ARN, &alices(), &[]), at(seconds)));
        (status.as_u16(), element(&body, "Code").to_owned(), element(&body, "Message").to_owned())
    };
    assert_eq!(at_second(NOW + 599).0, 200);
    let end = NOW + 600;
    let message = format!("Token expired: current date/time {end} must be before the expiration date/time {end}");
    assert_eq!(at_second(end), (400, "ExpiredTokenException".to_owned(), message));
}

#[test]
fn other_tokens_are_refused() {
    let no_jwt = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
    let no_key = "Couldn't retrieve verification key from your identity provider,  please reference \
                  AssumeRoleWithWebIdentity documentation for requirements";
    let no_provider = format!("No OpenIDConnect provider found in your account for {ISSUER}");
    let access = altered(json!({"aud": null, "client_id": CLIENT_ID, "token_use": "access"}));
    let alices = alices();
    let (head, signature) = alices.rsplit_once('.').expect("a token");
    let (header, claims) = head.split_once('.').expect("a token");
    let none_alg = format!("eyJhbGciOiJub25lIn0.{claims}.");
    // A good signature of the user pool on claims of the identity pool.
    let foreign = altered(json!({"iss": IDENTITY_ISSUER, "aud": BASIC_IDENTITY_POOL_ID}));
    for (token, message) in [
        ("undefined", no_jwt),
        (&access, no_jwt),
        (&token("alice"), &no_provider),
        (&none_alg, no_key),
        (&format!("{header}.{claims}.AAAA"), no_key),
        (&format!("{header}e.{claims}.{signature}"), no_jwt),
        (&foreign, no_key),
    ] {
        assert_eq!(refusal(ask(EDITOR_ROLE_ARN, token, &[])), invalid_token(message), "{token}");
    }
}

#[test]
fn parameters_are_checked() {
    let alices = alices();
    let constraint = |what: &str| {
        let message = format!("1 validation error detected: Value {what}");
        (400, "ValidationError".to_owned(), message)
    };
    for (token, message) in [
        ("abc", "have length greater than or equal to 4"),
        ("a".repeat(20_001).as_str(), "have length less than or equal to 20000"),
    ] {
        let message = format!("at 'webIdentityToken' failed to satisfy constraint: Member must {message}");
        assert_eq!(refusal(ask(EDITOR_ROLE_ARN, token, &[])), constraint(&message));
    }
    let over = ("DurationSeconds", "43201");
    let message = "'43201' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or \
                   equal to 43200";
    assert_eq!(refusal(ask(EDITOR_ROLE_ARN, &alices, &[over])), constraint(message));
    let form = format!("Action=AssumeRoleWithWebIdentity&RoleArn={EDITOR_ROLE_ARN}&RoleSessionName=a%20b");
    let message = "'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression \
                   pattern: [\\w+=,.@-]*";
    assert_eq!(refusal(unsigned(form)), constraint(message));
    let form = format!("Action=AssumeRoleWithWebIdentity&RoleArn={EDITOR_ROLE_ARN}&RoleSessionName=ab");
    let message = "null at 'webIdentityToken' failed to satisfy constraint: Member must not be null";
    assert_eq!(refusal(unsigned(form)), constraint(message));
}

#[test]
fn a_role_bounds_its_sessions() {
    let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    let expected = (400, "ValidationError".to_owned(), message.to_owned());
    let ask = |seconds| ask(UNTAGGED_ROLE_ARN, &alices(), &[("DurationSeconds", seconds)]);
    assert_eq!(refusal(ask("3601")), expected);
    assert_eq!(answer(ask("3600")).0, 200);
}

#[test]
fn session_policies_are_weighed_and_kept() {
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let (aws, own) = ("arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::111122223333:policy/own");
    let pairs = [("Policy", policy), ("PolicyArns.member.1.arn", aws), ("PolicyArns.member.2.arn", own)];
    let (_, body) = answer(ask(EDITOR_ROLE_ARN, &alices(), &pairs));
    // (39 + 38 + 36) / 2560
    assert_eq!(element(&body, "PackedPolicySize"), "4", "{body}");
    let session = described(&assumed(&body));
    assert_eq!((&session["policy"], &session["policy_arns"]), (&json!(policy), &json!([aws, own])));
}

#[test]
fn bad_session_policies_are_refused() {
    let refused = |pairs: &[(&str, &str)]| refusal(ask(EDITOR_ROLE_ARN, &alices(), pairs));
    for policy in ["no", "[]", "{", "\"a\""] {
        let expected = (400, "MalformedPolicyDocument".to_owned(), "This policy contains invalid Json".to_owned());
        assert_eq!(refused(&[("Policy", policy)]), expected, "{policy}");
    }
    let long = format!("{{\"Version\":\"{}\"}}", "x".repeat(2035));
    let (_, code, message) = refused(&[("Policy", &long)]);
    assert_eq!(code, "ValidationError");
    assert!(
        message
            .ends_with("at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048")
    );
    let (_, code, message) = refused(&[("Policy", "{\"a\":\"\u{100}\"}")]);
    assert_eq!(code, "ValidationError");
    assert!(message.ends_with("regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"), "{message}");
    let names: Vec<_> = (1..=11).map(|place| format!("PolicyArns.member.{place}.arn")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "arn:aws:iam::aws:policy/Any")).collect();
    let message = "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have \
                   length less than or equal to 10";
    assert_eq!(refused(&pairs), (400, "ValidationError".to_owned(), message.to_owned()));
    assert_eq!(answer(ask(EDITOR_ROLE_ARN, &alices(), &pairs[..10])).0, 200);
    let foreign = "arn:aws:iam::444455556666:policy/Any";
    let expected = (400, "ValidationError".to_owned(), format!("ARN {foreign} is not valid."));
    assert_eq!(refused(&[("PolicyArns.member.1.arn", foreign)]), expected);
}

#[test]
fn the_longest_policy_takes_four_fifths_of_the_space() {
    let longest = format!("{{\"Version\":\"{}\"}}", "x".repeat(2034));
    let (status, body) = answer(ask(EDITOR_ROLE_ARN, &alices(), &[("Policy", &longest)]));
    assert_eq!((status, element(&body, "PackedPolicySize")), (200, "80"), "{body}");
    let arn = format!("arn:aws:iam::aws:policy/{}", "x".repeat(550));
    let (status, code, message) =
        refusal(ask(EDITOR_ROLE_ARN, &alices(), &[("Policy", &longest), ("PolicyArns.member.1.arn", &arn)]));
    assert_eq!((status, code.as_str()), (400, "PackedPolicyTooLarge"));
    assert_eq!(message, "Packed policy consumes 102% of allotted space, please use smaller policy.");
}
