//! `[profiles.NAME.roles]` and `[[profiles.NAME.groups]]`: how claims become a role. Knows no pool and no session.

use std::collections::{BTreeMap, HashMap};

use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::{Field, Names};
use crate::config::{forms, raw};
use crate::model::RoleArn;
use crate::roles::{Ambiguous, Group, MAX_RULES, Mapping, MatchType, Rule, Rules};
use crate::upstream::Flow;

/// `mapping` as it is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Token,
    Rules,
    Pool,
}

/// `ambiguous_role_resolution` as it is typed.
#[derive(Clone, Copy)]
pub(super) enum Resolution {
    Deny,
    AuthenticatedRole,
}

const KINDS: &[(&str, Kind)] = &[("token", Kind::Token), ("rules", Kind::Rules), ("pool", Kind::Pool)];

const RESOLUTIONS: &[(&str, Resolution)] =
    &[("deny", Resolution::Deny), ("authenticated_role", Resolution::AuthenticatedRole)];

/// The rules of a profile of this `flow`, which is none if it could not be read.
pub(super) fn resolve(typed: raw::Roles, groups: Field<Vec<raw::Group>>, flow: Option<Flow>, found: &Found) -> Rules {
    let we_decide = matches!(flow, Some(Flow::Basic | Flow::AssumeRole));
    let kind = typed.mapping.judged(found, |text| {
        let refusal = "not for this flow: only in the enhanced one does the pool decide; take token or rules";
        forms::choice(&text, KINDS).and_then(|kind| match kind {
            Kind::Pool if we_decide => Err(refusal.to_owned()),
            kind => Ok(kind),
        })
    });
    let kind = kind.sound(DEFAULT_MAPPING);
    let rules = rules(typed.rules, kind, found);
    let resolution = typed.ambiguous_role_resolution.judged(found, |text| forms::choice(&text, RESOLUTIONS));
    let role = typed.authenticated_role.judged(found, forms::role);
    Rules {
        mapping: match kind.unwrap_or(DEFAULT_MAPPING) {
            Kind::Token => Mapping::Token,
            Kind::Rules => Mapping::Rules(rules),
            Kind::Pool => Mapping::Pool,
        },
        ambiguous: match resolution.or(DEFAULT_AMBIGUOUS) {
            Resolution::Deny => Ambiguous::Deny,
            Resolution::AuthenticatedRole if we_decide => Ambiguous::AuthenticatedRole(
                role.required(found, "the role that is assumed when the claims name no single one, its ARN"),
            ),
            // Optional: in the enhanced flow Cognito knows its own default role.
            Resolution::AuthenticatedRole => Ambiguous::AuthenticatedRole(role.given()),
        },
        aliases: aliases(typed.aliases, found),
        preferred_must_be_listed: typed.preferred_role_must_be_listed.or(DEFAULT_PREFERRED_MUST_BE_LISTED),
        groups: self::groups(groups, kind, flow, found),
    }
}

/// The rules of a mapping of this `kind`, which is none if it could not be read.
fn rules(typed: Field<Vec<raw::Rule>>, kind: Option<Kind>, found: &Found) -> Vec<Rule> {
    let refusal = "the mapping has no rules; write mapping = \"rules\", or leave them out";
    let typed = typed.unless(kind.is_some_and(|kind| kind != Kind::Rules).then_some(refusal), found);
    if let Some(number) = typed.as_given().map(Vec::len).filter(|number| *number > MAX_RULES) {
        let message = format!("there are {number} rules: an identity pool takes {MAX_RULES} at most, and so do we");
        found.tell(&typed.place, message);
    }
    let typed = match kind {
        Some(Kind::Rules) => typed.at_least_one(found, "rule, with claim, match_type, value and role_arn"),
        _ => typed.given().unwrap_or_default(),
    };
    typed.into_iter().filter_map(|each| rule(each, found)).collect()
}

fn rule(typed: raw::Rule, found: &Found) -> Option<Rule> {
    let match_types = [MatchType::Equals, MatchType::Contains, MatchType::StartsWith, MatchType::NotEqual];
    let match_types = match_types.map(|match_type| (match_type.name(), match_type));
    let claim = typed.claim.judged(found, forms::claim);
    let claim = claim.required(found, "the name of the claim that is compared");
    let match_type = typed.match_type.judged(found, |text| forms::choice(&text, &match_types));
    let match_type = match_type.required(found, "how they are compared: Equals, Contains, StartsWith or NotEqual");
    let value = typed.value.judged(found, forms::rule_value);
    let value = value.required(found, "the text that the claim is compared with");
    let role = typed.role_arn.judged(found, forms::role).required(found, "the ARN of the role that a match yields");
    Some(Rule { claim: claim?, match_type: match_type?, value: value?, role: role? })
}

fn groups(typed: Field<Vec<raw::Group>>, kind: Option<Kind>, flow: Option<Flow>, found: &Found) -> Vec<Group> {
    let refusal = match (flow, kind) {
        (Some(Flow::Enhanced), _) => Some("in the enhanced flow Cognito decides, by the roles in the token alone"),
        (_, Some(Kind::Rules | Kind::Pool)) => Some("only with mapping = \"token\" do groups decide"),
        _ => None,
    };
    let typed = typed.unless(refusal, found);
    if typed.as_given().is_some_and(Vec::is_empty) {
        found.tell(&typed.place, "empty: at least one is wanted");
    }
    let mut lines = HashMap::new();
    let each = typed.given().unwrap_or_default().into_iter().filter_map(|typed| {
        let line = typed.name.place.line;
        if let Some(earlier) = typed.name.as_given().and_then(|name| lines.insert(name.clone(), line)) {
            let message = format!("listed twice: the group of line {earlier} has this name already");
            found.tell(&typed.name.place, message);
        }
        group(typed, found)
    });
    each.collect()
}

fn group(typed: raw::Group, found: &Found) -> Option<Group> {
    let name = typed.name.judged(found, forms::group);
    let name = name.required(found, "the group's name, as it stands in cognito:groups");
    let precedence = typed.precedence.ranged(&PRECEDENCE, found);
    let precedence = precedence.required(found, "the group's precedence, of which the lowest wins");
    let role = typed.role_arn.judged(found, forms::role).required(found, "the ARN of the members' role");
    Some(Group { name: name?, precedence: precedence?, role: role? })
}

fn aliases(typed: Field<Names>, found: &Found) -> BTreeMap<String, RoleArn> {
    let each = typed.given().unwrap_or_default().into_iter().filter_map(|(name, role)| {
        let name = name.judged(found, forms::name).given();
        let role = role.judged(found, forms::role).given();
        name.zip(role)
    });
    each.collect()
}
