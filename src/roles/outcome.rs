//! What a decision comes to: the choice or the refusal, and its reason in constant words. Knows no claim.

use std::fmt;

use crate::model::RoleArn;

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

/// Why a role was chosen. Rules and groups are counted from 1, as they stand in the configuration. `Display` is
/// [`Reason::describe`] with that number before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for and stands in `cognito:roles`.
    AskedRoleInToken,
    /// It was asked for, and this rule is the first that the claims match and that yields it.
    AskedRoleOfRule(usize),
    /// It was asked for, and this is the first of the caller's groups that has it.
    AskedRoleOfGroup(usize),
    /// It was asked for and Cognito will judge.
    AskedRoleLeftToPool,
    /// It is `cognito:preferred_role`.
    PreferredRole,
    /// This rule is the first that the claims match.
    FirstMatchingRule(usize),
    /// This group has the lowest precedence of the caller's groups; of several that have it, all with the same role,
    /// it is the first.
    LowestPrecedence(usize),
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
    /// No rule that the claims match yields the asked role.
    RoleOfNoMatchingRule,
    /// No group of the caller has the asked role.
    RoleOfNoGroup,
    /// `cognito:preferred_role` does not stand in `cognito:roles`.
    PreferredRoleNotListed,
    /// The claims name no single role, and the profile says deny.
    Ambiguous,
    /// The claims match no rule, and the profile says deny.
    NoRuleMatches,
    /// None of the caller's groups is configured, and the profile says deny.
    NoGroupConfigured,
    /// Groups with the lowest precedence have different roles, and the profile says deny.
    GroupsTie,
}

/// A decision with what led to it, for a person who wonders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is decided.
    pub outcome: Result<Choice, Refusal>,
    /// The rules, groups or claims that were looked at, in order, and what came of each. Holds configured values and
    /// names of claims, no claim's value.
    pub considered: Vec<String>,
}

impl Choice {
    pub(super) fn asked(role: RoleArn, reason: Reason) -> Self {
        Self { asked: Some(role.clone()), expected: Some(role), reason }
    }

    pub(super) fn found(role: &RoleArn, reason: Reason) -> Self {
        Self { asked: None, expected: Some(role.clone()), reason }
    }
}

impl Reason {
    /// The reason in constant words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::AskedRoleInToken => "the asked role is in the token's cognito:roles",
            Self::AskedRoleOfRule(_) => "the claims match this rule, which yields the asked role",
            Self::AskedRoleOfGroup(_) => "the caller is in this group, which has the asked role",
            Self::AskedRoleLeftToPool => "the identity pool judges the asked role",
            Self::PreferredRole => "it is the token's cognito:preferred_role",
            Self::FirstMatchingRule(_) => "it is the first rule that the claims match",
            Self::LowestPrecedence(_) => "it has the lowest precedence of the caller's groups",
            Self::AuthenticatedRole => "the claims name no single role, and the default role is configured for that",
            Self::PoolDecides => "the identity pool decides by its own mapping",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskedRoleOfRule(number) | Self::FirstMatchingRule(number) => write!(f, "rule {number}: ")?,
            Self::AskedRoleOfGroup(number) | Self::LowestPrecedence(number) => write!(f, "group {number}: ")?,
            _ => {}
        }
        f.write_str(self.describe())
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
            Self::RoleOfNoMatchingRule => {
                "no rule that the token's claims match yields the asked role (profiles.*.roles.rules)"
            }
            Self::RoleOfNoGroup => {
                "none of the groups in the token's cognito:groups has the asked role (profiles.*.groups): put the user \
                 into a group with that role"
            }
            Self::PreferredRoleNotListed => {
                "the token's cognito:preferred_role is not in its cognito:roles: mend the token's Lambda trigger, or set \
                 preferred_role_must_be_listed = false"
            }
            Self::Ambiguous => {
                "the token names no single role and ambiguous_role_resolution is deny: give the user a group with a role, \
                 or the groups different precedences"
            }
            Self::NoRuleMatches => {
                "the token's claims match no rule and ambiguous_role_resolution is deny: see ExplainRole, and add a rule \
                 if the user should have a role"
            }
            Self::NoGroupConfigured => {
                "no group of the token's cognito:groups is in profiles.*.groups and ambiguous_role_resolution is deny: \
                 put the user into one of those groups, or add the group"
            }
            Self::GroupsTie => {
                "the user's groups with the lowest precedence have different roles and ambiguous_role_resolution is \
                 deny: give the groups different precedences (profiles.*.groups), or ask for one of their roles"
            }
        }
    }

    /// Whether it is for AmbiguousRoleResolution to say what follows. A role that was asked for and refused, and a
    /// preferred role that contradicts the list, are no ambiguities: the default role would hide a mistake.
    pub(super) fn is_ambiguity(self) -> bool {
        matches!(self, Self::Ambiguous | Self::NoRuleMatches | Self::NoGroupConfigured | Self::GroupsTie)
    }
}
