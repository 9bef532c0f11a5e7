//! AssumeRole by whom it is asked: the API's own role, external ids, source identities.

use secrecy::ExposeSecret;

use super::*;

fn denied(user: &str, action: &str, role: &str) -> (u16, String, String) {
    let message = format!("User: {user} is not authorized to perform: {action} on resource: {role}");
    (403, "AccessDenied".to_owned(), message)
}

const API_ARN: &str = "arn:aws:sts::111122223333:assumed-role/rbac-api-role/0c5f2a9e7d1b4c38a6e0f9b2d4c71e83";

#[test]
fn the_api_has_its_role_as_a_container_has() {
    let request = Request::get(API_ROLE_PATH).body(Bytes::new()).expect("request");
    let reply = DENY.answer(request, at(NOW));
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let (_, document) = get(API_ROLE_PATH);
    assert_eq!(document["RoleArn"], API_ROLE_ARN);
    assert_eq!(document["Expiration"], wire::iso_date(NOW + 6 * 3600));
    assert_eq!(element(&answer(signed(WHO_AM_I, &api(), NOW)).1, "Arn"), API_ARN);
    let (key, secret, token) = DENY.api_role_credentials(at(NOW)).expect("credentials");
    let token = Some(token.expose_secret().to_owned());
    let called = Credentials::new(key, secret.expose_secret(), token, None, "test");
    assert_eq!(element(&answer(signed(WHO_AM_I, &called, NOW)).1, "Arn"), API_ARN);
}

#[test]
fn the_apis_own_role_assumes_the_users_role() {
    for role in [ADMIN_ROLE_ARN, EDITOR_ROLE_ARN, UNTAGGED_ROLE_ARN] {
        let (status, body) = answer(assume(&api(), role, &[]));
        assert_eq!(status, 200, "{body}");
        assert_eq!(described(&assumed(&body))["role_arn"], role);
        assert_eq!(element(&body, "PackedPolicySize"), "");
    }
    for role in [API_ROLE_ARN, GUEST_ROLE_ARN] {
        assert_eq!(refusal(assume(&api(), role, &[])), denied(API_ARN, "sts:AssumeRole", role));
    }
    let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
    let expected = (400, "ValidationError".to_owned(), message.to_owned());
    assert_eq!(refusal(assume(&api(), ADMIN_ROLE_ARN, &[("DurationSeconds", "3601")])), expected);
}

#[test]
fn a_role_bounds_its_sessions() {
    let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    let expected = (400, "ValidationError".to_owned(), message.to_owned());
    assert_eq!(refusal(assume(&broker(), UNTAGGED_ROLE_ARN, &[("DurationSeconds", "3601")])), expected);
    assert_eq!(answer(assume(&broker(), UNTAGGED_ROLE_ARN, &[("DurationSeconds", "3600")])).0, 200);
}

#[test]
fn an_external_id_must_be_the_one_of_the_trust_policy() {
    let ask = |id| refusal(assume(&broker(), EXTERNAL_ROLE_ARN, &[("ExternalId", id)]));
    let expected = denied(BROKER_ARN, "sts:AssumeRole", EXTERNAL_ROLE_ARN);
    assert_eq!(refusal(assume(&broker(), EXTERNAL_ROLE_ARN, &[])), expected);
    assert_eq!(ask("other"), expected);
    assert_eq!(answer(assume(&broker(), EXTERNAL_ROLE_ARN, &[("ExternalId", EXTERNAL_ID)])).0, 200);
    assert_eq!(answer(assume(&broker(), EDITOR_ROLE_ARN, &[("ExternalId", "any:/thing")])).0, 200);
    for (id, rule) in [
        ("a", "have length greater than or equal to 2"),
        ("a b", "satisfy regular expression pattern: [\\w+=,.@:\\/-]*"),
    ] {
        let message = format!(
            "1 validation error detected: Value '{id}' at 'externalId' failed to satisfy constraint: Member must {rule}"
        );
        assert_eq!(ask(id), (400, "ValidationError".to_owned(), message));
    }
}

#[test]
fn a_source_identity_lasts() {
    let ask = |signer: &Credentials, role, identity| assume(signer, role, &[("SourceIdentity", identity)]);
    let (status, body) = answer(ask(&api(), ADMIN_ROLE_ARN, "alice@x"));
    assert_eq!((status, element(&body, "SourceIdentity")), (200, "alice@x"), "{body}");
    let admin = assumed(&body);
    assert_eq!(described(&admin)["source_identity"], "alice@x");
    let arn = "arn:aws:sts::111122223333:assumed-role/rbac-users-admin-role/test";
    assert_eq!(element(&answer(signed(WHO_AM_I, &admin, NOW)).1, "Arn"), arn);
    // It goes along, and cannot be changed.
    assert_eq!(element(&answer(assume(&admin, EDITOR_ROLE_ARN, &[])).1, "SourceIdentity"), "alice@x");
    assert_eq!(answer(ask(&admin, EDITOR_ROLE_ARN, "alice@x")).0, 200);
    let expected = |role| denied(arn, "sts:SetSourceIdentity", role);
    assert_eq!(refusal(ask(&admin, EDITOR_ROLE_ARN, "bob@x")), expected(EDITOR_ROLE_ARN));
    assert_eq!(refusal(assume(&admin, UNTAGGED_ROLE_ARN, &[])), expected(UNTAGGED_ROLE_ARN));
    let expected = denied(API_ARN, "sts:SetSourceIdentity", UNTAGGED_ROLE_ARN);
    assert_eq!(refusal(ask(&api(), UNTAGGED_ROLE_ARN, "alice@x")), expected);
    let message = "1 validation error detected: Value 'a:b' at 'sourceIdentity' failed to satisfy constraint: Member \
                   must satisfy regular expression pattern: [\\w+=,.@-]*";
    let expected = (400, "ValidationError".to_owned(), message.to_owned());
    assert_eq!(refusal(ask(&api(), ADMIN_ROLE_ARN, "a:b")), expected);
}
