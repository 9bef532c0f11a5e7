//! The user pool: its keys and documents, its tokens, and signing in. Knows nothing of roles' meaning or credentials.

use http::HeaderMap;
use http::header::HOST;
use serde::Deserialize;
use serde_json::{Value, json};

use super::claims::{SignIn, TOKEN_SECONDS};
use super::keys::{KeyError, SigningKey};
use super::scenario::{CLIENT_ID, ISSUER, PASSWORD, USER_POOL_ID, User};
use super::wire::Refusal;

/// A user pool with the users of the scenario.
#[derive(Debug)]
pub(crate) struct UserPool {
    /// Two keys, as every Cognito user pool has: one signs ID tokens, the other access tokens.
    id_key: SigningKey,
    access_key: SigningKey,
}

impl UserPool {
    /// Makes the pool's two keys.
    pub(crate) fn new() -> Result<Self, KeyError> {
        Ok(Self { id_key: SigningKey::generate()?, access_key: SigningKey::generate()? })
    }

    /// The document at `/<pool>/.well-known/<name>`.
    pub(crate) fn document(&self, path: &str, headers: &HeaderMap) -> Result<Value, Refusal> {
        let not_found = || Refusal {
            status: http::StatusCode::NOT_FOUND,
            code: "NotFound",
            message: "There is nothing here.".to_owned(),
        };
        let (pool, name) =
            path.strip_prefix('/').and_then(|path| path.split_once("/.well-known/")).ok_or_else(not_found)?;
        if pool != USER_POOL_ID {
            let message = format!("User pool {pool} does not exist.");
            return Err(Refusal::new("ResourceNotFoundException", message));
        }
        match name {
            "jwks.json" => Ok(json!({"keys": [self.id_key.jwk(), self.access_key.jwk()]})),
            "openid-configuration" => Ok(openid_configuration(headers)),
            _ => Err(not_found()),
        }
    }

    /// The operation InitiateAuth with the flow USER_PASSWORD_AUTH; there are no refresh tokens.
    pub(crate) fn initiate_auth(&self, body: &[u8], now: u64) -> Result<Value, Refusal> {
        let request: InitiateAuth =
            serde_json::from_slice(body).map_err(|_| Refusal::new("SerializationException", String::new()))?;
        if request.client_id != CLIENT_ID {
            let message = format!("User pool client {} does not exist.", request.client_id);
            return Err(Refusal::new("ResourceNotFoundException", message));
        }
        if request.auth_flow != "USER_PASSWORD_AUTH" {
            let message = format!("{} flow not enabled for this client", request.auth_flow);
            return Err(Refusal::new("InvalidParameterException", message));
        }
        let name = parameter(&request.auth_parameters, "USERNAME")?;
        let password = parameter(&request.auth_parameters, "PASSWORD")?;
        // One text for an unknown user and a wrong password, as app clients have it by default.
        let user = User::by_name(name)
            .filter(|_| password == PASSWORD)
            .ok_or_else(|| Refusal::not_authorized("Incorrect username or password."))?;
        self.signed_in(&SignIn::new(user, now)).map_err(|_| Refusal::internal("InternalErrorException"))
    }

    /// A token with these claims, signed as ID tokens are.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.id_key.sign(claims)
    }

    /// Whether one of the pool's keys, the one called `kid`, made `signature` over `message`.
    pub(crate) fn verifies(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        [&self.id_key, &self.access_key].into_iter().any(|key| key.kid() == kid && key.verifies(message, signature))
    }

    fn signed_in(&self, sign_in: &SignIn) -> Result<Value, KeyError> {
        Ok(json!({
            "AuthenticationResult": {
                "AccessToken": self.access_key.sign(&sign_in.access_claims())?,
                "ExpiresIn": TOKEN_SECONDS,
                "IdToken": self.id_key.sign(&sign_in.id_claims())?,
                "TokenType": "Bearer",
            },
            "ChallengeParameters": {},
        }))
    }
}

/// No `Debug`: it holds a password.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitiateAuth {
    auth_flow: String,
    client_id: String,
    #[serde(default)]
    auth_parameters: Value,
}

fn parameter<'a>(parameters: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    parameters[name].as_str().ok_or_else(|| {
        let message = format!("Missing required parameter {name}");
        Refusal::new("InvalidParameterException", message)
    })
}

/// What a user pool says of itself. The key set is named at the host that was asked, since the issuer's is AWS's own.
fn openid_configuration(headers: &HeaderMap) -> Value {
    let base = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .map_or_else(|| ISSUER.to_owned(), |host| format!("http://{host}/{USER_POOL_ID}"));
    json!({
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": ISSUER,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "response_types_supported": ["code", "token"],
        "scopes_supported": ["openid", "email", "phone", "profile"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::login;
    use super::super::scenario::PROVIDER;
    use super::*;

    #[test]
    fn a_good_signature_under_a_strange_header_is_refused() {
        let pool = UserPool::new().expect("keys");
        let claims = SignIn::new(User::by_name("alice").expect("alice"), 1000).id_claims();
        let accepted = |header: Value| {
            let token = pool.id_key.sign_under(&header, &claims).expect("a token");
            login::check(&pool, &BTreeMap::from([(PROVIDER.to_owned(), token)]), 1000).is_ok()
        };
        let kid = pool.id_key.kid();
        assert!(accepted(json!({"kid": kid, "alg": "RS256"})));
        for header in [
            json!({"kid": kid}),
            json!({"kid": kid, "alg": "HS256"}),
            json!({"kid": kid, "alg": "none"}),
            json!({"kid": kid, "alg": ["RS256"]}),
            json!({"kid": kid, "alg": "RS256", "crit": ["exp"]}),
            json!({"kid": pool.access_key.kid(), "alg": "RS256"}),
            json!({"alg": "RS256"}),
        ] {
            assert!(!accepted(header.clone()), "{header}");
        }
    }
}
