//! The resolver against its table (`cases.json`) and against a naive model.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Expiry, Moment};

const ADMIN: &str = "arn:aws:iam::111122223333:role/rbac-users-admin-role";
const EDITOR: &str = "arn:aws:iam::111122223333:role/rbac-users-editor-role";

fn caller(claims: Claims) -> Caller {
    let now = Moment { wall: SystemTime::UNIX_EPOCH, boot: Duration::ZERO };
    Caller {
        user_pool: "us-east-1_AbCdEf123".into(),
        issuer: "https://issuer".into(),
        subject: "sub".into(),
        client_id: "client".into(),
        claims,
        fingerprint: [0; 32],
        expires: Expiry::at(now.wall, now),
    }
}

fn rules(mapping: Mapping, ambiguous: Ambiguous) -> Rules {
    let aliases = [("admin".to_owned(), RoleArn::new(ADMIN)), ("editor".to_owned(), RoleArn::new(EDITOR))];
    Rules { mapping, ambiguous, aliases: aliases.into(), preferred_must_be_listed: true }
}

/// Writes out the table's short names.
fn spelled(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("ADMIN", ADMIN).replace("EDITOR", EDITOR).into(),
        Value::Array(items) => items.iter().map(spelled).collect(),
        other => other.clone(),
    }
}

fn claims(roles: &Value, preferred: &Value) -> Claims {
    let mut claims = Claims::new();
    for (name, value) in [("cognito:roles", roles), ("cognito:preferred_role", preferred)] {
        if !value.is_null() {
            claims.insert(name.to_owned(), spelled(value));
        }
    }
    claims
}

#[test]
fn every_row_of_the_table() {
    let table: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(table.len() > 30);
    for row in &table {
        let mapping = if row["mapping"] == "pool" { Mapping::Pool } else { Mapping::Token };
        let ambiguous = if row["ambiguous"] == "authenticated_role" {
            Ambiguous::AuthenticatedRole(Some(RoleArn::new(EDITOR)))
        } else {
            Ambiguous::Deny
        };
        let mut rules = rules(mapping, ambiguous);
        rules.preferred_must_be_listed = row["unlisted"] != true;
        let ask = spelled(&row["ask"]);
        let found = rules.resolve(&caller(claims(&row["roles"], &row["preferred"])), ask.as_str());
        let told = match &found {
            Ok(choice) => json!({
                "role": choice.expected.as_ref().map(RoleArn::as_str),
                "reason": format!("{:?}", choice.reason),
                "asked": choice.asked.is_some(),
            }),
            Err(refusal) => json!({"refusal": format!("{refusal:?}")}),
        };
        let wanted = match &row["refusal"] {
            Value::Null => json!({
                "role": spelled(&row["role"]),
                "reason": row["reason"],
                "asked": row["asked"] == true,
            }),
            refusal => json!({"refusal": refusal}),
        };
        assert_eq!(told, wanted, "{}", row["case"]);
    }
}

#[test]
fn every_refusal_says_what_to_do() {
    for refusal in [Refusal::UnknownAlias, Refusal::RoleNotInToken, Refusal::PreferredRoleNotListed, Refusal::Ambiguous]
    {
        assert!(refusal.cause().len() > 40);
    }
}

/// The documented rules, as a person would write them down, over role numbers.
fn model(roles: &[u8], preferred: Option<u8>, ask: Option<u8>, deny: bool) -> Option<u8> {
    match (ask, preferred) {
        (Some(ask), _) => roles.contains(&ask).then_some(ask),
        (None, Some(preferred)) => roles.contains(&preferred).then_some(preferred),
        (None, None) => (!deny).then_some(99),
    }
}

fn arn(number: u8) -> String {
    format!("arn:aws:iam::111122223333:role/role-{number}")
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        roles in prop::collection::vec(0_u8..6, 0..5),
        preferred in prop::option::of(0_u8..6),
        ask in prop::option::of(0_u8..6),
        deny: bool,
        as_text: bool,
    ) {
        let arns: Vec<String> = roles.iter().copied().map(arn).collect();
        let listed = if as_text { json!(arns.join(",")) } else { json!(arns) };
        let preferred_arn = preferred.map_or(Value::Null, |number| arn(number).into());
        let ambiguous = if deny {
            Ambiguous::Deny
        } else {
            Ambiguous::AuthenticatedRole(Some(RoleArn::new(arn(99))))
        };
        let found = rules(Mapping::Token, ambiguous)
            .resolve(&caller(claims(&listed, &preferred_arn)), ask.map(arn).as_deref());
        let expected = model(&roles, preferred, ask, deny).map(|number| RoleArn::new(arn(number)));
        prop_assert_eq!(found.ok().and_then(|choice| choice.expected), expected);
    }
}
