//! The user pool: its keys and documents, and its tokens. Knows nothing of roles' meaning or credentials.

use http::HeaderMap;
use http::header::HOST;
use serde_json::{Value, json};

use super::claims::{SignIn, TOKEN_SECONDS};
use super::keys::{Algorithm, KeyError, SigningKey};
use super::refresh::RefreshTokens;
use super::scenario::{ISSUER, USER_POOL_ID};
use super::wire::Refusal;

/// A user pool with the users of the scenario.
#[derive(Debug)]
pub(crate) struct UserPool {
    /// Two keys, as every Cognito user pool has: one signs ID tokens, the other access tokens.
    id_key: SigningKey,
    access_key: SigningKey,
    refresh_tokens: RefreshTokens,
}

impl UserPool {
    /// Makes the pool's two keys.
    pub(crate) fn new() -> Result<Self, KeyError> {
        Ok(Self {
            id_key: SigningKey::generate(Algorithm::Rs256)?,
            access_key: SigningKey::generate(Algorithm::Rs256)?,
            refresh_tokens: RefreshTokens::new()?,
        })
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

    /// Those who issue and know the pool's refresh tokens.
    pub(crate) fn refresh_tokens(&self) -> &RefreshTokens {
        &self.refresh_tokens
    }

    /// A token with these claims, signed as ID tokens are.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.id_key.sign(claims)
    }

    /// Whether one of the pool's keys, the one called `kid`, made `signature` over `message`.
    pub(crate) fn verifies(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        [&self.id_key, &self.access_key].into_iter().any(|key| key.kid() == kid && key.verifies(message, signature))
    }

    /// The tokens of a sign-in, issued at `now`, as `AuthenticationResult` has them.
    pub(crate) fn tokens(&self, sign_in: &SignIn, refresh: Option<String>, now: u64) -> Result<Value, KeyError> {
        let mut result = json!({
            "AccessToken": self.access_key.sign(&sign_in.access_claims(now))?,
            "ExpiresIn": TOKEN_SECONDS,
            "IdToken": self.id_key.sign(&sign_in.id_claims(now))?,
            "TokenType": "Bearer",
        });
        if let Some(token) = refresh {
            result["RefreshToken"] = token.into();
        }
        Ok(result)
    }
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
    use super::super::scenario::{CLIENT, PROVIDER, User};
    use super::*;

    #[test]
    fn a_good_signature_under_a_strange_header_is_refused() {
        let pool = UserPool::new().expect("keys");
        let claims = SignIn::new(User::by_name("alice").expect("alice"), CLIENT, 1000).id_claims(1000);
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
