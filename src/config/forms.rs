//! The forms that single values must have: names, Cognito's ids, addresses, URLs. Pure.
//!
//! The forms of ids and their lengths are those of the Amazon Cognito API reference, unless said otherwise. Each refusal says what would be
//! right and leaves out what was typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use url::{Host, Url};

use crate::config::spelling::nearest;
use crate::model::RoleArn;
use crate::templates::check_policy_arns;

/// The longest secret in a file.
pub(super) const SECRET_BYTES: usize = 1024;

/// `REGION_NAME`: `[\w-]+_[0-9a-zA-Z]+`, 1 to 55 characters. The region ends at the first `_`, so it cannot begin there.
pub(super) fn user_pool_id(text: String) -> Result<String, &'static str> {
    let parts = text.rsplit_once('_').filter(|_| !text.starts_with('_'));
    let sound = parts.is_some_and(|(region, name)| is_word(region) && is_alphanumeric(name));
    let wanted = "no user pool id: REGION_NAME is wanted, at most 55 characters";
    (sound && text.len() <= 55).then_some(text).ok_or(wanted)
}

/// `[\w+]+`, 1 to 128 characters.
pub(super) fn client_id(text: String) -> Result<String, &'static str> {
    let sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'+');
    let wanted = "no app client id: 1 to 128 letters, digits, _ and + are wanted";
    (sound && (1..=128).contains(&text.len())).then_some(text).ok_or(wanted)
}

/// `REGION:GUID`: `[\w-]+:[0-9a-f-]+`, 1 to 55 characters.
pub(super) fn identity_pool_id(text: String) -> Result<String, &'static str> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    let guid = |guid: &str| !guid.is_empty() && guid.bytes().all(hex);
    let sound = text.split_once(':').is_some_and(|(region, rest)| is_word(region) && guid(rest));
    let wanted = "no identity pool id: REGION:GUID is wanted, in lower case, at most 55 characters";
    (sound && text.len() <= 55).then_some(text).ok_or(wanted)
}

/// The name of a region; which there are is for AWS to say.
pub(super) fn region(text: String) -> Result<String, &'static str> {
    let sound = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let wanted = "no region: a name like us-east-1 is wanted";
    (sound && (1..=32).contains(&text.len())).then_some(text).ok_or(wanted)
}

/// The name of a profile or a role alias. It stands in paths, where `.` and `..` would mean another one.
pub(super) fn name(text: String) -> Result<String, &'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let sound = text.bytes().all(letter) && (1..=64).contains(&text.len()) && text != "." && text != "..";
    sound.then_some(text).ok_or("no name for a path: 1 to 64 letters, digits, _, . and - are wanted")
}

/// A key of the `Logins` map: 1 to 128 characters.
pub(super) fn logins_key(text: String) -> Result<String, &'static str> {
    let sound = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains("://");
    let wanted = "no key of a Logins map: the issuer without https:// is wanted, 1 to 128 characters";
    (sound && (1..=128).contains(&text.len())).then_some(text).ok_or(wanted)
}

/// An IAM role's ARN.
pub(super) fn role(text: String) -> Result<RoleArn, &'static str> {
    RoleArn::parse(&text).ok_or("no role ARN: arn:aws:iam::ACCOUNT:role/NAME is wanted")
}

/// Where a door is.
pub(super) fn address(text: String) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "no address: IP:PORT is wanted, like 127.0.0.1:2870 or [::1]:2870")
}

/// Where the admin door is: an address of this machine alone, whatever the others may have.
pub(super) fn loopback(text: String) -> Result<SocketAddr, &'static str> {
    let address = address(text)?;
    let refusal =
        "beyond loopback: an address of 127.0.0.0/8 or [::1] is wanted; for scrapers and probes there is metrics";
    address.ip().is_loopback().then_some(address).ok_or(refusal)
}

/// Where a Unix socket is.
pub(super) fn socket(text: String) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(&text);
    let sound = path.is_absolute() && path.file_name().is_some() && !text.ends_with('/');
    sound.then_some(path).ok_or("no socket: an absolute path is wanted, like /run/cupbearer/grpc.sock")
}

/// An https URL; an http one for a loopback address. Byte for byte as it will be used: nothing is trimmed away.
pub(super) fn url(text: &str) -> Result<Url, &'static str> {
    let wanted = "no URL: https://HOST/PATH is wanted";
    let written_out = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let (scheme, rest) = text.split_once("://").filter(|_| written_out).ok_or(wanted)?;
    let url = Url::parse(text).ok().filter(|_| !rest.starts_with('/')).ok_or(wanted)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || url.query().is_some() || url.fragment().is_some() {
        return Err("the URL says too much: one without user name, query and fragment is wanted");
    }
    match scheme {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err("http is for loopback addresses only (127.0.0.0/8, [::1], localhost): https is wanted"),
        _ => Err(wanted),
    }
}

/// What a role's trust policy may ask for: `[\w+=,.@:\/-]*`, 2 to 1224 characters (AWS Security Token Service API
/// Reference, AssumeRole).
pub(super) fn external_id(text: String) -> Result<String, &'static str> {
    let sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte));
    let wanted = "no external id: 2 to 1224 letters, digits and any of _+=,.@:/- are wanted";
    (sound && (2..=1224).contains(&text.len())).then_some(text).ok_or(wanted)
}

/// The name of a claim in a rule: 1 to 64 characters.
pub(super) fn claim(text: String) -> Result<String, &'static str> {
    let wanted = "no claim's name: 1 to 64 characters without spaces are wanted, like custom:department";
    (is_visible(&text) && text.chars().count() <= 64).then_some(text).ok_or(wanted)
}

/// What a rule compares a claim with: 1 to 128 characters.
pub(super) fn rule_value(text: String) -> Result<String, &'static str> {
    (1..=128).contains(&text.chars().count()).then_some(text).ok_or("wrong length: 1 to 128 characters are wanted")
}

/// The name of a user pool group: 1 to 128 characters.
pub(super) fn group(text: String) -> Result<String, &'static str> {
    let wanted = "no group's name: 1 to 128 characters without spaces are wanted";
    (is_visible(&text) && text.chars().count() <= 128).then_some(text).ok_or(wanted)
}

/// A managed policy's ARN.
pub(super) fn policy(text: String) -> Result<String, &'static str> {
    let wanted = "no policy ARN: arn:aws:iam::ACCOUNT:policy/NAME is wanted, with aws as the account for AWS's own";
    match check_policy_arns(std::slice::from_ref(&text)) {
        Ok(()) => Ok(text),
        Err(_) => Err(wanted),
    }
}

/// A shared secret in a file of its own, which may end in a line break: `file` is what it holds. No space, since one
/// at its end would be lost in a header.
pub(super) fn secret(file: &[u8]) -> Result<SecretString, &'static str> {
    let text = file.strip_suffix(b"\n").unwrap_or(file);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let sound = (16..=SECRET_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    let text = str::from_utf8(text).ok().filter(|_| sound);
    let wanted =
        "the file holds no token: 16 to 1024 printable ASCII characters without spaces are wanted, on one line";
    text.map(SecretString::from).ok_or(wanted)
}

/// The secrets of app clients, `[\w+]+` each: one that stands alone, where there is one client, or a line for each that
/// has one, with its id before it.
pub(super) fn client_secrets(
    file: &[u8],
    client_ids: &[Arc<str>],
) -> Result<Vec<(Arc<str>, SecretString)>, &'static str> {
    let wanted = "the file holds no client secret: a line CLIENT_ID SECRET for each client that has one, or the secret \
                  alone where the pool lists one client";
    let text = str::from_utf8(file).map_err(|_| wanted)?;
    let one = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let (id, secret) = match (&words[..], client_ids) {
            ([secret], [only]) => (Arc::clone(only), *secret),
            ([id, secret], _) => (client_ids.iter().find(|known| known.as_ref() == *id).cloned()?, *secret),
            _ => return None,
        };
        let sound = secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'+');
        (sound && secret.len() <= 128).then(|| (id, SecretString::from(secret)))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let each: Option<Vec<_>> = lines.map(one).collect();
    each.filter(|each| !each.is_empty()).ok_or(wanted)
}

/// One of the values that a key can have.
pub(super) fn choice<T: Copy>(text: &str, options: &[(&'static str, T)]) -> Result<T, String> {
    let names = || options.iter().map(|(name, _)| *name);
    match options.iter().find(|(name, _)| *name == text) {
        Some((_, means)) => Ok(*means),
        None => match nearest(text, names()) {
            Some(meant) => Err(format!("unknown value: did you mean \"{meant}\"?")),
            None => {
                let listed: Vec<_> = names().map(|name| format!("\"{name}\"")).collect();
                Err(format!("unknown value: {} is wanted", listed.join(" or ")))
            }
        },
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What AWS allows in names that may hold letters of any script: no space and no control character.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn is_alphanumeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
