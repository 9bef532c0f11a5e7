//! AssumeRoleWithWebIdentity: a role for the bearer of an identity pool's token. Knows no signature of a request.

use super::super::iam::Role;
use super::super::identity_token::IdentityTokens;
use super::super::sessions::Sessions;
use super::super::wire::{self, Refusal};
use super::ask::{self, Ask};
use super::form::Form;
use super::{INVALID, assumed, failed};

/// Answers the operation; `now` in seconds since 1970.
pub(super) fn answer(
    form: &Form<'_>,
    tokens: &IdentityTokens,
    sessions: &Sessions,
    now: u64,
) -> Result<String, Refusal> {
    let ask = Ask::of(form)?;
    let identity = tokens.check(token(form)?, now)?;
    // One text for a role that there is not and one that does not trust: a stranger shall not find out roles.
    let role = Role::by_arn(ask.role)
        .filter(|role| role.trust.takes_token(&identity.audience, &identity.amr))
        .ok_or_else(|| {
            let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            Refusal::forbidden("AccessDenied", message)
        })?;
    ask.check_duration(role)?;
    let grant = ask.grant();
    let packed = ask::packed_size(&grant)?;
    let expires = now.saturating_add(ask.seconds);
    let session = sessions.issue(role, ask.session_name, expires, grant).map_err(|_| failed())?;
    Ok(format!(
        "{}<SubjectFromWebIdentityToken>{}</SubjectFromWebIdentityToken><Audience>{}</Audience>\
         <Provider>{PROVIDER}</Provider>",
        assumed(&session, packed),
        wire::xml_text(&identity.subject),
        wire::xml_text(&identity.audience),
    ))
}

/// Identity pools, as a provider of STS.
const PROVIDER: &str = "cognito-identity.amazonaws.com";

fn token<'a>(form: &'a Form<'_>) -> Result<&'a str, Refusal> {
    let fault = |rule| Err(Refusal::unseen_constraint(INVALID, "webIdentityToken", rule));
    match form.get("WebIdentityToken") {
        None => Err(Refusal::constraint(INVALID, None, "webIdentityToken", "Member must not be null")),
        Some(token) if token.len() < 4 => fault("Member must have length greater than or equal to 4"),
        Some(token) if token.len() > 20_000 => fault("Member must have length less than or equal to 20000"),
        Some(token) => Ok(token),
    }
}
