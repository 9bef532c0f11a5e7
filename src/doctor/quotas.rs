//! Whether the rates of all brokers of an account keep to its quotas. Pure.

use crate::config::Config;
use crate::doctor::finding::Finding;
use crate::upstream::Flow;

/// Default quotas, in calls a second of one account and region (Amazon Cognito Developer Guide, "Quotas"). For STS AWS
/// documents none.
const GET_ID: u32 = 25;
const GET_OPEN_ID_TOKEN: u32 = 200;
const GET_CREDENTIALS: u32 = 200;
const USER_AUTHENTICATION: u32 = 120;

/// Judges `config` for so many brokers in one account.
pub fn quotas(config: &Config, brokers: u32) -> Vec<Finding> {
    let rates = config.upstream.rates;
    let uses = |flow: Flow| config.broker.profiles.values().any(|profile| profile.target.flow == flow);
    let pool = uses(Flow::Enhanced) || uses(Flow::Basic);
    let refresh = config.broker.sessions.accept_refresh_tokens || !config.broker.configured_sessions.is_empty();
    let rows = [
        (pool, "get_id_per_second", "GetId", rates.get_id, GET_ID),
        (
            uses(Flow::Enhanced),
            "get_credentials_for_identity_per_second",
            "GetCredentialsForIdentity",
            rates.get_credentials_for_identity,
            GET_CREDENTIALS,
        ),
        (
            uses(Flow::Basic),
            "get_open_id_token_per_second",
            "GetOpenIdToken",
            rates.get_open_id_token,
            GET_OPEN_ID_TOKEN,
        ),
        (refresh, "refresh_token_per_second", "UserAuthentication", rates.refresh_token, USER_AUTHENTICATION),
    ];
    let mut found: Vec<_> = rows
        .into_iter()
        .filter(|(used, _, _, rate, quota)| *used && rate.saturating_mul(brokers) > *quota)
        .map(|(_, key, api, rate, quota)| {
            let text = format!("{brokers} broker(s) with {rate} calls/s are more than {api}'s default quota of {quota}/s for the whole account");
            let fix = format!("lower upstream.{key} to {}, or have the quota raised", (quota / brokers.max(1)).max(1));
            Finding::warning("quota", format!("upstream.{key}"), text, fix)
        })
        .collect();
    if found.is_empty() {
        let entries = config.broker.limits.entries;
        let text = format!(
            "the rates of {brokers} broker(s) are within AWS's default quotas, and carry {entries} entries each"
        );
        found.push(Finding::ok("quota", "upstream", text));
    }
    found
}
