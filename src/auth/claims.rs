//! The content of a token: who issued it, to whom, for which client, until when. Pure; knows no key.
//!
//! The rules are those of AWS's "Verifying JSON web tokens" page, read fail-closed: what is required must be there
//! and of its type, and `now >= exp` is expired, as identity pools themselves count.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::auth::fingerprint::fingerprint;
use crate::auth::{Rejection, UserPool};
use crate::clock::{Expiry, Moment};
use crate::metrics::Verification;
use crate::model::{Caller, Claims, TokenUse};

/// How far the issuer's clock may be ahead of ours before a token counts as issued in the future. That a token is early
/// grants its bearer nothing, since `exp` rules; refusing it would lock everybody out whose token is fresh, for as long as
/// our clock is behind. With more than this AWS itself refuses what is signed by such a clock (Signature Version 4: a
/// request has to arrive within five minutes of its time stamp).
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// 9999-12-31T23:59:59Z: a time claim beyond it is nonsense, and would overflow a date.
const LAST_SECOND: u64 = 253_402_300_799;

/// The issuer that an unverified token names: good only to pick the key set that has to confirm it.
///
/// # Errors
/// When there is none.
pub(super) fn issuer(claims: &Claims) -> Result<&str, Rejection> {
    claims.get("iss").and_then(Value::as_str).ok_or(Rejection::ISSUER)
}

/// Judges the claims of a token whose signature is verified. An access token is taken only with `access_tokens`; it
/// names its client in `client_id`, having no `aud`.
///
/// # Errors
/// With the first rule that they break.
pub(super) fn judge(
    claims: &Claims,
    issuer: &Arc<str>,
    pool: &UserPool,
    access_tokens: bool,
    now: Moment,
) -> Result<Caller, Rejection> {
    let expires = judge_times(claims, now)?;
    let token_use = match claims.get("token_use").and_then(Value::as_str) {
        Some("id") => TokenUse::Id,
        Some("access") if access_tokens => TokenUse::Access,
        _ => return Err(Rejection::TOKEN_USE),
    };
    let audience = if token_use == TokenUse::Id { "aud" } else { "client_id" };
    let audience = claims.get(audience).and_then(Value::as_str).ok_or(Rejection::AUDIENCE)?;
    let client_id = pool.client_ids.iter().find(|client| &***client == audience);
    let client_id = Arc::clone(client_id.ok_or(Rejection::AUDIENCE)?);
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let subject = Arc::from(subject.ok_or(Rejection::SUBJECT)?);
    Ok(Caller {
        user_pool: Arc::clone(&pool.id),
        issuer: Arc::clone(issuer),
        subject,
        client_id,
        token_use,
        fingerprint: fingerprint(claims, &[]),
        expires: Expiry::at(expires, now),
    })
}

/// Checks `exp`, `iat` and `nbf`, and returns `exp`. A value that is not a whole number is refused, not taken for
/// absent (GHSA-h395-gr6q-cpjc shows where that leads).
fn judge_times(claims: &Claims, now: Moment) -> Result<SystemTime, Rejection> {
    let expires = time(claims, "exp")?.ok_or(Rejection::TIMES)?;
    let issued = time(claims, "iat")?.ok_or(Rejection::TIMES)?;
    let not_before = time(claims, "nbf")?.unwrap_or(issued);
    if now.wall >= expires {
        return Err(Rejection::EXPIRED);
    }
    let latest = now.wall + CLOCK_SKEW;
    if issued > latest || not_before > latest || issued >= expires {
        return Err(Rejection::FUTURE);
    }
    Ok(expires)
}

fn time(claims: &Claims, name: &str) -> Result<Option<SystemTime>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_u64().filter(|seconds| *seconds <= LAST_SECOND).ok_or(Rejection::TIMES)?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

impl Rejection {
    pub(super) const ISSUER: Self =
        Self::new(Verification::Issuer, "the token's issuer is none of the configured ones (user_pools.issuers)");
    pub(super) const UNKNOWN_KEY: Self =
        Self::new(Verification::UnknownKey, "the user pool publishes no key with the token's key id");
    const TIMES: Self = Self::new(Verification::Malformed, "exp or iat is missing, or a time is not a whole number");
    const EXPIRED: Self = Self::new(Verification::Expired, "the token has expired");
    const FUTURE: Self = Self::new(Verification::Malformed, "the token is not valid yet: compare the clocks");
    const TOKEN_USE: Self =
        Self::new(Verification::TokenUse, "token_use is not \"id\": identity pools take ID tokens only");
    const AUDIENCE: Self = Self::new(
        Verification::Audience,
        "aud (in an access token: client_id) is none of the configured app clients (user_pools.client_ids)",
    );
    const SUBJECT: Self = Self::new(Verification::Malformed, "the token has no sub");
}
