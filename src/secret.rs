//! Text that must not be seen: it cannot be printed and is wiped when dropped. Knows nothing of what it protects.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::model::Presenter;

/// A bearer's token as it came in, verified or not. `Debug` shows its length alone.
#[derive(Clone)]
pub struct CupToken {
    text: SecretString,
    presenter: Option<Presenter>,
}

impl CupToken {
    /// Takes `text` as it is; whether it is a token at all is for `auth` to say.
    pub fn new(text: &str) -> Self {
        SecretString::from(text).into()
    }

    /// The same, brought by this peer: whose it is when it fails.
    #[must_use]
    pub fn presented_by(self, presenter: Presenter) -> Self {
        Self { presenter: Some(presenter), ..self }
    }

    /// Who brought it, if a peer did.
    pub fn presenter(&self) -> Option<Presenter> {
        self.presenter
    }

    /// The token's text, for the eyes of the verifier and of AWS only.
    pub fn expose_secret(&self) -> &str {
        self.text.expose_secret()
    }
}

impl From<SecretString> for CupToken {
    fn from(text: SecretString) -> Self {
        Self { text, presenter: None }
    }
}

impl fmt::Debug for CupToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CupToken({} bytes)", self.text.expose_secret().len())
    }
}
