//! What `cupbearer check` prints: everything that is in force, defaults included, as a file that says the same.
//!
//! The order is fixed. No key holds a secret: those that will are to be masked here.

use std::fmt::Display;
use std::time::Duration;

use toml::Value;

use crate::auth::UserPool;
use crate::broker::Profile;
use crate::config::Config;
use crate::config::faults::is_bare;
use crate::roles::{Ambiguous, Mapping, Rules};

/// Lines of TOML.
#[derive(Default)]
struct Page(String);

impl Config {
    /// The configuration in force, as a configuration file: read again, it gives the same one.
    pub fn show(&self) -> String {
        let mut page = Page::default();
        self.show_server(&mut page);
        self.show_aws(&mut page);
        self.auth.user_pools.iter().for_each(|pool| show_user_pool(pool, &mut page));
        let mut profiles: Vec<_> = self.broker.profiles.iter().collect();
        profiles.sort_by_key(|(name, _)| *name);
        profiles.into_iter().for_each(|(name, profile)| show_profile(name, profile, &mut page));
        self.show_refresh(&mut page);
        self.show_limits(&mut page);
        page.0
    }

    fn show_server(&self, page: &mut Page) {
        page.header("[server]");
        page.text("http", &self.server.http.to_string());
        page.text("grpc", &self.server.grpc.to_string());
        page.text("admin", &self.server.admin.to_string());
        page.pair("drain_seconds", self.server.drain.as_secs());
    }

    fn show_aws(&self, page: &mut Page) {
        page.header("[aws]");
        page.note(&format!("regions called: {}", self.upstream.pool_regions.join(", ")));
        match &self.upstream.cognito_identity_endpoint_url {
            Some(url) => page.text("cognito_identity_endpoint_url", url.as_str()),
            None => page.note("cognito_identity_endpoint_url: AWS's own, by region"),
        }
    }

    fn show_refresh(&self, page: &mut Page) {
        let policy = &self.broker.policy;
        page.header("[refresh]");
        page.pair("at", number(policy.at));
        page.pair("jitter", number(policy.jitter));
        page.pair("latest_at", number(policy.latest_at));
        page.pair("min_remaining_seconds", policy.min_remaining.as_secs());
    }

    fn show_limits(&self, page: &mut Page) {
        let (broker, server) = (&self.broker.limits, &self.server.limits);
        page.header("[limits]");
        page.pair("cold_hold_ms", milliseconds(self.server.cold_hold));
        page.pair("exchange_timeout_ms", milliseconds(broker.exchange_timeout));
        page.pair("entries", broker.entries);
        page.pair("entries_per_subject", broker.entries_per_subject);
        page.pair("connections", server.connections);
        page.pair("token_bytes", self.auth.token_bytes);
        page.pair("header_bytes", server.header_bytes);
        page.header("[upstream]");
        page.pair("concurrency", broker.concurrency);
    }
}

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn header(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.line("");
        }
        self.line(header);
    }

    fn note(&mut self, note: &str) {
        self.line(&format!("# {note}"));
    }

    fn pair(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.pair(key, quoted(text));
    }

    fn list<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = &'a str>) {
        let texts: Vec<_> = texts.into_iter().map(quoted).collect();
        self.pair(key, format!("[{}]", texts.join(", ")));
    }
}

fn show_user_pool(pool: &UserPool, page: &mut Page) {
    page.header("[[user_pools]]");
    page.text("id", &pool.id);
    page.list("client_ids", pool.client_ids.iter().map(|id| &**id));
    page.list("issuers", pool.issuers.iter().map(|issuer| &**issuer));
    page.text("jwks_url", pool.jwks_url.as_str());
}

fn show_profile(name: &str, profile: &Profile, page: &mut Page) {
    page.header(&format!("[profiles.{}]", key(name)));
    page.text("flow", "enhanced");
    let mut user_pools: Vec<_> = profile.user_pools.iter().map(|id| &**id).collect();
    user_pools.sort_unstable();
    page.list("user_pools", user_pools);
    page.text("identity_pool_id", &profile.target.identity_pool_id);
    match &profile.target.logins_key {
        Some(logins_key) => page.text("logins_key", logins_key),
        None => page.note("logins_key: the token's issuer without https://"),
    }
    show_roles(name, &profile.rules, page);
}

fn show_roles(profile: &str, rules: &Rules, page: &mut Page) {
    page.header(&format!("[profiles.{}.roles]", key(profile)));
    match &rules.mapping {
        Mapping::Token => {
            page.text("mapping", "token");
            show_ambiguous(&rules.ambiguous, page);
            page.pair("preferred_role_must_be_listed", rules.preferred_must_be_listed);
        }
        Mapping::Rules(_) => page.text("mapping", "rules"),
        Mapping::Pool => {
            page.text("mapping", "pool");
            page.note("ambiguous_role_resolution, preferred_role_must_be_listed: the identity pool decides alone");
        }
    }
    let aliases = rules.aliases.iter().map(|(alias, role)| format!("{} = {}", key(alias), quoted(role.as_str())));
    let aliases: Vec<_> = aliases.collect();
    page.pair("aliases", if aliases.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", aliases.join(", ")) });
}

fn show_ambiguous(ambiguous: &Ambiguous, page: &mut Page) {
    let Ambiguous::AuthenticatedRole(role) = ambiguous else {
        return page.text("ambiguous_role_resolution", "deny");
    };
    page.text("ambiguous_role_resolution", "authenticated_role");
    match role {
        Some(role) => page.text("authenticated_role", role.as_str()),
        None => page.note("authenticated_role: the identity pool's own"),
    }
}

/// A string value; what would be read as a variable is escaped.
fn quoted(text: &str) -> String {
    Value::from(text.replace("${", "$${")).to_string()
}

fn key(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { quoted(name) }
}

/// With a point, also where there is no fraction.
fn number(number: f64) -> String {
    format!("{number:?}")
}

fn milliseconds(time: Duration) -> u128 {
    time.as_millis()
}
