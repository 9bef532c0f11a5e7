//! A small Cognito and STS for `cupbearer dev`, tests and benches, on the real wire. Knows no socket and no clock.
//!
//! One user pool, one identity pool and two roles of one account; the constants of this module name them.
//! It checks what AWS checks and answers with AWS's own texts, so that whoever works against it works against AWS.
//!
//! The files, in reading order: `scenario` is who there is; `keys`, `claims` and `user_pool` make tokens; `login` and
//! `identity_pool` turn a token into a role; `sessions` makes the role's credentials; `sigv4` and `sts` prove them by
//! use; `wire` writes AWS's JSON and XML.

mod claims;
mod identity_pool;
mod keys;
mod login;
mod scenario;
mod sessions;
mod sigv4;
mod sts;
#[cfg(test)]
mod tests;
mod user_pool;
mod wire;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::Value;

pub use self::keys::KeyError;
pub use self::scenario::{
    ACCOUNT_ID, ADMIN_ROLE_ARN, AUTHENTICATED_ROLE_ARN, AmbiguousRoleResolution, BROKER_ACCESS_KEY_ID, BROKER_ARN,
    BROKER_SECRET_ACCESS_KEY, CLIENT_ID, EDITOR_ROLE_ARN, IDENTITY_POOL_ID, ISSUER, PASSWORD, PROVIDER, REGION,
    USER_NAMES, USER_POOL_ID,
};

use self::claims::SignIn;
use self::identity_pool::IdentityPool;
use self::scenario::User;
use self::sessions::Sessions;
use self::user_pool::UserPool;
use self::wire::Refusal;

/// The emulator: AWS as far as the scenario goes. It answers from any number of threads at once.
#[derive(Debug)]
pub struct Emulator {
    user_pool: UserPool,
    identity_pool: IdentityPool,
    sessions: Sessions,
}

impl Emulator {
    /// An emulator with fresh keys, so tokens and credentials of another are nothing to it. Takes a tenth of a second
    /// or a few: RSA keys are made.
    pub fn new(ambiguous: AmbiguousRoleResolution) -> Result<Self, KeyError> {
        Ok(Self {
            user_pool: UserPool::new()?,
            identity_pool: IdentityPool::new(ambiguous),
            sessions: Sessions::new()?,
        })
    }

    /// Answers one HTTP request to any of the services. A GET is for a document of the user pool unless it has an
    /// `Action`; a request with `X-Amz-Target` is for Cognito; any other is for STS.
    ///
    /// Whoever reads the request bounds its size.
    pub fn answer(&self, request: Request<Bytes>, now: SystemTime) -> Response<Bytes> {
        let now = wire::epoch(now);
        if let Some(target) = request.headers().get("x-amz-target") {
            return wire::json_reply(self.operation(target.as_bytes(), request.body(), now));
        }
        if request.method() == Method::GET && request.uri().path() != "/" {
            let (path, headers) = (request.uri().path(), request.headers());
            return wire::document(self.user_pool.document(path, headers));
        }
        sts::answer(&request, &self.sessions, now)
    }

    /// A fresh ID token of `user`, good for an hour; `None` when there is no such user.
    pub fn id_token(&self, user: &str, now: SystemTime) -> Option<String> {
        self.sign(&self.id_claims(user, now)?).ok()
    }

    /// The claims of a fresh ID token of `user`, for a test to change before it has them signed.
    pub fn id_claims(&self, user: &str, now: SystemTime) -> Option<Value> {
        Some(SignIn::new(User::by_name(user)?, wire::epoch(now)).id_claims())
    }

    /// A token with whatever claims, signed as ID tokens are: other users, other roles, old tokens.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.user_pool.sign(claims)
    }

    fn operation(&self, target: &[u8], body: &[u8], now: u64) -> Result<Value, Refusal> {
        match target {
            b"AWSCognitoIdentityService.GetId" => self.identity_pool.get_id(&self.user_pool, body, now),
            b"AWSCognitoIdentityService.GetCredentialsForIdentity" => {
                self.identity_pool.get_credentials(&self.user_pool, &self.sessions, body, now)
            }
            b"AWSCognitoIdentityProviderService.InitiateAuth" => self.user_pool.initiate_auth(body, now),
            _ => Err(Refusal::new("UnknownOperationException", String::new())),
        }
    }
}
