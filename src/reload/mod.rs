//! Another configuration without a restart: on SIGHUP, and when a file changes that it was read from. What is read is
//! judged whole; a sound one is put in force, a faulty one changes nothing and is told.

mod changes;
mod source;

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::app::{self, Means, StartError};
use crate::auth::{self, FetchKeys, HttpsFetcher, Keeper};
use crate::broker::Broker;
use crate::config::{Config, Faults, Reading};
use crate::metrics::{Metrics, Reload};
use crate::notify::Notifier;
use crate::server::Settings;
use crate::supervise::LongLived;
use crate::upstream::{AwsUserPools, Exchange};

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
    /// Whether a panic has left parts of another configuration than `in_force` in force.
    torn: Torn,
    /// Starts a keeper.
    start: fn(Keeper),
}

/// How whole the configuration in force is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Torn {
    No,
    /// And nothing was done about it yet.
    Anew,
    /// And it could not be put right: the next configuration will do that.
    StillSo,
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
        let start = |keeper: Keeper| app::forward(keeper.run());
        Self { rooms, source, in_force, torn: Torn::No, start }
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
    ///
    /// Should it panic half-way, nobody knows which parts are new: the next one that is put in force takes none for granted.
    async fn apply(&mut self, mut new: Config) -> Result<(), Refusal> {
        let changes = changes::between(&self.in_force, &mut new);
        let fetcher = self.fetcher(&new.auth).await?;
        let exchange = match changes.way_to_aws || self.torn != Torn::No {
            true => Some(Arc::new(self.rooms.means.way_to_aws(&new, PATIENCE).await.map_err(Refusal::Start)?) as _),
            false => None,
        };
        for key in changes.only_at_start {
            warn!(key, "the old value stays in force: restart to apply the new one");
        }
        new.warnings().iter().for_each(|warning| warn!("{warning}"));
        self.put(new, &fetcher, exchange).await;
        Ok(())
    }

    async fn put(&mut self, new: Config, fetcher: &Arc<dyn FetchKeys>, exchange: Option<Arc<dyn Exchange>>) {
        self.torn = if self.torn == Torn::No { Torn::Anew } else { Torn::StillSo };
        // Before the rulebook, which may admit users whose refresh tokens are traded there.
        self.rooms.user_pools.change(new.user_pools.clone());
        self.rooms.means.change_rates(&new);
        let start = |keepers: Vec<Keeper>| keepers.into_iter().for_each(self.start);
        self.rooms.broker.reload(new.auth.clone(), new.broker.clone(), fetcher, exchange, start).await;
        self.rooms.settings.change(new.server.clone());
        self.in_force = new;
        self.torn = Torn::No;
    }

    /// After a panic half-way, makes it true that the old configuration is in force.
    async fn put_back(&mut self) {
        self.rooms.means.metrics.reloaded(Reload::Invalid);
        if let Err(refusal) = self.apply(self.in_force.clone()).await {
            self.torn = Torn::StillSo;
            refusal.tell();
        }
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
        if self.torn == Torn::Anew {
            self.put_back().await;
        }
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

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures::FutureExt;
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    const TEXT: &str = r#"
[server]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
[aws]
region = "us-east-1"
[[user_pools]]
id = "us-east-1_AbCdEf123"
client_ids = ["1example23456789"]
jwks_url = "http://127.0.0.1:9/jwks.json"
[profiles.default]
identity_pool_id = "us-east-1:11111111-2222-3333-4444-555555555555"
[profiles.default.roles]
mapping = "token"
"#;

    fn config(text: &str) -> Config {
        crate::config::parse("test", text, &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[tokio::test]
    async fn a_panic_half_way_leaves_no_mixture_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cupbearer.toml");
        std::fs::write(&path, TEXT).unwrap();
        let source = Source::new(path.clone(), crate::config::read(&path).files, signal(SignalKind::hangup()).unwrap());
        let bound = app::bind(config(TEXT), None).await.unwrap();
        let mut reloader = Reloader::new(bound.rooms, source, config(TEXT));
        let broker = Arc::clone(&reloader.rooms.broker);

        let more = TEXT.replace("[profiles.default", "[profiles.more").replace("jwks.json", "moved.json");
        let panicked = async |reloader: &mut Reloader| {
            reloader.start = |_| panic!("as the test wants it");
            AssertUnwindSafe(reloader.apply(config(&more))).catch_unwind().await.is_err()
        };
        assert!(panicked(&mut reloader).await && broker.flow("more").is_some(), "half of it is in force");
        reloader.start = |_| {};
        assert_eq!(reloader.torn, Torn::Anew);
        reloader.put_back().await;
        assert!(broker.flow("more").is_none() && broker.flow("default").is_some());
        assert!(!broker.lacks_keys_over_tls(&config(TEXT).auth));
        assert_eq!((reloader.torn, reloader.in_force.show()), (Torn::No, config(TEXT).show()));

        // Should that panic as well, it is left to the next configuration, and not tried again and again.
        assert!(panicked(&mut reloader).await);
        assert!(AssertUnwindSafe(reloader.put_back()).catch_unwind().await.is_err());
        assert_eq!(reloader.torn, Torn::StillSo);
        reloader.start = |_| {};
        assert!(reloader.apply(config(&more)).await.is_ok() && broker.flow("more").is_some());
        assert_eq!((reloader.torn, reloader.in_force.show()), (Torn::No, config(&more).show()));
    }
}
