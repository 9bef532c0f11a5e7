//! Which role a caller may have, and why. Pure: claims, rules and ask in, role or refusal out. Knows no AWS API.
//!
//! The semantics are the identity pool's own (Amazon Cognito Developer Guide, "Using role-based access control"),
//! read fail-closed where it is silent. In the enhanced flow Cognito decides again by itself, so that what stands
//! here is a prediction that saves a call and explains; it never widens what Cognito would give.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Caller, Claims, RoleArn};

/// How one profile turns claims into a role.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who chooses.
    pub mapping: Mapping,
    /// What to do when the claims name no single role.
    pub ambiguous: Ambiguous,
    /// Short names for roles, which may stand in a path.
    pub aliases: BTreeMap<String, RoleArn>,
    /// Whether `cognito:preferred_role` must also stand in `cognito:roles`. AWS's rule does not say so; ours does
    /// unless it is switched off, since a Lambda trigger may set the two apart from each other by mistake.
    pub preferred_must_be_listed: bool,
}

/// Who chooses the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The role claims of the token (role mapping "Choose role from token").
    Token,
    /// Cognito alone, by whatever the identity pool is configured for; we judge nothing.
    Pool,
}

/// The identity pool's `AmbiguousRoleResolution`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// Refuse.
    Deny,
    /// Take the pool's default role for authenticated users, which is this one where the configuration says so.
    AuthenticatedRole(Option<RoleArn>),
}

/// The outcome for a caller who may have a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The role that the caller asked for and may have; sent on as `CustomRoleArn`.
    pub asked: Option<RoleArn>,
    /// The role that is expected, where it can be told.
    pub expected: Option<RoleArn>,
    /// Why.
    pub reason: Reason,
}

/// Why a role was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for and stands in `cognito:roles`.
    AskedRoleInToken,
    /// It was asked for and Cognito will judge.
    AskedRoleLeftToPool,
    /// It is `cognito:preferred_role`.
    PreferredRole,
    /// The claims name no single role, and the default role is configured for that.
    AuthenticatedRole,
    /// The identity pool chooses by its own mapping.
    PoolDecides,
}

/// Why a caller gets no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The asked name is neither an alias nor an ARN.
    UnknownAlias,
    /// The asked role does not stand in `cognito:roles`.
    RoleNotInToken,
    /// `cognito:preferred_role` does not stand in `cognito:roles`.
    PreferredRoleNotListed,
    /// The claims name no single role, and the profile says deny.
    Ambiguous,
}

impl Rules {
    /// The role for `caller`, who asked for `role` by alias or ARN, or for none in particular.
    ///
    /// # Errors
    /// With the reason why there is none; nothing else is tried in its place.
    pub fn resolve(&self, caller: &Caller, role: Option<&str>) -> Result<Choice, Refusal> {
        let asked = role.map(|name| self.named(name)).transpose()?;
        match (self.mapping, asked) {
            (Mapping::Token, Some(asked)) => resolve_asked(&caller.claims, asked),
            (Mapping::Token, None) => self.resolve_by_token(&caller.claims),
            (Mapping::Pool, Some(asked)) => Ok(Choice::asked(asked, Reason::AskedRoleLeftToPool)),
            (Mapping::Pool, None) => Ok(Choice { asked: None, expected: None, reason: Reason::PoolDecides }),
        }
    }

    fn named(&self, name: &str) -> Result<RoleArn, Refusal> {
        let alias = self.aliases.get(name).cloned();
        alias.or_else(|| RoleArn::parse(name)).ok_or(Refusal::UnknownAlias)
    }

    fn resolve_by_token(&self, claims: &Claims) -> Result<Choice, Refusal> {
        let preferred = claims.get("cognito:preferred_role").and_then(Value::as_str);
        let Some(preferred) = preferred.and_then(RoleArn::parse) else {
            return self.resolve_ambiguous();
        };
        if self.preferred_must_be_listed && !lists(claims, &preferred) {
            return Err(Refusal::PreferredRoleNotListed);
        }
        Ok(Choice { asked: None, expected: Some(preferred), reason: Reason::PreferredRole })
    }

    fn resolve_ambiguous(&self) -> Result<Choice, Refusal> {
        match &self.ambiguous {
            Ambiguous::Deny => Err(Refusal::Ambiguous),
            Ambiguous::AuthenticatedRole(role) => {
                Ok(Choice { asked: None, expected: role.clone(), reason: Reason::AuthenticatedRole })
            }
        }
    }
}

impl Choice {
    fn asked(role: RoleArn, reason: Reason) -> Self {
        Self { asked: Some(role.clone()), expected: Some(role), reason }
    }
}

impl Refusal {
    /// What the operator should know, and do.
    pub fn cause(self) -> &'static str {
        match self {
            Self::UnknownAlias => {
                "the asked role is neither a configured alias nor a role ARN (profiles.*.roles.aliases)"
            }
            Self::RoleNotInToken => {
                "the asked role is not in the token's cognito:roles: give the user a group with that role"
            }
            Self::PreferredRoleNotListed => {
                "the token's cognito:preferred_role is not in its cognito:roles: mend the token's Lambda trigger, or set \
                 preferred_role_must_be_listed = false"
            }
            Self::Ambiguous => {
                "the token names no single role and ambiguous_role_resolution is deny: give the user a group with a role, \
                 or the groups different precedences"
            }
        }
    }
}

fn resolve_asked(claims: &Claims, asked: RoleArn) -> Result<Choice, Refusal> {
    if lists(claims, &asked) {
        Ok(Choice::asked(asked, Reason::AskedRoleInToken))
    } else {
        Err(Refusal::RoleNotInToken)
    }
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
