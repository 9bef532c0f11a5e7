//! The configuration, from a file to what each room is to do. The only room that reads files and the environment.
//!
//! A file is read in two steps: as it was typed ([`raw`]) and as it is used ([`resolve`]). Neither stops at a fault,
//! so that one run tells all of them ([`Faults`]). [`Config::show`] is the text of `cupbearer check`.

mod budget;
mod defaults;
mod document;
mod doors;
mod faults;
mod field;
mod files;
mod forms;
mod logins;
mod pools;
mod profiles;
mod raw;
mod reference;
mod resolve;
mod roles;
mod session;
mod show;
mod spelling;
mod substitute;
mod tls;
mod warnings;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::env::VarError;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use zeroize::Zeroize;

use crate::{audit, auth, broker, secret_file, server, trace, upstream};

pub use faults::{Fault, Faults};
pub use files::Files;
pub use reference::reference;

use document::{Source, Table};
use faults::Found;
use raw::Document;
use session::Texts;
use tls::TlsFiles;

/// Every room's own configuration.
#[derive(Clone)]
pub struct Config {
    /// Which tokens are taken.
    pub auth: auth::Config,
    /// Where Cognito is.
    pub upstream: upstream::Config,
    /// Where user pools are, for refresh tokens.
    pub user_pools: upstream::UserPoolsConfig,
    /// The profiles, when to refresh, and how much of everything.
    pub broker: broker::Config,
    /// Where the doors are.
    pub server: server::Config,
    /// The directory of the identity map, if it is kept on disk.
    pub state: Option<PathBuf>,
    /// Where the audit log goes, if anywhere.
    pub audit: Option<audit::Config>,
    /// Where spans go, if anywhere.
    pub tracing: Option<trace::Config>,
    typed: Typed,
}

/// What was typed and no room keeps, for [`Config::show`].
#[derive(Clone)]
struct Typed {
    /// Whether doors may be elsewhere than on loopback.
    allow_non_loopback: bool,
    /// The files that the doors' TLS is made of.
    tls_files: Option<TlsFiles>,
    /// The file that the admin token is from.
    token_file: Option<String>,
    /// The texts of the profiles' templates.
    templates: HashMap<String, Texts>,
    /// The files that app clients' secrets are from, by user pool.
    client_secret_files: HashMap<Arc<str>, String>,
    /// The files that configured sessions' own tokens are from.
    authorization_files: HashMap<String, String>,
}

/// Reads a file that the configuration names.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Nobody said where the configuration file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no configuration file: name one with --config FILE or in the environment variable CUPBEARER_CONFIG")]
pub struct NoPath;

/// Reads the file at `path`, and those that it names.
///
/// # Errors
/// With everything that is wrong in it, or with the one reason why it cannot be read.
pub fn load(path: &Path) -> Result<Config, Faults> {
    read(path).outcome
}

/// What came of one reading.
pub struct Reading {
    /// The configuration, or everything that is wrong in it.
    pub outcome: Result<Config, Faults>,
    /// The files that it came from, also those that could not be read: what happens to them may change the outcome.
    pub files: Files,
}

/// The same as [`load`], for those who want to read again when the files change.
pub fn read(path: &Path) -> Reading {
    let name = path.display().to_string();
    let files = RefCell::new(Files::default());
    let read = |path: &Path| {
        files.borrow_mut().note(path);
        read_named(path)
    };
    files.borrow_mut().note(path);
    let bytes = read_own(path).map_err(|error| Faults::only(&name, None, format!("cannot be read: {error}")));
    let env = |variable: &str| read_variable(variable)?.into_string().ok();
    let outcome = bytes.and_then(|bytes| parse_bytes(&name, &bytes, &env, &read));
    let mut files = files.into_inner();
    let sessions = outcome.iter().flat_map(|config| &config.broker.configured_sessions);
    // The broker itself replaces these, and who else does has them read without a reload.
    sessions.for_each(|session| files.forget(session.refresh_token.path()));
    Reading { outcome, files }
}

/// Takes `text` for the content of the file `file_name`, with `env` for the environment. Pure: no other file can be
/// read, so that a `text` that names one is at fault.
///
/// # Errors
/// With everything that is wrong in it. A fault repeats neither what `env` said nor any other string value.
pub fn parse(file_name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Faults> {
    parse_with_files(file_name, text, env, &|_| Err(io::ErrorKind::NotFound.into()))
}

/// The same as [`parse`], with `read` for all other files.
///
/// # Errors
/// As [`parse`]. A fault does not repeat what `read` said either.
pub fn parse_with_files(
    file_name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: ReadFile<'_>,
) -> Result<Config, Faults> {
    let found = Found::default();
    let source = Source::new(text, env, &found);
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| source.line(span.start));
        Faults::only(file_name, line, format!("no TOML: {}", error.message().replace(['\n', '\r'], " ")))
    })?;
    let typed = Document::read(Table::root(document.get_ref(), &source));
    let config = resolve::resolve(typed, read, &found);
    found.none_or(file_name, config)
}

/// Where the configuration file is: where the flag says, or else the variable `CUPBEARER_CONFIG`.
///
/// # Errors
/// When neither says anything.
pub fn config_path(flag: Option<PathBuf>) -> Result<PathBuf, NoPath> {
    let said = |value: &OsString| !value.is_empty();
    flag.or_else(|| read_variable("CUPBEARER_CONFIG").filter(said).map(PathBuf::from)).ok_or(NoPath)
}

/// The log filter of the environment: `RUST_LOG`.
pub fn log_filter() -> Option<String> {
    read_variable("RUST_LOG")?.into_string().ok().filter(|filter| !filter.is_empty())
}

/// The places from which the environment has certificate authorities taken, instead of those of the system, by variable.
pub fn authorities() -> Vec<(&'static str, PathBuf)> {
    let named = |name| read_variable(name).filter(|place| !place.is_empty()).map(|place| (name, PathBuf::from(place)));
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(named).collect()
}

/// Whether a service manager wants to be told how the program is: whether `NOTIFY_SOCKET` is set.
pub fn has_notify_socket() -> bool {
    read_variable("NOTIFY_SOCKET").is_some()
}

/// The URL that `text` is, by the rules for URLs of the configuration: http for loopback only.
///
/// # Errors
/// With what would be one.
pub fn url(text: &str) -> Result<url::Url, &'static str> {
    forms::url(text)
}

/// The system's directory for temporary files.
pub fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

fn parse_bytes(
    file_name: &str,
    bytes: &[u8],
    env: &dyn Fn(&str) -> Option<String>,
    read: ReadFile<'_>,
) -> Result<Config, Faults> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let breaks = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Faults::only(file_name, Some(breaks + 1), "no TOML: the line is not UTF-8".to_owned())
    })?;
    parse_with_files(file_name, text, env, read)
}

/// The longest configuration, and the longest file that it names, in bytes: a list of all certificate authorities there are fits.
const MOST_BYTES: usize = 1_048_576;

/// What no other user may do with a private key, and the group may not. Of other secrets it is warned.
const OTHERS: u32 = 0o027;

/// Reads the configuration itself, which decides who is trusted: not one that everybody can change.
fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.mode() & 0o002 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "everybody can write it: chmod o-w"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Reads a file that the configuration names, which may hold a secret: whole, or not at all. The room for it is there from
/// the start, so that no copy is left behind.
fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    // What has no length, such as a pipe, may be as long as a secret.
    let most = usize::try_from(found.len()).unwrap_or(MOST_BYTES).clamp(secret_file::MOST_BYTES + 3, MOST_BYTES);
    let mut bytes = Vec::with_capacity(most + 2);
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        bytes.zeroize();
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too long"));
    }
    if found.mode() & OTHERS != 0 && bytes.windows(KEY_MARK.len()).any(|window| window == KEY_MARK) {
        bytes.zeroize();
        let refusal = "it holds a private key, and others can read or write it: chmod 0600 (or 0640)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
    }
    Ok(bytes)
}

/// What stands in every form of a private key in PEM (RFC 7468, RFC 5915, PKCS #1).
const KEY_MARK: &[u8] = b"PRIVATE KEY-----";

#[expect(clippy::disallowed_methods, reason = "this function is the program's only reader of the environment")]
fn read_variable(name: &str) -> Option<OsString> {
    match std::env::var(name) {
        Ok(value) => Some(value.into()),
        Err(VarError::NotUnicode(value)) => Some(value),
        Err(VarError::NotPresent) => None,
    }
}
