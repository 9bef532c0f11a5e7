//! `cupbearer check`: validates a configuration and prints what would be in force.

use std::io::Write;
use std::path::PathBuf;

use crate::cli::Failure;
use crate::config;

pub(super) fn run(file: Option<PathBuf>) -> Result<(), Failure> {
    let path = config::config_path(file).map_err(|fault| Failure::Usage(fault.to_string()))?;
    let config = config::load(&path).map_err(|faults| Failure::Usage(faults.to_string()))?;
    write!(std::io::stdout(), "{}", config.show())?;
    Ok(())
}
