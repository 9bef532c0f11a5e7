//! The command line: what was typed becomes a call, and its end an exit code.

mod broker;
mod check;
mod credential_process;
mod dev;
mod doctor;
mod duration;
mod exec;
mod explain;
mod manual;
mod policy;
mod replace;
mod serve;
mod terminal;
mod wait;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{StartError, VERSION};
use crate::config;
use crate::confine;
use crate::log::{self, Format};

/// A credential broker: Cognito user pool tokens in, short-lived AWS credentials out, kept fresh.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

/// The contract of all commands.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 an address cannot be bound; \
                          exec and wait: the program's own, 126 it cannot be run, 127 it is not found.";

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
    /// Say what is wrong around a configuration, in AWS or in an application's surroundings, and how to mend it.
    ///
    /// Looks at key sets, clocks and identity pools by itself, with the credentials that an AWS SDK finds, and at whatever
    /// is given as a file. What nobody could look at is told as skipped. Ends with 1 if there is an error.
    Doctor(doctor::DoctorArgs),
    /// Print the IAM documents that a configuration needs, ready to paste.
    Policy(policy::PolicyArgs),
    /// Run a program whose AWS SDK finds a running broker, and no other credentials.
    ///
    /// Sets AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, takes away every variable that
    /// an SDK would heed first, and puts /dev/null in the place of the shared files. No shell is started; the program
    /// takes this process's place, so that signals are its own and its exit code is the one that is seen.
    Exec(exec::ExecArgs),
    /// Wait until a broker is ready, then run a program, or end with 0; with 1 if it took too long.
    ///
    /// With --timeout 1s it is what a container's HEALTHCHECK needs.
    Wait(wait::WaitArgs),
    /// Print credentials of a running broker, as credential_process in ~/.aws/config wants them.
    ///
    /// [profile alice]
    /// credential_process = cupbearer credential-process --token-file /run/alice.jwt
    #[command(verbatim_doc_comment)]
    CredentialProcess(credential_process::ProcessArgs),
    /// Print a shell's completions for this program.
    Completions(manual::CompletionsArgs),
    /// Print a manual page.
    Man(manual::ManArgs),
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
    /// 126: the program to run cannot be.
    NotRunnable(String),
    /// 127: there is no such program to run.
    NoProgram(String),
}

impl Cli {
    /// Runs the command and says how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let replaced = matches!(self.command, Command::Exec(_) | Command::Wait(_));
        if let Err(error) = confine::from_the_start(replaced) {
            return Failure::Failed(format!("core dumps cannot be switched off: {error}")).tell();
        }
        // What the SDK warns of, such as no credentials anywhere, is among the doctor's findings.
        let quiet = matches!(self.command, Command::Doctor(_)).then(|| "info,aws_config=error".to_owned());
        let filter = self.log.log_level.or_else(config::log_filter).or(quiet);
        let start_log = || log::start(self.log.log_format, filter.as_deref()).map_err(Failure::Usage);
        // A command writes the last lines of its log before it is told how it ended.
        match self.command.run(start_log) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.tell(),
        }
    }
}

impl Command {
    fn run<Log>(self, start_log: impl FnOnce() -> Result<Log, Failure>) -> Result<(), Failure> {
        match self {
            // It gives up what it never needs before the log starts its thread.
            Self::Serve(args) => serve::run(args.config, start_log),
            other => {
                let _log = start_log()?;
                other.run_logged()
            }
        }
    }

    fn run_logged(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(args.config, || Ok(())),
            Self::Dev(args) => dev::run(args),
            Self::Explain(args) => explain::run(args),
            Self::Check(args) => check::run(args.config),
            Self::Doctor(args) => doctor::run(args),
            Self::Policy(args) => policy::run(args),
            Self::Exec(args) => exec::run(&args),
            Self::Wait(args) => wait::run(&args),
            Self::CredentialProcess(args) => credential_process::run(args),
            Self::Completions(args) => manual::completions(&args),
            Self::Man(args) => manual::man(&args),
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
            Self::NotRunnable(text) => (126, text),
            Self::NoProgram(text) => (127, text),
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
