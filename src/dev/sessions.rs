//! Temporary credentials: issued, and known again from their session token. Knows nobody's claims and no protocol.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::KeyError;
use super::scenario::Role;

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
}

/// Issues sessions and knows them again.
///
/// A session token holds its session, sealed with a key of this process, as AWS's own tokens do. So nothing has to be
/// remembered: no bound on the number of sessions, no lock, and an expired one is known as expired, not as unknown.
pub(crate) struct Sessions {
    seal: RandomizedNonceKey,
}

impl Sessions {
    /// Makes the key that seals the tokens.
    pub(crate) fn new() -> Result<Self, KeyError> {
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        let seal = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError)?;
        Ok(Self { seal })
    }

    /// Fresh credentials for a session of `role`, called `name`, until `expires` in seconds since 1970.
    pub(crate) fn issue(&self, role: &'static Role, name: &str, expires: u64) -> Result<Session, KeyError> {
        let secret = Zeroizing::new(STANDARD.encode(rand::random::<[u8; 30]>()));
        let access_key_id = access_key_id();
        let content = Content { key: access_key_id.as_str(), secret: secret.as_str(), role: role.name, name, expires };
        let token = self.seal(&content)?;
        Ok(Session {
            secret: secret.as_str().into(),
            token: token.into(),
            expires,
            role,
            name: name.to_owned(),
            access_key_id,
        })
    }

    /// The session that `token` was issued for, expired or not; `None` when this process has not issued it.
    pub(crate) fn known(&self, token: &str) -> Option<Session> {
        let mut bytes = Zeroizing::new(STANDARD.decode(token).ok()?);
        let (origin, sealed) = bytes.split_at_mut_checked(ORIGIN.len())?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        if origin != ORIGIN {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let content = self.seal.open_in_place(nonce, Aad::from(ORIGIN), sealed).ok()?;
        let Content { key, secret, role, name, expires } = serde_json::from_slice(content).ok()?;
        Some(Session {
            access_key_id: key.to_owned(),
            secret: secret.into(),
            token: token.into(),
            expires,
            role: Role::by_name(role)?,
            name: name.to_owned(),
        })
    }

    fn seal(&self, content: &Content<'_>) -> Result<String, KeyError> {
        let mut sealed = serde_json::to_vec(content).map_err(|_| KeyError)?;
        // Spaces at its end are nothing to JSON.
        sealed.resize(sealed.len().max(CONTENT_LEN), b' ');
        let nonce = self.seal.seal_in_place_append_tag(Aad::from(ORIGIN), &mut sealed).map_err(|_| KeyError)?;
        Ok(STANDARD.encode([ORIGIN, nonce.as_ref(), sealed.as_slice()].concat()))
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
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
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
}

/// `ASIA` is AWS's prefix for temporary credentials; the rest is base32.
fn access_key_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random: [u8; 16] = rand::random();
    let rest = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "ASIA".chars().chain(rest).collect()
}
