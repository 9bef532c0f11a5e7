//! AssumeRole: a role for those who sign for themselves, and whom it trusts. Knows no token.

use super::super::iam::{BROKER_ARN, Role};
use super::super::sessions::{Grant, Sessions};
use super::super::sigv4::Signer;
use super::super::wire::{self, Refusal};
use super::ask::{self, Ask};
use super::form::{Form, NAME, check_pattern, is_name};
use super::tags::Tags;
use super::{INVALID, arn, assumed, failed};

/// Answers the operation; `now` in seconds since 1970.
pub(super) fn answer(form: &Form<'_>, signer: &Signer, sessions: &Sessions, now: u64) -> Result<String, Refusal> {
    let ask = Ask::of(form)?;
    let tags = Tags::of(form)?;
    let source_identity = source_identity(form)?;
    let external_id = external_id(form)?;
    if matches!(signer, Signer::Session(_)) && ask.seconds > CHAINED_SECONDS {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                       chaining.";
        return Err(Refusal::new(INVALID, message));
    }
    let denied = |action: &str| {
        let (user, role) = (arn(signer), ask.role);
        let message = format!("User: {user} is not authorized to perform: {action} on resource: {role}");
        Refusal::forbidden("AccessDenied", message)
    };
    let role = Role::by_arn(ask.role)
        .filter(|role| role.trust.takes_principal(principal(signer), external_id))
        .ok_or_else(|| denied("sts:AssumeRole"))?;
    let mut grant = ask.grant();
    tags.add_to(&mut grant, from(signer))?;
    if !grant.tags.is_empty() && !role.trust.tags {
        return Err(denied("sts:TagSession"));
    }
    // What a session has, those assumed from it have too, and cannot change.
    let inherited = from(signer).and_then(|grant| grant.source_identity.as_deref());
    let changed = inherited.is_some() && source_identity.is_some() && inherited != source_identity;
    grant.source_identity = inherited.or(source_identity).map(str::to_owned);
    if changed || (grant.source_identity.is_some() && !role.trust.source_identity) {
        return Err(denied("sts:SetSourceIdentity"));
    }
    ask.check_duration(role)?;
    let packed = ask::packed_size(&grant)?;
    let expires = now.saturating_add(ask.seconds);
    let session = sessions.issue(role, ask.session_name, expires, grant).map_err(|_| failed())?;
    let source = session.grant.source_identity.as_deref().map(wire::xml_text);
    let source = source.map(|source| format!("<SourceIdentity>{source}</SourceIdentity>")).unwrap_or_default();
    Ok(assumed(&session, packed) + &source)
}

/// The most that a role's session may ask for another role's.
const CHAINED_SECONDS: u64 = 3600;

/// As trust policies name the signer: a session by its role.
fn principal(signer: &Signer) -> &'static str {
    match signer {
        Signer::Broker => BROKER_ARN,
        Signer::Session(session) => session.role.arn,
    }
}

/// What the signer's own session was given.
fn from(signer: &Signer) -> Option<&Grant> {
    match signer {
        Signer::Broker => None,
        Signer::Session(session) => Some(&session.grant),
    }
}

fn source_identity<'a>(form: &'a Form<'_>) -> Result<Option<&'a str>, Refusal> {
    let identity = form.optional("SourceIdentity", "sourceIdentity", 2..=64)?;
    identity.map(|identity| check_pattern(identity, "sourceIdentity", NAME, is_name)).transpose()
}

fn external_id<'a>(form: &'a Form<'_>) -> Result<Option<&'a str>, Refusal> {
    let id = form.optional("ExternalId", "externalId", 2..=1224)?;
    let allowed = |character| is_name(character) || matches!(character, ':' | '/');
    id.map(|id| check_pattern(id, "externalId", "[\\w+=,.@:\\/-]*", allowed)).transpose()
}
