//! What differs between two configurations, and what has to be done about it. Pure.

use crate::app::longest_chained;
use crate::config::Config;
use crate::upstream;

/// What another configuration brings about, beside the values that every room just takes over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    /// The keys whose new values only a restart would apply.
    pub(super) only_at_start: Vec<&'static str>,
    /// Whether AWS is to be called otherwise: other regions, addresses, timeouts, or a longer life of assumed roles.
    pub(super) way_to_aws: bool,
}

/// The changes from `in_force` to `new`, in which what cannot change while running gets its old value back.
pub(super) fn between(in_force: &Config, new: &mut Config) -> Changes {
    let mut only_at_start = Vec::new();
    let mut keep = |key, kept: bool| {
        if !kept {
            only_at_start.push(key);
        }
    };
    keep("server.http", keeps(&in_force.server.http, &mut new.server.http));
    keep("server.grpc", keeps(&in_force.server.grpc, &mut new.server.grpc));
    keep("server.admin", keeps(&in_force.server.admin, &mut new.server.admin));
    keep("server.grpc_uds", keeps(&in_force.server.grpc_uds, &mut new.server.grpc_uds));
    keep("server.metrics", keeps(&in_force.server.metrics, &mut new.server.metrics));
    // Doors that are open go on as they began; what they show changes.
    let same_layer = in_force.server.tls.is_some() == new.server.tls.is_some();
    if !same_layer {
        new.server.tls.clone_from(&in_force.server.tls);
    }
    keep("server.tls", same_layer);
    keep("state.dir", keeps(&in_force.state, &mut new.state));
    let sessions = &mut new.broker.configured_sessions;
    keep("configured_sessions", keeps(&in_force.broker.configured_sessions, sessions));
    keep("audit.file", keeps(&in_force.audit, &mut new.audit));
    keep("tracing", keeps(&in_force.tracing, &mut new.tracing));
    // Rates are changed in the budget, and new clients would begin without connections.
    let same_clients = upstream::Config { rates: new.upstream.rates, ..in_force.upstream.clone() } == new.upstream;
    let way_to_aws = !same_clients || longest_chained(in_force) != longest_chained(new);
    Changes { only_at_start, way_to_aws }
}

/// Gives `new` the old value, and says whether it had it.
fn keeps<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
    let same = old == new;
    if !same {
        *new = old.clone();
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
[server]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
[aws]
region = "us-east-1"
[[user_pools]]
id = "us-east-1_AbCdEf123"
client_ids = ["1example23456789"]
[profiles.default]
flow = "assume-role"
duration_seconds = 3600
[profiles.default.roles]
aliases = { a = "arn:aws:iam::111122223333:role/a" }
"#;

    fn config(text: &str) -> Config {
        crate::config::parse("test", text, &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The changes from the base to the base with `old` replaced by `new`.
    fn changes(old: &str, new: &str) -> (Changes, Config) {
        let mut other = config(&BASE.replacen(old, new, 1));
        (between(&config(BASE), &mut other), other)
    }

    #[test]
    fn what_only_a_start_can_apply_keeps_its_old_value() {
        for (old, new, key) in [
            ("http = \"127.0.0.1:0\"", "http = \"127.0.0.1:4000\"", "server.http"),
            ("grpc = \"127.0.0.1:0\"", "grpc = \"127.0.0.1:4000\"", "server.grpc"),
            ("admin = \"127.0.0.1:0\"", "admin = \"127.0.0.1:4000\"", "server.admin"),
            ("[aws]", "grpc_uds = \"/a\"\n[aws]", "server.grpc_uds"),
            ("[aws]", "metrics = \"127.0.0.1:0\"\n[aws]", "server.metrics"),
            ("[aws]", "[state]\ndir = \"/other\"\n[aws]", "state.dir"),
            ("[aws]", "[audit]\nfile = \"stdout\"\n[aws]", "audit.file"),
        ] {
            let (found, other) = changes(old, new);
            assert_eq!(found, Changes { only_at_start: vec![key], way_to_aws: false });
            assert_eq!(other.show(), config(BASE).show(), "{key}");
        }
    }

    #[test]
    fn aws_is_called_otherwise_only_where_that_was_asked_for() {
        for (old, new, way_to_aws) in [
            ("", "", false),
            ("1example", "2example", false),
            ("role/a", "role/b", false),
            ("[aws]", "[limits]\nentries = 7\n[aws]", false),
            ("[aws]", "[upstream]\nassume_role_per_second = 7\n[aws]", false),
            ("region = \"us-east-1\"", "region = \"eu-west-1\"", true),
            ("[aws]", "[aws]\nendpoint_url = \"https://aws.example\"", true),
            ("[aws]", "[limits]\nexchange_timeout_ms = 7\n[aws]", true),
            ("duration_seconds = 3600", "duration_seconds = 7200", true),
        ] {
            let (found, _) = changes(old, new);
            assert_eq!(found, Changes { only_at_start: Vec::new(), way_to_aws }, "{new}");
        }
    }
}
