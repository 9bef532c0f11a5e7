//! What the service manager is told, where `NOTIFY_SOCKET` names one (sd_notify(3)): ready, reloading, stopping, alive.
//!
//! It is told by a datagram that may block, and so off the runtime; that it cannot be told is a line of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::app::off_the_runtime;
use crate::broker::Broker;
use crate::config;

/// The one who tells; clones are the same one.
#[derive(Clone)]
pub(crate) struct Notifier {
    wanted: bool,
    ready: Arc<AtomicBool>,
}

/// How often it is looked whether the broker is ready.
const LOOK: Duration = Duration::from_millis(50);

impl Notifier {
    /// One who tells only if somebody listens.
    pub(crate) fn new() -> Self {
        Self { wanted: config::has_notify_socket(), ready: Arc::default() }
    }

    /// Tells that `broker` is ready once it is, and from then on that it works, as often as the watchdog wants to hear it.
    pub(crate) async fn accompany(self, broker: Arc<Broker>) {
        if !self.wanted {
            return;
        }
        while !broker.waiting_for().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        self.ready.store(true, Ordering::Relaxed);
        self.tell(|| vec![NotifyState::Ready]).await;
        let Some(patience) = sd_notify::watchdog_enabled() else { return };
        loop {
            // A broker without its refresher serves what it holds until that has expired, and should be started anew.
            if broker.refresher_lives() {
                self.tell(|| vec![NotifyState::Watchdog]).await;
            }
            tokio::time::sleep(patience / 2).await;
        }
    }

    /// Another configuration is read from now on, until [`Notifier::reloaded`] says otherwise.
    pub(crate) async fn reloading(&self) {
        if self.ready.load(Ordering::Relaxed) {
            self.tell(|| {
                let now = NotifyState::monotonic_usec_now().ok();
                std::iter::once(NotifyState::Reloading).chain(now).collect()
            })
            .await;
        }
    }

    /// Another configuration is in force, or the old one still is.
    pub(crate) async fn reloaded(&self) {
        if self.ready.load(Ordering::Relaxed) {
            self.tell(|| vec![NotifyState::Ready]).await;
        }
    }

    /// The end has begun.
    pub(crate) async fn stopping(&self) {
        self.tell(|| vec![NotifyState::Stopping]).await;
    }

    async fn tell(&self, state: impl FnOnce() -> Vec<NotifyState<'static>> + Send + 'static) {
        if !self.wanted {
            return;
        }
        let told = off_the_runtime(move || sd_notify::notify(&state())).await;
        if let Some(Err(error)) = told {
            warn!(%error, "the service manager cannot be told: check NOTIFY_SOCKET");
        }
    }
}
