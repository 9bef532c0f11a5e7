//! What both AssumeRole operations are asked for: role, session name, duration and session policies. Knows no caller.

use serde_json::{Map, Value};

use super::super::iam::Role;
use super::super::scenario::ACCOUNT_ID;
use super::super::sessions::Grant;
use super::super::wire::Refusal;
use super::form::{Form, NAME, check_length, check_pattern, is_name};
use super::{INVALID, tags};

/// What is asked for. Session policies are looked at no further than here: nothing applies them.
pub(super) struct Ask<'a> {
    pub(super) role: &'a str,
    pub(super) session_name: &'a str,
    pub(super) seconds: u64,
    policy: Option<&'a str>,
    policy_arns: Vec<&'a str>,
}

impl<'a> Ask<'a> {
    pub(super) fn of(form: &'a Form<'_>) -> Result<Self, Refusal> {
        let role = form.required("RoleArn", "roleArn", 20..=2048)?;
        let session_name = form.required("RoleSessionName", "roleSessionName", 2..=64)?;
        check_pattern(session_name, "roleSessionName", NAME, is_name)?;
        Ok(Self {
            role,
            session_name,
            seconds: duration(form)?,
            policy: policy(form)?,
            policy_arns: policy_arns(form)?,
        })
    }

    /// Whether `role` allows sessions as long as that.
    pub(super) fn check_duration(&self, role: &Role) -> Result<(), Refusal> {
        if self.seconds <= role.max_seconds {
            return Ok(());
        }
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        Err(Refusal::new(INVALID, message))
    }

    /// The session policies, for the session to keep.
    pub(super) fn grant(&self) -> Grant {
        Grant {
            policy: self.policy.map(str::to_owned),
            policy_arns: self.policy_arns.iter().map(|&arn| arn.to_owned()).collect(),
            ..Grant::default()
        }
    }
}

/// `PackedPolicySize`: how much of the space for policies and tags `grant` takes, in percent; `None` when it has none.
///
/// AWS packs policies in a way that it tells nobody, so the figures are ours. Those for tags come near to AWS's:
/// it counted nine tags of 252 characters each as 498 %.
pub(super) fn packed_size(grant: &Grant) -> Result<Option<u64>, Refusal> {
    let Grant { tags, policy, policy_arns, .. } = grant;
    if tags.is_empty() && policy.is_none() && policy_arns.is_empty() {
        return Ok(None);
    }
    let too_large = |message| Err(Refusal::new("PackedPolicyTooLarge", message));
    let percent = |bytes: usize, space: usize| bytes * 100 / space;
    let of_tags = percent(tags.iter().map(|(key, value)| key.len() + value.len() + 3).sum(), tags::SPACE);
    if of_tags > 100 {
        return too_large(format!("Packed size of session tags consumes {of_tags}% of allotted space."));
    }
    let arns: usize = policy_arns.iter().map(String::len).sum();
    let all = of_tags + percent(policy.as_deref().map_or(0, str::len) + arns, POLICY_SPACE);
    if all > 100 {
        let message = format!("Packed policy consumes {all}% of allotted space, please use smaller policy.");
        return too_large(message);
    }
    Ok(u64::try_from(all).ok())
}

const DEFAULT_SECONDS: u64 = 3600;

/// The longest policy takes four fifths of it.
const POLICY_SPACE: usize = 2560;

/// `DurationSeconds`, within the bounds of the longest that a role can allow.
fn duration(form: &Form<'_>) -> Result<u64, Refusal> {
    let Some(text) = form.get("DurationSeconds") else {
        return Ok(DEFAULT_SECONDS);
    };
    let rule = match text.parse() {
        Ok(seconds @ 900..=43200) => return Ok(seconds),
        Ok(43201..) => "Member must have value less than or equal to 43200",
        _ => "Member must have value greater than or equal to 900",
    };
    Err(Refusal::constraint(INVALID, Some(text), "durationSeconds", rule))
}

fn policy<'a>(form: &'a Form<'_>) -> Result<Option<&'a str>, Refusal> {
    let Some(policy) = form.optional("Policy", "policy", 1..=2048)? else {
        return Ok(None);
    };
    let allowed = |character| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    check_pattern(policy, "policy", "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+", allowed)?;
    if serde_json::from_str::<Map<String, Value>>(policy).is_err() {
        let message = "This policy contains invalid Json";
        return Err(Refusal::new("MalformedPolicyDocument", message));
    }
    Ok(Some(policy))
}

/// `PolicyArns`: policies of this account, or AWS's own.
fn policy_arns<'a>(form: &'a Form<'_>) -> Result<Vec<&'a str>, Refusal> {
    let arns: Vec<_> = form.list("PolicyArns", ".arn").collect();
    if arns.len() > 10 {
        let rule = "Member must have length less than or equal to 10";
        return Err(Refusal::unseen_constraint(INVALID, "policyArns", rule));
    }
    for (place, arn) in (1..).zip(&arns) {
        check_length(arn, &format!("policyArns.{place}.member.arn"), 20..=2048)?;
        let owner = arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":policy/"));
        if owner.is_none_or(|(owner, _)| owner != "aws" && owner != ACCOUNT_ID) {
            return Err(Refusal::new(INVALID, format!("ARN {arn} is not valid.")));
        }
    }
    Ok(arns)
}
