//! What is below `deploy/`: each file judged by the tool that will read it, and each configuration by us.

mod containers;
mod interface;
mod kubernetes;
mod observability;
mod stack;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::tools::{DEPLOY_TOOLS, source};

/// A file below `deploy/`.
fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// The text of a file below `deploy/`.
fn read(path: &str) -> String {
    std::fs::read_to_string(deployed(path)).unwrap()
}

/// A file with this text, and this end of its name.
fn file(text: &str, end: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(end).tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Runs one of the tools with nothing of this machine's environment but the path.
fn tool<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> Output {
    use std::io::Write;
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(DEPLOY_TOOLS.join(program));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home.path());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that reads no input may have ended already.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// What the tool said, if it found nothing to mend.
fn content<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> String {
    let done = tool(program, arguments, input);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{program}: {told}{}", String::from_utf8_lossy(&done.stderr));
    told
}

/// What the tool said of something that is at fault.
fn complaint<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> String {
    let done = tool(program, arguments, input);
    assert!(!done.status.success(), "{program} finds no fault in\n{input}");
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

/// A script of `tests/third_party/deploy`.
fn script(name: &str) -> String {
    source("deploy").join(name).to_str().unwrap().to_owned()
}

/// A configuration that somebody will copy is sound, with the certificate that it names and the variable.
fn assert_sound(name: &str, text: &str) {
    let variable = |name: &str| (name == "HOST_IP").then(|| "10.0.0.7".to_owned());
    let made = rcgen::generate_simple_self_signed(vec!["cupbearer.cupbearer.svc".to_owned()]).unwrap();
    let read = |path: &Path| match path.file_name().and_then(OsStr::to_str) {
        Some("tls.crt") => Ok(made.cert.pem().into_bytes()),
        Some("tls.key") => Ok(made.signing_key.serialize_pem().into_bytes()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    let config = cupbearer::config::parse_with_files(name, text, &variable, &read);
    assert!(config.is_ok(), "{}", config.err().unwrap());
}

#[test]
fn the_sample_configuration_is_one() {
    assert_sound("release/cupbearer.toml", &read("release/cupbearer.toml"));
}
