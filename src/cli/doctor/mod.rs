//! `cupbearer doctor`: everything that can be wrong around a configuration, each finding with its fix. The files and the
//! network are here and in [`live`]; what is judged is judged by `crate::doctor`.

mod live;
mod offline;
mod report;

use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::serve::on_runtime;
use crate::config::{self, Config};
use crate::doctor::Severity;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The configuration file [default: what CUPBEARER_CONFIG names]; without one, only what surrounds an application
    /// is looked at.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A user's ID token: is it taken, and which role would its bearer get? Its signature is not checked.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A role's trust policy: the output of `aws iam get-role`, or ROLE_ARN=FILE with the document itself.
    #[arg(long, value_name = "[ROLE_ARN=]FILE")]
    trust_policy: Vec<String>,
    /// A permission document, or the output of `aws iam get-role-policy` or `get-policy-version`.
    #[arg(long, value_name = "FILE")]
    permissions: Vec<PathBuf>,
    /// The output of `aws cognito-identity describe-identity-pool` or `get-identity-pool-roles`.
    #[arg(long, value_name = "FILE")]
    identity_pool: Vec<PathBuf>,
    /// Kubernetes objects in YAML or JSON: what would an AWS SDK in their containers take before the broker?
    #[arg(long, value_name = "FILE")]
    pod_spec: Vec<PathBuf>,
    /// The same of an ECS task definition, in JSON.
    #[arg(long, value_name = "FILE")]
    task_definition: Vec<PathBuf>,
    /// The same of an environment: what `env` prints in the application's place, or an env file.
    #[arg(long, value_name = "FILE")]
    environment: Vec<PathBuf>,
    /// The broker's own user or role, for profiles of flow assume-role; `self` where this runs as the broker would, so
    /// that STS is asked.
    #[arg(long, value_name = "ARN|self")]
    broker_arn: Option<String>,
    /// How many brokers share the account's quotas.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    brokers: u32,
    /// Does not call AWS: judges files alone.
    #[arg(long)]
    offline: bool,
    /// Warnings count as errors for the exit code.
    #[arg(long)]
    strict: bool,
    /// JSON for scripts.
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// Whether something is to be looked at that needs no configuration.
    fn has_surroundings(&self) -> bool {
        let lists = [&self.pod_spec, &self.task_definition, &self.environment, &self.permissions];
        lists.iter().any(|list| !list.is_empty())
    }

    fn load(&self) -> Result<Option<Config>, Failure> {
        match config::config_path(self.config.clone()) {
            Ok(path) => Ok(Some(config::load(&path).map_err(|faults| Failure::Usage(faults.to_string()))?)),
            Err(_) if self.has_surroundings() => Ok(None),
            Err(fault) => Err(Failure::Usage(fault.to_string())),
        }
    }
}

pub(super) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let config = args.load()?;
    let mut seen = offline::read(&args)?;
    on_runtime(async move {
        let mut found = Vec::new();
        if let Some(config) = &config {
            if !args.offline {
                found.extend(live::look(config, &args, &mut seen).await?);
            }
            found.extend(offline::judge(config, &args, &seen)?);
        }
        found.extend(offline::surroundings(&args)?);
        report::tell(&found, args.json)?;
        let worst = found.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
        let bar = if args.strict { Severity::Warning } else { Severity::Error };
        match worst >= bar {
            true => Err(Failure::Failed("something has to be mended: see above".to_owned())),
            false => Ok(()),
        }
    })
}
