//! `cupbearer policy`: the IAM documents that a configuration needs, ready to paste.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::Value;

use crate::broker::Profile;
use crate::cli::Failure;
use crate::cli::terminal::comments_dimmed;
use crate::config::{self, Config};
use crate::doctor::needs::{self, ANY_OTHER, Needs, PLACEHOLDER};

#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// Only for this profile. A role has one trust policy: do not paste one over what other profiles need.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The broker's own user or role, for profiles of flow assume-role.
    #[arg(long, value_name = "ARN", default_value = PLACEHOLDER, hide_default_value = true)]
    broker_arn: String,
    /// JSON for scripts.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: PolicyArgs) -> Result<(), Failure> {
    let path = config::config_path(args.config.config).map_err(|fault| Failure::Usage(fault.to_string()))?;
    let mut config = config::load(&path).map_err(|faults| Failure::Usage(faults.to_string()))?;
    if let Some(wanted) = &args.profile {
        config.broker.profiles.retain(|name, _| name == wanted);
        if config.broker.profiles.is_empty() {
            return Err(Failure::Usage(format!("--profile {wanted}: no profile has this name")));
        }
    }
    let needs = needs::all(&config.broker.profiles);
    let account = account(&config.broker.profiles);
    let mut out = anstream::stdout();
    if args.json {
        let documents = needs::documents(&config, &needs, &args.broker_arn, &account);
        writeln!(out, "{documents:#}")?;
    } else {
        out.write_all(comments_dimmed(&text(&config, &needs, &args.broker_arn, &account)).as_bytes())?;
    }
    Ok(())
}

/// The account of the roles that the profiles name.
fn account(profiles: &HashMap<String, Profile>) -> String {
    let roles = profiles.values().flat_map(needs::roles);
    roles.min().and_then(|role| role.account_id().map(ToOwned::to_owned)).unwrap_or_else(|| "ACCOUNT".to_owned())
}

fn text(config: &Config, needs: &BTreeMap<String, Needs>, broker: &str, account: &str) -> String {
    let mut text = String::new();
    for (role, needs) in needs {
        let profiles: Vec<_> = needs.profiles.iter().map(String::as_str).collect();
        paragraph(
            &mut text,
            &format!("The trust policy of {role} (profiles: {})", profiles.join(", ")),
            &needs.trust_policy(broker),
        );
    }
    if needs.contains_key(ANY_OTHER) {
        text.push_str("# Tokens, or the identity pool, may name roles that the configuration does not: each needs the statement above.\n\n");
    }
    for (name, pool) in needs::guests(config) {
        let title = format!("The trust policy of the role for guests of {pool} (profile {name})");
        paragraph(&mut text, &title, &needs::guests_trust_policy(pool));
    }
    match needs::broker_policy(needs) {
        Some(policy) => {
            paragraph(&mut text, &format!("The permissions of the broker's own identity, {broker}"), &policy);
            if broker == PLACEHOLDER {
                text.push_str("# Say who the broker is with --broker-arn ARN, so that the placeholder goes.\n\n");
            }
        }
        None => text
            .push_str("# The broker needs no identity and no permission of its own: what it calls is not signed.\n\n"),
    }
    paragraph(
        &mut text,
        "The permissions of whoever runs `cupbearer doctor` against AWS",
        &needs::doctor_policy(config, account),
    );
    text.push_str("# A user's role needs no permission for the broker's sake: allow what the application does as its user, and no more.\n");
    text
}

fn paragraph(text: &mut String, title: &str, document: &Value) {
    // Writing into a String cannot fail.
    writeln!(text, "# {title}:\n{document:#}\n").ok();
}
