//! The names, helps and labels of all metrics are a contract: they stand in `metrics.txt`, and change only with it.

use std::collections::BTreeSet;

use crate::support::http;
use crate::support::scene::{Scene, token};

const CONTRACT: &str = include_str!("metrics.txt");

/// `name{labels} type: help` of every metric of ours, sorted.
fn outline(text: &str) -> String {
    let mut lines = BTreeSet::new();
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else { continue };
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap_or("?");
        lines.insert(format!("{name}{} {kind}: {help}", labels(text, name)));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The label names of `name`, bucket bounds aside, and their values where they are enums of ours.
fn labels(text: &str, name: &str) -> String {
    let mut found: BTreeSet<(String, String)> = BTreeSet::new();
    for series in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, set)) = series.split_once('{') else { continue };
        if series != name && ![format!("{name}_bucket"), format!("{name}_sum")].contains(&series.to_owned()) {
            continue;
        }
        let set = set.split_once('}').map_or(set, |(set, _)| set);
        for pair in set.split(',').filter_map(|pair| pair.split_once('=')) {
            if pair.0 != "le" && pair.0 != "version" {
                found.insert((pair.0.to_owned(), pair.1.trim_matches('"').to_owned()));
            }
        }
    }
    let names: BTreeSet<_> = found.iter().map(|(name, _)| name.clone()).collect();
    let one = |label: &String| {
        let values: Vec<_> = found.iter().filter(|(name, _)| name == label).map(|(_, value)| value.as_str()).collect();
        format!("{label}={}", values.join("|"))
    };
    if names.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", names.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    let scene = Scene::new().await;
    assert_eq!(scene.ask("/v1/credentials", &token("alice")).await.status, 200);
    crate::grpc::ask(scene.grpc, &token("alice"), "", None).await.unwrap();
    let text = http::get(scene.admin, "/metrics", &[]).await.body;
    let text = text + &http::get(scene.admin, "/metrics", &[]).await.body;
    let found = outline(&text);
    assert_eq!(found, CONTRACT, "--- found:\n{found}");
}

#[tokio::test]
async fn everything_that_happens_is_counted() {
    let scene = Scene::with("", "deny").await;
    let alice = token("alice");
    for _ in 0..3 {
        scene.ask("/v1/credentials", &alice).await;
    }
    scene.ask("/v1/credentials", "garbage").await;
    scene.ask("/v1/credentials", &token("carol")).await;
    scene.ask("/nowhere", "").await;
    for (series, value) in [
        ("cupbearer_requests_total{listener=\"http\",outcome=\"ok\"}", 3.0),
        ("cupbearer_requests_total{listener=\"http\",outcome=\"unauthorized\"}", 1.0),
        ("cupbearer_requests_total{listener=\"http\",outcome=\"forbidden\"}", 1.0),
        ("cupbearer_requests_total{listener=\"http\",outcome=\"not_found\"}", 1.0),
        ("cupbearer_request_duration_seconds_count{listener=\"http\"}", 6.0),
        ("cupbearer_cache_lookups_total{result=\"miss\"}", 1.0),
        ("cupbearer_cache_lookups_total{result=\"hit\"}", 2.0),
        ("cupbearer_token_verifications_total{result=\"ok\"}", 2.0),
        ("cupbearer_token_verifications_total{result=\"cached\"}", 2.0),
        ("cupbearer_token_verifications_total{result=\"malformed\"}", 1.0),
        ("cupbearer_upstream_requests_total{operation=\"GetId\",outcome=\"ok\"}", 1.0),
        ("cupbearer_upstream_requests_total{operation=\"GetCredentialsForIdentity\",outcome=\"ok\"}", 1.0),
        ("cupbearer_upstream_in_flight", 0.0),
        ("cupbearer_refreshes_total{result=\"ok\"}", 1.0),
        ("cupbearer_refresh_lag_seconds_count", 1.0),
        ("cupbearer_entries", 1.0),
        ("cupbearer_ready", 1.0),
        ("cupbearer_jwks_fetches_total{result=\"ok\"}", 1.0),
    ] {
        assert_eq!(scene.metric(series).await, value, "{series}");
    }
    assert!(scene.metric("cupbearer_min_remaining_seconds").await > 3_500.0);
    assert!(scene.metric("cupbearer_jwks_last_success_timestamp_seconds").await > 1_700_000_000.0);
    assert!(scene.metric("process_resident_memory_bytes").await > 1_000_000.0);
}
