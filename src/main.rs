//! The program: parses what was typed and maps the outcome to an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use cupbearer::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
