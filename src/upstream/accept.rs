//! Replies, taken apart with suspicion: whole, alive, and for the identity that was asked for, or not at all. Pure.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;

use crate::clock::{Expiry, Moment};
use crate::metrics::Operation;
use crate::model::{Credentials, IdentityId, Issued, RoleArn};
use crate::upstream::{Class, Failure};

/// Our code for a reply that belongs to somebody else.
pub(super) const MISMATCH: &str = "IdentityMismatch";

/// The longest life that credentials can have (12 hours, the longest session of STS) with room for unequal clocks.
/// A date beyond it is not an expiration.
const LONGEST_LIFE: Duration = Duration::from_secs(13 * 3600);

/// AWS tells an expiration in whole seconds: what was asked for lasts up to this much less.
const FRACTION: Duration = Duration::from_secs(1);

/// Credentials as either service spells them.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) access_key_id: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) session_token: Option<String>,
    pub(super) expiration: Option<DateTime>,
}

/// Refuses a reply that names another identity than `asked`.
pub(super) fn same_identity(operation: Operation, told: Option<&str>, asked: &IdentityId) -> Result<(), Failure> {
    if told == Some(&*asked.0) {
        return Ok(());
    }
    let message = "the answer is for another identity than was asked for";
    Err(Failure::ours(Class::Invalid, operation, MISMATCH, message))
}

/// Whether a name or a credential can be sent on: all of them travel in headers, and the SDK takes any character.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The credentials that `parts` make up, received at `now`. They were asked for at `sent`, for a life of `asked`: that
/// bounds them by the clock that nobody can set back, so that a wall clock that is behind AWS's, by whatever, keeps
/// nothing that is dead.
pub(super) fn credentials(
    operation: Operation,
    parts: Option<Parts>,
    role_arn: Option<RoleArn>,
    identity_id: Option<IdentityId>,
    (asked, sent): (Duration, Moment),
    now: Moment,
) -> Result<Credentials, Failure> {
    let parts = parts.ok_or_else(|| Failure::invalid(operation, "the answer holds no credentials"))?;
    let present = |text: Option<String>| text.filter(|text| is_plain(text));
    let (Some(access_key_id), Some(secret), Some(token)) =
        (present(parts.access_key_id), present(parts.secret), present(parts.session_token))
    else {
        return Err(Failure::invalid(operation, "the answer's credentials are not whole"));
    };
    let expires = parts
        .expiration
        .and_then(|date| SystemTime::try_from(date).ok())
        .filter(|date| *date > now.wall && *date <= now.wall + LONGEST_LIFE);
    let expires = expires.ok_or_else(|| {
        Failure::invalid(operation, "the expiration is missing, past, or further away than any session")
    })?;
    Ok(Credentials::from(Issued {
        access_key_id,
        secret_access_key: secret.into(),
        session_token: token.into(),
        received: now,
        expires: Expiry::at(expires, now).within(asked.saturating_sub(FRACTION), sent),
        role_arn,
        identity_id,
    }))
}
