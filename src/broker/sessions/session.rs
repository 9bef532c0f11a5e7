//! One session: who asks with it, for what, with which login. Knows no other session.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::auth::claims_of;
use crate::broker::key::Subject;
use crate::broker::sessions::renewal::{Renewal, Trade};
use crate::broker::wishes::Selector;
use crate::clock::{Expiry, Moment};
use crate::digest::{Digest, sha256};
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller};
use crate::secret::CupToken;
use crate::upstream::AppClient;

/// One session.
pub(in crate::broker) struct Session {
    pub(in crate::broker) id: Arc<str>,
    /// Whose it is. A configured one is whoever its refresh token signs in, and nobody's to update or close.
    pub(super) owner: Option<Subject>,
    pub(super) authorization: Digest,
    pub(in crate::broker) ask: Ask,
    login: ArcSwapOption<Login>,
    renewal: OnceLock<Renewal>,
    /// Why there will be no newer login.
    ended: ArcSwapOption<Error>,
    /// Why the newer login, which may still come, has not come yet.
    hindrance: ArcSwapOption<String>,
    closed: AtomicBool,
    changed: Notify,
    last_asked_ms: AtomicU64,
}

/// The token that a session asks with.
pub(in crate::broker) struct Login {
    pub(in crate::broker) token: CupToken,
    pub(in crate::broker) caller: Arc<Caller>,
    /// `iat`: what "newer" means, since a newer token may end earlier.
    issued: u64,
    /// When it was brought, by the boot-time clock.
    pub(in crate::broker) seen: Duration,
}

impl Login {
    fn new(caller: &Arc<Caller>, token: CupToken, now: Moment) -> Self {
        let issued = claims_of(&token).get("iat").and_then(Value::as_u64).unwrap_or(0);
        Self { token, caller: Arc::clone(caller), issued, seen: now.boot }
    }
}

impl Session {
    /// A session of `caller`, who brings `token`.
    pub(super) fn of(
        caller: &Arc<Caller>,
        token: CupToken,
        id: Arc<str>,
        authorization: Digest,
        ask: Ask,
        now: Moment,
    ) -> Self {
        let session = Self {
            id,
            owner: Some(Subject::new(caller)),
            authorization,
            ask,
            login: ArcSwapOption::from_pointee(Login::new(caller, token, now)),
            renewal: OnceLock::new(),
            ended: ArcSwapOption::empty(),
            hindrance: ArcSwapOption::empty(),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
            last_asked_ms: AtomicU64::new(0),
        };
        session.touch(now);
        session
    }

    /// A configured session, whose login is still to come.
    pub(super) fn configured(name: &str, authorization: &[u8], ask: Ask, renewal: Renewal) -> Self {
        Self {
            id: name.into(),
            owner: None,
            authorization: sha256(authorization),
            ask,
            login: ArcSwapOption::empty(),
            renewal: renewal.into(),
            ended: ArcSwapOption::empty(),
            hindrance: ArcSwapOption::empty(),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
            last_asked_ms: AtomicU64::new(0),
        }
    }

    /// The login as it is now, dead or alive.
    pub(in crate::broker) fn login(&self) -> Guard<Option<Arc<Login>>> {
        self.login.load()
    }

    /// The token to ask with, if it has not expired.
    pub(in crate::broker) fn live_token(&self, now: Moment) -> Option<CupToken> {
        let login = self.login.load();
        let live = login.as_ref().filter(|login| !login.caller.expires.passed(now));
        live.map(|login| login.token.clone())
    }

    /// Takes `token`, if it was not issued before the one that is there, and returns when the login now ends. A session
    /// that was closed meanwhile keeps nothing: whichever of the two comes last sees the other.
    pub(in crate::broker) fn bring(&self, caller: &Arc<Caller>, token: CupToken, now: Moment) -> Expiry {
        let brought = Arc::new(Login::new(caller, token, now));
        let newer = |held: &Option<Arc<Login>>| match held {
            Some(held) if held.issued > brought.issued => Some(Arc::clone(held)),
            _ => Some(Arc::clone(&brought)),
        };
        self.login.rcu(newer);
        self.hindrance.store(None);
        if self.is_closed() {
            self.wipe();
        }
        self.changed.notify_waiters();
        self.login.load().as_ref().map_or(caller.expires, |login| login.caller.expires)
    }

    /// Whether `caller` may bring a login: the session's own subject.
    pub(in crate::broker) fn admits(&self, caller: &Caller) -> bool {
        self.owner.is_none_or(|owner| owner == Subject::new(caller))
    }

    /// How the login is renewed, if it is.
    pub(in crate::broker) fn renewal(&self) -> Option<&Renewal> {
        self.renewal.get()
    }

    /// From now on `refresh_token`, which is `caller`'s, renews the login.
    pub(in crate::broker) fn renew_with(&self, caller: &Caller, refresh_token: SecretString) {
        let client = AppClient { user_pool: Arc::clone(&caller.user_pool), id: Arc::clone(&caller.client_id) };
        let trade = Trade { client, token_use: caller.token_use, refresh: refresh_token };
        match self.renewal.get() {
            Some(renewal) => renewal.bring(trade, || self.begin_again()),
            // Of two that are the first ones at once, one stays.
            None => drop(self.renewal.set(Renewal::new(trade))),
        }
        if self.is_closed() {
            self.forget_refresh_token();
        }
    }

    /// For a session that is closed: the map frees its sessions by and by only.
    pub(super) fn forget_refresh_token(&self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.forget();
        }
    }

    /// There will be no newer login: the one that is there is wiped, and who asks is told `why`.
    pub(in crate::broker) fn end(&self, why: Error) {
        self.ended.store(Some(Arc::new(why)));
        self.wipe();
        self.changed.notify_waiters();
    }

    /// The login was not renewed; it is tried again.
    pub(in crate::broker) fn hinder(&self, cause: String) {
        self.hindrance.store(Some(Arc::new(cause)));
    }

    /// Why the login was not renewed, if the last try failed.
    pub(in crate::broker) fn hindrance(&self) -> Option<Arc<String>> {
        self.hindrance.load_full()
    }

    /// There may be a newer login after all.
    pub(in crate::broker) fn begin_again(&self) {
        self.ended.store(None);
    }

    /// Why there will be no newer login.
    pub(in crate::broker) fn ended(&self) -> Option<Error> {
        self.ended.load().as_ref().map(|why| Error::clone(why))
    }

    /// It is over for good.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wipe();
        self.changed.notify_waiters();
    }

    pub(in crate::broker) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Ends when a login comes, or when none will come any more, if it was made (and enabled) before.
    pub(in crate::broker) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Forgets the login.
    pub(super) fn wipe(&self) {
        self.login.store(None);
    }

    pub(super) fn is_meant_by(&self, selector: &Selector) -> bool {
        let login = self.login.load();
        let Some(caller) = login.as_ref().map(|login| &login.caller) else { return matches!(selector, Selector::All) };
        match selector {
            Selector::All => true,
            Selector::Client(client_id) => *caller.client_id == **client_id,
            Selector::Subject { issuer, subject } => *caller.issuer == **issuer && *caller.subject == **subject,
        }
    }

    /// Whether it is to be dropped: when nobody asks, or when its login has expired and nothing renews it. A configured
    /// one lives as long as the process.
    pub(super) fn is_over(&self, idle: Duration, now: Moment) -> bool {
        if self.owner.is_none() {
            return false;
        }
        let last_asked = Duration::from_millis(self.last_asked_ms.load(Ordering::Relaxed));
        let unused = now.boot.saturating_sub(last_asked) >= idle;
        unused || (self.renewal.get().is_none() && self.live_token(now).is_none())
    }

    pub(super) fn touch(&self, now: Moment) {
        self.last_asked_ms.store(u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The refusal of a session that is not there, or not any more.
pub(super) fn unknown() -> Error {
    Error::new(Kind::NotFound, "the session is unknown, closed or expired")
}
