//! A caller's own session policy and policy ARNs, before they are sent on. Knows no claim; what the policy says is for
//! AWS to judge.
//!
//! The limits are those of AssumeRole and AssumeRoleWithWebIdentity (AWS Security Token Service API Reference): 2,048
//! characters for all together, U+0020 to U+00FF and white space, 10 ARNs.

use serde_json::Value;

use crate::templates::PolicyFault;

pub(super) const MAX_CHARS: usize = 2048;

const ARNS: usize = 10;

/// The length of an ARN, as `PolicyDescriptorType` has it.
const ARN_LENGTH: std::ops::RangeInclusive<usize> = 20..=2048;

/// More than this is not read: no spaces make so much of 2,048 characters.
const MAX_BYTES: usize = 65_536;

/// A policy's JSON.
pub(super) struct Document {
    /// What it says: an object, in which no name stands twice.
    pub(super) value: Value,
    /// Its text as it was, without spaces around JSON.
    text: String,
}

/// The text of `policy` without spaces around its JSON, as it is sent on and counted.
///
/// # Errors
/// If it is no JSON object, or holds what no policy may hold, or is too long.
pub fn check_policy(policy: &str) -> Result<String, PolicyFault> {
    if policy.len() > MAX_BYTES {
        return Err(PolicyFault::TooLong);
    }
    let text = Document::parse(policy)?.text;
    if !text.chars().all(is_allowed) {
        return Err(PolicyFault::Character);
    }
    check_policy_size(Some(&text), &[])?;
    Ok(text)
}

/// Checks the ARNs of managed policies: their number and form. Whether they are in the role's account is for AWS.
///
/// # Errors
/// With the first that is wrong.
pub fn check_policy_arns(arns: &[String]) -> Result<(), PolicyFault> {
    if arns.len() > ARNS {
        return Err(PolicyFault::TooManyArns);
    }
    match arns.iter().position(|arn| !is_policy_arn(arn)) {
        Some(index) => Err(PolicyFault::Arn(index + 1)),
        None => check_policy_size(None, arns),
    }
}

/// Checks that a checked policy and checked ARNs are not too long together.
///
/// # Errors
/// If they are.
pub fn check_policy_size(policy: Option<&str>, arns: &[String]) -> Result<(), PolicyFault> {
    let texts = policy.into_iter().chain(arns.iter().map(String::as_str));
    let chars: usize = texts.map(|text| text.chars().count()).sum();
    if chars > MAX_CHARS { Err(PolicyFault::TooLong) } else { Ok(()) }
}

impl Document {
    /// Reads a policy.
    ///
    /// # Errors
    /// If it is not JSON, no object, or if an object has the same name twice: AWS may take the one and we the other.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyFault> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| PolicyFault::NotJson { line: error.line(), column: error.column() })?;
        if !value.is_object() {
            return Err(PolicyFault::NotAnObject);
        }
        let (text, colons) = minified(text);
        // Each member has one colon; of members with the same name only one is left in the value.
        if colons != members(&value) {
            return Err(PolicyFault::Twins);
        }
        Ok(Self { value, text })
    }
}

/// Whether `c` may stand in a policy whose JSON has no spaces around it.
pub(super) fn is_allowed(c: char) -> bool {
    ('\u{20}'..='\u{ff}').contains(&c)
}

/// The JSON `text` without what stands outside of its tokens, and the number of colons outside of its strings.
fn minified(text: &str) -> (String, usize) {
    let mut minified = String::with_capacity(text.len());
    let (mut in_string, mut escaped, mut colons) = (false, false, 0);
    for c in text.chars() {
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        if !in_string && c == ':' {
            colons += 1;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        minified.push(c);
    }
    (minified, colons)
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(object) => object.values().map(|member| 1 + members(member)).sum(),
        Value::Array(elements) => elements.iter().map(members).sum(),
        _ => 0,
    }
}

/// `arn:<partition>:iam::<account>:policy/<path and name>`, with the account `aws` for AWS's own.
fn is_policy_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return false };
    let account = account == "aws" || (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    let name = resource.strip_prefix("policy/").unwrap_or_default();
    partition.starts_with("aws")
        && account
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
        && ARN_LENGTH.contains(&text.len())
}
