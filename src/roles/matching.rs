//! Rules: the first that the claims match yields the role (role mapping "Choose role with rules").
//!
//! AWS documents the order, the four comparisons, and that a rule over a missing claim is not evaluated. It is silent
//! on lists, on what is not text, and on letter case. There the reading is ours: see [`MatchType`].

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::model::{Claims, RoleArn};
use crate::roles::{Choice, Note, Reason, Refusal};

/// One rule of a mapping. `Display` names everything but the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The claim's name; custom attributes have theirs with `custom:` before it.
    pub claim: String,
    /// How the claim is compared with the value.
    pub match_type: MatchType,
    /// What it is compared with.
    pub value: String,
    /// What a match yields.
    pub role: RoleArn,
}

/// How a rule compares. Letter case counts. Booleans are compared as `true` and `false`, numbers by their JSON text;
/// a missing claim, null and an object match nothing, with `NotEqual` neither. Of a list, each element is compared
/// (not, as AWS may do, the list's text), and one matching element is enough, save for `NotEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchType {
    /// It is the value.
    Equals,
    /// The value is a part of it.
    Contains,
    /// The value is its beginning.
    StartsWith,
    /// The claim is there and is not the value. A list matches if none of its elements is the value; it does not if
    /// one of them cannot be compared.
    NotEqual,
}

/// What came of one rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Matches,
    Differs,
    Missing,
    Incomparable,
}

/// The role of the first rule that matches; of the first that matches and yields `asked`, if that is asked for
/// ("unless CustomRoleArn is specified to override the order", Amazon Cognito Developer Guide).
pub(super) fn decide(rules: &[Rule], claims: &Claims, asked: Option<RoleArn>, note: Note) -> Result<Choice, Refusal> {
    for (index, rule) in rules.iter().enumerate() {
        let number = index + 1;
        let verdict = rule.judge(claims);
        if verdict != Verdict::Matches {
            note(format_args!("rule {number}: {rule}: {}", verdict.describe()));
            continue;
        }
        match &asked {
            Some(asked) if *asked != rule.role => {
                note(format_args!("rule {number}: {rule}: matches, but does not yield the asked role"));
            }
            Some(asked) => {
                note(format_args!("rule {number}: {rule}: matches, and yields the asked role"));
                return Ok(Choice::asked(asked.clone(), Reason::AskedRoleOfRule(number)));
            }
            None => {
                note(format_args!("rule {number}: {rule}: matches"));
                return Ok(Choice::found(&rule.role, Reason::FirstMatchingRule(number)));
            }
        }
    }
    Err(if asked.is_some() { Refusal::RoleOfNoMatchingRule } else { Refusal::NoRuleMatches })
}

impl Rule {
    fn judge(&self, claims: &Claims) -> Verdict {
        match claims.get(&self.claim) {
            None | Some(Value::Null) => Verdict::Missing,
            Some(Value::Object(_)) => Verdict::Incomparable,
            Some(Value::Array(elements)) if self.match_type == MatchType::NotEqual => self.judge_all(elements),
            Some(Value::Array(elements)) => {
                Verdict::of(elements.iter().filter_map(text).any(|element| self.fits(&element)))
            }
            Some(scalar) => Verdict::of(text(scalar).is_some_and(|scalar| self.fits(&scalar))),
        }
    }

    fn judge_all(&self, elements: &[Value]) -> Verdict {
        let texts: Option<Vec<_>> = elements.iter().map(text).collect();
        let Some(texts) = texts else { return Verdict::Incomparable };
        Verdict::of(texts.iter().all(|element| self.fits(element)))
    }

    fn fits(&self, text: &str) -> bool {
        match self.match_type {
            MatchType::Equals => text == self.value,
            MatchType::Contains => text.contains(&self.value),
            MatchType::StartsWith => text.starts_with(&self.value),
            MatchType::NotEqual => text != self.value,
        }
    }
}

impl Verdict {
    fn of(matches: bool) -> Self {
        if matches { Self::Matches } else { Self::Differs }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Differs => "does not match",
            Self::Missing => "the claim is missing",
            Self::Incomparable => "the claim holds an object, or a list of more than plain values",
        }
    }
}

impl MatchType {
    /// The name, as AWS and the configuration have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equals => "Equals",
            Self::Contains => "Contains",
            Self::StartsWith => "StartsWith",
            Self::NotEqual => "NotEqual",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.claim, self.match_type.name(), self.value)
    }
}

/// The text by which a claim, or one element of a list, is compared.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
