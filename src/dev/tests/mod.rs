//! The emulator asked over its wire: every refusal with its text, the role mapping, and credentials proven by use.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use http::StatusCode;
use serde_json::json;

use super::*;

mod assume_role;
mod basic_flow;
mod guests;
mod identity_pool;
mod refresh;
mod sigv4;
mod sts;
mod tags;
mod user_pool;
mod web_identity;

/// Shared, because keys take their time.
static DENY: LazyLock<Emulator> = LazyLock::new(|| Emulator::new(AmbiguousRoleResolution::Deny).expect("keys"));
static DEFAULT: LazyLock<Emulator> =
    LazyLock::new(|| Emulator::new(AmbiguousRoleResolution::AuthenticatedRole).expect("keys"));

/// The time of all tests, a moment in 2026.
const NOW: u64 = 1_795_500_000;

const IDENTITY: &str = "AWSCognitoIdentityService";
const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const USERS: &str = "AWSCognitoIdentityProviderService";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn text(reply: Response<Bytes>) -> (StatusCode, String) {
    let (head, body) = reply.into_parts();
    (head.status, String::from_utf8(body.to_vec()).expect("text"))
}

fn call(emulator: &Emulator, target: &str, body: &Value) -> (StatusCode, Value) {
    let request =
        Request::post("/").header("x-amz-target", target).body(Bytes::from(body.to_string())).expect("request");
    let (status, body) = text(emulator.answer(request, at(NOW)));
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// A call that is refused: status, type and text.
fn refused(emulator: &Emulator, target: &str, body: &Value) -> (u16, String, String) {
    let (status, body) = call(emulator, target, body);
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (status.as_u16(), member("__type"), member("message"))
}

fn get_id(emulator: &Emulator, token: &str) -> String {
    get_id_in(emulator, IDENTITY_POOL_ID, json!({PROVIDER: token}))
}

fn get_id_in(emulator: &Emulator, pool: &str, logins: Value) -> String {
    let body = json!({"IdentityPoolId": pool, "Logins": logins});
    let (status, reply) = call(emulator, &format!("{IDENTITY}.GetId"), &body);
    assert_eq!(status, StatusCode::OK, "{reply}");
    reply["IdentityId"].as_str().expect("an identity").to_owned()
}

fn token(user: &str) -> String {
    DENY.id_token(user, at(NOW)).expect("a token")
}

/// A token of alice with some claims replaced; `null` removes one.
fn altered(changes: Value) -> String {
    let mut claims = DENY.id_claims("alice", at(NOW)).expect("claims");
    let map = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        map.insert(name.clone(), value.clone());
    }
    map.retain(|_, value| !value.is_null());
    DENY.sign(&claims).expect("a token")
}

fn not_authorized(message: &str) -> (u16, String, String) {
    (400, "NotAuthorizedException".to_owned(), message.to_owned())
}

/// A document of DENY.
fn get(path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).header("host", "127.0.0.1:2873").body(Bytes::new()).expect("request");
    let (status, body) = text(DENY.answer(request, at(NOW)));
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// Both calls of the enhanced flow; the credentials as JSON.
fn credentials(emulator: &Emulator, token: &str, custom_role: Option<&str>) -> Value {
    let body = json!({
        "IdentityId": get_id(emulator, token),
        "Logins": {PROVIDER: token},
        "CustomRoleArn": custom_role,
    });
    let (status, reply) = call(emulator, &format!("{IDENTITY}.GetCredentialsForIdentity"), &body);
    assert_eq!(status, StatusCode::OK, "{reply}");
    reply["Credentials"].clone()
}

/// The same as the SDK's type.
fn session(emulator: &Emulator, user: &str) -> Credentials {
    let token = emulator.id_token(user, at(NOW)).expect("a token");
    let reply = credentials(emulator, &token, None);
    let member = |name: &str| reply[name].as_str().expect("text").to_owned();
    let token = Some(member("SessionToken"));
    Credentials::new(member("AccessKeyId"), member("SecretKey"), token, None, "test")
}

/// A form for STS, signed as an SDK signs it.
fn signed(form: &str, credentials: &Credentials, signed_at: u64) -> Request<Bytes> {
    sign_request(Method::POST, "/", form, credentials, at(signed_at), REGION, "sts")
}

fn sign_request(
    method: Method,
    path: &str,
    form: &str,
    credentials: &Credentials,
    signed_at: SystemTime,
    region: &str,
    service: &str,
) -> Request<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:2873")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", "test")
        .body(Bytes::from(form.to_owned()))
        .expect("request");
    let identity = Identity::from(credentials.clone());
    // Some clients sign every header that they send.
    let mut settings = SigningSettings::default();
    settings.excluded_headers = None;
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(signed_at)
        .settings(settings)
        .build()
        .expect("parameters")
        .into();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
    let uri = format!("http://127.0.0.1:2873{path}");
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, body);
    let (instructions, _) = sign(signable.expect("signable"), &params).expect("signed").into_parts();
    for (name, value) in instructions.headers() {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    request
}

/// Status and body of an answer now.
fn answer(request: Request<Bytes>) -> (u16, String) {
    let (status, body) = text(DENY.answer(request, at(NOW)));
    (status.as_u16(), body)
}

/// What stands between the first `<name>` and its end.
fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, rest) = body.split_once(&format!("<{name}>")).unwrap_or_default();
    rest.split_once(&format!("</{name}>")).unwrap_or_default().0
}

fn refusal(request: Request<Bytes>) -> (u16, String, String) {
    let (status, body) = answer(request);
    (status, element(&body, "Code").to_owned(), element(&body, "Message").to_owned())
}

/// The credentials in a reply of STS.
fn assumed(body: &str) -> Credentials {
    let member = |name| element(body, name).to_owned();
    let token = Some(member("SessionToken"));
    Credentials::new(member("AccessKeyId"), member("SecretAccessKey"), token, None, "test")
}

/// What DENY says of a session.
fn described(credentials: &Credentials) -> Value {
    DENY.describe_session(credentials.session_token().expect("a token")).expect("a session")
}

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A form that nobody has signed.
fn unsigned(form: String) -> Request<Bytes> {
    Request::post("/").body(Bytes::from(form)).expect("request")
}

/// AssumeRole as `signer`, with parameters besides its session name.
fn assume(signer: &Credentials, role: &str, pairs: &[(&str, &str)]) -> Request<Bytes> {
    let fixed = [("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role), ("RoleSessionName", "test")];
    signed(&form(&[&fixed, pairs].concat()), signer, NOW)
}

/// The API's own role, as a container has it.
fn api() -> Credentials {
    let (_, reply) = get(API_ROLE_PATH);
    let member = |name: &str| reply[name].as_str().expect("text").to_owned();
    Credentials::new(member("AccessKeyId"), member("SecretAccessKey"), Some(member("Token")), None, "test")
}

fn broker() -> Credentials {
    Credentials::new(BROKER_ACCESS_KEY_ID, BROKER_SECRET_ACCESS_KEY, None, None, "test")
}

#[test]
fn an_emulator_serves_many_threads_and_prints_no_secret() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&*DENY);
    let printed = format!("{:?}", *DENY);
    assert!(printed.contains("kid") && printed.len() < 500, "{printed}");
}

#[test]
fn unknown_operations_are_refused_as_by_aws() {
    for target in [format!("{IDENTITY}.ListIdentities"), format!("{USERS}.SignUp"), "x".to_owned()] {
        let refusal = refused(&DENY, &target, &json!({}));
        assert_eq!(refusal, (400, "UnknownOperationException".to_owned(), String::new()));
    }
}
