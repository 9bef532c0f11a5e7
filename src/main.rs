//! The program: parses what was typed and maps the outcome to an exit code. Everything else is in the library.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use cupbearer::cli::Cli;
use zeroizing_alloc::ZeroAlloc;

/// Memory is overwritten as it is given back: hyper, h2, rustls and the AWS SDK keep tokens and credentials in buffers of
/// their own, which no type of ours wipes.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    Cli::parse().run()
}
