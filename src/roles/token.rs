//! The role that the token itself names (role mapping "Choose role from token"). Knows no configured role.

use serde_json::Value;

use crate::model::{Claims, RoleArn};
use crate::roles::{Choice, Note, Reason, Refusal};

/// The documented order: an asked role must be in `cognito:roles`; without one, `cognito:preferred_role` counts; all
/// else is ambiguous, a single role in `cognito:roles` included.
pub(super) fn decide(
    preferred_must_be_listed: bool,
    claims: &Claims,
    asked: Option<RoleArn>,
    note: Note,
) -> Result<Choice, Refusal> {
    match asked {
        Some(asked) => by_list(claims, asked, note),
        None => by_preference(preferred_must_be_listed, claims, note),
    }
}

fn by_list(claims: &Claims, asked: RoleArn, note: Note) -> Result<Choice, Refusal> {
    if lists(claims, &asked) {
        note(format_args!("cognito:roles: holds the asked role"));
        return Ok(Choice::asked(asked, Reason::AskedRoleInToken));
    }
    let missing = !claims.contains_key("cognito:roles");
    note(format_args!("cognito:roles: {}", if missing { "the claim is missing" } else { "without the asked role" }));
    Err(Refusal::RoleNotInToken)
}

fn by_preference(must_be_listed: bool, claims: &Claims, note: Note) -> Result<Choice, Refusal> {
    let Some(preferred) = claims.get("cognito:preferred_role") else {
        note(format_args!("cognito:preferred_role: the claim is missing"));
        return Err(Refusal::Ambiguous);
    };
    let Some(preferred) = preferred.as_str().and_then(RoleArn::parse) else {
        note(format_args!("cognito:preferred_role: not a role's ARN, which counts as missing"));
        return Err(Refusal::Ambiguous);
    };
    if must_be_listed && !lists(claims, &preferred) {
        note(format_args!("cognito:preferred_role: not in cognito:roles"));
        return Err(Refusal::PreferredRoleNotListed);
    }
    note(format_args!("cognito:preferred_role: taken"));
    Ok(Choice::found(&preferred, Reason::PreferredRole))
}

/// Whether `cognito:roles` holds exactly `role`. AWS documents the claim as a comma-separated string, and issues it as
/// an array; both are read. (No role's ARN can hold a comma, save in its name: such a one matches as array only.)
fn lists(claims: &Claims, role: &RoleArn) -> bool {
    match claims.get("cognito:roles") {
        Some(Value::Array(roles)) => roles.iter().any(|listed| listed.as_str() == Some(role.as_str())),
        Some(Value::String(roles)) => roles.split(',').any(|listed| listed.trim() == role.as_str()),
        _ => false,
    }
}
