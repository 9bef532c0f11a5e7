//! Handles for stock SDKs: one URI and one token per user and ask. Looked up without a lock; bounded in all and per
//! user. Knows no door.

mod agenda;
mod calls;
mod renewal;
mod renewer;
mod session;
mod trade;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use papaya::HashMap;
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::broker::key::Subject;
use crate::broker::wishes::Selector;
use crate::clock::{Expiry, Moment};
use crate::digest::sha256;
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller};
use crate::roles::Choice;
use crate::secret::CupToken;
use crate::secret_file::SecretFile;
use crate::upstream::AppClient;

pub use calls::{Entered, Revoking};
pub use renewer::Renewer;

use agenda::{Agenda, Errand};
use renewal::Renewal;
use session::{Login, Session, unknown};

/// The bounds of `[sessions]`.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Most sessions in all.
    pub all: usize,
    /// Most sessions of one user.
    pub per_subject: usize,
    /// How long a session lives that nobody asks.
    pub idle: Duration,
    /// Whether sessions may be opened with a refresh token, which is then kept in memory.
    pub accept_refresh_tokens: bool,
}

/// A session that is there from the start, for a workload that signs in as itself.
#[derive(Clone, Debug)]
pub struct ConfiguredSession {
    /// The last part of its URI.
    pub name: String,
    /// What `Authorization` has to be there.
    pub authorization: SecretString,
    /// What it asks for.
    pub ask: Ask,
    /// The app client that its refresh token is of.
    pub client: AppClient,
    /// Where its refresh token is read, and replaced when the user pool rotates it.
    pub refresh_token: SecretFile,
}

/// Secrets are compared by their digests.
impl PartialEq for ConfiguredSession {
    fn eq(&self, other: &Self) -> bool {
        let digest = |session: &Self| sha256(session.authorization.expose_secret().as_bytes());
        let parts = |session: &Self| (session.name.clone(), session.ask.clone(), session.client.clone());
        parts(self) == parts(other) && digest(self) == digest(other) && self.refresh_token == other.refresh_token
    }
}

/// What its opener gets of a session, once.
#[derive(Debug)]
pub struct Opened {
    /// The last part of the session's URI; 128 random bits.
    pub id: String,
    /// What goes into `Authorization` there; 256 random bits, kept here as a digest only.
    pub authorization: SecretString,
    /// When the session's login ends: without a newer one, or a refresh token, the session ends with it.
    pub expires: Expiry,
    /// Whose it is.
    pub caller: Arc<Caller>,
    /// Which role it is for, and why.
    pub choice: Choice,
}

/// All sessions.
pub(super) struct Sessions {
    by_id: HashMap<Arc<str>, Arc<Session>>,
    /// Opening and closing lock them, asking does not.
    books: Mutex<Books>,
    limits: ArcSwap<SessionLimits>,
    /// What the renewer is to do.
    agenda: Agenda,
}

/// Who has which session, for the bounds.
#[derive(Default)]
struct Books {
    by_subject: std::collections::HashMap<Subject, Vec<Arc<str>>>,
    all: usize,
}

impl Books {
    fn has_room(&self, subject: &Subject, limits: &SessionLimits) -> bool {
        let own = self.by_subject.get(subject).map_or(0, Vec::len);
        own < limits.per_subject && self.all < limits.all
    }
}

impl Sessions {
    pub(super) fn new(limits: SessionLimits, configured: Vec<ConfiguredSession>) -> Self {
        let sessions = Self {
            by_id: HashMap::new(),
            books: Mutex::default(),
            limits: ArcSwap::from_pointee(limits),
            agenda: Agenda::default(),
        };
        configured.into_iter().for_each(|configured| sessions.install(configured));
        sessions
    }

    /// A configured session is outside the bounds, and waits for the renewer to sign it in.
    fn install(&self, configured: ConfiguredSession) {
        let ConfiguredSession { name, authorization, ask, client, refresh_token } = configured;
        let renewal = Renewal::in_file(client, refresh_token);
        let session = Arc::new(Session::configured(&name, authorization.expose_secret().as_bytes(), ask, renewal));
        self.by_id.pin().insert(Arc::clone(&session.id), Arc::clone(&session));
        self.agenda.add(Errand::Renew(session));
    }

    /// Sets new bounds: for those that are opened from now on, and for how long one may be idle.
    pub(super) fn limit(&self, limits: SessionLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Opens a session; those that are over make room first.
    ///
    /// # Errors
    /// [`Kind::TooManyRequests`] when the user, or everybody together, has as many as there may be.
    pub(super) fn open(
        &self,
        caller: &Arc<Caller>,
        (ask, choice): (Ask, Choice),
        token: CupToken,
        refresh_token: Option<SecretString>,
        now: Moment,
    ) -> Result<Opened, Error> {
        let subject = Subject::new(caller);
        let (id, authorization) = (random::<16>()?, random::<32>()?);
        let id: Arc<str> = id.as_str().into();
        if !self.has_room(&subject) {
            // Those that have ended are kept for no more than the telling of why.
            let idle = self.limits.load().idle;
            self.remove_where(|session| session.ended().is_some() || session.is_over(idle, now));
        }
        if !self.enlist(subject, &id) {
            let cause = "there are too many sessions (sessions.max, sessions.max_per_subject): close some";
            return Err(Error::new(Kind::TooManyRequests, cause));
        }
        let digest = sha256(authorization.as_bytes());
        let session = Arc::new(Session::of(caller, token, Arc::clone(&id), digest, ask, now));
        self.by_id.pin().insert(Arc::clone(&id), Arc::clone(&session));
        if let Some(refresh_token) = refresh_token {
            session.renew_with(caller, refresh_token);
            self.agenda.add(Errand::Renew(session));
        }
        let authorization = SecretString::from(authorization.as_str());
        let (expires, caller) = (caller.expires, Arc::clone(caller));
        Ok(Opened { id: id.to_string(), authorization, expires, caller, choice })
    }

    /// The session with this id, for one who brings its own token.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, or none any more; [`Kind::Unauthorized`] for another token. Who brings the
    /// right one is told why a session ended that its refresh token no longer carries.
    pub(super) fn enter(&self, id: &str, authorization: &CupToken, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.alive(id, now)?;
        let brought = sha256(authorization.expose_secret().as_bytes());
        // Digests are compared, and in constant time: how much of a wrong token is right cannot be measured.
        if verify_slices_are_equal(&brought, &session.authorization).is_err() {
            return Err(Error::new(Kind::Unauthorized, "the token is not the session's own"));
        }
        if let Some(why) = session.ended() {
            return Err(why);
        }
        session.touch(now);
        Ok(session)
    }

    /// Ends a session of `subject`, and returns what is left of it. Of several who do so at once, one succeeds.
    ///
    /// # Errors
    /// As [`Sessions::owned`]; for one that has ended already, why.
    pub(super) fn close(&self, id: &str, subject: Subject, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.owned(id, subject, now)?;
        if !self.remove(&session) {
            return Err(unknown());
        }
        session.ended().map_or(Ok(session), Err)
    }

    /// Ends those that a purge means; a configured one signs in anew.
    pub(super) fn purge(&self, selector: &Selector) {
        self.remove_where(|session| session.is_meant_by(selector));
    }

    /// Ends those that are no longer accepted: whose login `admits` does not take any more, or whose refresh token may not
    /// be kept. A configured one is signed in again by whatever is in force.
    pub(super) fn end_refused(&self, admits: impl Fn(&Caller) -> bool) {
        let renewed = self.limits.load().accept_refresh_tokens;
        let refused = |login: &Login| !admits(&login.caller);
        self.remove_where(|session| {
            let opened = session.owner.is_some();
            opened && (session.login().as_deref().is_some_and(refused) || (!renewed && session.renewal().is_some()))
        });
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_id.pin().len()
    }

    /// Ends those whose login has expired or whom nobody asks.
    pub(super) fn sweep(&self, now: Moment) {
        let idle = self.limits.load().idle;
        self.remove_where(|session| session.is_over(idle, now));
    }

    fn remove_where(&self, meant: impl Fn(&Session) -> bool) {
        let sessions = self.by_id.pin();
        let gone: Vec<_> = sessions.values().filter(|session| meant(session)).cloned().collect();
        for session in &gone {
            if self.remove(session) && session.is_closed() {
                session.forget_refresh_token();
            }
        }
    }

    fn alive(&self, id: &str, now: Moment) -> Result<Arc<Session>, Error> {
        let idle = self.limits.load().idle;
        let session = self.by_id.pin().get(id).cloned();
        session.filter(|session| !session.is_over(idle, now)).ok_or_else(unknown)
    }

    /// A session of this subject.
    ///
    /// # Errors
    /// [`Kind::NotFound`] also for somebody else's session, whose existence is nobody's business.
    pub(super) fn owned(&self, id: &str, subject: Subject, now: Moment) -> Result<Arc<Session>, Error> {
        let session = self.alive(id, now)?;
        if session.owner != Some(subject) {
            return Err(Error::new(Kind::NotFound, "the session belongs to another subject"));
        }
        Ok(session)
    }

    fn has_room(&self, subject: &Subject) -> bool {
        self.books().has_room(subject, &self.limits.load())
    }

    /// Writes a session into the books, if there is room for it.
    fn enlist(&self, subject: Subject, id: &Arc<str>) -> bool {
        let mut books = self.books();
        let room = books.has_room(&subject, &self.limits.load());
        if room {
            books.by_subject.entry(subject).or_default().push(Arc::clone(id));
            books.all += 1;
        }
        room
    }

    /// Whether it was there. A configured one stays, without its login. The refresh token of another one is left to whoever
    /// removes it, who may have to revoke it.
    fn remove(&self, session: &Arc<Session>) -> bool {
        let Some(owner) = session.owner else {
            session.wipe();
            self.agenda.add(Errand::Renew(Arc::clone(session)));
            return true;
        };
        {
            let mut books = self.books();
            if self.by_id.pin().remove(&session.id).is_none() {
                return false;
            }
            books.all -= 1;
            if let Some(own) = books.by_subject.get_mut(&owner) {
                own.retain(|other| *other != session.id);
                if own.is_empty() {
                    books.by_subject.remove(&owner);
                }
            }
        }
        session.close();
        if session.renewal().is_some() {
            self.agenda.add(Errand::Forget(Arc::clone(&session.id)));
        }
        true
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
