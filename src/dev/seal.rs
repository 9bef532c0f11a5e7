//! Text that only this process can read: what session and refresh tokens are made of. Knows nothing of what it seals.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::keys::KeyError;

/// A key of this process that seals JSON. So its holder need not remember what it has given out.
pub(crate) struct Seal {
    key: RandomizedNonceKey,
    /// What is sealed for one purpose opens for no other.
    purpose: &'static [u8],
}

impl Seal {
    /// Makes a key.
    pub(crate) fn new(purpose: &'static [u8]) -> Result<Self, KeyError> {
        let key = Zeroizing::new(rand::random::<[u8; 32]>());
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError)?;
        Ok(Self { key, purpose })
    }

    /// `content` sealed, as if it had `length` bytes when it has fewer. A nonce stands before it, a tag after it.
    pub(crate) fn close(&self, content: &impl Serialize, length: usize) -> Result<Vec<u8>, KeyError> {
        let mut sealed = serde_json::to_vec(content).map_err(|_| KeyError)?;
        // Spaces at its end are nothing to JSON.
        sealed.resize(sealed.len().max(length), b' ');
        let nonce = self.key.seal_in_place_append_tag(Aad::from(self.purpose), &mut sealed).map_err(|_| KeyError)?;
        Ok([nonce.as_ref(), sealed.as_slice()].concat())
    }

    /// What `read` makes of the JSON that was sealed; `None` too when this key has not sealed it.
    pub(crate) fn open<T>(&self, sealed: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        read(self.key.open_in_place(nonce, Aad::from(self.purpose), &mut bytes).ok()?)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}
