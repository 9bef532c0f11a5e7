//! The role by configured groups, for pools whose tokens carry groups without roles. Knows no role claim.
//!
//! A token does not tell its groups' precedences, so they are configured, and the rules are those by which a user pool
//! would have set `cognito:preferred_role` (Amazon Cognito Developer Guide, "Assigning precedence values to groups").

use serde_json::Value;

use crate::model::{Claims, RoleArn};
use crate::roles::{Choice, Note, Reason, Refusal};

/// A user pool group with the role of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name, as it stands in `cognito:groups`.
    pub name: String,
    /// The lowest of a user's groups wins; 0 is the best.
    pub precedence: u32,
    /// The members' role.
    pub role: RoleArn,
}

/// The role of the caller's group with the lowest precedence, or `asked` if one of the caller's groups has it. Groups
/// that are not configured, like those that a user pool makes for each identity provider, count for nothing.
pub(super) fn decide(groups: &[Group], claims: &Claims, asked: Option<RoleArn>, note: Note) -> Result<Choice, Refusal> {
    let mine = of_caller(groups, claims, note);
    match asked {
        Some(asked) => by_role(&mine, asked, note),
        None => by_precedence(&mine, note),
    }
}

/// The caller's groups with their numbers, in the configured order.
fn of_caller<'a>(groups: &'a [Group], claims: &Claims, note: Note) -> Vec<(usize, &'a Group)> {
    let claim = claims.get("cognito:groups");
    if claim.is_none() {
        note(format_args!("cognito:groups: the claim is missing"));
        return Vec::new();
    }
    let mut mine = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let number = index + 1;
        let listed = claim.is_some_and(|claim| lists(claim, &group.name));
        let (not, precedence) = (if listed { "" } else { "not " }, group.precedence);
        note(format_args!("group {number}: {:?}, precedence {precedence}: {not}in cognito:groups", group.name));
        if listed {
            mine.push((number, group));
        }
    }
    mine
}

fn by_role(mine: &[(usize, &Group)], asked: RoleArn, note: Note) -> Result<Choice, Refusal> {
    match mine.iter().find(|(_, group)| group.role == asked) {
        Some((number, _)) => {
            note(format_args!("group {number}: has the asked role"));
            Ok(Choice::asked(asked, Reason::AskedRoleOfGroup(*number)))
        }
        None => {
            note(format_args!("no group of the caller has the asked role"));
            Err(Refusal::RoleOfNoGroup)
        }
    }
}

fn by_precedence(mine: &[(usize, &Group)], note: Note) -> Result<Choice, Refusal> {
    // Of equals, `min_by_key` takes the first.
    let Some((number, best)) = mine.iter().min_by_key(|(_, group)| group.precedence) else {
        note(format_args!("no configured group is the caller's"));
        return Err(Refusal::NoGroupConfigured);
    };
    let mut peers = mine.iter().filter(|(_, group)| group.precedence == best.precedence);
    if let Some((other, _)) = peers.find(|(_, group)| group.role != best.role) {
        note(format_args!("groups {number} and {other}: both have the lowest precedence, with different roles"));
        return Err(Refusal::GroupsTie);
    }
    note(format_args!("group {number}: has the lowest precedence"));
    Ok(Choice::found(&best.role, Reason::LowestPrecedence(*number)))
}

/// Whether `claim` holds exactly the group `name`. User pools issue an array; the comma-separated string is what other
/// issuers make of it. (A group's name may hold a comma: such a one is found in an array only, where nothing is cut.)
fn lists(claim: &Value, name: &str) -> bool {
    match claim {
        Value::Array(groups) => groups.iter().any(|group| group.as_str() == Some(name)),
        Value::String(groups) => groups.split(',').any(|group| group.trim() == name),
        _ => false,
    }
}
