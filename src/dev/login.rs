//! `Logins`: whether a token proves its bearer to the identity pool. Knows nothing of identities and roles.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::scenario::{CLIENT_ID, ISSUER, PROVIDER};
use super::user_pool::UserPool;
use super::wire::Refusal;

/// A token that was accepted.
pub(crate) struct Login {
    /// `sub`.
    pub(crate) subject: String,
    /// All of its claims.
    pub(crate) claims: Map<String, Value>,
}

/// Checks every login, with AWS's texts for what is wrong; `None` when there is none. `now` in seconds since 1970.
pub(crate) fn check(pool: &UserPool, logins: &BTreeMap<String, String>, now: u64) -> Result<Option<Login>, Refusal> {
    let mut checked = None;
    for (provider, token) in logins {
        if provider != PROVIDER {
            return Err(Refusal::not_authorized(UNSUPPORTED_PROVIDER));
        }
        checked = Some(accept(pool, token, now)?);
    }
    Ok(checked)
}

const UNSUPPORTED_PROVIDER: &str = "Token is not from a supported provider of this identity pool.";

fn accept(pool: &UserPool, token: &str, now: u64) -> Result<Login, Refusal> {
    let parts = Parts::of(token).ok_or_else(|| invalid("Not a valid OpenId Connect identity token."))?;
    let audience = parts.required("aud")?;
    let issuer = parts.required("iss")?;
    let subject = parts.required("sub")?.as_str().unwrap_or_default();
    let expires = parts.required("exp")?.as_u64().unwrap_or_default();
    if issuer != ISSUER {
        return Err(invalid("Issuer doesn't match providerName"));
    }
    if audience != CLIENT_ID {
        return Err(Refusal::not_authorized(UNSUPPORTED_PROVIDER));
    }
    if !parts.signed_by(pool) {
        return Err(invalid("Couldn't verify signed token."));
    }
    if now >= expires {
        return Err(invalid(&format!("Token expired: {now} >= {expires}")));
    }
    // An access token that was given an `aud` by a trigger is still no proof of identity.
    if parts.claims.get("token_use").is_none_or(|value| value != "id") || subject.is_empty() {
        return Err(invalid("Not a valid OpenId Connect identity token."));
    }
    Ok(Login { subject: subject.to_owned(), claims: parts.claims })
}

fn invalid(what: &str) -> Refusal {
    Refusal::not_authorized(format!("Invalid login token. {what}"))
}

/// A token taken apart, nothing of it believed yet.
struct Parts<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            message: message.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn required(&self, claim: &str) -> Result<&Value, Refusal> {
        self.claims.get(claim).ok_or_else(|| invalid(&format!("Missing a required claim: {claim}")))
    }

    /// RS256 by a key of the pool, and nothing critical that we do not know.
    fn signed_by(&self, pool: &UserPool) -> bool {
        let kid = self.header.get("kid").and_then(Value::as_str).unwrap_or_default();
        self.header.get("alg").is_some_and(|algorithm| algorithm == "RS256")
            && !self.header.contains_key("crit")
            && pool.verifies(kid, self.message, &self.signature)
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
