//! Templates against their tables (`cases/`), and their three promises: different claims never come to the same, what
//! comes out is what AWS takes, and nothing panics.
//!
//! A row has the `template`, the `claims`, and what `is` made of them, or the `fault`, or the `template_fault`, each by
//! the beginning of its `Debug`. `x*3` stands for `xxx`, DIGEST for 32 letters of base32.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::Claims;

fn rows(table: &str) -> Vec<Value> {
    serde_json::from_str(table).unwrap()
}

/// Writes out a text that is too long for a table: its last character but the factor, as often as that says.
fn long(text: &str) -> String {
    let spelled = |end: &str| {
        let (start, factor) = text.strip_suffix(end)?.rsplit_once('*')?;
        let (kept, repeated) = start.split_at(start.char_indices().next_back()?.0);
        Some(format!("{kept}{}{end}", repeated.repeat(factor.parse().ok()?)))
    };
    spelled("").or_else(|| spelled("\"}")).unwrap_or_else(|| text.to_owned())
}

fn claims(row: &Value) -> Claims {
    let claims = row["claims"].as_object().cloned().unwrap_or_default();
    claims
        .into_iter()
        .map(|(name, value)| (name, value.as_str().map(|text| long(text).into()).unwrap_or(value)))
        .collect()
}

fn debug<T: std::fmt::Debug>(value: T) -> String {
    format!("{value:?}")
}

/// Compares what `parse` and `fill` made with what a row says.
fn judge<T, F: std::fmt::Debug + std::fmt::Display>(
    row: &Value,
    parsed: Result<T, TemplateFault>,
    fill: impl Fn(&T) -> Result<String, F>,
) {
    let case = &row["case"];
    let told = match (parsed.map(|template| fill(&template)), &row["template_fault"], &row["fault"]) {
        (Err(fault), Value::String(wanted), _) => (debug(&fault), wanted.clone(), fault.to_string()),
        (Ok(Err(fault)), _, Value::String(wanted)) => (debug(&fault), wanted.clone(), fault.to_string()),
        (Ok(Ok(text)), Value::Null, Value::Null) => {
            let wanted = long(row["is"].as_str().unwrap());
            match wanted.split_once("DIGEST") {
                Some((start, _)) => assert!(is_cut(&text, start), "{case}: {text}"),
                None => assert_eq!(text, wanted, "{case}"),
            }
            return;
        }
        (found, ..) => panic!("{case}: {:?}", found.map(|found| found.map_err(debug)).map_err(debug)),
    };
    let (found, wanted, text) = told;
    assert!(found.starts_with(&wanted), "{case}: {found}");
    assert!(text.len() > 20 && !text.contains("SECRET"), "{case}: {text}");
}

fn is_cut(name: &str, start: &str) -> bool {
    let end = name.strip_prefix(start).unwrap_or_default();
    name.len() == 64 && end.len() == 32 && end.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

/// A policy of one statement for `resource`.
fn policy_for(resource: &str) -> String {
    let statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn resource_in(policy: &str) -> String {
    let policy: Value = serde_json::from_str(policy).unwrap();
    policy["Statement"][0]["Resource"].as_str().unwrap().to_owned()
}

#[test]
fn every_row_of_the_templates() {
    for row in rows(include_str!("cases/names.json")) {
        let template = NameTemplate::parse(&long(row["template"].as_str().unwrap()));
        judge(&row, template, |template| template.fill(&claims(&row)));
    }
    for row in rows(include_str!("cases/tags.json")) {
        let template = TagTemplate::parse(&long(row["template"].as_str().unwrap()));
        judge(&row, template, |template| template.fill(&claims(&row)));
    }
    for row in rows(include_str!("cases/resources.json")) {
        let template = PolicyTemplate::parse(&policy_for(&long(row["resource"].as_str().unwrap())));
        judge(&row, template, |template| template.fill(&claims(&row)).map(|policy| resource_in(&policy)));
    }
    for row in rows(include_str!("cases/policies.json")) {
        let template = PolicyTemplate::parse(row["policy"].as_str().unwrap());
        judge(&row, template, |template| template.fill(&claims(&row)));
    }
}

#[test]
fn every_row_of_the_checks() {
    for row in rows(include_str!("cases/checks.json")) {
        judge(&row, Ok(long(row["policy"].as_str().unwrap())), |policy| check_policy(policy));
    }
    for row in rows(include_str!("cases/arns.json")) {
        let arns: Vec<String> = row["arns"].as_array().unwrap().iter().map(|arn| long(arn.as_str().unwrap())).collect();
        let found = check_policy_arns(&arns).err().map(debug);
        assert_eq!(found.as_deref(), row["fault"].as_str(), "{}", row["case"]);
    }
    for row in rows(include_str!("cases/tag_keys.json")) {
        let texts = |name: &str| row[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let (keys, transitive, wanted): (Vec<_>, Vec<_>, Vec<_>) =
            (texts("keys"), texts("transitive"), texts("faults"));
        let found = tag_key_faults(&keys, &transitive);
        let same = found.iter().zip(&wanted).all(|(found, wanted)| found.starts_with(wanted));
        assert!(same && found.len() == wanted.len(), "{}: {found:?}", row["case"]);
    }
}

#[test]
fn the_limits_of_keys_and_of_all_together() {
    let keys: Vec<String> = (0..51).map(|number| format!("key-{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(tag_key_faults(&keys[..50], &[]), Vec::<String>::new());
    assert_eq!(tag_key_faults(&keys, &[]).len(), 1);
    assert_eq!(tag_key_faults(&[&"ä".repeat(128)], &[]).len(), 0);
    assert_eq!(tag_key_faults(&[&"ä".repeat(129)], &[]).len(), 1);
    let arns = ["arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()];
    let policy = "é".repeat(2048 - arns[0].len());
    assert_eq!(check_policy_size(Some(&policy), &arns), Ok(()));
    assert_eq!(check_policy_size(Some(&format!("{policy}x")), &arns), Err(PolicyFault::TooLong));
    assert_eq!(check_policy(&format!("{{}}{}", " ".repeat(70_000))), Err(PolicyFault::TooLong));
}

#[test]
fn a_template_names_its_claims() {
    let policy = PolicyTemplate::parse(&policy_for("{{b}}/{{a}}/{{b}}")).unwrap();
    assert_eq!(policy.claims().collect::<Vec<_>>(), ["b", "a", "b"]);
    assert!(NameTemplate::parse("x").unwrap().is_constant());
    assert!(!NameTemplate::parse("{{x}}").unwrap().is_constant());
}

#[test]
fn every_letter_that_a_tag_keeps_is_one() {
    let kept: Vec<char> = ('\u{80}'..=char::MAX).filter(|c| tag::is_allowed(*c)).collect();
    assert!(kept.len() > 30_000);
    assert!(kept.iter().all(|c| c.is_alphabetic() && !c.is_numeric()));
}

/// Claims `a`, `b`, … with these values.
fn claims_of<T: Clone + Into<Value>>(values: &[T]) -> Claims {
    ('a'..).zip(values).map(|(name, value)| (name.to_string(), value.clone().into())).collect()
}

/// What a value says to a template: lists as sets, all else by its text.
fn meaning(value: &Value) -> Result<String, BTreeSet<String>> {
    match value {
        Value::Array(elements) => Err(elements.iter().map(|text| text.as_str().unwrap().to_owned()).collect()),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

fn tag_char(c: char) -> bool {
    c.is_alphabetic() || c.is_numeric() || "_.:/=+-@ ".contains(c)
}

/// Whether IAM would let `pattern` cover `text`.
fn covers(pattern: &str, text: &str) -> bool {
    let after = |special: &str| pattern.strip_prefix(special);
    for (special, plain) in [("${*}", '*'), ("${?}", '?'), ("${$}", '$')] {
        if let Some(rest) = after(special) {
            return text.strip_prefix(plain).is_some_and(|text| covers(rest, text));
        }
    }
    if let Some(rest) = after("*") {
        return text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| covers(rest, &text[at..]));
    }
    let mut chars = (pattern.chars(), text.chars());
    match (chars.0.next(), chars.1.next()) {
        (None, None) => true,
        (Some(wanted), Some(found)) => (wanted == '?' || wanted == found) && covers(chars.0.as_str(), chars.1.as_str()),
        _ => false,
    }
}

/// Short texts over few characters, separators and look-alikes of escapes among them, so that near-collisions are
/// common; and a long one now and then.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[ab=@:0D/é -]{0,4}", 1 => "[ab=é]{58,70}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => text().prop_map(Value::from),
        2 => prop::collection::vec("[ab=:]{0,2}", 0..4).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ]
}

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let object = prop::collection::vec((any::<String>(), inner.clone()), 0..3);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn different_claims_have_different_names(
        template in prop::sample::select(vec!["{{a}}", "{{a}}@{{b}}", "{{a}}0D-{{b}}", "a{{a}}a{{b}}a", "{{b}}, {{a}}"]),
        one in prop::collection::vec(text(), 2),
        other in prop::collection::vec(text(), 2),
    ) {
        let template = NameTemplate::parse(&template.replace(' ', "")).unwrap();
        let used = template.claims().count();
        let fill = |values: &[String]| template.fill(&claims_of(values));
        let (Ok(first), Ok(second)) = (fill(&one), fill(&other)) else {
            prop_assert!(one[..used].iter().chain(&other[..used]).any(String::is_empty));
            return Ok(());
        };
        prop_assert_eq!(first == second, one[..used] == other[..used], "{} {}", first, second);
        prop_assert!((2..=64).contains(&first.len()) && first.chars().all(name_char), "{}", first);
    }

    #[test]
    fn different_claims_have_different_tags(
        template in prop::sample::select(vec!["{{a}}", "{{a}}@{{b}}", ":{{a}}=-{{b}}:", "x{{a}}x{{b}}", "{{a}}:/{{b}}"]),
        one in prop::collection::vec(value(), 2),
        other in prop::collection::vec(value(), 2),
    ) {
        let template = TagTemplate::parse(template).unwrap();
        let used = template.claims().count();
        let fill = |values: &[Value]| template.fill(&claims_of(values));
        let (Ok(first), Ok(second)) = (fill(&one), fill(&other)) else { return Ok(()) };
        let meanings = |values: &[Value]| values[..used].iter().map(meaning).collect::<Vec<_>>();
        prop_assert_eq!(first == second, meanings(&one) == meanings(&other), "{} {}", first, second);
        prop_assert!(first.chars().count() <= 256 && first.chars().all(tag_char), "{}", first);
    }

    /// Two values that a separator joins to the same text wherever it is cut.
    #[test]
    fn a_separator_within_a_value_moves_nothing(
        between in prop::sample::select(vec!["@", "0D-", "=-", "a", ":/", "+:", "#", "}", "-x"]),
        parts in prop::collection::vec("[aD0=:*-]{1,2}", 3),
    ) {
        let [first, middle, last] = &parts[..] else { return Ok(()) };
        let one = claims_of(&[first.clone(), format!("{middle}{between}{last}")]);
        let other = claims_of(&[format!("{first}{between}{middle}"), last.clone()]);
        let text = format!("{{{{a}}}}{between}{{{{b}}}}");
        if let Ok(name) = NameTemplate::parse(&text) {
            prop_assert_ne!(name.fill(&one).unwrap(), name.fill(&other).unwrap());
        }
        if let Ok(tag) = TagTemplate::parse(&text) {
            prop_assert_ne!(tag.fill(&one).unwrap(), tag.fill(&other).unwrap());
        }
        let policy = PolicyTemplate::parse(&policy_for(&text)).unwrap();
        prop_assert!(policy.fill(&other).is_err() || policy.fill(&one) != policy.fill(&other));
    }

    #[test]
    fn a_pattern_finds_one_element_of_a_list(list in prop::collection::vec("[ab:=]{0,2}", 0..5), sought in "[ab]{1,2}") {
        let tag = TagTemplate::parse("{{a}}").unwrap().fill(&claims_of(std::slice::from_ref(&list))).unwrap();
        prop_assert_eq!(covers(&format!("*:{sought}:*"), &tag), list.contains(&sought), "{}", tag);
    }

    #[test]
    fn different_claims_have_different_policies(
        template in prop::sample::select(vec![
            "{{a}}/*", "{{a}}-{{b}}", "x/{{a}}#b/*/{{b}}", "arn:aws:s3:::{{a}}.{{b}}/*", "*/{{a}}}{{b}}",
        ]),
        one in prop::collection::vec("[ab*?$ {}\"\\\\#.-]{1,4}", 2),
        other in prop::collection::vec("[ab*?$ {}\"\\\\#.-]{1,4}", 2),
    ) {
        let template = PolicyTemplate::parse(&policy_for(template)).unwrap();
        let used = template.claims().count();
        let fill = |values: &[String]| template.fill(&claims_of(values));
        let (Ok(first), Ok(second)) = (fill(&one), fill(&other)) else { return Ok(()) };
        prop_assert_eq!(first == second, one[..used] == other[..used], "{} {}", first, second);
        prop_assert_eq!(check_policy(&first), Ok(first.clone()));
    }

    /// The promise to tenants. What belongs to one is what the template says with every wildcard as a path of its own.
    #[test]
    fn a_tenant_covers_itself_and_no_other(
        template in prop::sample::select(vec![
            "b/{{a}}/*", "b/{{a}}-*", "*/{{a}}/x", "*-{{a}}/*", "b?{{a}}?c", "b/{{a}}.x*", "*.{{a}}",
        ]),
        one in "[ab*?$.{}-]{1,3}",
        other in "[ab*?$.{}-]{1,3}",
        filler in "[ab]{1,2}",
    ) {
        let Ok(template) = PolicyTemplate::parse(&policy_for(template)).map(|parsed| (parsed, template)) else {
            prop_assert!(template.contains('?'));
            return Ok(());
        };
        let Ok(policy) = template.0.fill(&claims_of(&[one.as_str()])) else { return Ok(()) };
        prop_assume!(template.0.fill(&claims_of(&[other.as_str()])).is_ok());
        let belongs = template.1.replace('*', &filler).replace("{{a}}", &other);
        prop_assert_eq!(covers(&resource_in(&policy), &belongs), one == other, "{} {}", policy, belongs);
    }
}

proptest! {
    #[test]
    fn whatever_is_written_nothing_panics_and_what_comes_out_is_sound(
        template in "(\\{\\{a\\}\\}|\\{\\{b\\}\\}|[{}ab/*$?:é=\" -]){0,5}",
        values in prop::collection::vec(anything(), 2),
    ) {
        let claims = claims_of(&values);
        if let Ok(Ok(name)) = NameTemplate::parse(&template).map(|template| template.fill(&claims)) {
            prop_assert!((2..=64).contains(&name.len()) && name.chars().all(name_char), "{}", name);
        }
        if let Ok(Ok(tag)) = TagTemplate::parse(&template).map(|template| template.fill(&claims)) {
            prop_assert!(tag.chars().count() <= 256 && tag.chars().all(tag_char), "{}", tag);
        }
        if let Ok(Ok(policy)) = PolicyTemplate::parse(&policy_for(&template)).map(|template| template.fill(&claims)) {
            prop_assert_eq!(check_policy(&policy), Ok(policy));
        }
        for text in [&template, &policy_for(&template), &json!(values).to_string()] {
            check_policy(text).ok();
            PolicyTemplate::parse(text).ok();
            check_policy_arns(std::slice::from_ref(text)).ok();
            tag_key_faults(&[text], &[text]);
        }
    }
}
