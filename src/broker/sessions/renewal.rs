//! What renews a session's login: a refresh token, what was got for it and is not used yet, and the rules for both.
//! Knows no call.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::Expiry;
use crate::digest::sha256;
use crate::error::{Error, Kind};
use crate::model::TokenUse;
use crate::secret::CupToken;
use crate::secret_file::SecretFile;
use crate::upstream::{AppClient, Class, Failure, Tokens};

/// What renews a session's login.
pub(in crate::broker) struct Renewal {
    pub(in crate::broker) client: AppClient,
    /// Which of the tokens is the login.
    token_use: TokenUse,
    /// Where the refresh token lives, if not here alone.
    file: Option<SecretFile>,
    cell: Mutex<Cell>,
    renewed: Notify,
}

/// Only the renewer and those who bring a refresh token come here, and neither stays.
#[derive(Default)]
struct Cell {
    refresh: Option<SecretString>,
    /// Got by rotation, and not in the file yet.
    unwritten: bool,
    /// Got for a refresh token, and not the session's login yet.
    unused: Option<CupToken>,
    /// The one that the user pool refused.
    refused: Option<SecretString>,
}

/// What a failure to renew means.
#[derive(Clone, Debug)]
pub(in crate::broker) enum Trouble {
    /// There will be no newer login from this refresh token.
    Over(Error),
    /// There may be one later.
    Later(Class, String),
}

/// The part of a login's life after which it is renewed: early, so that what it is for outlives an outage.
const AT: f64 = 0.5;

/// By how much sessions differ in that.
const JITTER: f64 = 0.1;

/// How often a configured session looks whether its refused refresh token has been replaced.
pub(in crate::broker) const LOOK: Duration = Duration::from_secs(15);

impl Renewal {
    /// Renewal by a refresh token that was brought.
    pub(super) fn new(client: AppClient, token_use: TokenUse, refresh: SecretString) -> Self {
        let cell = Cell { refresh: Some(refresh), ..Cell::default() };
        Self { client, token_use, file: None, cell: Mutex::new(cell), renewed: Notify::new() }
    }

    /// Renewal by the refresh token in `file`.
    pub(super) fn in_file(client: AppClient, file: SecretFile) -> Self {
        let cell = Mutex::default();
        Self { client, token_use: TokenUse::Id, file: Some(file), cell, renewed: Notify::new() }
    }

    /// Whether its refresh token is in a file.
    pub(in crate::broker) fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// The refresh token to trade; the file's, if none was read yet.
    pub(in crate::broker) async fn refresh_token(&self) -> Result<SecretString, Trouble> {
        let held = self.cell().refresh.clone();
        match (held, &self.file) {
            (Some(held), _) => Ok(held),
            (None, Some(file)) => {
                let read = file.read().await.map_err(|error| self.later_by_file("cannot be read", &error))?;
                self.cell().refresh = Some(read.clone());
                Ok(read)
            }
            (None, None) => Err(Trouble::Over(Error::new(Kind::NotFound, "the session has no refresh token any more"))),
        }
    }

    /// The refresh token as it is now, to be revoked.
    pub(in crate::broker) fn held(&self) -> Option<SecretString> {
        self.cell().refresh.clone()
    }

    /// A newer refresh token from outside.
    pub(super) fn bring(&self, refresh: SecretString) {
        *self.cell() = Cell { refresh: Some(refresh), ..Cell::default() };
    }

    /// Keeps what was got for `traded`, before anything is done with it; not if another refresh token came meanwhile.
    pub(in crate::broker) fn keep(&self, traded: &SecretString, tokens: Tokens) {
        let mut cell = self.cell();
        if !cell.refresh.as_ref().is_some_and(|held| same(held, traded)) {
            return;
        }
        if let Some(next) = tokens.refresh {
            *cell = Cell { refresh: Some(next), unwritten: self.file.is_some(), ..Cell::default() };
        }
        cell.unused = Some(match self.token_use {
            TokenUse::Id => tokens.id,
            TokenUse::Access => tokens.access,
        });
    }

    /// The login that was got and is not used yet. It is not given before the refresh token that came with it is where
    /// a restart finds it: a used one is refused, and the session would be lost.
    pub(in crate::broker) async fn unused(&self) -> Result<Option<CupToken>, Trouble> {
        let (unwritten, token) = {
            let cell = self.cell();
            (cell.refresh.clone().filter(|_| cell.unwritten), cell.unused.clone())
        };
        if let (Some(refresh), Some(file)) = (unwritten, &self.file) {
            file.replace(&refresh).await.map_err(|error| self.later_by_file("cannot be replaced", &error))?;
            self.cell().unwritten = false;
        }
        Ok(token)
    }

    /// The login is in use, or of no use.
    pub(in crate::broker) fn done(&self) {
        self.cell().unused = None;
        self.renewed.notify_waiters();
    }

    /// The user pool refused `traded`. Whether that ends the session: not if another refresh token came meanwhile.
    pub(in crate::broker) fn refuse(&self, traded: &SecretString) -> bool {
        let mut cell = self.cell();
        let current = cell.refresh.as_ref().is_some_and(|held| same(held, traded));
        if current {
            // Remembered where another one may come by the file: the same one is of no use there.
            *cell = Cell { refused: self.file.as_ref().map(|_| traded.clone()), ..Cell::default() };
        }
        drop(cell);
        self.renewed.notify_waiters();
        current
    }

    /// Whether the file now holds another refresh token than the refused one.
    pub(in crate::broker) async fn is_replaced(&self) -> bool {
        let (Some(file), Some(refused)) = (&self.file, self.cell().refused.clone()) else { return false };
        file.read().await.is_ok_and(|found| !same(&found, &refused))
    }

    /// Ends when a try to renew has ended, if it was made (and enabled) before.
    pub(in crate::broker) fn renewed(&self) -> Notified<'_> {
        self.renewed.notified()
    }

    fn later_by_file(&self, what: &str, error: &std::io::Error) -> Trouble {
        let path = self.file.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
        Trouble::Later(Class::Unavailable, format!("refresh_token_file {path} {what}: {error}"))
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a login that was seen at `seen` is renewed; `spread` is the session's own place, from -1 to 1.
pub(in crate::broker) fn due(seen: Duration, expires: &Expiry, spread: f64) -> Duration {
    let life = expires.boot().saturating_sub(seen);
    seen + life.mul_f64(AT + JITTER * spread)
}

/// What the user pool's refusal means. It ends the session when it is about the refresh token or the user; what is
/// wrong with the app client or its secret is the operator's to mend, and the session waits for that.
pub(in crate::broker) fn trouble(failure: &Failure) -> Trouble {
    let text = failure.message.to_lowercase();
    let kind = match failure.code.as_str() {
        "RefreshTokenReuseException" => Kind::SessionTokenReused,
        "NotAuthorizedException" if text.contains("secret") => {
            return Trouble::Later(failure.class, failure.to_string());
        }
        "NotAuthorizedException" if text.contains("expired") => Kind::SessionTokenExpired,
        "NotAuthorizedException" | "UserNotFoundException" => Kind::SessionTokenRevoked,
        _ => return Trouble::Later(failure.class, failure.to_string()),
    };
    Trouble::Over(Error::new(kind, failure.to_string()).by_request(failure.request_id.as_deref()))
}

/// By their digests, so that time tells nothing of the texts.
fn same(one: &SecretString, other: &SecretString) -> bool {
    sha256(one.expose_secret().as_bytes()) == sha256(other.expose_secret().as_bytes())
}
