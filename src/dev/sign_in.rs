//! Signing in, staying signed in, and out: InitiateAuth, GetTokensFromRefreshToken, RevokeToken. Knows no claim and no HTTP.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::claims::SignIn;
use super::keys::KeyError;
use super::scenario::{AppClient, PASSWORD, User};
use super::user_pool::UserPool;
use super::wire::Refusal;

/// The operation InitiateAuth, with USER_PASSWORD_AUTH, and REFRESH_TOKEN_AUTH where refresh tokens do not rotate.
pub(crate) fn initiate_auth(pool: &UserPool, body: &[u8], now: u64) -> Result<Value, Refusal> {
    let request: InitiateAuth = parse(body)?;
    let client = client(Some(&request.client_id))?;
    let parameters = &request.auth_parameters;
    let result = match request.auth_flow.as_str() {
        "USER_PASSWORD_AUTH" => by_password(pool, client, parameters, now)?,
        "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN" if !client.rotates => {
            refreshed(pool, client, parameter(parameters, "REFRESH_TOKEN")?, now)?
        }
        flow => {
            let message = format!("{flow} flow not enabled for this client");
            return Err(Refusal::new(INVALID, message));
        }
    };
    Ok(json!({"AuthenticationResult": result, "ChallengeParameters": {}}))
}

/// The operation GetTokensFromRefreshToken.
pub(crate) fn get_tokens(pool: &UserPool, body: &[u8], now: u64) -> Result<Value, Refusal> {
    let request: GetTokensFromRefreshToken = parse(body)?;
    let token = required(request.refresh_token.as_deref(), "refreshToken")?;
    let client = client(request.client_id.as_deref())?;
    let id = client.id;
    match (client.secret, request.client_secret) {
        (Some(secret), Some(given)) if given != secret => {
            return Err(Refusal::not_authorized(format!("Unable to verify secret hash for client {id}")));
        }
        (Some(_), None) => {
            let message = format!("Client {id} is configured for secret but secret was not received");
            return Err(Refusal::not_authorized(message));
        }
        // A secret that is not needed does no harm.
        _ => {}
    }
    Ok(json!({"AuthenticationResult": refreshed(pool, client, token, now)?}))
}

/// The operation RevokeToken. A token that was never issued is as good as revoked (RFC 7009, section 2.2).
pub(crate) fn revoke_token(pool: &UserPool, body: &[u8]) -> Result<Value, Refusal> {
    let request: RevokeToken = parse(body)?;
    let token = required(request.token.as_deref(), "token")?;
    let client = client(request.client_id.as_deref())?;
    if client.secret.is_some() && request.client_secret.as_deref() != client.secret {
        // The kind of error is documented, its text is not.
        let message = "Invalid client secret.".to_owned();
        return Err(Refusal { status: StatusCode::UNAUTHORIZED, code: "UnauthorizedException", message });
    }
    if !pool.refresh_tokens().revoke(token, client) && token.split('.').count() == SIGNED_PARTS {
        // ID and access tokens cannot be revoked by themselves. This text too is ours.
        let message = "Only refresh tokens can be revoked.";
        return Err(Refusal::new("UnsupportedTokenTypeException", message));
    }
    Ok(json!({}))
}

/// The refresh token of a sign-in of `user` to `client`.
pub(crate) fn refresh_token(
    pool: &UserPool,
    user: &'static User,
    client: &'static AppClient,
    now: u64,
) -> Result<String, KeyError> {
    pool.refresh_tokens().issue(&SignIn::new(user, client, now))
}

/// The code of most refusals of user pools.
const INVALID: &str = "InvalidParameterException";

/// Header, claims and signature; refresh tokens have five parts.
const SIGNED_PARTS: usize = 3;

/// No `Debug`: it holds a password.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitiateAuth {
    auth_flow: String,
    client_id: String,
    #[serde(default)]
    auth_parameters: Value,
}

/// No `Debug`: it holds a token.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetTokensFromRefreshToken {
    refresh_token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// No `Debug`: it holds a token.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RevokeToken {
    token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::new("SerializationException", String::new()))
}

fn client(id: Option<&str>) -> Result<&'static AppClient, Refusal> {
    let id = required(id, "clientId")?;
    AppClient::by_id(id).ok_or_else(|| {
        let message = format!("User pool client {id} does not exist.");
        Refusal::new("ResourceNotFoundException", message)
    })
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Refusal> {
    value.ok_or_else(|| Refusal::constraint(INVALID, None, name, "Member must not be null"))
}

fn parameter<'a>(parameters: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    parameters[name].as_str().ok_or_else(|| {
        let message = format!("Missing required parameter {name}");
        Refusal::new(INVALID, message)
    })
}

fn by_password(pool: &UserPool, client: &'static AppClient, parameters: &Value, now: u64) -> Result<Value, Refusal> {
    let name = parameter(parameters, "USERNAME")?;
    let password = parameter(parameters, "PASSWORD")?;
    check_secret_hash(client, name, parameters["SECRET_HASH"].as_str())?;
    // One text for an unknown user and a wrong password, as app clients have it by default.
    let user = User::by_name(name)
        .filter(|_| password == PASSWORD)
        .ok_or_else(|| Refusal::not_authorized("Incorrect username or password."))?;
    let sign_in = SignIn::new(user, client, now);
    let refresh = pool.refresh_tokens().issue(&sign_in);
    refresh.and_then(|refresh| pool.tokens(&sign_in, Some(refresh), now)).map_err(|_| failed())
}

fn refreshed(pool: &UserPool, client: &AppClient, token: &str, now: u64) -> Result<Value, Refusal> {
    let (sign_in, next) = pool.refresh_tokens().redeem(token, client, now)?;
    pool.tokens(&sign_in, next, now).map_err(|_| failed())
}

/// `SECRET_HASH`: the client's secret as InitiateAuth is given it.
fn check_secret_hash(client: &AppClient, user: &str, given: Option<&str>) -> Result<(), Refusal> {
    let id = client.id;
    let Some(secret) = client.secret else {
        return Ok(());
    };
    let given = given.ok_or_else(|| {
        let message = format!("Client {id} is configured with secret but SECRET_HASH was not received");
        Refusal::not_authorized(message)
    })?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    if given == STANDARD.encode(hmac::sign(&key, format!("{user}{id}").as_bytes())) {
        Ok(())
    } else {
        Err(Refusal::not_authorized(format!("Unable to verify secret hash for client {id}")))
    }
}

fn failed() -> Refusal {
    Refusal::internal("InternalErrorException")
}
