//! Handles for stock SDKs: one URI and one token per user and ask. Looked up without a lock; bounded in all and per
//! user. Knows no door.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use papaya::HashMap;
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::broker::key::Subject;
use crate::broker::wishes::Selector;
use crate::clock::{Expiry, Moment};
use crate::digest::{Digest, sha256};
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller};
use crate::secret::CupToken;

/// The bounds of `[sessions]`.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Most sessions in all.
    pub all: usize,
    /// Most sessions of one user.
    pub per_subject: usize,
    /// How long a session lives that nobody asks.
    pub idle: Duration,
}

/// What its opener gets of a session, once.
#[derive(Debug)]
pub struct Opened {
    /// The last part of the session's URI; 128 random bits.
    pub id: String,
    /// What goes into `Authorization` there; 256 random bits, kept here as a digest only.
    pub authorization: SecretString,
    /// When the session ends, unless a newer token is brought.
    pub expires: Expiry,
}

/// All sessions.
pub(super) struct Sessions {
    by_id: HashMap<String, Arc<Session>>,
    /// Opening and closing lock them, asking does not.
    books: Mutex<Books>,
    limits: SessionLimits,
}

/// Who has which session, for the bounds.
#[derive(Default)]
struct Books {
    by_subject: std::collections::HashMap<Subject, Vec<String>>,
    all: usize,
}

impl Books {
    fn has_room(&self, subject: &Subject, limits: &SessionLimits) -> bool {
        let own = self.by_subject.get(subject).map_or(0, Vec::len);
        own < limits.per_subject && self.all < limits.all
    }
}

/// One session.
pub(super) struct Session {
    subject: Subject,
    issuer: Arc<str>,
    user: Arc<str>,
    authorization: Digest,
    pub(super) ask: Ask,
    login: ArcSwap<Login>,
    last_asked_ms: AtomicU64,
}

/// The token that a session asks with.
struct Login {
    token: CupToken,
    client_id: Arc<str>,
    /// `iat`: what "newer" means, since a newer token may end earlier.
    issued: u64,
    expires: Expiry,
}

impl Login {
    fn new(caller: &Caller, token: CupToken) -> Self {
        let issued = caller.claims.get("iat").and_then(Value::as_u64).unwrap_or(0);
        Self { token, client_id: Arc::clone(&caller.client_id), issued, expires: caller.expires }
    }
}

impl Session {
    /// The login as it is now.
    pub(super) fn token(&self) -> CupToken {
        self.login.load().token.clone()
    }

    /// Takes `token`, if it was not issued before the one that is there, and returns when the session now ends.
    pub(super) fn bring(&self, caller: &Caller, token: CupToken, now: Moment) -> Expiry {
        self.touch(now);
        let brought = Arc::new(Login::new(caller, token));
        self.login.rcu(|held| Arc::clone(if brought.issued >= held.issued { &brought } else { held }));
        self.login.load().expires
    }

    fn is_over(&self, idle: Duration, now: Moment) -> bool {
        let last_asked = Duration::from_millis(self.last_asked_ms.load(Ordering::Relaxed));
        self.login.load().expires.passed(now) || now.boot.saturating_sub(last_asked) >= idle
    }

    fn touch(&self, now: Moment) {
        self.last_asked_ms.store(u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Sessions {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self { by_id: HashMap::new(), books: Mutex::default(), limits }
    }

    /// Opens a session; those that are over make room first.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] when the user, or everybody together, has as many as there may be.
    pub(super) fn open(&self, caller: &Caller, ask: Ask, token: CupToken, now: Moment) -> Result<Opened, Error> {
        let (subject, expires) = (Subject::new(caller), caller.expires);
        let (id, authorization) = (random::<16>()?, random::<32>()?);
        if !self.has_room(&subject) {
            self.sweep(now);
        }
        if !self.enlist(subject, &id) {
            let cause = "there are too many sessions (sessions.max, sessions.max_per_subject): close some";
            return Err(Error::new(Kind::TooManyRequests, cause));
        }
        let session = Session {
            subject,
            issuer: Arc::clone(&caller.issuer),
            user: Arc::clone(&caller.subject),
            authorization: sha256(authorization.as_bytes()),
            ask,
            login: ArcSwap::from_pointee(Login::new(caller, token)),
            last_asked_ms: AtomicU64::new(0),
        };
        session.touch(now);
        self.by_id.pin().insert(id.to_string(), Arc::new(session));
        let authorization = SecretString::from(authorization.as_str());
        Ok(Opened { id: id.to_string(), authorization, expires })
    }

    /// The session with this id, for one who brings its own token.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, or none any more; [`Kind::Unauthorized`] for another token.
    pub(super) fn enter(&self, id: &str, authorization: &CupToken, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.alive(id, now)?;
        let brought = sha256(authorization.expose_secret().as_bytes());
        // Digests are compared, and in constant time: how much of a wrong token is right cannot be measured.
        if verify_slices_are_equal(&brought, &session.authorization).is_err() {
            return Err(Error::new(Kind::Unauthorized, "the token is not the session's own"));
        }
        session.touch(now);
        Ok(session)
    }

    /// Ends a session of `subject`.
    ///
    /// # Errors
    /// As [`Sessions::owned`].
    pub(super) fn close(&self, id: &str, subject: Subject, now: Moment) -> Result<(), Error> {
        self.owned(id, subject, now)?;
        self.remove(id, &subject);
        Ok(())
    }

    /// Ends those that a purge means.
    pub(super) fn purge(&self, selector: &Selector) {
        let meant = |session: &Session| match selector {
            Selector::All => true,
            Selector::Client(client_id) => *session.login.load().client_id == **client_id,
            Selector::Subject { issuer, subject } => *session.issuer == **issuer && *session.user == **subject,
        };
        self.remove_where(meant);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_id.pin().len()
    }

    /// Ends those whose login has expired or whom nobody asks.
    pub(super) fn sweep(&self, now: Moment) {
        self.remove_where(|session| session.is_over(self.limits.idle, now));
    }

    fn remove_where(&self, meant: impl Fn(&Session) -> bool) {
        let sessions = self.by_id.pin();
        let gone = sessions.iter().filter(|(_, session)| meant(session));
        let gone: Vec<_> = gone.map(|(id, session)| (id.clone(), session.subject)).collect();
        gone.iter().for_each(|(id, subject)| self.remove(id, subject));
    }

    fn alive(&self, id: &str, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.by_id.pin().get(id).cloned().filter(|session| !session.is_over(self.limits.idle, now));
        session.ok_or_else(|| Error::new(Kind::NotFound, "the session is unknown, closed or expired"))
    }

    /// A session of this subject.
    ///
    /// # Errors
    /// [`Kind::NotFound`] also for somebody else's session, whose existence is nobody's business.
    pub(super) fn owned(&self, id: &str, subject: Subject, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.alive(id, now)?;
        if session.subject != subject {
            return Err(Error::new(Kind::NotFound, "the session belongs to another subject"));
        }
        Ok(session)
    }

    fn has_room(&self, subject: &Subject) -> bool {
        self.books().has_room(subject, &self.limits)
    }

    /// Writes a session into the books, if there is room for it.
    fn enlist(&self, subject: Subject, id: &str) -> bool {
        let mut books = self.books();
        let room = books.has_room(&subject, &self.limits);
        if room {
            books.by_subject.entry(subject).or_default().push(id.to_owned());
            books.all += 1;
        }
        room
    }

    fn remove(&self, id: &str, subject: &Subject) {
        let mut books = self.books();
        if self.by_id.pin().remove(id).is_none() {
            return;
        }
        books.all -= 1;
        if let Some(own) = books.by_subject.get_mut(subject) {
            own.retain(|other| other != id);
            if own.is_empty() {
                books.by_subject.remove(subject);
            }
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `N` random bytes of the operating system, in base64url.
fn random<const N: usize>() -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    OsRng.try_fill_bytes(&mut *bytes).map_err(|_| Error::new(Kind::Internal, "the system gives no random numbers"))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}
