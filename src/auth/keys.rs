//! The key set of one user pool: read without a lock, written by its [`Keeper`] alone. Knows no token.
//!
//! The keeper fetches at start, on a timer (so that a withdrawn key is forgotten and a flood of unknown ids cannot
//! hide a rotation), and when a token names an unknown key, for that reason at most once per 10 s. Callers who ask
//! meanwhile wait in its queue and are answered together. A failed fetch leaves the old keys where they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::signature::ParsedPublicKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use crate::auth::fetch::FetchKeys;
use crate::auth::jwks::{self, Key};
use crate::chance::Chance;
use crate::clock::{Clock, epoch_seconds};
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::supervise::{LongLived, supervise};

/// How often keys are fetched anew when nothing asks for it.
const REFETCH: Duration = Duration::from_secs(15 * 60);

/// Least time between two fetches that unknown key ids brought about.
const UNKNOWN_KID_PAUSE: Duration = Duration::from_secs(10);

/// First and longest pause after a failed fetch.
const RETRY: std::ops::RangeInclusive<u64> = 1_000..=30_000;

/// How many callers may wait for one fetch; the others are judged by the keys at hand.
const QUEUE: usize = 1_024;

/// The readers' side.
pub(super) struct KeySet {
    current: Arc<ArcSwap<Keys>>,
    wanted: mpsc::Sender<Wanted>,
}

/// A key that somebody waits for.
struct Wanted {
    kid: String,
    done: oneshot::Sender<()>,
}

/// One state of the key set.
#[derive(Clone, Default)]
pub(super) struct Keys {
    by_kid: HashMap<String, Key>,
    /// Goes up whenever a key is withdrawn or changed: verdicts given before no longer hold.
    generation: u64,
    /// Seconds since 1970 of the last successful fetch.
    fetched_at_seconds: Option<u64>,
    last_fetch_failed: bool,
}

/// The generation that a key was taken from. It does not keep the [`Keeper`] at work.
#[derive(Clone, Default)]
pub(super) struct Standing {
    current: Arc<ArcSwap<Keys>>,
    generation: u64,
}

impl Standing {
    /// Whether no key was withdrawn or changed since. The keeper publishes a key set whole, so that whoever begins to ask
    /// after that sees its generation.
    pub(super) fn holds(&self) -> bool {
        self.current.load().generation == self.generation
    }
}

/// What is known of a key id.
pub(super) enum Lookup {
    Found {
        key: Arc<ParsedPublicKey>,
        generation: u64,
    },
    /// The newest key set does not have it.
    Unknown,
    /// It is not at hand, and whether the pool has it cannot be found out now.
    Unavailable,
}

/// Fetches one user pool's keys for as long as it runs.
pub struct Keeper {
    url: Url,
    fetcher: Arc<dyn FetchKeys>,
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
    current: Arc<ArcSwap<Keys>>,
    wanted: mpsc::Receiver<Wanted>,
    failures: u32,
    fetched_for_unknown_kid: Option<Instant>,
}

impl KeySet {
    /// A set that has `seed` until its keeper has fetched for the first time.
    pub(super) fn new(
        url: Url,
        seed: Arc<Keys>,
        fetcher: Arc<dyn FetchKeys>,
        (clock, chance): (Clock, Chance),
        metrics: Arc<Metrics>,
    ) -> (Self, Keeper) {
        let current = Arc::new(ArcSwap::new(seed));
        let (wanted, queue) = mpsc::channel(QUEUE);
        let keeper = Keeper {
            url,
            fetcher,
            clock,
            chance,
            metrics,
            current: Arc::clone(&current),
            wanted: queue,
            failures: 0,
            fetched_for_unknown_kid: None,
        };
        (Self { current, wanted }, keeper)
    }

    /// The key with this id. An unknown one is looked for in a fresh key set before it is called unknown.
    pub(super) async fn find(&self, kid: &str) -> Lookup {
        if let Some(found) = self.current().find(kid) {
            return found;
        }
        let (done, wait) = oneshot::channel();
        let asked = self.wanted.try_send(Wanted { kid: kid.to_owned(), done }).is_ok();
        if !(asked && wait.await.is_ok()) {
            // The queue is full or the keeper is gone: nothing was found out.
            return Lookup::Unavailable;
        }
        let keys = self.current();
        match keys.find(kid) {
            Some(found) => found,
            None if keys.last_fetch_failed || !keys.is_fetched() => Lookup::Unavailable,
            None => Lookup::Unknown,
        }
    }

    /// What a key of this generation was taken from.
    pub(super) fn standing(&self, generation: u64) -> Standing {
        Standing { current: Arc::clone(&self.current), generation }
    }

    /// The state now.
    pub(super) fn current(&self) -> Arc<Keys> {
        self.current.load_full()
    }
}

impl Keys {
    pub(super) fn is_fetched(&self) -> bool {
        self.fetched_at_seconds.is_some()
    }

    pub(super) fn fetched_at_seconds(&self) -> u64 {
        self.fetched_at_seconds.unwrap_or(0)
    }

    fn find(&self, kid: &str) -> Option<Lookup> {
        let key = self.by_kid.get(kid)?;
        Some(Lookup::Found { key: Arc::clone(&key.public), generation: self.generation })
    }

    /// The state after a fetch that brought `by_kid`.
    fn after(&self, by_kid: HashMap<String, Key>, now_seconds: u64) -> Self {
        let kept = |(kid, old): (&String, &Key)| by_kid.get(kid).is_some_and(|new| new.print == old.print);
        let generation = self.generation + u64::from(!self.by_kid.iter().all(kept));
        Self { by_kid, generation, fetched_at_seconds: Some(now_seconds), last_fetch_failed: false }
    }
}

impl Keeper {
    /// Fetches at once, then on the timer and on demand, until every reader is gone. Goes on after a panic.
    pub async fn run(self) {
        supervise(self).await;
    }

    fn may_fetch_for_unknown_kid(&self) -> bool {
        self.fetched_for_unknown_kid.is_none_or(|last| last.elapsed() >= UNKNOWN_KID_PAUSE)
    }

    /// Fetches, publishes what came of it, and returns when to fetch again.
    async fn fetch(&mut self) -> Instant {
        let under_way = self.metrics.call(Operation::Jwks, &self.clock);
        let document = self.fetcher.fetch(&self.url).await;
        let old = self.current.load_full();
        let parsed = match document {
            Ok(document) => jwks::parse(&document).map_err(|fault| (Outcome::Invalid, fault.to_owned())),
            Err(fault) => Err((Outcome::Unavailable, fault)),
        };
        let outcome = parsed.as_ref().map_or_else(|(outcome, _)| *outcome, |_| Outcome::Ok);
        under_way.ended(outcome);
        self.metrics.fetched_keys(outcome);
        let pause = match parsed {
            Ok(by_kid) => {
                self.failures = 0;
                if !old.is_fetched() || old.last_fetch_failed {
                    info!(url = %self.url, keys = by_kid.len(), "key set fetched");
                }
                let seconds = epoch_seconds(self.clock.now().wall);
                self.current.store(Arc::new(old.after(by_kid, seconds)));
                REFETCH
            }
            Err((_, fault)) => {
                self.failures = self.failures.saturating_add(1);
                warn!(url = %self.url, fault, "the key set could not be fetched; keys at hand stay in use");
                self.current.store(Arc::new(Keys { last_fetch_failed: true, ..(*old).clone() }));
                retry_pause(self.failures)
            }
        };
        Instant::now() + pause.mul_f64(self.chance.within(0.9..=1.1))
    }
}

impl LongLived for Keeper {
    const NAME: &'static str = "keeper of a key set";

    async fn work(&mut self) {
        let mut due = self.fetch().await;
        loop {
            tokio::select! {
                // The timer goes first: a flood of unknown ids cannot put a rotation off.
                biased;
                () = tokio::time::sleep_until(due) => due = self.fetch().await,
                wanted = self.wanted.recv() => match wanted {
                    Some(Wanted { kid, done }) => {
                        // The fetch that was under way when it was asked for may have brought it.
                        let here = self.current.load().by_kid.contains_key(&kid);
                        if !here && self.may_fetch_for_unknown_kid() {
                            self.fetched_for_unknown_kid = Some(Instant::now());
                            due = self.fetch().await;
                        }
                        // A waiter that hung up needs no answer.
                        done.send(()).ok();
                    }
                    None => return,
                },
            }
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The pause after the `failures`-th failure in a row: doubled each time, within bounds.
fn retry_pause(failures: u32) -> Duration {
    let doubled = RETRY.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    Duration::from_millis(doubled.min(*RETRY.end()))
}
