//! A small Cognito and STS for `cupbearer dev`, tests and benches, on the real wire. Knows no socket and no clock.
//!
//! One user pool with two app clients, four identity pools and six roles of one account; the constants of this module
//! name them. It checks what AWS checks and answers with AWS's own texts, so that whoever works against it works
//! against AWS.
//!
//! The files, in reading order: `scenario`, `pools` and `iam` are who there is, and who trusts whom; `keys`, `claims`,
//! `seal`, `refresh` and `user_pool` make tokens, `sign_in` hands them out; `jwt`, `login` and `identities` tell whose a
//! token is, `identity_pool` turns it into a role or, by `identity_token`, into another token; `sessions` makes the
//! role's credentials; `sigv4` and `sts` prove them by use, and make others; `wire` writes AWS's JSON and XML.

mod claims;
mod iam;
mod identities;
mod identity_pool;
mod identity_token;
mod jwt;
mod keys;
mod login;
mod pools;
mod refresh;
mod scenario;
mod seal;
mod sessions;
mod sign_in;
mod sigv4;
mod sts;
#[cfg(test)]
mod tests;
mod user_pool;
mod wire;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response};
use secrecy::SecretString;
use serde_json::Value;

pub use self::iam::{
    ADMIN_ROLE_ARN, API_ROLE_ARN, BROKER_ACCESS_KEY_ID, BROKER_ARN, BROKER_SECRET_ACCESS_KEY, EDITOR_ROLE_ARN,
    EXTERNAL_ID, EXTERNAL_ROLE_ARN, GUEST_ROLE_ARN, UNTAGGED_ROLE_ARN,
};
pub use self::identity_token::IDENTITY_ISSUER;
pub use self::keys::KeyError;
pub use self::pools::{
    AUTHENTICATED_ROLE_ARN, AmbiguousRoleResolution, BASIC_IDENTITY_POOL_ID, CLASSIC_OFF_IDENTITY_POOL_ID,
    GUEST_IDENTITY_POOL_ID, IDENTITY_POOL_ID,
};
pub use self::scenario::{
    ACCOUNT_ID, CLIENT_ID, ISSUER, PASSWORD, PROVIDER, REGION, ROTATING_CLIENT_ID, ROTATING_CLIENT_SECRET, USER_NAMES,
    USER_POOL_ID,
};

use self::claims::SignIn;
use self::identity_pool::IdentityPools;
use self::scenario::{AppClient, CLIENT, User};
use self::sessions::{Grant, Session, Sessions};
use self::user_pool::UserPool;
use self::wire::Refusal;

/// Where the emulator serves the credentials of [`API_ROLE_ARN`], as ECS and EKS serve a container's: a value of
/// `AWS_CONTAINER_CREDENTIALS_FULL_URI` ends with it.
pub const API_ROLE_PATH: &str = "/api-role-credentials";

/// The emulator: AWS as far as the scenario goes. It answers from any number of threads at once.
#[derive(Debug)]
pub struct Emulator {
    user_pool: UserPool,
    identity_pools: IdentityPools,
    sessions: Sessions,
}

impl Emulator {
    /// An emulator with fresh keys, so tokens and credentials of another are nothing to it. Takes a tenth of a second
    /// or a few: RSA keys are made. The role mapping of [`IDENTITY_POOL_ID`] does `ambiguous` with users like carol.
    pub fn new(ambiguous: AmbiguousRoleResolution) -> Result<Self, KeyError> {
        Ok(Self {
            user_pool: UserPool::new()?,
            identity_pools: IdentityPools::new(ambiguous)?,
            sessions: Sessions::new()?,
        })
    }

    /// Answers one HTTP request to any of the services. A GET is for a document unless it has an `Action`; a request
    /// with `X-Amz-Target` is for Cognito; any other is for STS.
    ///
    /// Whoever reads the request bounds its size.
    pub fn answer(&self, request: Request<Bytes>, now: SystemTime) -> Response<Bytes> {
        let now = wire::epoch(now);
        if let Some(target) = request.headers().get("x-amz-target") {
            let signed = self.administrative(target.as_bytes(), &request, now);
            let answer = signed.unwrap_or_else(|| self.operation(target.as_bytes(), request.body(), now));
            return wire::json_reply(answer);
        }
        if request.method() == Method::GET && request.uri().path() != "/" {
            return self.document(&request, now);
        }
        sts::answer(&request, &self.sessions, self.identity_pools.tokens(), now)
    }

    /// A fresh ID token of `user`, good for an hour; `None` when there is no such user.
    pub fn id_token(&self, user: &str, now: SystemTime) -> Option<String> {
        self.sign(&self.id_claims(user, now)?).ok()
    }

    /// The claims of a fresh ID token of `user`, for a test to change before it has them signed.
    pub fn id_claims(&self, user: &str, now: SystemTime) -> Option<Value> {
        let now = wire::epoch(now);
        Some(SignIn::new(User::by_name(user)?, CLIENT, now).id_claims(now))
    }

    /// A token with whatever claims, signed as ID tokens are: other users, other roles, old tokens.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.user_pool.sign(claims)
    }

    /// The refresh token of a fresh sign-in of `user` to the app client, good for 30 days; `None` when there is no such
    /// user or client.
    pub fn refresh_token(&self, user: &str, client_id: &str, now: SystemTime) -> Option<String> {
        let (user, client) = (User::by_name(user)?, AppClient::by_id(client_id)?);
        sign_in::refresh_token(&self.user_pool, user, client, wire::epoch(now)).ok()
    }

    /// Fresh credentials of [`API_ROLE_ARN`], good for six hours as a container's are: access key id, secret access
    /// key and session token. Calling AssumeRole with them is role chaining.
    pub fn api_role_credentials(&self, now: SystemTime) -> Result<(String, SecretString, SecretString), KeyError> {
        let Session { access_key_id, secret, token, .. } = self.api_role(wire::epoch(now))?;
        Ok((access_key_id, secret, token))
    }

    /// What a session of any role was given, told by its session token: `arn`, `role_arn`, `session_name`, `expires`,
    /// `tags`, `transitive_tag_keys`, `source_identity`, `policy`, `policy_arns`. `None` when it is none of ours.
    pub fn describe_session(&self, session_token: &str) -> Option<Value> {
        self.sessions.known(session_token).map(|session| session.description())
    }

    fn api_role(&self, now: u64) -> Result<Session, KeyError> {
        self.sessions.issue(&iam::API_ROLE, API_SESSION_NAME, now.saturating_add(API_SECONDS), Grant::default())
    }

    fn document(&self, request: &Request<Bytes>, now: u64) -> Response<Bytes> {
        match request.uri().path() {
            API_ROLE_PATH => {
                let credentials = self.api_role(now).map(|session| session.container_credentials());
                let credentials = credentials.map_err(|_| Refusal::internal("InternalServerException"));
                wire::document(credentials, wire::NOT_KEPT)
            }
            "/.well-known/jwks_uri" => wire::document(Ok(self.identity_pools.tokens().key_set()), wire::KEPT_A_DAY),
            path => wire::document(self.user_pool.document(path, request.headers()), wire::KEPT_A_DAY),
        }
    }

    /// The operations of an operator, which have to be signed.
    fn administrative(&self, target: &[u8], request: &Request<Bytes>, now: u64) -> Option<Result<Value, Refusal>> {
        let answer = match target {
            b"AWSCognitoIdentityService.DescribeIdentityPool" => IdentityPools::describe,
            b"AWSCognitoIdentityService.GetIdentityPoolRoles" => IdentityPools::roles,
            _ => return None,
        };
        let signer = sigv4::signer(request, "cognito-identity", &self.sessions, now);
        Some(signer.and_then(|_anybody| answer(&self.identity_pools, request.body())))
    }

    fn operation(&self, target: &[u8], body: &[u8], now: u64) -> Result<Value, Refusal> {
        let (users, pools) = (&self.user_pool, &self.identity_pools);
        match target {
            b"AWSCognitoIdentityService.GetId" => pools.get_id(users, body, now),
            b"AWSCognitoIdentityService.GetOpenIdToken" => pools.get_open_id_token(users, body, now),
            b"AWSCognitoIdentityService.GetCredentialsForIdentity" => {
                pools.get_credentials(users, &self.sessions, body, now)
            }
            b"AWSCognitoIdentityProviderService.InitiateAuth" => sign_in::initiate_auth(users, body, now),
            b"AWSCognitoIdentityProviderService.GetTokensFromRefreshToken" => sign_in::get_tokens(users, body, now),
            b"AWSCognitoIdentityProviderService.RevokeToken" => sign_in::revoke_token(users, body),
            _ => Err(Refusal::new("UnknownOperationException", String::new())),
        }
    }
}

/// ECS names the sessions of a task by a number like this.
const API_SESSION_NAME: &str = "0c5f2a9e7d1b4c38a6e0f9b2d4c71e83";
const API_SECONDS: u64 = 6 * 3600;
