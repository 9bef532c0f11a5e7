//! The silent wrong identity: what an application's surroundings give to its AWS SDK before the broker is asked. Pure;
//! a pod spec, a task definition or an environment in, findings out.

use serde_json::Value;
use url::Url;

use crate::doctor::finding::Finding;
use crate::doctor::sources::{Effect, SOURCES};

/// The variables of one container or process, as far as they are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// What it is called in findings.
    pub(super) about: String,
    /// Names and values; a value that stands elsewhere, in a secret, is none.
    pub(super) variables: Vec<(String, Option<String>)>,
    /// It is started by `cupbearer exec`, which takes away what competes.
    pub(super) under_exec: bool,
    /// Where volumes are mounted that hold the platform's own tokens.
    pub(super) platform_tokens: Vec<String>,
}

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The addresses beside loopback to which SDKs send tokens over plain http.
const LINK_LOCAL: &[&str] = &["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// Judges the variables of an environment, `NAME=VALUE` a line as `env` and env files have them.
pub fn environment(name: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("export "));
    let variables = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let unquoted = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
    let variables = variables.map(|(name, value)| (name.trim().to_owned(), Some(unquoted(value)))).collect();
    Surroundings { about: name.to_owned(), variables, ..Surroundings::default() }.judge()
}

impl Surroundings {
    /// What is found. A container that does not ask the broker is none of our business.
    pub(super) fn judge(&self) -> Vec<Finding> {
        if !self.asks() {
            let text = format!("{FULL_URI} is not set: it does not ask the broker");
            return vec![Finding::skipped("identity", &self.about, text, "set it in the containers that are to")];
        }
        let mut found: Vec<_> = self.competing();
        found.extend(self.address());
        found.extend(self.token());
        if found.is_empty() {
            found.push(Finding::ok("identity", &self.about, "its SDK asks the broker before anything else"));
        }
        found
    }

    pub(super) fn asks(&self) -> bool {
        self.under_exec || self.variable(FULL_URI).is_some()
    }

    fn variable(&self, name: &str) -> Option<&Option<String>> {
        self.variables.iter().rev().find(|(one, _)| one == name).map(|(_, value)| value)
    }

    fn competing(&self) -> Vec<Finding> {
        if self.under_exec {
            return Vec::new();
        }
        let set = SOURCES.iter().filter(|source| match (self.variable(source.variable), source.effect) {
            (None, _) => false,
            (Some(Some(value)), Effect::SharedFile) => !value.is_empty() && value != "/dev/null",
            (Some(Some(value)), _) => !value.is_empty(),
            (Some(None), _) => true,
        });
        let each = set.map(|source| {
            let (name, why) = (source.variable, source.effect.why());
            let fix = format!("take {name} away from this container, or start the program with `cupbearer exec`");
            Finding::error("identity-competes", &self.about, format!("{name} is set: {why}"), fix)
        });
        each.collect()
    }

    fn address(&self) -> Option<Finding> {
        let text = self.variable(FULL_URI)?.as_deref()?;
        let error = |what: String, fix: &str| Some(Finding::error("identity-address", &self.about, what, fix));
        let Ok(url) = Url::parse(text) else {
            return error(format!("{FULL_URI} is no URL"), "set it to http://127.0.0.1:2870/v1/credentials");
        };
        let host = url.host_str().unwrap_or_default();
        let local = host.starts_with("127.") || host == "[::1]" || host == "localhost" || LINK_LOCAL.contains(&host);
        if url.scheme() == "http" && !local {
            return error(
                format!("{FULL_URI} is plain http to {host}, which SDKs refuse"),
                "use https, or an address on loopback",
            );
        }
        if !url.path().starts_with("/v1/") || url.query().is_some() {
            let what = format!("{FULL_URI} has the path {}, which the broker does not serve", url.path());
            return error(what, "use /v1/credentials[/PROFILE[/ROLE]] or /v1/sessions/ID, without a query");
        }
        (host == "localhost").then(|| {
            let what = format!("{FULL_URI} says localhost, which some SDKs refuse and others may resolve to [::1]");
            Finding::warning("identity-address", &self.about, what, "say 127.0.0.1")
        })
    }

    fn token(&self) -> Option<Finding> {
        if self.under_exec {
            return None;
        }
        let fixed = self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").is_some();
        let Some(file) = self.variable(TOKEN_FILE) else {
            let guests = self
                .variable(FULL_URI)
                .and_then(Option::as_deref)
                .is_some_and(|uri| uri.contains("/v1/unauthenticated/"));
            return (!fixed && !guests).then(|| {
                let what = format!("{TOKEN_FILE} is not set: every request is refused");
                Finding::error("identity-token", &self.about, what, "set it to the file that holds the user's ID token")
            });
        };
        let file = file.as_deref().unwrap_or_default();
        let platform = self.platform_tokens.iter().any(|place| file.starts_with(place.as_str()));
        platform.then(|| {
            let what = format!(
                "{file} is a service account token of Kubernetes, which is no user's ID token: every request is refused"
            );
            Finding::error(
                "identity-token",
                &self.about,
                what,
                "point it to the file where the user's ID token is written",
            )
        })
    }
}

/// Variables of a container, as both Kubernetes and ECS list them.
pub(super) fn listed(list: &Value) -> impl Iterator<Item = (String, Option<String>)> {
    list.as_array().into_iter().flatten().filter_map(|one| {
        let name = one["name"].as_str()?.to_owned();
        let value = one.get("value").map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
        Some((name, value))
    })
}

/// Whether a container is the broker's own, whose variables are its own affair.
pub(super) fn is_broker(container: &Value, started_by: &[&str]) -> bool {
    let words = words(container, started_by);
    let image = container["image"].as_str().unwrap_or_default();
    let of_image = image.rsplit('/').next().unwrap_or_default().starts_with("cupbearer");
    of_image && !words.iter().any(|word| word == "exec") || words.iter().any(|word| word == "serve") && is_ours(&words)
}

/// Whether a container's program is started by `cupbearer exec`.
pub(super) fn is_under_exec(container: &Value, started_by: &[&str]) -> bool {
    let words = words(container, started_by);
    is_ours(&words) && words.iter().any(|word| word == "exec")
}

fn is_ours(words: &[String]) -> bool {
    words.iter().any(|word| word == "cupbearer" || word.ends_with("/cupbearer"))
}

fn words(container: &Value, started_by: &[&str]) -> Vec<String> {
    let lists = started_by.iter().filter_map(|key| container[*key].as_array()).flatten();
    lists.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}
