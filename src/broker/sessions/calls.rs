//! What can be asked of sessions: opened, entered, updated, closed.

use std::pin::pin;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::auth::Verdict;
use crate::broker::key::{Key, Subject};
use crate::broker::rulebook::Rulebook;
use crate::broker::sessions::agenda::Errand;
use crate::broker::sessions::session::{Session, unknown};
use crate::broker::{Broker, Grant, Opened, Visit, hold};
use crate::clock::Expiry;
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller};
use crate::secret::CupToken;

/// A session whose own token was brought.
pub struct Entered(Arc<Session>);

/// The end of a closed session's refresh token, on its way.
#[derive(Debug)]
pub struct Revoking(oneshot::Receiver<Result<(), Error>>);

impl Revoking {
    /// Waits for it.
    ///
    /// # Errors
    /// When the user pool refuses it or cannot be reached.
    pub async fn ended(self) -> Result<(), Error> {
        let gone = || Error::new(Kind::UpstreamUnavailable, "nobody revokes refresh tokens any more");
        self.0.await.unwrap_or_else(|_gone| Err(gone()))
    }
}

impl Entered {
    /// What the session is for.
    pub fn ask(&self) -> &Ask {
        &self.0.ask
    }
}

impl Broker {
    /// Opens a session for `token`'s bearer and `ask`. With a refresh token, its login is renewed by the broker.
    ///
    /// # Errors
    /// When the token or the ask is refused, when there are too many sessions, and [`Kind::InvalidRequest`] for a
    /// refresh token where none is accepted.
    pub async fn open_session(
        &self,
        token: CupToken,
        ask: Ask,
        refresh_token: Option<SecretString>,
    ) -> Result<Opened, Error> {
        let (rulebook, Verdict { caller, .. }) = self.verify(&token).await?;
        let opened = self.accept(refresh_token.as_ref()).and_then(|()| rulebook.plan(&caller, &token, &ask));
        let opened = opened.and_then(|(_, plan)| {
            self.sessions.open(&caller, (ask, plan.choice), token, refresh_token, self.clock.now())
        });
        self.end_refused_since(&rulebook);
        opened.map_err(|error| error.about(&caller))
    }

    /// The session with this id, for one who brings its own token.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a session that is not there, [`Kind::Unauthorized`] for a wrong token, and one of the
    /// kinds that say why a session's refresh token no longer renews its login.
    pub fn enter_session(&self, id: &str, own: &CupToken) -> Result<Entered, Error> {
        self.sessions.enter(id, own, self.clock.now()).map(Entered)
    }

    /// The credentials that a session is for. Should its login have ended, the newer one is waited for.
    ///
    /// # Errors
    /// As for [`Broker::credentials`].
    pub async fn session_credentials(&self, session: &Entered, visit: Visit) -> Result<Grant, Error> {
        let held_until = Instant::now() + visit.hold;
        let login = timeout_at(held_until, self.live_token(&session.0)).await;
        match login.unwrap_or_else(|_elapsed| Err(no_login_yet(&session.0))) {
            Ok(token) => {
                let visit = Visit { hold: held_until.saturating_duration_since(Instant::now()), ..visit };
                self.credentials(&token, session.ask(), visit).await
            }
            Err(error) => {
                let done = Err(error);
                hold(&done, held_until, visit).await;
                done
            }
        }
    }

    /// Brings a newer token of the same subject to a session, perhaps with a newer refresh token, and returns when the
    /// login now ends.
    ///
    /// # Errors
    /// For a token that is refused, or a session that is not this subject's.
    pub async fn update_session(
        &self,
        token: CupToken,
        id: &str,
        refresh_token: Option<SecretString>,
    ) -> Result<Expiry, Error> {
        let (rulebook, Verdict { caller, .. }) = self.verify(&token).await?;
        let updated = self.update(&rulebook, &caller, token, id, refresh_token);
        updated.map_err(|error| error.about(&caller))
    }

    /// Ends a session of the token's subject at once, and its refresh token with it if `revoke` says so. What is returned
    /// then ends when the user pool has revoked it; that is tried a few times, also when nobody waits for it.
    ///
    /// # Errors
    /// As for [`Broker::update_session`]; [`Kind::InvalidRequest`] when there is no refresh token to revoke.
    pub async fn close_session(&self, token: &CupToken, id: &str, revoke: bool) -> Result<Option<Revoking>, Error> {
        let (_, verdict) = self.verify(token).await?;
        let session = self.closed(Subject::new(&verdict.caller), id, revoke);
        let session = session.map_err(|error| error.about(&verdict.caller))?;
        if !revoke {
            session.forget_refresh_token();
            return Ok(None);
        }
        Ok(Some(Revoking(self.sessions.agenda.revoke(session))))
    }

    /// Lets the renewals and revocations that are under way end, and begins no more: a refresh token that was rotated and
    /// not written back would be lost.
    pub async fn finish_renewals(&self) {
        self.sessions.agenda.stop().await;
    }

    /// Ends the sessions that the rulebook in force does not accept any more, with their refresh tokens.
    pub(in crate::broker) fn end_refused_sessions(&self) {
        let rulebook = self.rulebook.load();
        self.sessions.end_refused(|caller| rulebook.verifier.admits(&caller.issuer, &caller.client_id).is_some());
    }

    /// After a session was opened or changed by `rulebook`: a reload that came meanwhile may have looked before it was
    /// there; else the one in force is still this one.
    fn end_refused_since(&self, rulebook: &Arc<Rulebook>) {
        if !Arc::ptr_eq(rulebook, &self.rulebook.load()) {
            self.end_refused_sessions();
        }
    }

    fn update(
        &self,
        rulebook: &Arc<Rulebook>,
        caller: &Arc<Caller>,
        token: CupToken,
        id: &str,
        refresh_token: Option<SecretString>,
    ) -> Result<Expiry, Error> {
        let now = self.clock.now();
        self.accept(refresh_token.as_ref())?;
        let session = self.sessions.owned(id, Subject::new(caller), now)?;
        // What the session asks for must be what this token's bearer may have, too.
        rulebook.plan(caller, &token, &session.ask)?;
        session.touch(now);
        if let Some(refresh_token) = refresh_token {
            // Also one that has ended goes on with it.
            session.renew_with(caller, refresh_token);
            self.sessions.agenda.add(Errand::Renew(Arc::clone(&session)));
        }
        self.end_refused_since(rulebook);
        session.ended().map_or_else(|| Ok(session.bring(caller, token, now)), Err)
    }

    fn closed(&self, subject: Subject, id: &str, revoke: bool) -> Result<Arc<Session>, Error> {
        let now = self.clock.now();
        if revoke && self.sessions.owned(id, subject, now)?.renewal().is_none() {
            return Err(Error::new(Kind::InvalidRequest, "the session has no refresh token that could be revoked"));
        }
        self.sessions.close(id, subject, now)
    }

    /// Leaves a session's newer login with the credentials that it has, for their next refresh.
    pub(super) fn hand_on(&self, session: &Session) {
        let login = session.login();
        let Some(login) = login.as_ref() else { return };
        let rulebook = self.rulebook.load();
        let Ok((profile, plan)) = rulebook.plan(&login.caller, &login.token, &session.ask) else { return };
        let key = Key::new(&session.ask.profile, &profile.target, &login.caller, &plan);
        let Some(slot) = self.cache.slot(&key) else { return };
        if slot.offer_login(|| Some(login.token.clone()), login.caller.expires, self.clock.now()) {
            self.nudge(&key, &slot);
        }
    }

    async fn live_token(&self, session: &Arc<Session>) -> Result<CupToken, Error> {
        loop {
            if let Some(token) = session.live_token(self.clock.now()) {
                return Ok(token);
            }
            let mut changed = pin!(session.changed());
            changed.as_mut().enable();
            // From here on no change is missed: one that came just before is seen below.
            if let Some(why) = session.ended() {
                return Err(why);
            }
            if session.is_closed() || session.renewal().is_none() {
                return Err(unknown());
            }
            if session.live_token(self.clock.now()).is_none() {
                self.sessions.agenda.add(Errand::Await(Arc::clone(session)));
                changed.await;
            }
        }
    }

    fn accept(&self, refresh_token: Option<&SecretString>) -> Result<(), Error> {
        let refused = refresh_token.is_some() && !self.sessions.limits.load().accept_refresh_tokens;
        let cause = "refresh tokens are not accepted: sessions.accept_refresh_tokens is off";
        if refused { Err(Error::new(Kind::InvalidRequest, cause)) } else { Ok(()) }
    }
}

fn no_login_yet(session: &Session) -> Error {
    let why = session.hindrance().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::new(Kind::UpstreamUnavailable, format!("the session's login has ended, and no newer one has come yet{why}"))
}
