//! What is allowed in a configuration of roles, and worth a second look. Knows no caller.

use crate::roles::{Mapping, MatchType, Rule, Rules};

/// The standard attributes of a user pool (Amazon Cognito Developer Guide, "Working with user attributes"). Users may
/// write them unless their app client's write permissions say otherwise.
const STANDARD_ATTRIBUTES: &[&str] = &[
    "address",
    "birthdate",
    "email",
    "family_name",
    "gender",
    "given_name",
    "locale",
    "middle_name",
    "name",
    "nickname",
    "phone_number",
    "picture",
    "preferred_username",
    "profile",
    "updated_at",
    "website",
    "zoneinfo",
];

/// Claims with several values, which AWS may compare as one text.
const LISTS: &[&str] = &["cognito:groups", "cognito:roles"];

/// What `check` should say about `rules`, in their order.
pub fn warnings(rules: &Rules) -> Vec<String> {
    let mut found = Vec::new();
    if let Mapping::Rules(rules) = &rules.mapping {
        for (index, rule) in rules.iter().enumerate() {
            warn_of_substring(index + 1, rule, &mut found);
            warn_of_writable(index + 1, rule, &mut found);
        }
    }
    if rules.mapping != Mapping::Token && !rules.groups.is_empty() {
        found.push("groups: not read, since only mapping = \"token\" decides by them".to_owned());
    }
    found
}

fn warn_of_substring(number: usize, rule: &Rule, found: &mut Vec<String>) {
    if rule.match_type == MatchType::Contains && LISTS.contains(&rule.claim.as_str()) {
        found.push(format!(
            "rule {number}: {rule}: matches every element that the value is a part of, as \"admin\" is of \"not-admin\". \
             Here each element is compared by itself; AWS may search the whole list as one text. Take Equals"
        ));
    }
}

fn warn_of_writable(number: usize, rule: &Rule, found: &mut Vec<String>) {
    if rule.claim.starts_with("custom:") || STANDARD_ATTRIBUTES.contains(&rule.claim.as_str()) {
        found.push(format!(
            "rule {number}: {rule}: users can write this attribute themselves, and so take the role, unless the app \
             client's write permissions leave it out"
        ));
    }
}
