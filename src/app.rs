//! The wiring, and nothing else: every room gets what it needs, every long-lived task is started here, and the end of
//! all of them is decided here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::audit::{Audit, Writer};
use crate::auth::{FetchKeys, HttpsFetcher, Keeper, Sweeper, Verifier};
use crate::broker::{Broker, Refresher, Renewer};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::Config;
use crate::log;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::reload::{Reloader, Rooms, Source};
use crate::server::{BindError, Doors, Phase, Settings};
use crate::supervise::supervise;
use crate::trace::{self, Exporter};
use crate::upstream::{self, Aws, AwsUserPools, Budget, Flow, Identities};

/// The version, as `build_info` shows it.
pub const VERSION: &str = env!("CUPBEARER_VERSION");

/// Time for the trades of refresh tokens that are under way.
const LAST_TRADES: Duration = Duration::from_secs(5);

/// Time for the last lines of the audit log, and for the last identities.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Everything made and bound, nothing running yet.
pub struct Bound {
    doors: Doors,
    broker: Arc<Broker>,
    refresher: Refresher,
    keepers: Vec<Keeper>,
    sweeper: Sweeper,
    renewer: Renewer,
    metrics: Arc<Metrics>,
    clock: Clock,
    audit: Audit,
    writer: Option<Writer>,
    identities: Option<upstream::Writer>,
    pub(crate) rooms: Rooms,
    config: Config,
    source: Option<Source>,
    notifier: Notifier,
    exporter: Option<Exporter>,
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system's certificate authorities cannot be read.
    #[error("the system's certificate authorities cannot be read: {0}; install the package ca-certificates")]
    Certificates(#[source] io::Error),
    /// The audit log cannot be opened.
    #[error("the audit log cannot be opened: {0}; check [audit] file")]
    Audit(#[source] io::Error),
    /// The identity map cannot be kept on disk.
    #[error(transparent)]
    State(#[from] upstream::StoreError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Tracing(#[from] trace::StartError),
    /// A profile wants longer sessions than role chaining allows.
    #[error(
        "profile {profile}: duration_seconds is {seconds}, but the broker runs as a role itself, and AWS limits a role that \
         is assumed by a role to 3600: lower it, or run the broker as an IAM user"
    )]
    RoleChaining {
        /// The profile.
        profile: String,
        /// What it wants.
        seconds: u64,
    },
    /// Two metrics have one name: a bug.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Makes every room and binds every door. `own` is the broker's own identity, where it is not to be looked for in
/// AWS's default places.
///
/// # Errors
/// When an address is taken, or the machine lacks what TLS needs.
pub async fn bind(config: Config, own: Option<SharedCredentialsProvider>) -> Result<Bound, StartError> {
    let (clock, chance) = (Clock::system(), Chance::of_the_system());
    let metrics = Arc::new(Metrics::new(VERSION)?);
    metrics.count_lost_lines(log::lost);
    let (audit, writer) = match &config.audit {
        Some(destination) => {
            let (audit, writer) = Audit::open(destination, Arc::clone(&metrics)).map_err(StartError::Audit)?;
            (audit, Some(writer))
        }
        None => (Audit::off(Arc::clone(&metrics)), None),
    };
    let doors = Doors::bind(config.server.clone()).await?;
    let exporter = config.tracing.as_ref().map(|tracing| trace::start(tracing, VERSION)).transpose()?;
    let (known, identities) = match &config.state {
        Some(dir) => Identities::open(dir, Arc::clone(&metrics)).map(|(known, writer)| (known, Some(writer)))?,
        None => (Identities::in_memory(), None),
    };
    let fetcher: Arc<dyn FetchKeys> =
        Arc::new(HttpsFetcher::new(config.auth.fetches_over_tls()).map_err(StartError::Certificates)?);
    let (verifier, keepers, sweeper) =
        Verifier::new(config.auth.clone(), &fetcher, clock.clone(), chance.clone(), Arc::clone(&metrics));
    let budget = Arc::new(Budget::new(config.upstream.rates, clock.clone(), chance.clone()));
    let means = Means { own, known: Arc::new(known), budget, clock: clock.clone(), metrics: Arc::clone(&metrics) };
    let exchange = Arc::new(means.way_to_aws(&config, Duration::MAX).await?);
    let (broker, refresher) =
        Broker::new(config.broker.clone(), verifier, exchange, clock.clone(), chance, Arc::clone(&metrics));
    let broker = Arc::new(broker);
    let user_pools = Arc::new(means.user_pools(&config));
    let renewer = Renewer::new(Arc::clone(&broker), Arc::clone(&user_pools) as _);
    let notifier = Notifier::new();
    let rooms = Rooms {
        broker: Arc::clone(&broker),
        settings: doors.settings(),
        user_pools,
        means,
        notifier: notifier.clone(),
    };
    Ok(Bound {
        doors,
        broker,
        refresher,
        renewer,
        keepers,
        sweeper,
        metrics,
        clock,
        audit,
        writer,
        identities,
        rooms,
        config,
        source: None,
        notifier,
        exporter,
    })
}

/// What every way to AWS is made of, whatever the configuration.
pub(crate) struct Means {
    /// The broker's own identity, where it was given.
    own: Option<SharedCredentialsProvider>,
    known: Arc<Identities>,
    budget: Arc<Budget>,
    clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

impl Means {
    /// The way to AWS that `config` wants. STS is not asked for longer than `patience` whether it will do.
    ///
    /// # Errors
    /// When AWS would refuse what a profile wants.
    pub(crate) async fn way_to_aws(&self, config: &Config, patience: Duration) -> Result<Aws, StartError> {
        let (known, budget) = (Arc::clone(&self.known), Arc::clone(&self.budget));
        let (clock, metrics) = (self.clock.clone(), Arc::clone(&self.metrics));
        let way = Aws::new(&config.upstream, self.own.clone(), known, budget, clock, metrics).await;
        let longest = longest_chained(config).filter(|(_, seconds)| *seconds > LONGEST_CHAINED_SECONDS);
        if let Some((profile, seconds)) = longest {
            let chains = tokio::time::timeout(patience, way.chains_roles()).await;
            match chains.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned())) {
                Ok(false) => {}
                Ok(true) => return Err(StartError::RoleChaining { profile, seconds }),
                Err(error) => {
                    warn!(%error, "STS does not tell who the broker is; sessions over an hour may be refused");
                }
            }
        }
        Ok(way)
    }

    /// Puts the rates of `config` in force.
    pub(crate) fn change_rates(&self, config: &Config) {
        self.budget.change(config.upstream.rates);
    }

    fn user_pools(&self, config: &Config) -> AwsUserPools {
        let (clock, metrics) = (self.clock.clone(), Arc::clone(&self.metrics));
        AwsUserPools::new(config.user_pools.clone(), Arc::clone(&self.budget), clock, metrics)
    }
}

/// The longest session that AWS gives to a role that assumes a role, in seconds.
const LONGEST_CHAINED_SECONDS: u64 = 3600;

/// The profile whose sessions are the longest of those that the broker assumes as itself.
pub(crate) fn longest_chained(config: &Config) -> Option<(String, u64)> {
    let profiles = config.broker.profiles.iter();
    let own = profiles.filter(|(_, profile)| profile.target.flow == Flow::AssumeRole);
    own.map(|(name, profile)| (name.clone(), profile.target.duration.as_secs())).max_by_key(|(_, seconds)| *seconds)
}

impl Bound {
    /// The addresses as bound: HTTP, gRPC, admin.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        self.doors.addresses()
    }

    /// The same, and what `source` says from now on is put in force while it runs.
    #[must_use]
    pub fn following(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Runs until `signals` says so: the first one drains, the second one ends at once.
    ///
    /// # Errors
    /// When the operating system does not tell an address.
    pub async fn run(self, mut signals: mpsc::Receiver<()>) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        let (phase, seen) = watch::channel(Phase::Serving);
        let (refresher, at_the_end) = (self.refresher, seen.clone());
        tasks.spawn(async move {
            refresher.run().await;
            if *at_the_end.borrow() < Phase::Stopping {
                error!("the refresher has ended: nothing is refreshed any more");
            }
        });
        tasks.spawn(self.sweeper.run());
        tasks.spawn(supervise(self.renewer));
        tasks.spawn(self.notifier.clone().accompany(Arc::clone(&self.broker)));
        self.keepers.into_iter().for_each(|keeper| drop(tasks.spawn(keeper.run())));

        let lines = self.writer.map(|writer| tokio::task::spawn_blocking(move || writer.run()));
        let identities = self.identities.map(|writer| tokio::task::spawn_blocking(move || writer.run()));
        let broker = Arc::clone(&self.broker);
        let settings = self.doors.settings();
        if let Some(source) = self.source {
            tasks.spawn(supervise(Reloader::new(self.rooms, source, self.config)));
        } else {
            // Or it would hold the identities open to the end.
            drop(self.rooms);
        }
        let serving = self.doors.run(self.broker, self.metrics, self.audit, self.clock, seen);
        let served = tokio::select! {
            served = serving => served,
            () = end(&phase, &mut signals, &settings, &self.notifier) => {
                info!("ended at once, by a second signal");
                Ok(())
            }
        };
        // A trade that is cut off may have rotated a refresh token that nobody knows then.
        tokio::time::timeout(LAST_TRADES, broker.finish_renewals()).await.ok();
        // With the doors and the refresher gone nobody tells the writers anything any more: they end with their last line.
        tasks.shutdown().await;
        for writing in lines.into_iter().chain(identities) {
            tokio::time::timeout(LAST_LINES, writing).await.ok();
        }
        if let Some(exporter) = self.exporter {
            off_the_runtime(move || exporter.finish()).await;
        }
        served
    }
}

/// Moves the phase along, and returns only if all is to end at once.
async fn end(phase: &watch::Sender<Phase>, signals: &mut mpsc::Receiver<()>, settings: &Settings, notifier: &Notifier) {
    if signals.recv().await.is_none() {
        // Nobody can send a signal any more: serve for good.
        std::future::pending::<()>().await;
    }
    let drain = settings.now().drain;
    info!(serving_for_seconds = drain.as_secs(), "draining: not ready any more, serving goes on");
    phase.send_replace(Phase::Draining);
    notifier.stopping().await;
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        Some(()) = signals.recv() => return,
    }
    info!("stopping");
    phase.send_replace(Phase::Stopping);
    if signals.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Starts a task that lives as long as the runtime: tasks are started in this file and in `server/` only.
#[expect(clippy::disallowed_methods, reason = "app.rs is where long-lived tasks start")]
pub(crate) fn forward(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Does work that may block, on a disk that hangs for one, where it holds up nobody; none if it panicked.
pub(crate) async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
