//! Each of AWS's error texts that a flow can meet, said by what stands in AWS's place: the caller hears the table's row and
//! nothing of the text, the log and the audit log have the text and its hint.

use std::collections::BTreeSet;

use cupbearer::dev::{ADMIN_ROLE_ARN, BASIC_IDENTITY_POOL_ID, CLIENT_ID, EDITOR_ROLE_ARN, GUEST_IDENTITY_POOL_ID};
use cupbearer::server::proto::OpenSessionRequest;
use futures::future::join_all;
use serde_json::json;

use crate::refresh::{refresh_token, short, until};
use crate::refusals::{Scene, profile};
use crate::sessions::with;
use crate::support::fault::REQUEST_ID;
use crate::support::http;
use crate::support::proxy::Fault;
use crate::support::scene::stranger;
use crate::support::settings::IMPATIENT;
use crate::support::told::hinted;

/// The operation that says it, the status, code and text with which it does, and a piece of the hint.
type Row = (&'static str, u16, &'static str, &'static str, &'static str);

const GET_ID: &str = "GetId";
const GET_CREDENTIALS: &str = "GetCredentialsForIdentity";
const GET_TOKEN: &str = "GetOpenIdToken";
const BY_TOKEN: &str = "AssumeRoleWithWebIdentity";
const ASSUME_ROLE: &str = "AssumeRole";
const RENEW: &str = "GetTokensFromRefreshToken";

const REFUSED: &str = "NotAuthorizedException";
const PARAMETER: &str = "InvalidParameterException";
const MISSING: &str = "ResourceNotFoundException";
const MISPLACED: &str = "InvalidIdentityPoolConfigurationException";
const CONFLICT: &str = "ResourceConflictException";
const THROTTLED: &str = "TooManyRequestsException";

/// As many calls as the rows are.
const RATES: &str = "[upstream]\nget_id_per_second = 10_000\nget_credentials_for_identity_per_second = 10_000\n\
                     get_open_id_token_per_second = 10_000\nassume_role_per_second = 10_000\n";

/// What makes the caller hear that it passes by itself.
const PASSING: &[&str] = &[CONFLICT, THROTTLED, "Throttling", "ExpiredToken"];

// What pauses an API stands last.
const ENHANCED: &[Row] = &[
    (GET_ID, 400, REFUSED, "Token is not from a supported provider of this identity pool.", "this app client (aud)"),
    (GET_ID, 400, REFUSED, "Invalid login token. Issuer doesn't match providerName", "set logins_key"),
    (GET_ID, 400, REFUSED, "Invalid login token. Token expired: 1589092400 >= 1589092129", "this machine's clock"),
    (GET_ID, 400, REFUSED, "Invalid login token. Missing a required claim: aud", "identity pools take ID tokens only"),
    (GET_ID, 400, REFUSED, "Invalid login token. Couldn't verify signed token.", "being rotated"),
    (GET_ID, 400, REFUSED, "Invalid login token. Not a Cognito token.", "check logins_key"),
    (GET_ID, 400, REFUSED, "Unauthenticated access is not supported for this identity pool.", "no login arrived"),
    (GET_ID, 400, MISSING, "IdentityPool 'us-east-1:x' not found.", "wrong region or account"),
    (
        GET_CREDENTIALS,
        400,
        REFUSED,
        "Logins don't match. Please include at least one valid login for this identity or identity pool.",
        "the pool takes no such provider",
    ),
    (GET_CREDENTIALS, 400, REFUSED, "Access to Identity 'us-east-1:x' is forbidden.", "disabled or merged"),
    (
        GET_CREDENTIALS,
        400,
        REFUSED,
        "The ambiguous role mapping rules for: cognito-idp.us-east-1.amazonaws.com/x denied this request.",
        "different precedences",
    ),
    (
        GET_CREDENTIALS,
        400,
        MISPLACED,
        "Invalid identity pool configuration. Check assigned IAM roles for this pool.",
        "no default role",
    ),
    (GET_CREDENTIALS, 400, MISSING, "Identity 'us-east-1:x' not found.", "wrong region or account"),
    (GET_CREDENTIALS, 400, CONFLICT, "The identity is being changed.", "at once"),
    (GET_CREDENTIALS, 400, THROTTLED, "Rate exceeded", "quota"),
    (GET_ID, 400, THROTTLED, "Too many requests", "quota"),
];

const GUESTS: &[Row] =
    &[(GET_ID, 400, REFUSED, "Unauthenticated access is not supported for this identity pool.", "guests are off")];

const BASIC: &[Row] = &[
    (GET_TOKEN, 400, PARAMETER, "Basic (classic) flow is not enabled, please use enhanced flow.", "AllowClassicFlow"),
    (
        GET_TOKEN,
        400,
        PARAMETER,
        "Basic (classic) flow is not supported with RoleMappings, please use enhanced flow.",
        "remove the mappings",
    ),
    (GET_TOKEN, 400, REFUSED, "Access to Identity 'us-east-1:x' is forbidden.", "disabled or merged"),
    (BY_TOKEN, 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", "its principal"),
    (
        BY_TOKEN,
        400,
        "InvalidIdentityToken",
        "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        "another token than GetOpenIdToken's",
    ),
    (BY_TOKEN, 400, "InvalidIdentityToken", "Incorrect token audience", "compare identity_pool_id"),
    (
        BY_TOKEN,
        400,
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account for https://x",
        "must be cognito-identity.amazonaws.com",
    ),
    (
        BY_TOKEN,
        400,
        "ExpiredTokenException",
        "Token expired: current date/time 1589092400 must be before the expiration date/time 1589092129",
        "ten-minute token",
    ),
    (
        BY_TOKEN,
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        "lower duration_seconds",
    ),
    (BY_TOKEN, 400, "PackedPolicyTooLarge", "Serialized token too large for session", "a shorter policy"),
    (BY_TOKEN, 400, "Throttling", "Rate exceeded", "quota"),
];

const ASSUMED: &[Row] = &[
    (
        ASSUME_ROLE,
        403,
        "AccessDenied",
        "User: arn:x is not authorized to perform: sts:AssumeRole on resource: arn:y",
        "the action that the message names",
    ),
    (
        ASSUME_ROLE,
        403,
        "AccessDenied",
        "User: arn:x is not authorized to perform: sts:TagSession on resource: arn:y",
        "the action that the message names",
    ),
    (
        ASSUME_ROLE,
        403,
        "AccessDenied",
        "User: arn:x is not authorized to perform: sts:SetSourceIdentity on resource: arn:y",
        "the action that the message names",
    ),
    (
        ASSUME_ROLE,
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        "lower duration_seconds",
    ),
    (
        ASSUME_ROLE,
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        "3600 at most",
    ),
    (
        ASSUME_ROLE,
        400,
        "PackedPolicyTooLarge",
        "Packed size of session tags consumes 138% of allotted space.",
        "fewer or shorter tags",
    ),
    (ASSUME_ROLE, 403, "ExpiredToken", "The security token included in the request is expired", "own credentials"),
    (ASSUME_ROLE, 400, "Throttling", "Rate exceeded", "quota"),
];

const REFRESHED: &[Row] = &[
    (RENEW, 400, REFUSED, "Invalid Refresh Token.", "remembers devices"),
    (RENEW, 400, REFUSED, "Refresh Token has been revoked", "signed out"),
    (RENEW, 400, REFUSED, "Refresh Token has expired", "how long refresh tokens last"),
    (RENEW, 400, "RefreshTokenReuseException", "Refresh token reuse detected", "look for a thief"),
    (RENEW, 400, REFUSED, "SecretHash does not match for the client: 1example", "the client secret is wrong"),
    (RENEW, 400, REFUSED, "Unable to verify secret hash for client 1example", "the client secret is wrong"),
    (RENEW, 400, REFUSED, "Client 1example is configured for secret but secret was not received", "has a secret"),
    (RENEW, 400, PARAMETER, "REFRESH_TOKEN_AUTH flow not enabled for this client", "ALLOW_REFRESH_TOKEN_AUTH"),
    (RENEW, 400, THROTTLED, "Rate exceeded", "quota"),
];

fn fault(&(operation, status, code, text, _): &Row) -> Fault {
    let form = if operation.starts_with("AssumeRole") { Fault::sts } else { Fault::aws };
    form(status, code, text)
}

async fn told(scene: &Scene, path: impl Fn(usize) -> String, rows: &[Row]) {
    for (number, row) in rows.iter().enumerate() {
        let (operation, _, code, text, hint) = *row;
        scene.proxy.mend();
        scene.proxy.bend(operation, fault(row));
        let told = scene.told();
        let path = path(number);
        let reply = match path.contains("unauthenticated") {
            true => http::get(scene.daemon.address("http").await, &path, &[]).await,
            // Each is somebody new, of whom nothing is known yet.
            false => scene.ask(&path, &stranger(&format!("reader-{number}"))).await,
        };
        let passes = PASSING.contains(&code);
        let wanted = if passes { (503, "UpstreamUnavailable") } else { (403, "UpstreamDenied") };
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (wanted.0, &json!(wanted.1)),
            "{text}: {:?}",
            told.log(&scene.daemon)
        );
        assert!(!reply.body.contains(text) && !reply.body.contains(hint), "it is for the operator: {reply:?}");
        let (cause, reason) = told.refusal(&scene.daemon).await;
        assert_eq!(cause, reason, "{text}");
        assert!(cause.contains(text) && cause.contains(code) && hinted(&cause).contains(hint), "{text}: {cause}");
        assert_eq!(told.audited(&scene.daemon, 1).await[0]["aws_request_id"], json!(REQUEST_ID), "{text}");
    }
}

#[tokio::test]
async fn of_the_enhanced_flow() {
    let guests =
        format!("[profiles.guests]\nidentity_pool_id = \"{GUEST_IDENTITY_POOL_ID}\"\nallow_unauthenticated = true\n");
    let scene = Scene::new(&format!("{IMPATIENT}{RATES}{guests}")).await;
    told(&scene, |number| format!("/v1/unauthenticated/guests/kiosk-{number}"), GUESTS).await;
    told(&scene, |_| "/v1/credentials".to_owned(), ENHANCED).await;
}

#[tokio::test]
async fn of_the_basic_flow() {
    let basic = profile("basic", "basic", BASIC_IDENTITY_POOL_ID, EDITOR_ROLE_ARN, "");
    let scene = Scene::new(&format!("{IMPATIENT}{RATES}{basic}")).await;
    told(&scene, |_| "/v1/credentials/basic".to_owned(), BASIC).await;
}

#[tokio::test]
async fn of_the_flow_that_assumes_a_role() {
    let assumed = profile("assumed", "assume-role", "", ADMIN_ROLE_ARN, "");
    let scene = Scene::new(&format!("{IMPATIENT}{RATES}{assumed}")).await;
    told(&scene, |_| "/v1/credentials/assumed".to_owned(), ASSUMED).await;
}

/// Whoever asks a session hears of its end, or waits for what the operator mends; both logs say what.
#[tokio::test]
async fn of_a_session_whose_login_is_not_renewed() {
    join_all(REFRESHED.iter().map(async |row| {
        let (_, _, code, text, hint) = *row;
        let scene = Scene::new(&format!("{IMPATIENT}[sessions]\naccept_refresh_tokens = true\n")).await;
        scene.proxy.bend(RENEW, fault(row));
        let message = OpenSessionRequest { refresh_token: refresh_token(CLIENT_ID), ..OpenSessionRequest::default() };
        let mut client = scene.grpc().await;
        let session = client.open_session(with(&short(CLIENT_ID, 6), message)).await.unwrap().into_inner();
        let path = format!("/v1/sessions/{}", session.session_id);
        let told = scene.told();
        // What is wrong with the app client is the operator's to mend, and the session waits for that.
        let waits = text.to_lowercase().contains("secret") || [PARAMETER, THROTTLED].contains(&code);
        let wanted = if waits { (503, "UpstreamUnavailable") } else { (404, "NotFound") };
        let ask = async || scene.ask(&path, &session.authorization_token).await;
        until(text, async || ask().await.status == wanted.0).await;
        let (cause, reason) = told.refusal(&scene.daemon).await;
        assert_eq!(cause, reason, "{text}");
        assert!(cause.contains(text) && cause.contains(code) && hinted(&cause).contains(hint), "{text}: {cause}");
        assert_eq!(ask().await.json()["code"], json!(wanted.1), "{text}");
    }))
    .await;
}

/// No hint of the operator's page is left out here.
#[test]
fn of_each_hint_there_is_one() {
    let page = include_str!("../../docs/operations.md");
    let hints: BTreeSet<_> =
        page.lines().filter(|line| line.starts_with("| … ")).filter_map(|line| line.split(" | ").nth(1)).collect();
    let rows = [ENHANCED, GUESTS, BASIC, ASSUMED, REFRESHED].concat();
    let unproven: Vec<_> = hints.iter().filter(|hint| !rows.iter().any(|row| hint.contains(row.4))).collect();
    assert!(hints.len() > 20 && unproven.is_empty(), "{unproven:?}");
}
