//! The identity pools' operations: GetId, GetOpenIdToken, and GetCredentialsForIdentity with role mapping. Knows no HTTP.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::iam::Role;
use super::identities::{Bearer, Identities};
use super::identity_token::{self, IdentityTokens};
use super::keys::KeyError;
use super::login::{self, Login};
use super::pools::{AUTHENTICATED_ROLE_ARN, AmbiguousRoleResolution, Pool};
use super::scenario::{AppClient, PROVIDER};
use super::sessions::{Grant, Sessions};
use super::user_pool::UserPool;
use super::wire::Refusal;

/// All identity pools of the account; a request's ids say which one is meant.
#[derive(Debug)]
pub(crate) struct IdentityPools {
    ambiguous: AmbiguousRoleResolution,
    identities: Identities,
    tokens: IdentityTokens,
}

impl IdentityPools {
    /// Pools that nobody has signed in to.
    pub(crate) fn new(ambiguous: AmbiguousRoleResolution) -> Result<Self, KeyError> {
        Ok(Self { ambiguous, identities: Identities::new(), tokens: IdentityTokens::new()? })
    }

    /// Those who issue the tokens of the basic flow.
    pub(crate) fn tokens(&self) -> &IdentityTokens {
        &self.tokens
    }

    /// The operation GetId.
    pub(crate) fn get_id(&self, users: &UserPool, body: &[u8], now: u64) -> Result<Value, Refusal> {
        let request: GetId = parse(body)?;
        let pool = known(request.identity_pool_id.as_deref())?;
        let identity = match login::check(users, &request.logins.unwrap_or_default(), now)? {
            Some(login) => self.identities.of_user(pool, &login),
            None if pool.guests.is_some() => self.identities.of_guest(pool),
            None => {
                let message = "Unauthenticated access is not supported for this identity pool.";
                return Err(Refusal::not_authorized(message));
            }
        };
        Ok(json!({"IdentityId": identity}))
    }

    /// The operation GetOpenIdToken: the basic (classic) flow.
    pub(crate) fn get_open_id_token(&self, users: &UserPool, body: &[u8], now: u64) -> Result<Value, Refusal> {
        let request: GetOpenIdToken = parse(body)?;
        let identity = id(request.identity_id.as_deref(), "identityId")?;
        let bearer = self.bearer(users, identity, request.logins, now)?;
        let refused = |why| {
            let message = format!("Basic (classic) flow is not {why}, please use enhanced flow.");
            Err(Refusal::new("InvalidParameterException", message))
        };
        match bearer.pool {
            Pool { maps_roles: true, .. } => return refused("supported with RoleMappings"),
            Pool { classic: false, .. } => return refused("enabled"),
            _ => {}
        }
        let token = self.tokens.issue(identity, &bearer, now).map_err(|_| failed())?;
        Ok(json!({"IdentityId": identity, "Token": token}))
    }

    /// The operation GetCredentialsForIdentity: the enhanced flow.
    pub(crate) fn get_credentials(
        &self,
        users: &UserPool,
        sessions: &Sessions,
        body: &[u8],
        now: u64,
    ) -> Result<Value, Refusal> {
        let request: GetCredentialsForIdentity = parse(body)?;
        let identity = id(request.identity_id.as_deref(), "identityId")?;
        let custom_role = request.custom_role_arn.as_deref();
        if let Some(arn) = custom_role {
            check_length(arn)?;
        }
        let bearer = self.bearer(users, identity, request.logins, now)?;
        let role = self.role(&bearer, custom_role)?;
        let session = sessions
            .issue(role, SESSION_NAME, now.saturating_add(CREDENTIALS_SECONDS), Grant::default())
            .map_err(|_| failed())?;
        Ok(json!({
            "Credentials": {
                "AccessKeyId": session.access_key_id,
                // A number with a fraction, as AWS writes it.
                "Expiration": session.expires as f64,
                "SecretKey": session.secret(),
                "SessionToken": session.token(),
            },
            "IdentityId": identity,
        }))
    }

    /// The operation DescribeIdentityPool.
    pub(crate) fn describe(&self, body: &[u8]) -> Result<Value, Refusal> {
        let pool = known(parse::<AboutPool>(body)?.identity_pool_id.as_deref())?;
        let provider =
            |client: &AppClient| json!({"ProviderName": PROVIDER, "ClientId": client.id, "ServerSideTokenCheck": true});
        Ok(json!({
            "IdentityPoolId": pool.id,
            "IdentityPoolName": "cupbearer-dev",
            "AllowUnauthenticatedIdentities": pool.guests.is_some(),
            "AllowClassicFlow": pool.classic,
            "CognitoIdentityProviders": AppClient::all().iter().map(provider).collect::<Vec<_>>(),
        }))
    }

    /// The operation GetIdentityPoolRoles.
    pub(crate) fn roles(&self, body: &[u8]) -> Result<Value, Refusal> {
        let pool = known(parse::<AboutPool>(body)?.identity_pool_id.as_deref())?;
        let default = [("authenticated", pool.users), ("unauthenticated", pool.guests)];
        let roles =
            default.iter().filter_map(|(kind, role)| Some(((*kind).to_owned(), Value::from(role.as_ref()?.arn))));
        let ambiguous = match self.ambiguous {
            AmbiguousRoleResolution::Deny => "Deny",
            AmbiguousRoleResolution::AuthenticatedRole => "AuthenticatedRole",
        };
        let mapping = |client: &AppClient| {
            (format!("{PROVIDER}:{}", client.id), json!({"Type": "Token", "AmbiguousRoleResolution": ambiguous}))
        };
        let mappings = AppClient::all().iter().filter(|_| pool.maps_roles).map(mapping);
        Ok(json!({
            "IdentityPoolId": pool.id,
            "Roles": roles.collect::<Map<String, Value>>(),
            "RoleMappings": mappings.collect::<Map<String, Value>>(),
        }))
    }

    fn bearer(&self, users: &UserPool, identity: &str, logins: Option<Logins>, now: u64) -> Result<Bearer, Refusal> {
        let login = login::check(users, &logins.unwrap_or_default(), now)?;
        self.identities.bearer(identity, login)
    }

    /// The role of the bearer, if it trusts the pool.
    fn role(&self, bearer: &Bearer, custom: Option<&str>) -> Result<&'static Role, Refusal> {
        let pool = bearer.pool;
        let role = match (&bearer.login, custom) {
            (Some(login), _) if pool.maps_roles => Role::by_arn(self.mapped(login, custom)?),
            // What AWS does where no role can be chosen is not documented.
            (_, Some(custom)) => return Err(forbidden(custom)),
            (Some(_), None) => pool.users,
            (None, None) => pool.guests,
        };
        role.filter(|role| role.trust.takes_token(pool.id, &identity_token::amr(bearer))).ok_or_else(|| {
            let message = "Invalid identity pool configuration. Check assigned IAM roles for this pool.";
            Refusal::new("InvalidIdentityPoolConfigurationException", message)
        })
    }

    /// The role mapping `Token` (Cognito developer guide, "Using tokens to assign roles to users").
    fn mapped<'a>(&self, login: &'a Login, custom: Option<&'a str>) -> Result<&'a str, Refusal> {
        match (custom, login.claims.get("cognito:preferred_role").and_then(Value::as_str)) {
            (Some(custom), _) if lists(&login.claims, custom) => Ok(custom),
            (Some(custom), _) => Err(forbidden(custom)),
            (None, Some(preferred)) => Ok(preferred),
            (None, None) => self.ambiguous(login),
        }
    }

    fn ambiguous(&self, login: &Login) -> Result<&'static str, Refusal> {
        match self.ambiguous {
            AmbiguousRoleResolution::AuthenticatedRole => Ok(AUTHENTICATED_ROLE_ARN),
            AmbiguousRoleResolution::Deny => Err(Refusal::not_authorized(format!(
                "The ambiguous role mapping rules for: {PROVIDER}:{} denied this request.",
                login.client.id
            ))),
        }
    }
}

/// How long credentials are good for, in seconds; the enhanced flow has no other.
const CREDENTIALS_SECONDS: u64 = 3600;

/// What AWS calls every session of the enhanced flow.
const SESSION_NAME: &str = "CognitoIdentityCredentials";

type Logins = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AboutPool {
    identity_pool_id: Option<String>,
}

/// No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetId {
    identity_pool_id: Option<String>,
    logins: Option<Logins>,
}

/// No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetOpenIdToken {
    identity_id: Option<String>,
    logins: Option<Logins>,
}

/// No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCredentialsForIdentity {
    identity_id: Option<String>,
    logins: Option<Logins>,
    custom_role_arn: Option<String>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::new("SerializationException", String::new()))
}

fn known(pool: Option<&str>) -> Result<&'static Pool, Refusal> {
    let pool = id(pool, "identityPoolId")?;
    Pool::by_id(pool).ok_or_else(|| {
        let message = format!("IdentityPool '{pool}' not found.");
        Refusal::new("ResourceNotFoundException", message)
    })
}

/// `value`, if it has the form `REGION:GUID` of both kinds of ids.
fn id<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Refusal> {
    let fault = |rule| Err(Refusal::constraint("ValidationException", value, name, rule));
    let Some(id) = value else {
        return fault("Member must not be null");
    };
    let matches = id.split_once(':').is_some_and(|(region, guid)| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
        !region.is_empty() && !guid.is_empty() && region.bytes().all(word) && guid.bytes().all(hex)
    });
    match id.len() {
        _ if !matches => fault("Member must satisfy regular expression pattern: [\\w-]+:[0-9a-f-]+"),
        56.. => fault("Member must have length less than or equal to 55"),
        _ => Ok(id),
    }
}

fn check_length(arn: &str) -> Result<(), Refusal> {
    let rule = match arn.len() {
        ..20 => "Member must have length greater than or equal to 20",
        20..=2048 => return Ok(()),
        _ => "Member must have length less than or equal to 2048",
    };
    Err(Refusal::constraint("ValidationException", Some(arn), "customRoleArn", rule))
}

/// The kind of error is documented, its text is not: these are Cognito's words for other role faults.
fn forbidden(role: &str) -> Refusal {
    Refusal::not_authorized(format!("Access to Role '{role}' is forbidden."))
}

fn failed() -> Refusal {
    Refusal::internal("InternalErrorException")
}

fn lists(claims: &Map<String, Value>, role: &str) -> bool {
    claims.get("cognito:roles").and_then(Value::as_array).is_some_and(|roles| roles.iter().any(|listed| listed == role))
}
