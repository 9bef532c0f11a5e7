//! The command line: what was typed becomes a call, and its end an exit code.

mod check;
mod dev;
mod explain;
mod serve;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{StartError, VERSION};
use crate::config;
use crate::log::{self, Format};

/// A credential broker: Cognito user pool tokens in, short-lived AWS credentials out, kept fresh.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(ConfigArgs),
    /// Run the broker on an embedded Cognito and STS, with nothing to set up.
    Dev(dev::DevArgs),
    /// Say which role the token on standard input would get, and why; offline.
    Explain(explain::ExplainArgs),
    /// Check a configuration and print what would be in force.
    Check(ConfigArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file [default: what CUPBEARER_CONFIG names].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// How log lines look [default: text on a terminal, else json].
    #[arg(long, global = true, value_enum)]
    log_format: Option<Format>,
    /// What is logged, as RUST_LOG spells it [default: RUST_LOG, else info].
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
}

/// How a command failed; the exit codes are a contract.
enum Failure {
    /// 1
    Failed(String),
    /// 2
    Usage(String),
    /// 3
    Bind(String),
}

impl Cli {
    /// Runs the command and says how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let filter = self.log.log_level.or_else(config::log_filter);
        let log = log::start(self.log.log_format, filter.as_deref()).map_err(Failure::Usage);
        let done = log.and_then(|log| {
            let done = match self.command {
                Command::Serve(args) => serve::run(args.config),
                Command::Dev(args) => dev::run(args),
                Command::Explain(args) => explain::run(args),
                Command::Check(args) => check::run(args.config),
            };
            // What the log says comes before how it ended.
            drop(log);
            done
        });
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }
}

impl Failure {
    /// Says on stderr what happened; the one place where an error of a command is told.
    fn tell(self) -> ExitCode {
        let (code, text) = match self {
            Self::Failed(text) => (1, text),
            Self::Usage(text) => (2, text),
            Self::Bind(text) => (3, text),
        };
        // With stderr gone there is nobody to tell.
        writeln!(std::io::stderr(), "cupbearer: {text}").ok();
        ExitCode::from(code)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bind(error) => Self::Bind(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
