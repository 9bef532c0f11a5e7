//! Temporary credentials: issued, and known again from their session token. Knows nobody's claims and no protocol.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::iam::Role;
use super::keys::KeyError;
use super::scenario::ACCOUNT_ID;
use super::seal::Seal;
use super::wire;

/// Temporary credentials of a role's session.
#[derive(Debug)]
pub(crate) struct Session {
    /// `ASIA` and 16 more.
    pub(crate) access_key_id: String,
    /// 40 characters.
    pub(crate) secret: SecretString,
    /// About 1 kB, opaque.
    pub(crate) token: SecretString,
    /// Seconds since 1970.
    pub(crate) expires: u64,
    pub(crate) role: &'static Role,
    /// What the session is called, in CloudTrail and in the session's ARN.
    pub(crate) name: String,
    pub(crate) grant: Grant,
}

/// What a session was given besides its role. Nothing here applies it, but it lasts as long as the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Grant {
    /// Session tags, key and value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String)>,
    /// The keys of those tags that sessions assumed from this one get too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) transitive: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) policy_arns: Vec<String>,
}

/// Issues sessions and knows them again.
///
/// A session token holds its session, sealed with a key of this process, as AWS's own tokens do. So nothing has to be
/// remembered: no bound on the number of sessions, no lock, and an expired one is known as expired, not as unknown.
#[derive(Debug)]
pub(crate) struct Sessions {
    seal: Seal,
}

impl Sessions {
    /// Makes the key that seals the tokens.
    pub(crate) fn new() -> Result<Self, KeyError> {
        Ok(Self { seal: Seal::new(ORIGIN)? })
    }

    /// Fresh credentials for a session of `role`, called `name`, until `expires` in seconds since 1970.
    pub(crate) fn issue(
        &self,
        role: &'static Role,
        name: &str,
        expires: u64,
        grant: Grant,
    ) -> Result<Session, KeyError> {
        let secret = Zeroizing::new(STANDARD.encode(rand::random::<[u8; 30]>()));
        let key = access_key_id();
        let content = Content { key: &key, secret: &secret, role: role.name, name, expires, grant };
        let token = STANDARD.encode([ORIGIN, &self.seal.close(&content, CONTENT_LEN)?].concat());
        Ok(content.session(role, token.into()))
    }

    /// The session that `token` was issued for, expired or not; `None` when this process has not issued it.
    pub(crate) fn known(&self, token: &str) -> Option<Session> {
        let bytes = STANDARD.decode(token).ok()?;
        self.seal.open(bytes.strip_prefix(ORIGIN)?, |content| {
            let content: Content<'_> = serde_json::from_slice(content).ok()?;
            let role = Role::by_name(content.role)?;
            Some(content.session(role, token.into()))
        })
    }
}

impl Session {
    /// The secret access key, for those who sign, verify or hand it out.
    pub(crate) fn secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The session token, for those who hand it out.
    pub(crate) fn token(&self) -> &str {
        self.token.expose_secret()
    }

    /// The ARN by which STS names whoever uses the session.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/{}/{}", self.role.name, self.name)
    }

    /// The unique id of the same.
    pub(crate) fn user_id(&self) -> String {
        format!("{}:{}", self.role.id, self.name)
    }

    /// As a container gets its role's credentials from its host.
    pub(crate) fn container_credentials(&self) -> Value {
        json!({
            "AccessKeyId": self.access_key_id,
            "Expiration": wire::iso_date(self.expires),
            "RoleArn": self.role.arn,
            "SecretAccessKey": self.secret(),
            "Token": self.token(),
        })
    }

    /// All but its secrets, for tests.
    pub(crate) fn description(&self) -> Value {
        let Grant { tags, transitive, source_identity, policy, policy_arns } = &self.grant;
        let tags: BTreeMap<_, _> = tags.iter().map(|(key, value)| (key, value)).collect();
        json!({
            "arn": self.arn(),
            "access_key_id": self.access_key_id,
            "expires": self.expires,
            "policy": policy,
            "policy_arns": policy_arns,
            "role_arn": self.role.arn,
            "session_name": self.name,
            "source_identity": source_identity,
            "tags": tags,
            "transitive_tag_keys": transitive,
        })
    }
}

/// What all of AWS's session tokens begin with; it makes `IQoJb3JpZ2luX2Vj` in base64.
const ORIGIN: &[u8] = b"!\n\torigin_ec";

/// Padding up to this makes tokens of 1,024 characters, the last of them a `=` that careless clients lose.
const CONTENT_LEN: usize = 727;

/// What is sealed in a token. No `Debug`: it holds the secret.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    key: &'a str,
    secret: &'a str,
    role: &'a str,
    name: &'a str,
    expires: u64,
    grant: Grant,
}

impl Content<'_> {
    fn session(self, role: &'static Role, token: SecretString) -> Session {
        Session {
            access_key_id: self.key.to_owned(),
            secret: self.secret.into(),
            token,
            expires: self.expires,
            role,
            name: self.name.to_owned(),
            grant: self.grant,
        }
    }
}

/// `ASIA` is AWS's prefix for temporary credentials; the rest is base32.
fn access_key_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random: [u8; 16] = rand::random();
    let rest = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "ASIA".chars().chain(rest).collect()
}
