//! `cupbearer completions` and `cupbearer man`: what shells and `man` know of the command line.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Cli, Failure};

/// The name of the program.
const NAME: &str = "cupbearer";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Whose.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command whose page is wanted [default: that of cupbearer itself].
    command: Option<String>,
    /// Writes all pages into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut text);
    Ok(std::io::stdout().write_all(&text)?)
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    if let Some(dir) = &args.dir {
        fs::create_dir_all(dir)?;
        return Ok(clap_mangen::generate_to(Cli::command(), dir)?);
    }
    let mut text = Vec::new();
    Man::new(page(args.command.as_deref())?).render(&mut text)?;
    Ok(std::io::stdout().write_all(&text)?)
}

/// The command that a page is about, under the name by which `man` finds it.
fn page(name: Option<&str>) -> Result<clap::Command, Failure> {
    let mut all = Cli::command();
    all.build();
    let Some(name) = name else { return Ok(all) };
    let unknown = || Failure::Usage(format!("there is no command {name}: see cupbearer --help"));
    all.find_subcommand(name).cloned().ok_or_else(unknown)
}
