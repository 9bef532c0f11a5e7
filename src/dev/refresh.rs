//! Refresh tokens: issued, rotated, revoked. Knows no claim, no secret of a client and no protocol.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::claims::SignIn;
use super::keys::KeyError;
use super::scenario::AppClient;
use super::seal::Seal;
use super::wire::Refusal;

/// How long the refresh tokens of a sign-in are good for, in seconds: 30 days, the default of an app client. A rotated
/// one has what is left of it.
pub(crate) const REFRESH_SECONDS: u64 = 30 * 24 * 3600;

/// How long a rotated refresh token can still be used, in seconds: `RetryGracePeriodSeconds`.
pub(crate) const GRACE_SECONDS: u64 = 10;

/// Issues refresh tokens and knows them again.
///
/// All of a sign-in's tokens are a family, each with a number. Only families are remembered, [`FAMILIES`] of them;
/// then the oldest is forgotten, and its tokens are as invalid as those that were never issued.
pub(crate) struct RefreshTokens {
    seal: Seal,
    families: Mutex<Families>,
}

impl RefreshTokens {
    /// Makes the key that seals the tokens.
    pub(crate) fn new() -> Result<Self, KeyError> {
        Ok(Self { seal: Seal::new(b"refresh token")?, families: Mutex::default() })
    }

    /// The first refresh token of `sign_in`.
    pub(crate) fn issue(&self, sign_in: &SignIn) -> Result<String, KeyError> {
        self.with(|families| families.add(sign_in));
        self.token(&sign_in.origin, 0)
    }

    /// The sign-in that `token` is of, and the token that takes its place if `client` rotates them.
    pub(crate) fn redeem(
        &self,
        token: &str,
        client: &AppClient,
        now: u64,
    ) -> Result<(SignIn, Option<String>), Refusal> {
        let invalid = || Refusal::not_authorized("Invalid Refresh Token.");
        let Content { family, number } = self.open(token).ok_or_else(invalid)?;
        let (sign_in, next) = self.with(|families| {
            let family = families.by_origin.get_mut(&family);
            let family = family.filter(|family| family.sign_in.client.id == client.id).ok_or_else(invalid)?;
            let next = family.redeem(number, now)?;
            Ok((family.sign_in.clone(), next))
        })?;
        let token = next.map(|next| self.token(&sign_in.origin, next)).transpose();
        Ok((sign_in, token.map_err(|_| Refusal::internal("InternalErrorException"))?))
    }

    /// Revokes the whole family of `token`; what is no refresh token of `client` is left alone. Whether it is one.
    pub(crate) fn revoke(&self, token: &str, client: &AppClient) -> bool {
        let Some(Content { family, .. }) = self.open(token) else {
            return false;
        };
        self.with(|families| {
            let family = families.by_origin.get_mut(&family).filter(|family| family.sign_in.client.id == client.id);
            family.map(|family| family.revoked = true).is_some()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Families) -> T) -> T {
        work(&mut self.families.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// In the form of Cognito's, which are encrypted to Cognito itself: five parts, about 1.8 kB.
    fn token(&self, family: &str, number: u64) -> Result<String, KeyError> {
        let sealed = self.seal.close(&Content { family: family.to_owned(), number }, CONTENT_LEN)?;
        let key: Vec<u8> = std::iter::repeat_with(rand::random).take(KEY_LEN).collect();
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError)?;
        let (content, tag) = sealed.split_at_checked(sealed.len().saturating_sub(TAG_LEN)).ok_or(KeyError)?;
        let parts = [HEADER, &key, nonce, content, tag];
        Ok(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."))
    }

    fn open(&self, token: &str) -> Option<Content> {
        let parts: Vec<_> = token.split('.').collect();
        let [_, _, sealed @ ..] = parts.as_slice() else {
            return None;
        };
        let [nonce, content, tag] = sealed else {
            return None;
        };
        let part = |text: &&str| URL_SAFE_NO_PAD.decode(text).ok();
        let sealed = [part(nonce)?, part(content)?, part(tag)?].concat();
        self.seal.open(&sealed, |content| serde_json::from_slice(content).ok())
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshTokens")
    }
}

/// Some 40 MB.
const FAMILIES: usize = 100_000;
/// How many used tokens of a family are known to be in their grace.
const RETIRED: usize = 8;

const HEADER: &[u8] = br#"{"cty":"JWT","enc":"A256GCM","alg":"RSA-OAEP"}"#;
const KEY_LEN: usize = 256;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const CONTENT_LEN: usize = 1000;

/// What is sealed in a token.
#[derive(Serialize, Deserialize)]
struct Content {
    family: String,
    number: u64,
}

#[derive(Default)]
struct Families {
    by_origin: HashMap<String, Family>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Families {
    fn add(&mut self, sign_in: &SignIn) {
        if self.order.len() >= FAMILIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_origin.remove(&oldest);
        }
        let family = Family { sign_in: sign_in.clone(), current: 0, retired: Vec::new(), revoked: false };
        self.by_origin.insert(sign_in.origin.clone(), family);
        self.order.push_back(sign_in.origin.clone());
    }
}

/// The refresh tokens of one sign-in.
struct Family {
    sign_in: SignIn,
    /// The newest token. There is one at a time: a used one that is used again in its grace replaces its successor.
    current: u64,
    /// Used ones, and when they were used first.
    retired: Vec<(u64, u64)>,
    revoked: bool,
}

impl Family {
    /// Uses the token of this number; the number of the one that takes its place.
    fn redeem(&mut self, number: u64, now: u64) -> Result<Option<u64>, Refusal> {
        if self.revoked {
            return Err(Refusal::not_authorized("Refresh Token has been revoked"));
        }
        if now >= self.sign_in.at.saturating_add(REFRESH_SECONDS) {
            return Err(Refusal::not_authorized("Refresh Token has expired"));
        }
        if !self.sign_in.client.rotates {
            return Ok(None);
        }
        self.retired.retain(|(_, used)| now <= used.saturating_add(GRACE_SECONDS));
        if number == self.current {
            self.retired.push((number, now));
            let forgotten = self.retired.len().saturating_sub(RETIRED);
            self.retired.drain(..forgotten);
        } else if !self.retired.iter().any(|(retired, _)| *retired == number) {
            return Err(Refusal::new("RefreshTokenReuseException", "Refresh token reuse detected"));
        }
        self.current += 1;
        Ok(Some(self.current))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{CLIENT, ROTATING_CLIENT_ID, User};
    use super::*;

    #[test]
    fn families_are_bounded_and_the_oldest_is_forgotten() {
        let mut families = Families::default();
        let mut sign_in = SignIn::new(User::by_name("alice").expect("alice"), CLIENT, 1000);
        for number in 0..=FAMILIES {
            sign_in.origin = number.to_string();
            families.add(&sign_in);
        }
        assert_eq!((families.by_origin.len(), families.order.len()), (FAMILIES, FAMILIES));
        assert!(!families.by_origin.contains_key("0") && families.by_origin.contains_key("1"));
    }

    #[test]
    fn a_family_knows_few_used_tokens() {
        let client = AppClient::by_id(ROTATING_CLIENT_ID).expect("the client");
        let sign_in = SignIn::new(User::by_name("alice").expect("alice"), client, 1000);
        let mut family = Family { sign_in, current: 0, retired: Vec::new(), revoked: false };
        for number in 0..20 {
            assert_eq!(family.redeem(number, 1000), Ok(Some(number + 1)));
        }
        assert_eq!(family.retired.len(), RETIRED);
        assert!(family.redeem(11, 1000).is_err() && family.redeem(12, 1000).is_ok());
    }
}
