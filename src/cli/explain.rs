//! `cupbearer explain`: which role a token would get, and why; offline, so that its signature is not checked.

use std::io::{Read, Write};

use clap::Args;

use crate::auth;
use crate::broker;
use crate::cli::Failure;
use crate::clock::Clock;
use crate::config;
use crate::model::{Ask, RoleArn};
use crate::secret::CupToken;

/// Longest token that is read.
const TOKEN_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: super::ConfigArgs,
    /// The profile to ask.
    #[arg(long, default_value = "default")]
    profile: String,
    /// The role to ask for, by alias or ARN.
    #[arg(long)]
    role: Option<String>,
}

/// Reads a token from standard input.
pub(super) fn run(args: ExplainArgs) -> Result<(), Failure> {
    let path = config::config_path(args.config.config).map_err(|fault| Failure::Usage(fault.to_string()))?;
    let config = config::load(&path).map_err(|faults| Failure::Usage(faults.to_string()))?;
    let mut token = String::new();
    std::io::stdin().take(TOKEN_BYTES).read_to_string(&mut token)?;
    let ask = Ask { profile: args.profile, role: args.role, ..Ask::default() };
    let caller = auth::read_unverified(token.trim(), &config.auth, Clock::system().now());
    let claims = auth::claims_of(&CupToken::new(token.trim()));
    let told = caller.and_then(|caller| broker::explain(&config.broker.profiles, &caller, &claims, &ask));
    let found = told.map_err(|error| Failure::Failed(error.cause().to_owned()))?;
    let mut out = std::io::stdout();
    writeln!(out, "allowed: {}", found.allowed)?;
    writeln!(out, "role: {}", found.role.as_ref().map_or("(not known here)", RoleArn::as_str))?;
    writeln!(out, "reason: {}", found.reason)?;
    writeln!(out, "flow: {}", found.flow.as_str())?;
    writeln!(out, "decided by: {}", found.decided_by)?;
    for line in &found.considered {
        writeln!(out, "considered: {line}")?;
    }
    writeln!(out, "The token's signature was not checked.")?;
    Ok(())
}
