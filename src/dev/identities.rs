//! Identities: whose an IdentityId is, and of which pool. Knows no role and no protocol.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{digest, hmac};

use super::login::Login;
use super::pools::{POOLS, Pool};
use super::scenario::{ISSUER, REGION};
use super::wire::{self, Refusal};

/// The identities of all pools.
///
/// A user's identity follows from the token, and a guest's shows that this process has named it. So neither needs
/// memory; but what GetId has named for users is remembered, so that someone else's identity is told from one that
/// there is not. Beyond [`KNOWN_LIMIT`] none is added.
pub(crate) struct Identities {
    guests: hmac::Key,
    known: Mutex<HashSet<String>>,
}

/// The bearer of an identity.
pub(crate) struct Bearer {
    pub(crate) pool: &'static Pool,
    /// None for a guest.
    pub(crate) login: Option<Login>,
}

impl Identities {
    /// Makes the key by which guests are known.
    pub(crate) fn new() -> Self {
        let key: [u8; 32] = rand::random();
        Self { guests: hmac::Key::new(hmac::HMAC_SHA256, &key), known: Mutex::default() }
    }

    /// The identity of a user in `pool`, always the same.
    pub(crate) fn of_user(&self, pool: &Pool, login: &Login) -> String {
        let identity = identity_of(pool, login);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN_LIMIT && !known.contains(&identity) {
            known.insert(identity.clone());
        }
        identity
    }

    /// A new identity of a guest in `pool`.
    pub(crate) fn of_guest(&self, pool: &Pool) -> String {
        self.guest(pool, rand::random())
    }

    /// Who bears `identity`, if `login` proves it: the login that GetId was given, or none for a guest.
    pub(crate) fn bearer(&self, identity: &str, login: Option<Login>) -> Result<Bearer, Refusal> {
        let guest_of = self.guest_pool(identity);
        let user_of = login.as_ref().and_then(|login| POOLS.iter().find(|pool| identity_of(pool, login) == identity));
        match (login, user_of, guest_of) {
            (Some(login), Some(pool), _) => Ok(Bearer { pool, login: Some(login) }),
            (None, _, Some(pool)) => Ok(Bearer { pool, login: None }),
            (_, _, None) if !self.is_known(identity) => {
                let message = format!("Identity '{identity}' not found.");
                Err(Refusal::new("ResourceNotFoundException", message))
            }
            // AWS would make a guest's identity a user's here; whoever sends one login alone has no use for that.
            (Some(_), None, _) => Err(Refusal::not_authorized(
                "Logins don't match. Please include at least one valid login for this identity or identity pool.",
            )),
            (None, _, None) => Err(Refusal::not_authorized(format!("Access to Identity '{identity}' is forbidden."))),
        }
    }

    fn is_known(&self, identity: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(identity)
    }

    /// The identity that begins with `seed`; what follows in it is made of the seed, the pool and our key.
    fn guest(&self, pool: &Pool, seed: [u8; 6]) -> String {
        let mut message = seed.to_vec();
        message.extend(pool.id.as_bytes());
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&seed);
        bytes[6..].copy_from_slice(&hmac::sign(&self.guests, &message).as_ref()[..10]);
        in_region(bytes)
    }

    /// The pool that `identity` is a guest of.
    fn guest_pool(&self, identity: &str) -> Option<&'static Pool> {
        let seed = identity.strip_prefix(REGION)?.strip_prefix(':')?.replace('-', "");
        let seed = u64::from_str_radix(seed.get(..12)?, 16).ok()?.to_be_bytes();
        let [0, 0, seed @ ..] = seed else {
            return None;
        };
        POOLS.iter().find(|pool| self.guest(pool, seed) == identity)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identities")
    }
}

/// Some 10 MB.
const KNOWN_LIMIT: usize = 100_000;

/// Stable for a user of this pool, across processes too: a digest of what makes the user.
fn identity_of(pool: &Pool, login: &Login) -> String {
    let user = [pool.id, ISSUER, &login.subject].join("\n");
    let digest = digest::digest(&digest::SHA256, user.as_bytes());
    let mut guid = [0; 16];
    guid.copy_from_slice(&digest.as_ref()[..16]);
    in_region(guid)
}

fn in_region(guid: [u8; 16]) -> String {
    format!("{REGION}:{}", wire::guid(guid))
}
