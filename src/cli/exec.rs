//! `cupbearer exec -- CMD`: a program whose AWS SDK finds the broker, and nothing else.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Args;
use zeroize::Zeroizing;

use crate::cli::broker::CredentialsArgs;
use crate::cli::{Failure, replace};
use crate::doctor::COMPETING;
use crate::secret_file::MOST_BYTES;

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    credentials: CredentialsArgs,
    /// Sets AWS_REGION and AWS_DEFAULT_REGION too.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Leaves ~/.aws/config in force; a profile in it that names credentials goes before the broker.
    #[arg(long)]
    keep_config: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &ExecArgs) -> Result<(), Failure> {
    let url = args.credentials.url()?;
    let file = args.credentials.token_file();
    check(file)?;
    let file = std::path::absolute(file)?;
    Err(replace::with(&args.command, |command| {
        prepare(command, url.as_str(), &file, args.keep_config);
        if let Some(region) = &args.region {
            command.env("AWS_REGION", region).env("AWS_DEFAULT_REGION", region);
        }
    }))
}

/// In the place of shared files, which every SDK looks into before it asks a container's address.
const EMPTY: &str = "/dev/null";

fn prepare(command: &mut Command, url: &str, file: &Path, keep_config: bool) {
    const CONFIG: &str = "AWS_CONFIG_FILE";
    for name in COMPETING.iter().filter(|name| **name != CONFIG) {
        command.env_remove(name);
    }
    if !keep_config {
        command.env(CONFIG, EMPTY);
    }
    command
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
        .env("AWS_SHARED_CREDENTIALS_FILE", EMPTY)
        // Some SDKs go on to the machine's own role when a container's address refuses.
        .env("AWS_EC2_METADATA_DISABLED", "true");
}

/// SDKs read the file themselves, and many of them send nothing at all when they do not like it.
fn check(file: &Path) -> Result<(), Failure> {
    let path = file.display();
    let fault = |what: &str| Err(Failure::Usage(format!("--token-file {path}: {what}")));
    let content = match fs::read(file) {
        Ok(content) => Zeroizing::new(content),
        Err(error) => return fault(&format!("cannot be read: {error}; write the user's ID token there, by rename")),
    };
    match content.as_slice() {
        [] => fault("it is empty: write the user's ID token there, by rename"),
        [.., b'\n' | b'\r'] => fault("it ends with a line break, which most SDKs refuse: write it with printf '%s'"),
        text if text.len() > MOST_BYTES => fault("it is too long for a token"),
        text if !text.iter().all(u8::is_ascii_graphic) => {
            fault("it holds more than a token: one line without spaces is wanted")
        }
        _ => Ok(()),
    }
}
