//! Prometheus's own tool reads and runs what is below `deploy/observability`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::tool;

const INSTALL: &str = "apt-get install prometheus (or its promtool alone)";

/// What promtool says of its arguments, in `deploy/observability`, when it is content.
fn promtool(arguments: &[&str]) -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let done = tool(Command::new("promtool").args(arguments).current_dir(place), INSTALL);
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
    told
}

#[test]
fn promtool_reads_the_alerts_and_each_fires_when_it_should_and_only_then() {
    assert!(promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"]).contains("SUCCESS"));
    assert!(promtool(&["test", "rules", "alerts_test.yaml"]).contains("SUCCESS"));
}

#[test]
fn promtool_reads_every_expression_of_the_dashboard() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/observability/dashboard.json"));
    let dashboard: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    // Grafana puts durations and values in the places of its variables.
    let plain = |text: &str| text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*");
    let rules: Vec<_> = targets
        .flatten()
        .enumerate()
        .map(|(index, target)| {
            serde_json::json!({"record": format!("panel:{index}"), "expr": plain(target["expr"].as_str().unwrap())})
        })
        .collect();
    assert!(rules.len() > 20);
    // YAML takes JSON.
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), groups.to_string()).unwrap();
    promtool(&["check", "rules", "--lint=none", file.path().to_str().unwrap()]);
}
