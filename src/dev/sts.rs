//! STS: GetCallerIdentity and AssumeRole, both for signed requests alone. Knows nothing of users and identity pools.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::scenario::{ACCOUNT_ID, BROKER_ARN, BROKER_USER_ID, Role};
use super::sessions::{Session, Sessions};
use super::sigv4::{self, Signer};
use super::wire::{self, Refusal};

/// Answers a Query request; `now` in seconds since 1970.
pub(crate) fn answer(request: &Request<Bytes>, sessions: &Sessions, now: u64) -> Response<Bytes> {
    let form = Form::of(request);
    let action = form.get("Action").unwrap_or_default();
    let outcome = match action {
        "GetCallerIdentity" => sigv4::signer(request, sessions, now).map(|signer| caller_identity(&signer)),
        "AssumeRole" => {
            sigv4::signer(request, sessions, now).and_then(|signer| assume_role(&form, &signer, sessions, now))
        }
        "" => Err(Refusal::new("MissingAction", "The request must contain the parameter Action.")),
        _ => {
            let version = form.get("Version").unwrap_or_default();
            let message = format!("Could not find operation {action} for version {version}");
            Err(Refusal::new("InvalidAction", message))
        }
    };
    wire::xml_reply(action, outcome)
}

/// The parameters of a request: in the body of a POST, in the query of a GET.
struct Form<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Form<'a> {
    fn of(request: &'a Request<Bytes>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.chain(form_urlencoded::parse(request.body())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Cow::as_ref)
    }
}

fn caller_identity(signer: &Signer) -> String {
    format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{ACCOUNT_ID}</Account>",
        wire::xml_text(&arn(signer)),
        wire::xml_text(&user_id(signer)),
    )
}

fn assume_role(form: &Form<'_>, signer: &Signer, sessions: &Sessions, now: u64) -> Result<String, Refusal> {
    let ask = Assume::of(form)?;
    if matches!(signer, Signer::Session(_)) && ask.seconds > CHAINED_SECONDS {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                       chaining.";
        return Err(Refusal::new(INVALID, message));
    }
    let role = Role::by_arn(ask.role).filter(|role| trusts(role, signer)).ok_or_else(|| {
        let (user, role) = (arn(signer), ask.role);
        let message = format!("User: {user} is not authorized to perform: sts:AssumeRole on resource: {role}");
        Refusal::forbidden("AccessDenied", message)
    })?;
    let session = sessions
        .issue(role, ask.session_name, now.saturating_add(ask.seconds))
        .map_err(|_| Refusal::internal("InternalFailure"))?;
    Ok(assumed(&session))
}

/// The roles let the broker's user in, and no session of a lower role: an editor cannot become an admin here.
fn trusts(role: &Role, signer: &Signer) -> bool {
    match signer {
        Signer::Broker => true,
        Signer::Session(session) => session.role.rank <= role.rank,
    }
}

fn assumed(session: &Session) -> String {
    let Session { access_key_id, expires, role, name, .. } = session;
    let name = wire::xml_text(name);
    format!(
        "<AssumedRoleUser><AssumedRoleId>{}:{name}</AssumedRoleId>\
         <Arn>arn:aws:sts::{ACCOUNT_ID}:assumed-role/{}/{name}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        role.id,
        role.name,
        session.secret(),
        session.token(),
        wire::iso_date(*expires),
    )
}

fn arn(signer: &Signer) -> String {
    match signer {
        Signer::Broker => BROKER_ARN.to_owned(),
        Signer::Session(Session { role, name, .. }) => {
            format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/{}/{name}", role.name)
        }
    }
}

fn user_id(signer: &Signer) -> String {
    match signer {
        Signer::Broker => BROKER_USER_ID.to_owned(),
        Signer::Session(Session { role, name, .. }) => format!("{}:{name}", role.id),
    }
}

const INVALID: &str = "ValidationError";
const DEFAULT_SECONDS: u64 = 3600;
/// The most that a role's session may ask for another role's.
const CHAINED_SECONDS: u64 = 3600;

/// What AssumeRole is asked for. Policies and tags are looked at no further than below: nothing here applies them.
struct Assume<'a> {
    role: &'a str,
    session_name: &'a str,
    seconds: u64,
}

impl<'a> Assume<'a> {
    fn of(form: &'a Form<'_>) -> Result<Self, Refusal> {
        let role = required(form, "RoleArn", "roleArn", 20..=2048)?;
        let session_name = required(form, "RoleSessionName", "roleSessionName", 2..=64)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if !session_name.bytes().all(allowed) {
            let rule = "Member must satisfy regular expression pattern: [\\w+=,.@-]*";
            let name = "roleSessionName";
            return Err(Refusal::constraint(INVALID, Some(session_name), name, rule));
        }
        let policy_is_json = |policy| serde_json::from_str::<Map<String, Value>>(policy).is_ok();
        if !form.get("Policy").is_none_or(policy_is_json) {
            let message = "This policy contains invalid Json";
            return Err(Refusal::new("MalformedPolicyDocument", message));
        }
        Ok(Self { role, session_name, seconds: duration(form)? })
    }
}

fn required<'a>(
    form: &'a Form<'_>,
    name: &str,
    member: &str,
    lengths: std::ops::RangeInclusive<usize>,
) -> Result<&'a str, Refusal> {
    let value = form.get(name);
    let fault = |rule: &str| Err(Refusal::constraint(INVALID, value, member, rule));
    match value {
        None => fault("Member must not be null"),
        Some(text) if text.len() < *lengths.start() => {
            fault(&format!("Member must have length greater than or equal to {}", lengths.start()))
        }
        Some(text) if text.len() > *lengths.end() => {
            fault(&format!("Member must have length less than or equal to {}", lengths.end()))
        }
        Some(text) => Ok(text),
    }
}

/// `DurationSeconds`. Both roles allow sessions of 12 hours, the most that a role can.
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
