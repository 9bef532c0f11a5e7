//! This process becomes another program: no shell reads what was typed, signals go to the program itself, and its exit
//! code is the one that is seen.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cli::Failure;

/// Becomes the program that `line` begins with, after `prepare` has had its say on the environment. Returns only when
/// that failed.
pub(super) fn with(line: &[OsString], prepare: impl FnOnce(&mut Command)) -> Failure {
    let Some((program, arguments)) = line.split_first() else {
        return Failure::Usage("no command to run: put it after --".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    prepare(&mut command);
    let error = command.exec();
    let program = program.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::NoProgram(format!("{program} is not found: check its name, and PATH")),
        _ => Failure::NotRunnable(format!("{program} cannot be run: {error}; check its mode")),
    }
}
