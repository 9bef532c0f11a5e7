//! STS: GetCallerIdentity and AssumeRole for signed requests, AssumeRoleWithWebIdentity for all. Knows nothing of user
//! pools and identities.

mod ask;
mod assume_role;
mod form;
mod tags;
mod web_identity;

use bytes::Bytes;
use http::{Request, Response};

use self::form::Form;
use super::iam::{BROKER_ARN, BROKER_USER_ID};
use super::identity_token::IdentityTokens;
use super::scenario::ACCOUNT_ID;
use super::sessions::{Session, Sessions};
use super::sigv4::{self, Signer};
use super::wire::{self, Refusal};

/// Answers a Query request; `now` in seconds since 1970.
pub(crate) fn answer(
    request: &Request<Bytes>,
    sessions: &Sessions,
    tokens: &IdentityTokens,
    now: u64,
) -> Response<Bytes> {
    let form = Form::of(request);
    let action = form.get("Action").unwrap_or_default();
    let signer = || sigv4::signer(request, "sts", sessions, now);
    let outcome = match action {
        "GetCallerIdentity" => signer().map(|signer| caller_identity(&signer)),
        "AssumeRole" => signer().and_then(|signer| assume_role::answer(&form, &signer, sessions, now)),
        "AssumeRoleWithWebIdentity" => web_identity::answer(&form, tokens, sessions, now),
        "" => Err(Refusal::new("MissingAction", "The request must contain the parameter Action.")),
        _ => {
            let version = form.get("Version").unwrap_or_default();
            let message = format!("Could not find operation {action} for version {version}");
            Err(Refusal::new("InvalidAction", message))
        }
    };
    wire::xml_reply(action, outcome)
}

fn caller_identity(signer: &Signer) -> String {
    format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{ACCOUNT_ID}</Account>",
        wire::xml_text(&arn(signer)),
        wire::xml_text(&user_id(signer)),
    )
}

/// What the replies of both AssumeRole operations have in common.
fn assumed(session: &Session, packed: Option<u64>) -> String {
    let packed = packed.map(|percent| format!("<PackedPolicySize>{percent}</PackedPolicySize>")).unwrap_or_default();
    format!(
        "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>{packed}",
        wire::xml_text(&session.user_id()),
        wire::xml_text(&session.arn()),
        session.access_key_id,
        session.secret(),
        session.token(),
        wire::iso_date(session.expires),
    )
}

fn arn(signer: &Signer) -> String {
    match signer {
        Signer::Broker => BROKER_ARN.to_owned(),
        Signer::Session(session) => session.arn(),
    }
}

fn user_id(signer: &Signer) -> String {
    match signer {
        Signer::Broker => BROKER_USER_ID.to_owned(),
        Signer::Session(session) => session.user_id(),
    }
}

/// The code for parameters that break a rule of STS's model.
const INVALID: &str = "ValidationError";

fn failed() -> Refusal {
    Refusal::internal("InternalFailure")
}
