//! Tokens of identity pools, as GetOpenIdToken issues them and STS takes them. Knows no role and no user pool.

use serde_json::{Value, json};

use super::iam::{AUTHENTICATED, UNAUTHENTICATED};
use super::identities::Bearer;
use super::jwt::Parts;
use super::keys::{Algorithm, KeyError, SigningKey};
use super::scenario::{ACCOUNT_ID, PROVIDER, REGION};
use super::wire::Refusal;

/// `iss` of the tokens, in all Regions.
pub const IDENTITY_ISSUER: &str = "https://cognito-identity.amazonaws.com";

/// Issues tokens and knows them again.
#[derive(Debug)]
pub(crate) struct IdentityTokens {
    key: SigningKey,
}

/// A token that STS has accepted.
pub(crate) struct WebIdentity {
    /// `sub`: the IdentityId.
    pub(crate) subject: String,
    /// `aud`: the identity pool.
    pub(crate) audience: String,
    pub(crate) amr: Vec<String>,
}

impl IdentityTokens {
    /// Makes the key.
    pub(crate) fn new() -> Result<Self, KeyError> {
        // A Region and a number, as Cognito calls its keys.
        let key = SigningKey::generate(Algorithm::Rs512)?.named(format!("{REGION}1"));
        Ok(Self { key })
    }

    /// The key set at `/.well-known/jwks_uri`.
    pub(crate) fn key_set(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }

    /// A token that says of `identity` that `bearer` bears it, good for ten minutes.
    pub(crate) fn issue(&self, identity: &str, bearer: &Bearer, now: u64) -> Result<String, KeyError> {
        let pool = bearer.pool.id;
        let header = json!({"kid": self.key.kid(), "typ": "JWS", "alg": Algorithm::Rs512.name()});
        let claims = json!({
            "amr": amr(bearer),
            "aud": pool,
            "exp": now.saturating_add(TOKEN_SECONDS),
            "https://cognito-identity.amazonaws.com/identity-pool-arn":
                format!("arn:aws:cognito-identity:{REGION}:{ACCOUNT_ID}:identitypool/{pool}"),
            "iat": now,
            "iss": IDENTITY_ISSUER,
            "sub": identity,
        });
        self.key.sign_under(&header, &claims)
    }

    /// Checks a token as STS does, with its texts for what is wrong.
    pub(crate) fn check(&self, token: &str, now: u64) -> Result<WebIdentity, Refusal> {
        let parts = Parts::of(token).ok_or_else(|| invalid(NO_JWT))?;
        let (Some(issuer), Some(audience), Some(subject), Some(expires)) =
            (parts.text("iss"), parts.text("aud"), parts.text("sub"), parts.claims.get("exp").and_then(Value::as_u64))
        else {
            return Err(invalid(NO_JWT));
        };
        if issuer != IDENTITY_ISSUER {
            return Err(invalid(format!("No OpenIDConnect provider found in your account for {issuer}")));
        }
        let ours = |kid: &str, message: &[u8], signature: &[u8]| {
            kid == self.key.kid() && self.key.verifies(message, signature)
        };
        if !parts.signed(Algorithm::Rs512, ours) {
            return Err(invalid(NO_KEY));
        }
        if now >= expires {
            let message =
                format!("Token expired: current date/time {now} must be before the expiration date/time {expires}");
            return Err(Refusal::new("ExpiredTokenException", message));
        }
        let amr = parts.claims.get("amr").and_then(Value::as_array).into_iter().flatten();
        Ok(WebIdentity {
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            amr: amr.filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        })
    }
}

/// How the bearer was authenticated, which trust policies look at.
pub(crate) fn amr(bearer: &Bearer) -> Vec<String> {
    match &bearer.login {
        Some(login) => {
            vec![AUTHENTICATED.to_owned(), PROVIDER.to_owned(), format!("{PROVIDER}:CognitoSignIn:{}", login.subject)]
        }
        None => vec![UNAUTHENTICATED.to_owned()],
    }
}

/// AWS lets nobody choose.
const TOKEN_SECONDS: u64 = 600;

const NO_JWT: &str = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
/// Both spaces are AWS's.
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidIdentityToken", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_signature_under_a_strange_header_is_refused() {
        let tokens = IdentityTokens::new().expect("a key");
        let claims = json!({"iss": IDENTITY_ISSUER, "aud": "pool", "sub": "identity", "exp": 1001});
        let accepted = |header: Value| {
            let token = tokens.key.sign_under(&header, &claims).expect("a token");
            tokens.check(&token, 1000).is_ok()
        };
        assert!(accepted(json!({"kid": "us-east-11", "alg": "RS512"})));
        for header in [
            json!({"kid": "us-east-12", "alg": "RS512"}),
            json!({"alg": "RS512"}),
            json!({"kid": "us-east-11", "alg": "RS256"}),
            json!({"kid": "us-east-11", "alg": "none"}),
            json!({"kid": "us-east-11", "alg": "RS512", "crit": ["exp"]}),
        ] {
            assert!(!accepted(header.clone()), "{header}");
        }
    }
}
