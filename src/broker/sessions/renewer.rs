//! Keeps sessions signed in: the one task that trades refresh tokens. So a session has one trade under way at most,
//! which is what rotation demands: of two at once, the user pool takes one for a thief's.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use futures::{Future, FutureExt};
use rand::Rng;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, warn};

use crate::broker::schedule::retry_pause;
use crate::broker::sessions::renewal::{self, LOOK, Trouble};
use crate::broker::sessions::session::Session;
use crate::broker::{Broker, sessions};
use crate::error::{Error, Kind};
use crate::metrics::Metrics;
use crate::supervise::LongLived;
use crate::upstream::{Class, UserPools};

/// Renews logins for as long as it runs.
pub struct Renewer {
    broker: Arc<Broker>,
    user_pools: Arc<dyn UserPools>,
    pages: HashMap<Arc<str>, Page>,
    due: BinaryHeap<Reverse<(Duration, u64, Arc<str>)>>,
    ready: VecDeque<Arc<str>>,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Landing> + Send>>>,
    generations: u64,
}

/// What the renewer is to do; filled by whoever finds something, and never waited for.
#[derive(Default)]
pub(super) struct Agenda {
    errands: Mutex<Vec<Errand>>,
    filled: Notify,
}

enum Errand {
    /// Look whether this session needs a newer login.
    Renew(Arc<Session>),
    /// End the refresh token of this one, which is closed.
    Revoke(Revocation),
}

/// The end of a closed session's refresh token, and who waits for it.
struct Revocation {
    session: Arc<Session>,
    done: oneshot::Sender<Result<(), Error>>,
}

/// One session's page. It does not keep the session: one that is closed is wiped at once.
struct Page {
    session: Weak<Session>,
    stage: Stage,
    failures: u32,
    /// After a failure: not before this.
    not_before: Duration,
    /// To be done when the trade under way has ended.
    revoke: Option<Revocation>,
    spread: f64,
    /// When it is looked at next, and the number that tells this from older times in the queue.
    due: Duration,
    generation: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Ready,
    InFlight,
}

enum Landing {
    Renewed(Arc<str>, Result<(), Trouble>),
    Revoked,
}

/// Trades at once.
const FLIGHTS: usize = 16;

/// The longest sleep: a suspended machine does not wake tokio's timers.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// How often a revocation is tried.
const REVOCATIONS: u32 = 5;

impl Agenda {
    pub(super) fn renew(&self, session: Arc<Session>) {
        self.add(Errand::Renew(session));
    }

    pub(super) fn revoke(&self, session: Arc<Session>) -> oneshot::Receiver<Result<(), Error>> {
        let (done, revoked) = oneshot::channel();
        self.add(Errand::Revoke(Revocation { session, done }));
        revoked
    }

    fn add(&self, errand: Errand) {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        // A permit stays if the renewer is not waiting just now, so that no errand is left lying.
        self.filled.notify_one();
    }

    async fn next(&self) -> Vec<Errand> {
        self.filled.notified().await;
        std::mem::take(&mut self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Renewer {
    /// A renewer for the sessions of `broker`.
    pub fn new(broker: Arc<Broker>, user_pools: Arc<dyn UserPools>) -> Self {
        Self {
            broker,
            user_pools,
            pages: HashMap::new(),
            due: BinaryHeap::new(),
            ready: VecDeque::new(),
            flights: FuturesUnordered::new(),
            generations: 0,
        }
    }

    /// The loop: something happens, its handler runs to the end, then whatever may start is started.
    async fn run(&mut self) {
        let broker = Arc::clone(&self.broker);
        loop {
            let now = self.broker.clock.now().boot;
            let next = self.due.peek().map(|Reverse((due, _, _))| due.saturating_sub(now));
            let sleep = next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
            tokio::select! {
                Some(landing) = self.flights.next() => self.land(landing),
                errands = broker.sessions.agenda.next() => errands.into_iter().for_each(|errand| self.take(errand)),
                () = tokio::time::sleep(sleep) => {}
            }
            self.look_at_due();
            self.launch();
        }
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Renew(session) => {
                self.page(&session);
                self.consider(&session);
            }
            Errand::Revoke(revocation) => {
                let page = self.page(&revocation.session);
                if page.stage == Stage::InFlight {
                    page.revoke = Some(revocation);
                } else {
                    self.revoke(revocation);
                }
            }
        }
    }

    fn page(&mut self, session: &Arc<Session>) -> &mut Page {
        let new = || Page {
            session: Arc::downgrade(session),
            stage: Stage::Idle,
            failures: 0,
            not_before: Duration::ZERO,
            revoke: None,
            spread: rand::rng().random_range(-1.0..=1.0),
            due: Duration::ZERO,
            generation: 0,
        };
        self.pages.entry(Arc::clone(&session.id)).or_insert_with(new)
    }

    /// Looks whether it is time for a session's newer login, and when to look again.
    fn consider(&mut self, session: &Arc<Session>) {
        let now = self.broker.clock.now();
        let Some(page) = self.pages.get_mut(&session.id).filter(|page| page.stage == Stage::Idle) else { return };
        let due = match session.login().as_ref() {
            _ if session.ended().is_some() => page.not_before,
            Some(login) => renewal::due(login.seen, &login.caller.expires, page.spread).max(page.not_before),
            None => page.not_before,
        };
        // By the wall clock a login may end before the boot-time clock has come to its point.
        let dead = session.live_token(now).is_none();
        if due <= now.boot || (dead && page.not_before <= now.boot) {
            page.stage = Stage::Ready;
            page.due = Duration::ZERO;
            self.ready.push_back(Arc::clone(&session.id));
        } else {
            self.look_at(&session.id, due);
        }
    }

    fn look_at(&mut self, id: &Arc<str>, due: Duration) {
        // Those who ask while it is put off change nothing.
        let Some(page) = self.pages.get_mut(id).filter(|page| page.due != due) else { return };
        self.generations += 1;
        (page.due, page.generation) = (due, self.generations);
        self.due.push(Reverse((due, self.generations, Arc::clone(id))));
    }

    fn look_at_due(&mut self) {
        let now = self.broker.clock.now();
        while self.due.peek().is_some_and(|Reverse((due, _, _))| *due <= now.boot) {
            let Some(Reverse((_, generation, id))) = self.due.pop() else { return };
            let Some(page) = self.pages.get(&id).filter(|page| page.generation == generation) else { continue };
            match page.session.upgrade() {
                Some(session) if self.broker.sessions.has(&session) => self.consider(&session),
                _ => drop(self.pages.remove(&id)),
            }
        }
    }

    fn launch(&mut self) {
        while self.flights.len() < FLIGHTS {
            let Some(id) = self.ready.pop_front() else { return };
            let Some(page) = self.pages.get_mut(&id) else { continue };
            let Some(session) = page.session.upgrade() else {
                self.pages.remove(&id);
                continue;
            };
            page.stage = Stage::InFlight;
            let (broker, user_pools) = (Arc::clone(&self.broker), Arc::clone(&self.user_pools));
            self.flights.push(Box::pin(async move {
                let renewing = AssertUnwindSafe(renew(&broker, &*user_pools, &session)).catch_unwind();
                let done = renewing.await.unwrap_or_else(|_panic| {
                    broker.metrics.panics.inc();
                    Err(Trouble::Later(Class::Unavailable, "the renewal panicked: this is a bug".to_owned()))
                });
                Landing::Renewed(id, done)
            }));
        }
    }

    fn land(&mut self, landing: Landing) {
        let Landing::Renewed(id, done) = landing else { return };
        let Some(page) = self.pages.get_mut(&id) else { return };
        page.stage = Stage::Idle;
        if let Some(revocation) = page.revoke.take() {
            return self.revoke(revocation);
        }
        let now = self.broker.clock.now();
        let session = page.session.upgrade().filter(|session| self.broker.sessions.has(session));
        let Some(session) = session else {
            self.pages.remove(&id);
            return;
        };
        match done {
            Ok(()) => (page.failures, page.not_before) = (0, Duration::ZERO),
            Err(Trouble::Over(why)) => {
                let client = session.renewal().map(|renewal| &renewal.client);
                warn!(session = &*session.id, ?client, %why, "a session's refresh token is refused: it has ended");
                session.end(why);
                page.not_before = now.boot + LOOK;
                if !session.renewal().is_some_and(renewal::Renewal::is_in_file) {
                    self.pages.remove(&id);
                    return;
                }
            }
            Err(Trouble::Later(class, cause)) => {
                page.failures = page.failures.saturating_add(1);
                let pause = retry_pause(class, page.failures, session.live_token(now).is_some(), page.spread);
                page.not_before = now.boot + pause;
                if page.failures.is_power_of_two() {
                    let (failures, retry_in_seconds) = (page.failures, pause.as_secs());
                    warn!(
                        session = &*session.id,
                        cause, failures, retry_in_seconds, "a session's login was not renewed"
                    );
                }
            }
        }
        self.consider(&session);
    }

    fn revoke(&mut self, Revocation { session, done }: Revocation) {
        self.pages.remove(&session.id);
        let user_pools = Arc::clone(&self.user_pools);
        self.flights.push(Box::pin(async move {
            // One who hung up does not hear it.
            done.send(revoke(&*user_pools, &session).await).ok();
            Landing::Revoked
        }));
    }
}

impl LongLived for Renewer {
    const NAME: &'static str = "renewer";

    async fn work(&mut self) {
        self.run().await;
    }

    fn metrics(&self) -> &Metrics {
        &self.broker.metrics
    }
}

/// One trade, from the refresh token to the session's newer login. What is got is kept first, so that a trade that
/// fails half-way goes on from there instead of trading a used token again.
async fn renew(broker: &Broker, user_pools: &dyn UserPools, session: &Arc<Session>) -> Result<(), Trouble> {
    let Some(renewal) = session.renewal() else { return Ok(()) };
    if session.ended().is_some() {
        if !renewal.is_replaced().await {
            return Err(Trouble::Later(Class::Denied, "the refused refresh token is still in its file".to_owned()));
        }
        session.begin_again();
    }
    let token = match renewal.unused().await? {
        Some(token) => token,
        None => {
            let refresh_token = renewal.refresh_token().await?;
            match user_pools.renew(&renewal.client, &refresh_token).await {
                Ok(tokens) => renewal.keep(&refresh_token, tokens),
                Err(failure) => {
                    let trouble = renewal::trouble(&failure);
                    let over = matches!(trouble, Trouble::Over(_));
                    let replaced = over && !renewal.refuse(&refresh_token);
                    return if replaced { Ok(()) } else { Err(trouble) };
                }
            }
            // Another refresh token may have come meanwhile: then it is that one's turn.
            let Some(token) = renewal.unused().await? else { return Ok(()) };
            token
        }
    };
    let caller = match broker.verifier.verify(&token).await {
        Ok(caller) => caller,
        Err(error) if error.kind().passes_by_itself() => {
            return Err(Trouble::Later(Class::Unavailable, error.to_string()));
        }
        Err(error) => {
            renewal.done();
            let cause = format!("the user pool gave a token that is refused here: {error}");
            return Err(Trouble::Later(Class::Invalid, cause));
        }
    };
    if !session.admits(&caller) {
        renewal.done();
        return Err(Trouble::Over(Error::new(Kind::NotFound, "the refresh token is another user's than the session")));
    }
    session.bring(&caller, token, broker.clock.now());
    broker.hand_on(session);
    renewal.done();
    debug!(session = &*session.id, "a session's login was renewed");
    Ok(())
}

async fn revoke(user_pools: &dyn UserPools, session: &Session) -> Result<(), Error> {
    let Some(renewal) = session.renewal() else { return Ok(()) };
    let Some(refresh_token) = renewal.held() else { return Ok(()) };
    for tried in 1.. {
        let Err(failure) = user_pools.revoke(&renewal.client, &refresh_token).await else { break };
        let kind = if failure.class == Class::Denied { Kind::UpstreamDenied } else { Kind::UpstreamUnavailable };
        if tried >= REVOCATIONS || failure.class == Class::Denied {
            warn!(%failure, tried, "a closed session's refresh token was not revoked");
            return Err(Error::new(kind, failure.to_string()).by_request(failure.request_id.as_deref()));
        }
        tokio::time::sleep(retry_pause(failure.class, tried, false, 0.0)).await;
    }
    Ok(())
}

impl sessions::Sessions {
    /// Whether `session` is open; its id may have another one.
    fn has(&self, session: &Arc<Session>) -> bool {
        self.by_id.pin().get(&session.id).is_some_and(|found| Arc::ptr_eq(found, session))
    }
}
