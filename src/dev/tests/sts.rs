//! AssumeRole by its parameters, and what STS does not do.

use super::*;

fn ask_for(parameters: &str) -> String {
    format!("Action=AssumeRole&Version=2011-06-15&{parameters}")
}

#[test]
fn an_assumed_role_has_credentials_of_its_own() {
    let form = ask_for(&format!("RoleArn={ADMIN_ROLE_ARN}&RoleSessionName=alice@x&DurationSeconds=900"));
    let (status, body) = answer(signed(&form, &broker(), NOW));
    assert_eq!(status, 200, "{body}");
    let arn = "arn:aws:sts::111122223333:assumed-role/rbac-users-admin-role/alice@x";
    assert_eq!(element(&body, "Arn"), arn);
    assert_eq!(element(&body, "Expiration"), wire::iso_date(NOW + 900));
    assert_eq!(element(&answer(signed(WHO_AM_I, &assumed(&body), NOW)).1, "Arn"), arn);
}

#[test]
fn roles_trust_the_broker_and_their_betters_alone() {
    let denied = |user: &str, role: &str| {
        let message = format!("User: {user} is not authorized to perform: sts:AssumeRole on resource: {role}");
        (403, "AccessDenied".to_owned(), message)
    };
    let ask = |role: &str| ask_for(&format!("RoleArn={role}&RoleSessionName=test"));
    let unknown = "arn:aws:iam::111122223333:role/other";
    assert_eq!(refusal(signed(&ask(unknown), &broker(), NOW)), denied(BROKER_ARN, unknown));
    let bob = session(&DENY, "bob");
    let bobs = "arn:aws:sts::111122223333:assumed-role/rbac-users-editor-role/CognitoIdentityCredentials";
    assert_eq!(refusal(signed(&ask(ADMIN_ROLE_ARN), &bob, NOW)), denied(bobs, ADMIN_ROLE_ARN));
    assert_eq!(answer(signed(&ask(EDITOR_ROLE_ARN), &session(&DENY, "alice"), NOW)).0, 200);
}

#[test]
fn assume_role_checks_its_parameters() {
    let constraint = |value: &str, name: &str, rule: &str| {
        format!(
            "1 validation error detected: Value {value} at '{name}' failed to satisfy constraint: Member must {rule}"
        )
    };
    let role = format!("RoleArn={EDITOR_ROLE_ARN}");
    for (parameters, code, message) in [
        (String::new(), "ValidationError", constraint("null", "roleArn", "not be null")),
        (role.clone(), "ValidationError", constraint("null", "roleSessionName", "not be null")),
        (
            format!("{role}&RoleSessionName=a"),
            "ValidationError",
            constraint("'a'", "roleSessionName", "have length greater than or equal to 2"),
        ),
        (
            format!("{role}&RoleSessionName=a:b"),
            "ValidationError",
            constraint("'a:b'", "roleSessionName", "satisfy regular expression pattern: [\\w+=,.@-]*"),
        ),
        (
            format!("{role}&RoleSessionName=test&DurationSeconds=60"),
            "ValidationError",
            constraint("'60'", "durationSeconds", "have value greater than or equal to 900"),
        ),
        (
            format!("{role}&RoleSessionName=test&DurationSeconds=43201"),
            "ValidationError",
            constraint("'43201'", "durationSeconds", "have value less than or equal to 43200"),
        ),
        (
            format!("{role}&RoleSessionName=test&Policy=no"),
            "MalformedPolicyDocument",
            "This policy contains invalid Json".to_owned(),
        ),
    ] {
        let expected = (400, code.to_owned(), message);
        assert_eq!(refusal(signed(&ask_for(&parameters), &broker(), NOW)), expected);
    }
}

#[test]
fn role_chaining_is_bound_to_an_hour() {
    let form = |seconds: u64| {
        let ask = format!("RoleArn={EDITOR_ROLE_ARN}&RoleSessionName=test&DurationSeconds={seconds}");
        ask_for(&ask)
    };
    let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
    let expected = (400, "ValidationError".to_owned(), message.to_owned());
    let alice = session(&DENY, "alice");
    assert_eq!(refusal(signed(&form(3601), &alice, NOW)), expected);
    assert_eq!(answer(signed(&form(3600), &alice, NOW)).0, 200);
    assert_eq!(answer(signed(&form(43200), &broker(), NOW)).0, 200);
}

#[test]
fn unknown_actions_are_refused() {
    let post = |form: &'static str| Request::post("/").body(Bytes::from(form)).expect("request");
    let (_, code, message) = refusal(post("Action=GetSessionToken&Version=2011-06-15"));
    assert_eq!(code, "InvalidAction");
    assert_eq!(message, "Could not find operation GetSessionToken for version 2011-06-15");
    assert_eq!(refusal(post("")).1, "MissingAction");
}
