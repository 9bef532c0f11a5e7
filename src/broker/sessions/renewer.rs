//! Keeps sessions signed in: the one task that trades refresh tokens. So a session has one trade under way at most,
//! which is what rotation demands: of two at once, the user pool takes one for a thief's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use futures::{Future, FutureExt};
use tracing::warn;

use crate::broker::Broker;
use crate::broker::schedule::retry_pause;
use crate::broker::sessions::agenda::{Errand, Revocation};
use crate::broker::sessions::renewal::{self, Renewal, Trouble};
use crate::broker::sessions::session::Session;
use crate::broker::sessions::trade::{renew, revoke};
use crate::metrics::Metrics;
use crate::supervise::LongLived;
use crate::upstream::{Class, UserPools};

/// Renews logins for as long as it runs.
pub struct Renewer {
    broker: Arc<Broker>,
    user_pools: Arc<dyn UserPools>,
    pages: HashMap<Arc<str>, Page>,
    due: BTreeSet<(Duration, Arc<str>)>,
    /// Those whose turn has come, by user pool: one that does not answer holds up nobody else's users.
    ready: BTreeMap<Arc<str>, VecDeque<Arc<str>>>,
    flying: HashMap<Arc<str>, usize>,
    trades: FuturesUnordered<Pin<Box<dyn Future<Output = Landing> + Send>>>,
    waiting: VecDeque<Revocation>,
    revocations: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// One session's page. It does not keep the session: one that is closed is wiped at once.
struct Page {
    session: Weak<Session>,
    user_pool: Arc<str>,
    stage: Stage,
    /// Somebody waits for the login.
    awaited: bool,
    failures: u32,
    /// After a failure: not before this.
    not_before: Duration,
    /// When it is looked at next.
    due: Option<Duration>,
    /// To be done when the trade under way has ended.
    revocation: Option<Revocation>,
    spread: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Ready,
    InFlight,
}

/// A trade has ended.
struct Landing {
    id: Arc<str>,
    user_pool: Arc<str>,
    done: Result<(), Trouble>,
}

/// Trades at once with one user pool.
const TRADES: usize = 16;

/// Revocations at once.
const REVOCATIONS: usize = 16;

/// How often a session that has ended looks whether its refresh token has been replaced in its file.
const LOOK: Duration = Duration::from_secs(15);

/// The longest sleep: a suspended machine does not wake tokio's timers.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

impl Renewer {
    /// A renewer for the sessions of `broker`.
    pub fn new(broker: Arc<Broker>, user_pools: Arc<dyn UserPools>) -> Self {
        Self {
            broker,
            user_pools,
            pages: HashMap::new(),
            due: BTreeSet::new(),
            ready: BTreeMap::new(),
            flying: HashMap::new(),
            trades: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            revocations: FuturesUnordered::new(),
        }
    }

    /// The loop: something happens, its handler runs to the end, then whatever may start is started. It ends when it is
    /// told to and nothing is under way any more.
    async fn run(&mut self) {
        let broker = Arc::clone(&self.broker);
        let agenda = &broker.sessions.agenda;
        loop {
            let now = self.broker.clock.now().boot;
            let next = self.due.first().map(|(due, _)| due.saturating_sub(now));
            let sleep = next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
            tokio::select! {
                biased;
                Some(landing) = self.trades.next() => self.land(landing),
                Some(()) = self.revocations.next() => {}
                errands = agenda.next() => errands.into_iter().for_each(|errand| self.take(errand)),
                () = tokio::time::sleep(sleep) => {}
            }
            if agenda.is_stopping() {
                if self.trades.is_empty() && self.revocations.is_empty() {
                    if !self.waiting.is_empty() {
                        warn!(
                            count = self.waiting.len(),
                            "refresh tokens of closed sessions are not revoked: the end has come"
                        );
                    }
                    return agenda.stopped();
                }
                continue;
            }
            self.look_at_due();
            self.launch();
        }
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Renew(session) => self.consider(&session, false),
            Errand::Await(session) => self.consider(&session, true),
            Errand::Forget(id) => self.forget(&id),
            Errand::Revoke(revocation) => match self.pages.get_mut(&revocation.session.id) {
                Some(page) if page.stage == Stage::InFlight => page.revocation = Some(revocation),
                _ => self.waiting.push_back(revocation),
            },
        }
    }

    /// A trade under way finds that its session is closed when it lands.
    fn forget(&mut self, id: &Arc<str>) {
        if self.pages.get(id).is_some_and(|page| page.stage != Stage::InFlight)
            && let Some(page) = self.pages.remove(id)
            && let Some(due) = page.due
        {
            self.due.remove(&(due, Arc::clone(id)));
        }
    }

    /// Looks whether it is time for a session's newer login, and when to look again.
    fn consider(&mut self, session: &Arc<Session>, awaited: bool) {
        let Some(renewal) = session.renewal().filter(|_| !session.is_closed()) else { return };
        let ended = session.ended().is_some();
        if ended && !renewal.is_in_file() {
            return self.forget(&session.id);
        }
        let now = self.broker.clock.now();
        let spread = || self.broker.chance.spread();
        let page = self.pages.entry(Arc::clone(&session.id));
        let page = page.or_insert_with(|| Page::new(session, renewal, spread()));
        page.awaited |= awaited;
        if page.stage != Stage::Idle {
            return;
        }
        let due = match session.login().as_ref() {
            // By the wall clock a login may end before the boot-time clock has come to its point.
            Some(login) if !ended && !login.caller.expires.passed(now) => {
                renewal::due(login.seen, &login.caller.expires, page.spread).max(page.not_before)
            }
            _ => page.not_before,
        };
        let earlier = page.due.take().map(|due| (due, Arc::clone(&session.id)));
        if due <= now.boot {
            page.stage = Stage::Ready;
            page.user_pool = renewal.user_pool();
            let queue = self.ready.entry(Arc::clone(&page.user_pool)).or_default();
            // Those who wait go first.
            if page.awaited {
                queue.push_front(Arc::clone(&session.id));
            } else {
                queue.push_back(Arc::clone(&session.id));
            }
        } else {
            page.due = Some(due);
            self.due.insert((due, Arc::clone(&session.id)));
        }
        if let Some(earlier) = earlier.filter(|(earlier, _)| *earlier != due) {
            self.due.remove(&earlier);
        }
    }

    fn look_at_due(&mut self) {
        let now = self.broker.clock.now().boot;
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else { return };
            let Some(page) = self.pages.get_mut(&id) else { continue };
            page.due = None;
            match page.session.upgrade() {
                Some(session) => self.consider(&session, false),
                None => self.forget(&id),
            }
        }
    }

    fn launch(&mut self) {
        let pools: Vec<_> = self.ready.keys().cloned().collect();
        for pool in pools {
            while self.flying.get(&pool).is_none_or(|flying| *flying < TRADES) {
                let Some(id) = self.ready.get_mut(&pool).and_then(VecDeque::pop_front) else {
                    self.ready.remove(&pool);
                    break;
                };
                self.launch_one(id, &pool);
            }
        }
        while self.revocations.len() < REVOCATIONS {
            let Some(revocation) = self.waiting.pop_front() else { return };
            let (broker, user_pools) = (Arc::clone(&self.broker), Arc::clone(&self.user_pools));
            self.revocations.push(Box::pin(async move {
                let Revocation { session, done } = revocation;
                match AssertUnwindSafe(revoke(&*user_pools, &session)).catch_unwind().await {
                    // One who hung up does not hear it.
                    Ok(revoked) => drop(done.send(revoked)),
                    Err(_panic) => broker.metrics.panics.inc(),
                }
            }));
        }
    }

    fn launch_one(&mut self, id: Arc<str>, pool: &Arc<str>) {
        let Some(page) = self.pages.get_mut(&id).filter(|page| page.stage == Stage::Ready) else { return };
        let Some(session) = page.session.upgrade().filter(|session| !session.is_closed()) else {
            page.stage = Stage::Idle;
            return self.forget(&id);
        };
        page.stage = Stage::InFlight;
        *self.flying.entry(Arc::clone(pool)).or_default() += 1;
        let (broker, user_pools, user_pool) =
            (Arc::clone(&self.broker), Arc::clone(&self.user_pools), Arc::clone(pool));
        self.trades.push(Box::pin(async move {
            let renewing = AssertUnwindSafe(renew(&broker, &*user_pools, &session)).catch_unwind();
            let done = renewing.await.unwrap_or_else(|_panic| {
                broker.metrics.panics.inc();
                Err(Trouble::Later(Class::Unavailable, "the renewal panicked: this is a bug".to_owned()))
            });
            Landing { id, user_pool, done }
        }));
    }

    fn land(&mut self, Landing { id, user_pool, done }: Landing) {
        if let Some(flying) = self.flying.get_mut(&user_pool) {
            *flying = flying.saturating_sub(1);
        }
        let Some(page) = self.pages.get_mut(&id) else { return };
        page.stage = Stage::Idle;
        self.waiting.extend(page.revocation.take());
        let Some(session) = page.session.upgrade().filter(|session| !session.is_closed()) else {
            return self.forget(&id);
        };
        let now = self.broker.clock.now();
        match done {
            Ok(()) => (page.failures, page.not_before, page.awaited) = (0, Duration::ZERO, false),
            Err(Trouble::Over(_)) => page.not_before = now.boot + LOOK,
            Err(Trouble::Later(..)) if session.ended().is_some() => page.not_before = now.boot + LOOK,
            Err(Trouble::Later(class, cause)) => {
                page.failures = page.failures.saturating_add(1);
                let pause = retry_pause(class, page.failures, !page.awaited, page.spread);
                (page.not_before, page.awaited) = (now.boot + pause, false);
                if page.failures.is_power_of_two() {
                    let (failures, retry_in_seconds) = (page.failures, pause.as_secs());
                    warn!(session = &*id, cause, failures, retry_in_seconds, "a session's login was not renewed");
                }
                session.hinder(cause);
            }
        }
        self.consider(&session, false);
    }
}

impl Page {
    fn new(session: &Arc<Session>, renewal: &Renewal, spread: f64) -> Self {
        Self {
            session: Arc::downgrade(session),
            user_pool: renewal.user_pool(),
            stage: Stage::Idle,
            awaited: false,
            failures: 0,
            not_before: Duration::ZERO,
            due: None,
            revocation: None,
            spread,
        }
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
