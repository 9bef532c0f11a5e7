//! The resolver against its tables (`cases/`) and against naive models.
//!
//! A row of a table has the profile (`mapping`, `ambiguous`, `unlisted`, `rules` as `[claim, match type, value, role]`,
//! `groups` as `[name, precedence, role]`), the claims (`claims`, with `roles` and `preferred` for the two long names),
//! the `ask`, and either the `role`, its `reason` and whether it counts as `asked`, or the `refusal`; and what was
//! `considered`, where that is shown. ADMIN and EDITOR stand for ARNs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ADMIN: &str = "arn:aws:iam::111122223333:role/rbac-users-admin-role";
const EDITOR: &str = "arn:aws:iam::111122223333:role/rbac-users-editor-role";

fn rules(mapping: Mapping, ambiguous: Ambiguous) -> Rules {
    let aliases = [("admin".to_owned(), RoleArn::new(ADMIN)), ("editor".to_owned(), RoleArn::new(EDITOR))];
    Rules { mapping, ambiguous, aliases: aliases.into(), preferred_must_be_listed: true, groups: Vec::new() }
}

/// Writes out the table's short names.
fn spelled(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("ADMIN", ADMIN).replace("EDITOR", EDITOR).into(),
        Value::Array(items) => items.iter().map(spelled).collect(),
        other => other.clone(),
    }
}

fn text(value: &Value) -> String {
    spelled(value).as_str().unwrap().to_owned()
}

fn rule(row: &Value) -> Rule {
    let match_type = match row[1].as_str().unwrap() {
        "Equals" => MatchType::Equals,
        "Contains" => MatchType::Contains,
        "StartsWith" => MatchType::StartsWith,
        "NotEqual" => MatchType::NotEqual,
        other => panic!("no match type: {other}"),
    };
    Rule { claim: text(&row[0]), match_type, value: text(&row[2]), role: RoleArn::new(text(&row[3])) }
}

fn group(row: &Value) -> Group {
    let precedence = row[1].as_u64().unwrap().try_into().unwrap();
    Group { name: text(&row[0]), precedence, role: RoleArn::new(text(&row[2])) }
}

fn profile(row: &Value) -> Rules {
    let ambiguous = if row["ambiguous"] == "authenticated_role" {
        Ambiguous::AuthenticatedRole(Some(RoleArn::new(EDITOR)))
    } else {
        Ambiguous::Deny
    };
    let mapping = match (&row["rules"], &row["mapping"]) {
        (Value::Array(rules), _) => Mapping::Rules(rules.iter().map(rule).collect()),
        (_, mapping) if mapping == "pool" => Mapping::Pool,
        _ => Mapping::Token,
    };
    let mut rules = rules(mapping, ambiguous);
    rules.preferred_must_be_listed = row["unlisted"] != true;
    rules.groups = row["groups"].as_array().into_iter().flatten().map(group).collect();
    rules
}

fn claims(row: &Value) -> Claims {
    let mut claims = row["claims"].as_object().cloned().unwrap_or_default();
    for (name, value) in [("cognito:roles", &row["roles"]), ("cognito:preferred_role", &row["preferred"])] {
        if !value.is_null() {
            claims.insert(name.to_owned(), spelled(value));
        }
    }
    claims
}

fn told(found: &Result<Choice, Refusal>) -> Value {
    match found {
        Ok(choice) => json!({
            "role": choice.expected.as_ref().map(RoleArn::as_str),
            "reason": format!("{:?}", choice.reason),
            "asked": choice.asked.is_some(),
        }),
        Err(refusal) => json!({"refusal": format!("{refusal:?}")}),
    }
}

fn wanted(row: &Value) -> Value {
    match &row["refusal"] {
        Value::Null => json!({"role": spelled(&row["role"]), "reason": row["reason"], "asked": row["asked"] == true}),
        refusal => json!({"refusal": refusal}),
    }
}

fn rows(table: &str) -> Vec<Value> {
    serde_json::from_str(table).unwrap()
}

#[test]
fn every_row_of_the_tables() {
    let tables = [
        include_str!("cases/token.json"),
        include_str!("cases/pool.json"),
        include_str!("cases/rules.json"),
        include_str!("cases/groups.json"),
    ];
    for row in tables.into_iter().flat_map(rows) {
        let (profile, claims) = (profile(&row), claims(&row));
        let ask = spelled(&row["ask"]);
        let found = profile.resolve(&claims, ask.as_str());
        assert_eq!(told(&found), wanted(&row), "{}", row["case"]);
        let explained = profile.explain(&claims, ask.as_str());
        assert_eq!(explained.outcome, found, "{}", row["case"]);
        assert!(!explained.considered.concat().contains("SECRET"), "{}", row["case"]);
        if !row["considered"].is_null() {
            assert_eq!(json!(explained.considered), row["considered"], "{}", row["case"]);
        }
    }
}

#[test]
fn every_row_of_the_warnings() {
    for row in rows(include_str!("cases/warnings.json")) {
        let found = warnings(&profile(&row));
        let wanted = row["warnings"].as_array().unwrap();
        assert_eq!(found.len(), wanted.len(), "{}: {found:?}", row["case"]);
        for (found, beginning) in found.iter().zip(wanted) {
            assert!(found.starts_with(beginning.as_str().unwrap()), "{}: {found}", row["case"]);
        }
    }
}

#[test]
fn every_refusal_says_what_to_do() {
    for refusal in [
        Refusal::UnknownAlias,
        Refusal::RoleNotInToken,
        Refusal::RoleOfNoMatchingRule,
        Refusal::RoleOfNoGroup,
        Refusal::PreferredRoleNotListed,
        Refusal::Ambiguous,
        Refusal::NoRuleMatches,
        Refusal::NoGroupConfigured,
        Refusal::GroupsTie,
    ] {
        assert!(refusal.cause().len() > 40);
    }
}

#[test]
fn a_reason_names_its_rule() {
    assert_eq!(Reason::FirstMatchingRule(2).to_string(), "rule 2: it is the first rule that the claims match");
    assert!(Reason::LowestPrecedence(3).to_string().starts_with("group 3: "));
    assert_eq!(Reason::PreferredRole.to_string(), Reason::PreferredRole.describe());
}

fn arn(number: u8) -> String {
    format!("arn:aws:iam::111122223333:role/role-{number}")
}

/// What a model says: a role's number, or that there is none.
fn expected(found: &Result<Choice, Refusal>) -> Option<String> {
    found.as_ref().ok().map(|choice| choice.expected.as_ref().unwrap().to_string())
}

fn ambiguous(deny: bool) -> Ambiguous {
    if deny { Ambiguous::Deny } else { Ambiguous::AuthenticatedRole(Some(RoleArn::new(arn(99)))) }
}

/// The documented rules for role claims, as a person would write them down, over role numbers.
fn token_model(roles: &[u8], preferred: Option<u8>, ask: Option<u8>, deny: bool) -> Option<u8> {
    match (ask, preferred) {
        (Some(ask), _) => roles.contains(&ask).then_some(ask),
        (None, Some(preferred)) => roles.contains(&preferred).then_some(preferred),
        (None, None) => (!deny).then_some(99),
    }
}

/// The same for rules `(claim, match type, value, role)` over claims that are lists of short texts.
fn rules_model(
    rules: &[(u8, u8, String, u8)],
    claims: &[Option<Vec<String>>],
    ask: Option<u8>,
    deny: bool,
) -> Option<u8> {
    let matching: Vec<u8> = rules
        .iter()
        .filter(|(claim, match_type, value, _)| match (&claims[usize::from(*claim)], match_type) {
            (None, _) => false,
            (Some(texts), 0) => texts.contains(value),
            (Some(texts), 1) => texts.iter().any(|text| text.contains(value)),
            (Some(texts), 2) => texts.iter().any(|text| text.starts_with(value)),
            (Some(texts), _) => !texts.contains(value),
        })
        .map(|(_, _, _, role)| *role)
        .collect();
    match (ask, matching.first()) {
        (Some(ask), _) => matching.contains(&ask).then_some(ask),
        (None, Some(first)) => Some(*first),
        (None, None) => (!deny).then_some(99),
    }
}

/// The same for groups `(name, precedence, role)`.
fn groups_model(groups: &[(u8, u32, u8)], mine: &[u8], ask: Option<u8>, deny: bool) -> Option<u8> {
    let mut mine: Vec<(u32, u8)> = groups
        .iter()
        .filter(|(name, ..)| mine.contains(name))
        .map(|(_, precedence, role)| (*precedence, *role))
        .collect();
    if let Some(ask) = ask {
        return mine.iter().any(|(_, role)| *role == ask).then_some(ask);
    }
    mine.sort_unstable();
    let lowest = mine.first().map(|(precedence, _)| *precedence);
    let mut roles: Vec<u8> = mine.iter().filter(|(at, _)| Some(*at) == lowest).map(|(_, role)| *role).collect();
    roles.dedup();
    match roles[..] {
        [role] => Some(role),
        _ => (!deny).then_some(99),
    }
}

/// Any JSON, with the texts that matter among it.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a,:Z ]{0,6}".prop_map(Value::from),
        Just(Value::from(ADMIN)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let object = prop::collection::vec(("[ab]", inner.clone()), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn role_claims_agree_with_the_model(
        roles in prop::collection::vec(0_u8..6, 0..5),
        preferred in prop::option::of(0_u8..6),
        ask in prop::option::of(0_u8..6),
        deny: bool,
        as_text: bool,
    ) {
        let arns: Vec<String> = roles.iter().copied().map(arn).collect();
        let listed = if as_text { json!(arns.join(",")) } else { json!(arns) };
        let claims = claims(&json!({"roles": listed, "preferred": preferred.map(arn)}));
        let found = rules(Mapping::Token, ambiguous(deny)).resolve(&claims, ask.map(arn).as_deref());
        prop_assert_eq!(expected(&found), token_model(&roles, preferred, ask, deny).map(arn));
    }

    #[test]
    fn rules_agree_with_the_model(
        table in prop::collection::vec((0_u8..3, 0_u8..4, "[ab]{1,2}", 0_u8..4), 0..6),
        values in prop::collection::vec(prop::option::of(prop::collection::vec("[ab]{0,3}", 0..3)), 3),
        ask in prop::option::of(0_u8..4),
        deny: bool,
    ) {
        let types = [MatchType::Equals, MatchType::Contains, MatchType::StartsWith, MatchType::NotEqual];
        let typed = table.iter().map(|(claim, match_type, value, role)| Rule {
            claim: format!("claim-{claim}"),
            match_type: types[usize::from(*match_type)],
            value: value.clone(),
            role: RoleArn::new(arn(*role)),
        });
        let mut claims = Claims::new();
        for (index, texts) in values.iter().enumerate() {
            // One text stands by itself or in a list of one: both are the same to a rule.
            match texts.as_deref() {
                None => None,
                Some([text]) if deny => claims.insert(format!("claim-{index}"), json!(text)),
                Some(texts) => claims.insert(format!("claim-{index}"), json!(texts)),
            };
        }
        let found = rules(Mapping::Rules(typed.collect()), ambiguous(deny))
            .resolve(&claims, ask.map(arn).as_deref());
        prop_assert_eq!(expected(&found), rules_model(&table, &values, ask, deny).map(arn));
    }

    #[test]
    fn groups_agree_with_the_model(
        table in prop::collection::vec((0_u8..6, 0_u32..3, 0_u8..4), 1..6),
        mine in prop::collection::vec(0_u8..8, 0..5),
        ask in prop::option::of(0_u8..4),
        deny: bool,
        as_text: bool,
    ) {
        let mut profile = rules(Mapping::Token, ambiguous(deny));
        profile.groups = table
            .iter()
            .map(|(name, precedence, role)| {
                Group { name: name.to_string(), precedence: *precedence, role: RoleArn::new(arn(*role)) }
            })
            .collect();
        let names: Vec<String> = mine.iter().map(u8::to_string).collect();
        let listed = if as_text { json!(names.join(",")) } else { json!(names) };
        // Role claims beside the groups change nothing.
        let claims = claims(&json!({
            "claims": {"cognito:groups": listed}, "roles": [arn(0), arn(1)], "preferred": arn(0),
        }));
        let found = profile.resolve(&claims, ask.map(arn).as_deref());
        prop_assert_eq!(expected(&found), groups_model(&table, &mine, ask, deny).map(arn));
    }

    #[test]
    fn whatever_the_claims_hold_the_explanation_agrees_and_tells_no_value(
        names in prop::collection::vec(
            prop::sample::select(vec!["cognito:groups", "cognito:roles", "cognito:preferred_role", "a"]), 0..4,
        ),
        values in prop::collection::vec(anything(), 4),
        mapping in 0..3,
        ask: bool,
    ) {
        let claims: Claims = names.iter().map(ToString::to_string).zip(values).collect();
        let typed = ["Equals", "Contains", "StartsWith", "NotEqual"].map(|kind| rule(&json!(["a", kind, "a", "ADMIN"])));
        let mut profile = rules(Mapping::Token, Ambiguous::Deny);
        if mapping == 1 {
            profile.mapping = Mapping::Rules(typed.into());
        }
        if mapping == 2 {
            profile.groups = vec![group(&json!(["a", 1, "ADMIN"])), group(&json!(["a,a", 1, "EDITOR"]))];
        }
        let ask = ask.then_some("admin");
        let explained = profile.explain(&claims, ask);
        prop_assert_eq!(profile.resolve(&claims, ask), explained.outcome);
        for line in &explained.considered {
            prop_assert!(!line.contains("arn:") && !line.contains('Z'), "{}", line);
        }
    }
}
