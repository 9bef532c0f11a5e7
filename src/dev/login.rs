//! `Logins`: whether a token proves its bearer to an identity pool. Knows nothing of identities and roles.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::jwt::Parts;
use super::keys::Algorithm;
use super::scenario::{AppClient, ISSUER, PROVIDER};
use super::user_pool::UserPool;
use super::wire::Refusal;

/// A token that was accepted.
pub(crate) struct Login {
    /// `sub`.
    pub(crate) subject: String,
    /// `aud`.
    pub(crate) client: &'static AppClient,
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
    let audience = required(&parts, "aud")?;
    let issuer = required(&parts, "iss")?;
    let subject = required(&parts, "sub")?.as_str().unwrap_or_default();
    let expires = required(&parts, "exp")?.as_u64().unwrap_or_default();
    if issuer != ISSUER {
        return Err(invalid("Issuer doesn't match providerName"));
    }
    let client =
        audience.as_str().and_then(AppClient::by_id).ok_or_else(|| Refusal::not_authorized(UNSUPPORTED_PROVIDER))?;
    if !parts.signed(Algorithm::Rs256, |kid, message, signature| pool.verifies(kid, message, signature)) {
        return Err(invalid("Couldn't verify signed token."));
    }
    if now >= expires {
        return Err(invalid(&format!("Token expired: {now} >= {expires}")));
    }
    // An access token that was given an `aud` by a trigger is still no proof of identity.
    if parts.claims.get("token_use").is_none_or(|value| value != "id") || subject.is_empty() {
        return Err(invalid("Not a valid OpenId Connect identity token."));
    }
    Ok(Login { subject: subject.to_owned(), client, claims: parts.claims })
}

fn required<'a>(parts: &'a Parts<'_>, claim: &str) -> Result<&'a Value, Refusal> {
    parts.claims.get(claim).ok_or_else(|| invalid(&format!("Missing a required claim: {claim}")))
}

fn invalid(what: &str) -> Refusal {
    Refusal::not_authorized(format!("Invalid login token. {what}"))
}
