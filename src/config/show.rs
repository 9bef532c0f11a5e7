//! What `cupbearer check` prints: everything that is in force, defaults included, as a file that says the same.
//!
//! The order is fixed. Of the one secret there is nothing but where it is from.

use std::fmt::Display;
use std::time::Duration;

use toml::Value;

use crate::audit::Destination;
use crate::auth::UserPool;
use crate::broker::{ConfiguredSession, Profile, SessionTemplates};
use crate::config::Config;
use crate::config::faults::is_bare;
use crate::config::profiles::flow_name;
use crate::config::session::Texts;
use crate::roles::{Ambiguous, Group, Mapping, Rule, Rules};
use crate::upstream::{Flow, Target};

/// Lines of TOML.
#[derive(Default)]
struct Page(String);

impl Config {
    /// The configuration in force, as a configuration file: read again, it gives the same one. What one should look at
    /// again stands above it, as comments.
    pub fn show(&self) -> String {
        let mut page = Page::default();
        self.warnings().iter().for_each(|warning| page.note(&format!("warning: {warning}")));
        self.show_server(&mut page);
        self.show_aws(&mut page);
        for pool in &self.auth.user_pools {
            show_user_pool(pool, self.typed.client_secret_files.get(&pool.id), &mut page);
        }
        let mut profiles: Vec<_> = self.broker.profiles.iter().collect();
        profiles.sort_by_key(|(name, _)| *name);
        for (name, profile) in profiles {
            show_profile(name, profile, self.typed.templates.get(name), &mut page);
        }
        self.show_refresh(&mut page);
        self.show_limits(&mut page);
        self.show_upstream(&mut page);
        self.show_sessions(&mut page);
        self.show_state(&mut page);
        self.show_audit(&mut page);
        self.show_tracing(&mut page);
        self.show_admin(&mut page);
        page.0
    }

    fn show_server(&self, page: &mut Page) {
        page.header("[server]");
        page.text("http", &self.server.http.to_string());
        page.text("grpc", &self.server.grpc.to_string());
        page.text("admin", &self.server.admin.to_string());
        match self.server.metrics {
            Some(address) => page.text("metrics", &address.to_string()),
            None => page.note("metrics: none, they are on the admin address alone"),
        }
        self.show_unix_socket(page);
        page.pair("grpc_reflection", self.server.grpc_reflection);
        page.pair("allow_non_loopback", self.typed.allow_non_loopback);
        self.show_tls(page);
        page.pair("drain_seconds", self.server.drain.as_secs());
    }

    fn show_tls(&self, page: &mut Page) {
        let Some(files) = &self.typed.tls_files else { return page.note("tls: none, http and grpc are plain") };
        let pair = [("cert_file", &*files.cert), ("key_file", &*files.key)];
        page.table("tls", pair.into_iter().chain(files.client_ca.iter().map(|file| ("client_ca_file", &**file))));
        if files.client_ca.is_none() {
            page.note("client_ca_file: none, no caller shows a certificate");
        }
    }

    fn show_unix_socket(&self, page: &mut Page) {
        let Some(path) = &self.server.grpc_uds else { return page.note("grpc_uds: none") };
        let peers = &self.server.grpc_uds_peers;
        // It was typed, so that nothing is lost.
        page.text("grpc_uds", &path.to_string_lossy());
        match &peers.uids {
            Some(uids) => page.pair("grpc_uds_allow_uids", format!("{uids:?}")),
            None => page.note("grpc_uds_allow_uids: the broker's own and root's"),
        }
        page.pair("grpc_uds_allow_gids", format!("{:?}", peers.gids));
    }

    fn show_aws(&self, page: &mut Page) {
        page.header("[aws]");
        match &self.upstream.sts_regions[..] {
            [] => page.note("region: no profile calls STS"),
            [region] => page.text("region", region),
            // Only without one do the profiles differ.
            _ => page.note("region: that of each profile's identity pool"),
        }
        let none = |regions: &[String]| if regions.is_empty() { "none".to_owned() } else { regions.join(", ") };
        page.note(&format!("regions of Cognito: {}", none(&self.upstream.pool_regions)));
        page.note(&format!("regions of STS: {}", none(&self.upstream.sts_regions)));
        for (key, url) in [
            ("cognito_identity_endpoint_url", &self.upstream.cognito_identity_endpoint_url),
            ("cognito_idp_endpoint_url", &self.user_pools.endpoint_url),
            ("sts_endpoint_url", &self.upstream.sts_endpoint_url),
        ] {
            match url {
                Some(url) => page.text(key, url.as_str()),
                None => page.note(&format!("{key}: AWS's own, by region")),
            }
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
        page.pair("misses_per_subject_per_second", broker.floods.misses_per_subject);
        page.pair("failures_per_peer_per_second", broker.floods.failures_per_peer);
        page.pair("connections", server.connections);
        page.pair("token_bytes", self.auth.token_bytes);
        page.pair("header_bytes", server.header_bytes);
    }

    fn show_upstream(&self, page: &mut Page) {
        let rates = &self.upstream.rates;
        page.header("[upstream]");
        page.pair("get_id_per_second", rates.get_id);
        page.pair("get_credentials_for_identity_per_second", rates.get_credentials_for_identity);
        page.pair("get_open_id_token_per_second", rates.get_open_id_token);
        page.pair("assume_role_per_second", rates.assume_role);
        page.pair("refresh_token_per_second", rates.refresh_token);
        page.pair("concurrency", self.broker.limits.concurrency);
    }

    fn show_sessions(&self, page: &mut Page) {
        let sessions = &self.broker.sessions;
        page.header("[sessions]");
        page.pair("max", sessions.all);
        page.pair("max_per_subject", sessions.per_subject);
        page.pair("idle_seconds", sessions.idle.as_secs());
        page.pair("accept_refresh_tokens", sessions.accept_refresh_tokens);
        for session in &self.broker.configured_sessions {
            show_configured_session(session, self.typed.authorization_files.get(&session.name), page);
        }
    }

    fn show_state(&self, page: &mut Page) {
        page.header("[state]");
        match &self.state {
            // It was typed, so that nothing is lost.
            Some(dir) => page.text("dir", &dir.to_string_lossy()),
            None => page.note("dir: none, identities are kept in memory"),
        }
    }

    fn show_audit(&self, page: &mut Page) {
        page.header("[audit]");
        let Some(audit) = &self.audit else { return page.note("file: none, there is no audit log") };
        match &audit.destination {
            Destination::Stdout => page.text("file", "stdout"),
            // It was typed, so that nothing is lost.
            Destination::File(path) => page.text("file", &path.to_string_lossy()),
        }
        page.text("subject", if audit.hashed_subjects { "hashed" } else { "plain" });
    }

    fn show_tracing(&self, page: &mut Page) {
        page.header("[tracing]");
        let Some(tracing) = &self.tracing else { return page.note("otlp_endpoint: none, nothing is traced") };
        page.text("otlp_endpoint", tracing.otlp_endpoint.as_str());
        page.pair("sample_ratio", number(tracing.sample_ratio));
    }

    fn show_admin(&self, page: &mut Page) {
        page.header("[admin]");
        match &self.typed.token_file {
            Some(file) => {
                page.text("token_file", file);
                page.note("the token: (set)");
            }
            None => page.note("token_file: none, POST /purge is off"),
        }
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

    /// A list with a line for each element.
    fn lines(&mut self, key: &str, elements: impl IntoIterator<Item = String>) {
        self.line(&format!("{key} = ["));
        elements.into_iter().for_each(|element| self.line(&format!("  {element},")));
        self.line("]");
    }

    /// A table of texts on one line.
    fn table<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let pairs: Vec<_> =
            texts.into_iter().map(|(name, text)| format!("{} = {}", self::key(name), quoted(text))).collect();
        self.pair(key, if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) });
    }

    fn list<'a>(&mut self, key: &str, texts: impl IntoIterator<Item = &'a str>) {
        let texts: Vec<_> = texts.into_iter().map(quoted).collect();
        self.pair(key, format!("[{}]", texts.join(", ")));
    }
}

fn show_configured_session(session: &ConfiguredSession, authorization_file: Option<&String>, page: &mut Page) {
    page.header("[[configured_sessions]]");
    page.text("name", &session.name);
    page.text("profile", &session.ask.profile);
    session.ask.role.iter().for_each(|role| page.text("role", role));
    page.text("user_pool", &session.client.user_pool);
    page.text("client_id", &session.client.id);
    page.text("refresh_token_file", &session.refresh_token.path().to_string_lossy());
    authorization_file.iter().for_each(|file| page.text("authorization_token_file", file));
    page.note("both tokens: (set)");
}

fn show_user_pool(pool: &UserPool, secret_file: Option<&String>, page: &mut Page) {
    page.header("[[user_pools]]");
    page.text("id", &pool.id);
    page.list("client_ids", pool.client_ids.iter().map(|id| &**id));
    page.list("issuers", pool.issuers.iter().map(|issuer| &**issuer));
    page.text("jwks_url", pool.jwks_url.as_str());
    if let Some(file) = secret_file {
        page.text("client_secret_file", file);
        page.note("the client secrets: (set)");
    }
}

fn show_profile(name: &str, profile: &Profile, texts: Option<&Texts>, page: &mut Page) {
    let target = &profile.target;
    page.header(&format!("[profiles.{}]", key(name)));
    page.text("flow", flow_name(target.flow));
    let mut user_pools: Vec<_> = profile.user_pools.iter().map(|id| &**id).collect();
    user_pools.sort_unstable();
    page.list("user_pools", user_pools);
    match target.flow {
        Flow::Enhanced => {
            show_pool(target, page);
            if profile.allow_unauthenticated {
                page.pair("allow_unauthenticated", true);
            }
        }
        Flow::Basic => {
            show_pool(target, page);
            page.pair("duration_seconds", target.duration.as_secs());
        }
        Flow::AssumeRole => {
            page.pair("accept_access_tokens", profile.accept_access_tokens);
            page.pair("duration_seconds", target.duration.as_secs());
            target.external_id.iter().for_each(|id| page.text("external_id", id));
        }
    }
    if !profile.volatile_claims.is_empty() {
        page.list("volatile_claims", profile.volatile_claims.iter().map(|claim| &**claim));
    }
    if let Some(texts) = texts.filter(|_| target.flow != Flow::Enhanced) {
        show_session(texts, &profile.session, page);
    }
    if !profile.rules.groups.is_empty() {
        page.lines("groups", profile.rules.groups.iter().map(group));
    }
    show_roles(name, &profile.rules, target.flow, page);
}

fn show_pool(target: &Target, page: &mut Page) {
    page.text("identity_pool_id", &target.identity_pool_id);
    match &target.logins_key {
        Some(logins_key) => page.text("logins_key", logins_key),
        None => page.note("logins_key: the token's issuer without https://"),
    }
}

/// What is not there is not shown: nothing takes its place.
fn show_session(texts: &Texts, session: &SessionTemplates, page: &mut Page) {
    page.text("session_name", &texts.session_name);
    texts.source_identity.iter().for_each(|text| page.text("source_identity", text));
    if !texts.session_tags.is_empty() {
        page.table("session_tags", texts.session_tags.iter().map(|(key, text)| (&**key, &**text)));
    }
    texts.session_policy.iter().for_each(|text| page.text("session_policy", text));
    for (key, list) in [("transitive_tag_keys", &session.transitive_tag_keys), ("policy_arns", &session.policy_arns)] {
        if !list.is_empty() {
            page.list(key, list.iter().map(|text| &**text));
        }
    }
}

fn show_roles(profile: &str, rules: &Rules, flow: Flow, page: &mut Page) {
    page.header(&format!("[profiles.{}.roles]", key(profile)));
    match &rules.mapping {
        Mapping::Token => {
            page.text("mapping", "token");
            show_ambiguous(&rules.ambiguous, flow, page);
            if rules.groups.is_empty() {
                page.pair("preferred_role_must_be_listed", rules.preferred_must_be_listed);
            } else {
                page.note("preferred_role_must_be_listed: the groups decide, no role in the token");
            }
        }
        Mapping::Rules(each) => {
            page.text("mapping", "rules");
            page.lines("rules", each.iter().map(rule));
            show_ambiguous(&rules.ambiguous, flow, page);
            page.note("preferred_role_must_be_listed: the rules decide, no role in the token");
        }
        Mapping::Pool => {
            page.text("mapping", "pool");
            page.note("ambiguous_role_resolution, preferred_role_must_be_listed: the identity pool decides alone");
        }
    }
    page.table("aliases", rules.aliases.iter().map(|(alias, role)| (&**alias, role.as_str())));
}

fn show_ambiguous(ambiguous: &Ambiguous, flow: Flow, page: &mut Page) {
    let Ambiguous::AuthenticatedRole(role) = ambiguous else {
        return page.text("ambiguous_role_resolution", "deny");
    };
    page.text("ambiguous_role_resolution", "authenticated_role");
    match role {
        Some(role) => page.text("authenticated_role", role.as_str()),
        None if flow == Flow::Enhanced => page.note("authenticated_role: the identity pool's own"),
        None => {}
    }
}

fn group(group: &Group) -> String {
    let (name, role) = (quoted(&group.name), quoted(group.role.as_str()));
    format!("{{ name = {name}, precedence = {}, role_arn = {role} }}", group.precedence)
}

fn rule(rule: &Rule) -> String {
    let [claim, match_type, value, role] =
        [&*rule.claim, rule.match_type.name(), &*rule.value, rule.role.as_str()].map(quoted);
    format!("{{ claim = {claim}, match_type = {match_type}, value = {value}, role_arn = {role} }}")
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
