//! Another configuration without a restart: on SIGHUP, and when a file changes that it was read from. What is read is
//! judged whole; a sound one is put in force, a faulty one changes nothing and is told.

mod changes;
mod source;

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::app::{self, Means, StartError};
use crate::auth::{self, FetchKeys, HttpsFetcher};
use crate::broker::Broker;
use crate::config::{Config, Faults, Reading};
use crate::metrics::{Metrics, Reload};
use crate::notify::Notifier;
use crate::server::Settings;
use crate::supervise::LongLived;
use crate::upstream::AwsUserPools;

pub use source::Source;

/// The rooms that can be told of another configuration, and what new ones are made of.
pub(crate) struct Rooms {
    pub(crate) broker: Arc<Broker>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) user_pools: Arc<AwsUserPools>,
    pub(crate) means: Means,
    pub(crate) notifier: Notifier,
}

/// Reloads for as long as it runs.
pub(crate) struct Reloader {
    rooms: Rooms,
    source: Source,
    in_force: Config,
}

/// How long STS may take to say whether the new way to AWS will do.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a configuration was not put in force.
enum Refusal {
    Faults(Faults),
    Start(StartError),
    /// A bug of ours.
    Panic,
}

impl Reloader {
    pub(crate) fn new(rooms: Rooms, source: Source, in_force: Config) -> Self {
        Self { rooms, source, in_force }
    }

    async fn reload(&mut self) -> Result<(), Refusal> {
        let path = self.source.path().to_owned();
        let reading = app::off_the_runtime(move || crate::config::read(&path)).await;
        let Some(Reading { outcome, files }) = reading else {
            // Or the same files would be read at every second look, to the same panic.
            self.source.read_in_vain().await;
            return Err(Refusal::Panic);
        };
        self.source.read(files);
        self.apply(outcome.map_err(Refusal::Faults)?).await
    }

    /// Puts `new` in force, unless something that it needs cannot be had; then nothing has changed. What it takes away is
    /// not to be had for long after it was written: nothing that may take its time, or fail, is done without need.
    async fn apply(&mut self, mut new: Config) -> Result<(), Refusal> {
        let changes = changes::between(&self.in_force, &mut new);
        let fetcher = self.fetcher(&new.auth).await?;
        let exchange = match changes.way_to_aws {
            true => Some(Arc::new(self.rooms.means.way_to_aws(&new, PATIENCE).await.map_err(Refusal::Start)?) as _),
            false => None,
        };
        for key in changes.only_at_start {
            warn!(key, "the old value stays in force: restart to apply the new one");
        }
        new.warnings().iter().for_each(|warning| warn!("{warning}"));
        let keepers = self.rooms.broker.reload(new.auth.clone(), new.broker.clone(), &fetcher, exchange).await;
        keepers.into_iter().for_each(|keeper| app::forward(keeper.run()));
        self.rooms.settings.change(new.server.clone());
        self.rooms.means.change_rates(&new);
        self.rooms.user_pools.change(new.user_pools.clone());
        self.in_force = new;
        Ok(())
    }

    /// For the key sets that `auth` brings. The certificate authorities are read only if one of them needs them.
    async fn fetcher(&self, auth: &auth::Config) -> Result<Arc<dyn FetchKeys>, Refusal> {
        let tls = self.rooms.broker.lacks_keys_over_tls(auth);
        let fetcher = app::off_the_runtime(move || HttpsFetcher::new(tls)).await.ok_or(Refusal::Panic)?;
        let fetcher = fetcher.map_err(|error| Refusal::Start(StartError::Certificates(error)))?;
        Ok(Arc::new(fetcher))
    }
}

impl LongLived for Reloader {
    const NAME: &'static str = "reloader";

    async fn work(&mut self) {
        loop {
            self.source.changed().await;
            self.rooms.notifier.reloading().await;
            let done = self.reload().await;
            self.rooms.notifier.reloaded().await;
            self.rooms.means.metrics.reloaded(if done.is_ok() { Reload::Ok } else { Reload::Invalid });
            match done {
                Ok(()) => info!("the configuration was read again and is in force"),
                Err(refusal) => refusal.tell(),
            }
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.rooms.means.metrics
    }
}

impl Refusal {
    /// Tells each fault on a line of its own.
    fn tell(&self) {
        let faults = match self {
            Self::Faults(faults) => faults.to_string(),
            Self::Start(error) => error.to_string(),
            Self::Panic => "reading it panicked: this is a bug".to_owned(),
        };
        for fault in faults.lines() {
            error!(fault, "the configuration was read again and is refused: the old one stays in force");
        }
    }
}
