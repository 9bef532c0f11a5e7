//! Identities without a login.

use super::*;

const GET_ID: &str = "AWSCognitoIdentityService.GetId";
const GET_CREDENTIALS: &str = "AWSCognitoIdentityService.GetCredentialsForIdentity";

#[test]
fn each_guest_is_new_and_known_again() {
    for pool in [BASIC_IDENTITY_POOL_ID, GUEST_IDENTITY_POOL_ID] {
        let guest = get_id_in(&DENY, pool, json!(null));
        assert_ne!(guest, get_id_in(&DENY, pool, json!({})));
        assert!(guest.starts_with("us-east-1:") && guest.len() == 46, "{guest}");
        let (status, reply) = call(&DENY, GET_CREDENTIALS, &json!({"IdentityId": guest}));
        assert_eq!((status, &reply["IdentityId"]), (StatusCode::OK, &json!(guest)), "{reply}");
        let session = reply["Credentials"]["SessionToken"].as_str().expect("a token");
        let session = DENY.describe_session(session).expect("a session");
        assert_eq!(session["arn"], "arn:aws:sts::111122223333:assumed-role/rbac-guest-role/CognitoIdentityCredentials");
    }
}

#[test]
fn the_other_pools_have_no_guests() {
    for pool in [IDENTITY_POOL_ID, CLASSIC_OFF_IDENTITY_POOL_ID] {
        let message = "Unauthenticated access is not supported for this identity pool.";
        assert_eq!(refused(&DENY, GET_ID, &json!({"IdentityPoolId": pool})), not_authorized(message));
    }
}

#[test]
fn a_guest_is_nobody_elsewhere_and_no_user() {
    let guest = get_id_in(&DENY, GUEST_IDENTITY_POOL_ID, json!(null));
    let not_found = (400, "ResourceNotFoundException".to_owned(), format!("Identity '{guest}' not found."));
    assert_eq!(refused(&DEFAULT, GET_CREDENTIALS, &json!({"IdentityId": guest})), not_found);
    let mut other = guest.clone();
    other.replace_range(45..46, if guest.ends_with('0') { "1" } else { "0" });
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &json!({"IdentityId": other})).1, "ResourceNotFoundException");
    let body = json!({"IdentityId": guest, "Logins": {PROVIDER: token("alice")}});
    let mismatch = "Logins don't match. Please include at least one valid login for this identity or identity pool.";
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_authorized(mismatch));
}

#[test]
fn a_guest_chooses_no_role_and_a_user_is_no_guest() {
    let guest = get_id_in(&DENY, GUEST_IDENTITY_POOL_ID, json!(null));
    let body = json!({"IdentityId": guest, "CustomRoleArn": EDITOR_ROLE_ARN});
    let message = format!("Access to Role '{EDITOR_ROLE_ARN}' is forbidden.");
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &body), not_authorized(&message));
    let alice = get_id_in(&DENY, GUEST_IDENTITY_POOL_ID, json!({PROVIDER: token("alice")}));
    let message = format!("Access to Identity '{alice}' is forbidden.");
    assert_eq!(refused(&DENY, GET_CREDENTIALS, &json!({"IdentityId": alice})), not_authorized(&message));
}
