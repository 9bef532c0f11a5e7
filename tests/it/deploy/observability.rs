//! The dashboard and the alerts speak of metrics that there are, and of nothing else. What they compute is judged by
//! promtool, in the system suite.

use std::collections::BTreeSet;

use cupbearer::metrics::{Listener, Lookup, Operation, Outcome, Reload, Result, Verification};
use serde_json::Value;

use super::read;
use crate::support::http;
use crate::support::scene::{Scene, token};

/// Every PromQL expression of the dashboard, variables' queries included.
fn dashboard_expressions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, member)| match member {
                Value::String(text) if ["expr", "definition"].contains(&key.as_str()) => found.push(text.clone()),
                member => collect(member, found),
            }),
            Value::Array(all) => all.iter().for_each(|member| collect(member, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&dashboard(), &mut found);
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("observability/dashboard.json")).unwrap()
}

/// The names of metrics in a text, without what makes a histogram's series of them.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("cupbearer_") || word.starts_with("process_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[tokio::test]
async fn every_metric_in_them_is_one_of_a_running_broker() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    let text = http::get(scene.admin, "/metrics", &[]).await.body;
    let served: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    let drawn = metrics_in(&dashboard_expressions().join(" "));
    for (place, named) in [
        ("dashboard.json", drawn.clone()),
        ("alerts.yaml", metrics_in(&read("observability/alerts.yaml"))),
        ("alerts_test.yaml", metrics_in(&read("observability/alerts_test.yaml"))),
    ] {
        assert!(named.len() > 10, "{place}: {named:?}");
        let unknown: Vec<_> = named.difference(&served).collect();
        assert_eq!(unknown, [""; 0], "{place}: no such metric is served");
    }
    let ours: BTreeSet<_> = served.iter().filter(|name| name.starts_with("cupbearer_")).cloned().collect();
    let undrawn: Vec<_> = ours.difference(&drawn).collect();
    assert_eq!(undrawn, [""; 0], "what is measured can be seen");
}

/// The values by which a label is matched in an expression: `name="a"`, `name=~"a|b"`.
fn matched<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let text_of = |rest: &'a str| rest.trim_start_matches(['=', '~', '!']).strip_prefix('"')?.split('"').next();
    let mut found = Vec::new();
    for (at, _) in text.match_indices(label) {
        let (before, rest) = (&text[..at], &text[at + label.len()..]);
        if before.ends_with(['{', ' ', ',']) && rest.starts_with(['=', '!']) {
            found.extend(text_of(rest).into_iter().flat_map(|values| values.split('|')));
        }
    }
    found
}

#[test]
fn every_value_of_a_label_in_them_is_one_that_there_can_be() {
    let all = dashboard_expressions().join("\n")
        + &read("observability/alerts.yaml")
        + &read("observability/alerts_test.yaml");
    let listeners = Listener::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>();
    let operations = Operation::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>();
    let results = Result::ALL.iter().map(|one| one.as_str()).chain(Verification::ALL.iter().map(|one| one.as_str()));
    let results =
        results.chain(Reload::ALL.iter().map(|one| one.as_str())).chain(Lookup::ALL.iter().map(|one| one.as_str()));
    let outcomes = Outcome::ALL.iter().map(|one| one.as_str()).chain(Result::ALL.iter().map(|one| one.as_str()));
    for (label, known) in [
        ("listener", listeners),
        ("operation", operations),
        ("result", results.collect()),
        ("outcome", outcomes.collect()),
    ] {
        let named = matched(&all, label);
        assert!(!named.is_empty(), "{label}");
        for value in named {
            assert!(known.contains(&value), "{label} is never {value}");
        }
    }
}

#[test]
fn the_dashboard_draws_what_it_says_where_there_is_room() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["schemaVersion"], &dashboard["uid"]), (&39.into(), &"cupbearer".into()));
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are one panel's each");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another", panel["title"]);
        }
        let row = panel["type"] == "row";
        assert!(row || panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
        assert!(row || panel["datasource"]["uid"] == "${datasource}", "{}: no datasource of its own", panel["title"]);
    }
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
}

#[test]
fn every_alert_is_for_somebody_says_what_to_do_and_is_tested() {
    let (rules, tests) = (read("observability/alerts.yaml"), read("observability/alerts_test.yaml"));
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(alert.contains("severity: page") || alert.contains("severity: ticket"), "{name}");
        let runbook = alert.lines().find_map(|line| line.trim().strip_prefix("runbook: \"")).expect(name);
        assert!(runbook.len() > 60 && runbook.ends_with(".\""), "{name}: {runbook}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is not tested to fire");
    }
}
