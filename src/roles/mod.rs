//! Which role a caller may have, and why. Pure: claims, rules and ask in, role or refusal out. Knows no AWS API.
//!
//! The semantics are the identity pool's own (Amazon Cognito Developer Guide, "Using role-based access control"),
//! read fail-closed where it is silent. In the enhanced flow Cognito decides again by itself, so that what stands
//! here is a prediction that saves a call and explains; it never widens what Cognito would give. In the other flows
//! AWS checks no claim, and what stands here is the access control.

mod groups;
mod matching;
mod outcome;
mod token;
mod warnings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Claims, RoleArn};

pub use groups::Group;
pub use matching::{MatchType, Rule};
pub use outcome::{Ambiguous, Choice, Explanation, Reason, Refusal};
pub use warnings::warnings;

/// How many rules a profile may have: as many as an identity pool takes for one provider (Amazon Cognito quotas; not
/// adjustable).
pub const MAX_RULES: usize = 25;

/// How one profile turns claims into a role.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Roles and precedences of groups, for pools whose tokens carry groups without roles. Where there are any, they
    /// replace the token's role claims under [`Mapping::Token`], so that there is one source of truth; the other
    /// mappings do not read them.
    pub groups: Vec<Group>,
}

/// Who chooses the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The role claims of the token (role mapping "Choose role from token").
    Token,
    /// The first of these rules that the claims match (role mapping "Choose role with rules").
    Rules(Vec<Rule>),
    /// Cognito alone, by whatever the identity pool is configured for; we judge nothing.
    Pool,
}

/// Is told of everything that was looked at, in order. It may hold configured values and the names of claims, and
/// never a claim's value.
type Note<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

impl Rules {
    /// The role for a caller with these verified claims who asked for `role` by alias or ARN, or for none in particular.
    ///
    /// # Errors
    /// With the reason why there is none; nothing else is tried in its place.
    pub fn resolve(&self, claims: &Claims, role: Option<&str>) -> Result<Choice, Refusal> {
        self.decide(claims, role, &mut |_| {})
    }

    /// What [`Rules::resolve`] says, and what it looked at on its way there.
    pub fn explain(&self, claims: &Claims, role: Option<&str>) -> Explanation {
        let mut considered = Vec::new();
        let outcome = self.decide(claims, role, &mut |line| considered.push(line.to_string()));
        Explanation { outcome, considered }
    }

    fn decide(&self, claims: &Claims, role: Option<&str>, note: Note) -> Result<Choice, Refusal> {
        let asked = role.map(|name| self.named(name)).transpose()?;
        let found = match &self.mapping {
            Mapping::Pool => Ok(by_pool(asked, note)),
            Mapping::Rules(rules) => matching::decide(rules, claims, asked, note),
            Mapping::Token if !self.groups.is_empty() => groups::decide(&self.groups, claims, asked, note),
            Mapping::Token => token::decide(self.preferred_must_be_listed, claims, asked, note),
        };
        match found {
            Err(refusal) if refusal.is_ambiguity() => self.settle(refusal, note),
            decided => decided,
        }
    }

    fn named(&self, name: &str) -> Result<RoleArn, Refusal> {
        let alias = self.aliases.get(name).cloned();
        alias.or_else(|| RoleArn::parse(name)).ok_or(Refusal::UnknownAlias)
    }

    /// AmbiguousRoleResolution: what the profile says of a caller whose claims name no single role.
    fn settle(&self, refusal: Refusal, note: Note) -> Result<Choice, Refusal> {
        match &self.ambiguous {
            Ambiguous::Deny => {
                note(format_args!("ambiguous_role_resolution: deny"));
                Err(refusal)
            }
            Ambiguous::AuthenticatedRole(role) => {
                note(format_args!("ambiguous_role_resolution: authenticated_role"));
                Ok(Choice { asked: None, expected: role.clone(), reason: Reason::AuthenticatedRole })
            }
        }
    }
}

fn by_pool(asked: Option<RoleArn>, note: Note) -> Choice {
    note(format_args!("no claim: the identity pool decides by its own mapping"));
    match asked {
        Some(asked) => Choice::asked(asked, Reason::AskedRoleLeftToPool),
        None => Choice { asked: None, expected: None, reason: Reason::PoolDecides },
    }
}
