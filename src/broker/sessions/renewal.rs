//! What renews a session's login: a refresh token, what was got for it and is not used yet, and the rules for both.
//! Knows no call.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::clock::{Expiry, Moment};
use crate::digest::sha256;
use crate::error::{Error, Kind};
use crate::model::TokenUse;
use crate::secret::CupToken;
use crate::secret_file::SecretFile;
use crate::upstream::{AppClient, Class, Failure, Tokens};

/// What renews a session's login.
pub(in crate::broker) struct Renewal {
    /// Where the refresh token lives, if not here alone.
    file: Option<SecretFile>,
    /// Only the renewer and those who bring a refresh token come here, and neither stays.
    cell: Mutex<Cell>,
}

/// A refresh token, and whose it is.
#[derive(Clone)]
pub(in crate::broker) struct Trade {
    pub(in crate::broker) client: AppClient,
    /// Which of the tokens is the login.
    pub(in crate::broker) token_use: TokenUse,
    pub(in crate::broker) refresh: SecretString,
}

struct Cell {
    client: AppClient,
    token_use: TokenUse,
    refresh: Option<SecretString>,
    /// The one in the file, whose successor is not written there yet.
    traded: Option<SecretString>,
    /// Got for a refresh token and not the session's login yet, and when.
    unused: Option<(CupToken, Duration)>,
    /// The one that the user pool refused, where it may be replaced by another one.
    refused: Option<SecretString>,
    /// Whether the file was written once, so that it is known that a successor can be.
    writable: bool,
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

/// How long a token that is refused here is looked at again, since it may be our clock that is wrong; no other one is
/// traded for before that.
const SECOND_LOOKS: Duration = Duration::from_secs(300);

impl Renewal {
    /// Renewal by a refresh token that was brought.
    pub(super) fn new(trade: Trade) -> Self {
        let Trade { client, token_use, refresh } = trade;
        Self { file: None, cell: Mutex::new(Cell { refresh: Some(refresh), ..Cell::empty(client, token_use) }) }
    }

    /// Renewal by the refresh token in `file`.
    pub(super) fn in_file(client: AppClient, file: SecretFile) -> Self {
        Self { file: Some(file), cell: Mutex::new(Cell::empty(client, TokenUse::Id)) }
    }

    /// Whether its refresh token is in a file.
    pub(in crate::broker) fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// The user pool's id.
    pub(in crate::broker) fn user_pool(&self) -> Arc<str> {
        Arc::clone(&self.cell().client.user_pool)
    }

    /// What can be traded, or revoked.
    pub(in crate::broker) fn held(&self) -> Option<Trade> {
        let cell = self.cell();
        let refresh = cell.refresh.clone()?;
        Some(Trade { client: cell.client.clone(), token_use: cell.token_use, refresh })
    }

    /// A newer refresh token from outside; `begin` is what is to happen with it, and with nothing between.
    pub(super) fn bring(&self, trade: Trade, begin: impl FnOnce()) {
        let Trade { client, token_use, refresh } = trade;
        let mut cell = self.cell();
        *cell = Cell { refresh: Some(refresh), writable: cell.writable, ..Cell::empty(client, token_use) };
        begin();
    }

    /// Makes this and the file one: a refresh token that somebody has put there goes before the one that is held, and
    /// one that was got by rotation is written there. `begin` is called for somebody's.
    pub(in crate::broker) async fn settle(&self, begin: impl Fn()) -> Result<(), Trouble> {
        let Some(file) = &self.file else { return Ok(()) };
        let found = file.read().await.map_err(|error| self.later("cannot be read", &error))?;
        let write = {
            let mut cell = self.cell();
            if cell.refused.as_ref().is_some_and(|refused| same(refused, &found)) {
                return Err(Trouble::Later(Class::Denied, "the refused refresh token is still in its file".to_owned()));
            }
            let is = |known: &Option<SecretString>| known.as_ref().is_some_and(|known| same(known, &found));
            if !is(&cell.refresh) && !is(&cell.traded) {
                let writable = cell.writable;
                *cell = Cell { refresh: Some(found), writable, ..Cell::empty(cell.client.clone(), cell.token_use) };
                begin();
            }
            cell.refresh.clone().filter(|_| cell.traded.is_some() || !cell.writable)
        };
        if let Some(refresh) = write {
            file.replace(&refresh).await.map_err(|error| self.later("cannot be replaced", &error))?;
            let mut cell = self.cell();
            (cell.traded, cell.writable) = (None, true);
        }
        Ok(())
    }

    /// Keeps what was got for `trade`, before anything is done with it; not if another refresh token came meanwhile.
    pub(in crate::broker) fn keep(&self, trade: &Trade, tokens: Tokens, now: Moment) -> Result<(), Trouble> {
        let mut cell = self.cell();
        if !cell.refresh.as_ref().is_some_and(|held| same(held, &trade.refresh)) {
            return Ok(());
        }
        if let Some(next) = tokens.refresh {
            cell.traded = self.file.as_ref().map(|_| trade.refresh.clone());
            cell.refresh = Some(next);
        }
        let login = match trade.token_use {
            TokenUse::Id => tokens.id,
            TokenUse::Access => tokens.access,
        };
        let missing = || Trouble::Later(Class::Invalid, "the user pool's answer lacks the token".to_owned());
        cell.unused = Some((login.ok_or_else(missing)?, now.boot));
        Ok(())
    }

    /// The login that was got and is not used yet. It is not used before the refresh token that came with it is where a
    /// restart finds it: a used one is refused, and the session would be lost.
    pub(in crate::broker) fn unused(&self) -> Option<CupToken> {
        let cell = self.cell();
        cell.unused.as_ref().filter(|_| cell.traded.is_none()).map(|(token, _)| token.clone())
    }

    /// The login is in use.
    pub(in crate::broker) fn used(&self) {
        self.cell().unused = None;
    }

    /// The login is refused here; after a while it is given up.
    pub(in crate::broker) fn doubt(&self, now: Moment) {
        let mut cell = self.cell();
        let given_up = cell.unused.as_ref().is_some_and(|(_, got)| now.boot.saturating_sub(*got) >= SECOND_LOOKS);
        if given_up {
            cell.unused = None;
        }
    }

    /// `trade` is of no use any more: it is forgotten, and `end` is called with nothing between; not if another refresh
    /// token came meanwhile, whose turn it is then.
    pub(in crate::broker) fn refuse(&self, trade: &Trade, end: impl FnOnce()) {
        let mut cell = self.cell();
        if cell.refresh.as_ref().is_some_and(|held| same(held, &trade.refresh)) {
            // Remembered where another one may come by the file: the same one is of no use there.
            let refused = self.file.as_ref().map(|_| cell.traded.take().unwrap_or_else(|| trade.refresh.clone()));
            *cell = Cell { refused, writable: cell.writable, ..Cell::empty(trade.client.clone(), trade.token_use) };
            end();
        }
    }

    /// Forgets the refresh token and what was got for it: the session is closed.
    pub(super) fn forget(&self) {
        let mut cell = self.cell();
        *cell = Cell::empty(cell.client.clone(), cell.token_use);
    }

    fn later(&self, what: &str, error: &io::Error) -> Trouble {
        let path = self.file.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
        Trouble::Later(Class::Unavailable, format!("refresh_token_file {path} {what}: {error}"))
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    fn empty(client: AppClient, token_use: TokenUse) -> Self {
        Self { client, token_use, refresh: None, traded: None, unused: None, refused: None, writable: false }
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
