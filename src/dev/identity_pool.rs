//! The identity pool: GetId and GetCredentialsForIdentity, with role mapping. Knows no HTTP.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::login::{self, Login};
use super::scenario::{
    AUTHENTICATED_ROLE_ARN, AmbiguousRoleResolution, CLIENT_ID, IDENTITY_POOL_ID, ISSUER, PROVIDER, REGION, Role,
};
use super::sessions::Sessions;
use super::user_pool::UserPool;
use super::wire::{self, Refusal};

/// The identity pool of the scenario, with the role mapping `Token`.
pub(crate) struct IdentityPool {
    ambiguous: AmbiguousRoleResolution,
    /// Identities that GetId has named, so that someone else's is told from one that there is not. Beyond
    /// [`KNOWN_LIMIT`] none is added: a user's own identity needs no memory, it follows from the token.
    known: Mutex<HashSet<String>>,
}

impl IdentityPool {
    /// A pool that nobody has signed in to.
    pub(crate) fn new(ambiguous: AmbiguousRoleResolution) -> Self {
        Self { ambiguous, known: Mutex::default() }
    }

    /// The operation GetId.
    pub(crate) fn get_id(&self, users: &UserPool, body: &[u8], now: u64) -> Result<Value, Refusal> {
        let request: GetId = parse(body)?;
        let pool = id(request.identity_pool_id.as_deref(), "identityPoolId")?;
        if pool != IDENTITY_POOL_ID {
            let message = format!("IdentityPool '{pool}' not found.");
            return Err(Refusal::new("ResourceNotFoundException", message));
        }
        let login = login::check(users, &request.logins.unwrap_or_default(), now)?.ok_or_else(|| {
            let message = "Unauthenticated access is not supported for this identity pool.";
            Refusal::not_authorized(message)
        })?;
        let identity = identity_of(&login);
        self.remember(&identity);
        Ok(json!({"IdentityId": identity}))
    }

    /// The operation GetCredentialsForIdentity.
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
        let login = login::check(users, &request.logins.unwrap_or_default(), now)?;
        let login = self.owner(identity, login)?;
        let role = self.role(&login.claims, custom_role)?;
        let session = sessions
            .issue(role, SESSION_NAME, now.saturating_add(CREDENTIALS_SECONDS))
            .map_err(|_| Refusal::internal("InternalErrorException"))?;
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

    /// The login, if it is that of `identity`'s user.
    fn owner(&self, identity: &str, login: Option<Login>) -> Result<Login, Refusal> {
        match login {
            Some(login) if identity_of(&login) == identity => Ok(login),
            _ if !self.is_known(identity) => {
                let message = format!("Identity '{identity}' not found.");
                Err(Refusal::new("ResourceNotFoundException", message))
            }
            Some(_) => Err(Refusal::not_authorized(
                "Logins don't match. Please include at least one valid login for this identity or identity pool.",
            )),
            None => Err(Refusal::not_authorized(format!("Access to Identity '{identity}' is forbidden."))),
        }
    }

    /// The role mapping `Token` (Cognito developer guide, "Using tokens to assign roles to users").
    fn role(&self, claims: &Map<String, Value>, custom: Option<&str>) -> Result<&'static Role, Refusal> {
        let arn = match (custom, claims.get("cognito:preferred_role").and_then(Value::as_str)) {
            (Some(custom), _) if lists(claims, custom) => custom,
            (Some(custom), _) => {
                // The kind of error is documented, its text is not: these are Cognito's words for other role faults.
                let message = format!("Access to Role '{custom}' is forbidden.");
                return Err(Refusal::not_authorized(message));
            }
            (None, Some(preferred)) => preferred,
            (None, None) => self.ambiguous()?,
        };
        Role::by_arn(arn).ok_or_else(|| {
            let message = "Invalid identity pool configuration. Check assigned IAM roles for this pool.";
            Refusal::new("InvalidIdentityPoolConfigurationException", message)
        })
    }

    fn ambiguous(&self) -> Result<&'static str, Refusal> {
        match self.ambiguous {
            AmbiguousRoleResolution::AuthenticatedRole => Ok(AUTHENTICATED_ROLE_ARN),
            AmbiguousRoleResolution::Deny => Err(Refusal::not_authorized(format!(
                "The ambiguous role mapping rules for: {PROVIDER}:{CLIENT_ID} denied this request."
            ))),
        }
    }

    fn remember(&self, identity: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN_LIMIT && !known.contains(identity) {
            known.insert(identity.to_owned());
        }
    }

    fn is_known(&self, identity: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(identity)
    }
}

impl fmt::Debug for IdentityPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityPool").field("ambiguous", &self.ambiguous).finish_non_exhaustive()
    }
}

/// How long credentials are good for, in seconds; the enhanced flow has no other.
const CREDENTIALS_SECONDS: u64 = 3600;

/// What AWS calls every session of the enhanced flow.
const SESSION_NAME: &str = "CognitoIdentityCredentials";

/// Some 10 MB.
const KNOWN_LIMIT: usize = 100_000;

/// No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetId {
    identity_pool_id: Option<String>,
    logins: Option<BTreeMap<String, String>>,
}

/// No `Debug`: it holds tokens.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetCredentialsForIdentity {
    identity_id: Option<String>,
    logins: Option<BTreeMap<String, String>>,
    custom_role_arn: Option<String>,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::new("SerializationException", String::new()))
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

/// Stable for a user of this pool, across processes too: a digest of what makes the user.
fn identity_of(login: &Login) -> String {
    let user = [IDENTITY_POOL_ID, ISSUER, &login.subject].join("\n");
    let digest = digest::digest(&digest::SHA256, user.as_bytes());
    let mut guid = [0; 16];
    guid.copy_from_slice(&digest.as_ref()[..16]);
    format!("{REGION}:{}", wire::guid(guid))
}

fn lists(claims: &Map<String, Value>, role: &str) -> bool {
    claims.get("cognito:roles").and_then(Value::as_array).is_some_and(|roles| roles.iter().any(|listed| listed == role))
}
