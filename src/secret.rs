//! Text that must not be seen: it cannot be printed and is wiped when dropped. Knows nothing of what it protects.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A bearer's token as it came in, verified or not. `Debug` shows its length alone.
#[derive(Clone)]
pub struct CupToken(SecretString);

impl CupToken {
    /// Takes `text` as it is; whether it is a token at all is for `auth` to say.
    pub fn new(text: &str) -> Self {
        Self(SecretString::from(text))
    }

    /// The token's text, for the eyes of the verifier and of AWS only.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<SecretString> for CupToken {
    fn from(text: SecretString) -> Self {
        Self(text)
    }
}

impl fmt::Debug for CupToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CupToken({} bytes)", self.0.expose_secret().len())
    }
}
