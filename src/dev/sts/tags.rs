//! Session tags: what may be one, and what a session hands on to those assumed from it. Knows no role.

use std::collections::HashSet;

use super::super::sessions::Grant;
use super::super::wire::Refusal;
use super::INVALID;
use super::form::{Form, check_length, check_pattern};

/// How many bytes the tags of a session can have, each of them with three bytes more.
pub(super) const SPACE: usize = 460;

/// The tags that a request gives.
pub(super) struct Tags<'a> {
    given: Vec<(&'a str, &'a str)>,
    transitive: Vec<&'a str>,
}

impl<'a> Tags<'a> {
    pub(super) fn of(form: &'a Form<'_>) -> Result<Self, Refusal> {
        // A value that is left out is an empty one.
        let value = |place| form.get(&format!("Tags.member.{place}.Value")).unwrap_or_default();
        let given: Vec<_> = (1_usize..).zip(form.list("Tags", ".Key")).map(|(at, key)| (key, value(at))).collect();
        let transitive: Vec<_> = form.list("TransitiveTagKeys", "").collect();
        check_count(given.len(), "tags")?;
        check_count(transitive.len(), "transitiveTagKeys")?;
        for (place, (key, value)) in (1..).zip(&given) {
            check(key, &format!("tags.{place}.member.key"), 1..=128, "+")?;
            check(value, &format!("tags.{place}.member.value"), 0..=256, "*")?;
        }
        let keys: HashSet<_> = given.iter().map(|(key, _)| key.to_lowercase()).collect();
        if keys.iter().any(|key| key.starts_with("aws:")) {
            return Err(invalid("aws: prefixed tag key names are not allowed for external use."));
        }
        if keys.len() < given.len() {
            return Err(invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive."));
        }
        if !transitive.iter().all(|key| keys.contains(&key.to_lowercase())) {
            return Err(invalid("The specified transitive tag key must be included in the requested tags."));
        }
        Ok(Self { given, transitive })
    }

    /// Gives `grant` these tags, and those that the session `from` hands on.
    pub(super) fn add_to(&self, grant: &mut Grant, from: Option<&Grant>) -> Result<(), Refusal> {
        let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        if let Some(from) = from {
            if from.transitive.iter().any(|key| self.given.iter().any(|(given, _)| same(key, given))) {
                return Err(invalid(
                    "One of the specified transitive tag keys can't be set because it conflicts with a transitive \
                     tag key from the calling session.",
                ));
            }
            let handed_on = |(key, _): &&(String, String)| from.transitive.iter().any(|one| same(one, key));
            grant.tags.extend(from.tags.iter().filter(handed_on).cloned());
            grant.transitive.extend(from.transitive.iter().cloned());
        }
        grant.tags.extend(self.given.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        grant.transitive.extend(self.transitive.iter().map(|&key| key.to_owned()));
        Ok(())
    }
}

fn check_count(count: usize, member: &str) -> Result<(), Refusal> {
    let rule = "Member must have length less than or equal to 50";
    if count > 50 { Err(Refusal::unseen_constraint(INVALID, member, rule)) } else { Ok(()) }
}

fn check(text: &str, member: &str, lengths: std::ops::RangeInclusive<usize>, many: &str) -> Result<(), Refusal> {
    check_length(text, member, lengths)?;
    // Letters with marks of their own pass here that AWS's `\p{L}` is stricter about.
    let allowed = |character: char| {
        character.is_alphanumeric()
            || (character.is_whitespace() && !character.is_control())
            || "_.:/=+-@".contains(character)
    };
    check_pattern(text, member, &format!("[\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]{many}"), allowed)?;
    Ok(())
}

fn invalid(message: &str) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}
