//! `cupbearer serve`: the daemon.

use std::future::Future;
use std::path::PathBuf;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::app;
use crate::cli::Failure;
use crate::config::{self, Reading};
use crate::confine;
use crate::reload::Source;

/// With `start_log`, which comes after the process has given up what it never needs.
pub(super) fn run<Log>(file: Option<PathBuf>, start_log: impl FnOnce() -> Result<Log, Failure>) -> Result<(), Failure> {
    let path = config::config_path(file).map_err(|fault| Failure::Usage(fault.to_string()))?;
    let Reading { outcome, files } = config::read(&path);
    let config = outcome.map_err(|faults| Failure::Usage(faults.to_string()))?;
    let confined = confine::to_serve(&config);
    let _log = start_log()?;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    for (variable, place) in config::authorities() {
        info!(variable, place = %place.display(), "certificate authorities for AWS and key sets are taken from the environment");
    }
    confined.tell();
    on_runtime(async {
        // Before anything else: without a handler, the signal would end the program.
        let source = Source::new(path, files, signal(SignalKind::hangup())?);
        let bound = app::bind(config, None).await?.following(source);
        info!(workers = Handle::current().metrics().num_workers(), "serving");
        bound.run(signals()?).await?;
        Ok(())
    })
}

/// How many turns of tasks there are between two looks at the sockets: of tokio's 61, each may be a request, and whoever
/// speaks meanwhile waits for all of them.
const TURNS_A_LOOK: u32 = 8;

/// Runs `work` on a runtime of its own.
pub(super) fn on_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // As many workers as the standard library finds processors, which looks at the control group's quota too.
    let runtime = tokio::runtime::Builder::new_multi_thread().event_interval(TURNS_A_LOOK).enable_all().build()?;
    let done = runtime.block_on(work);
    // What is still running has had its time.
    runtime.shutdown_background();
    done
}

/// SIGTERM and SIGINT, as they come in.
pub(super) fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(2);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    app::forward(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
                else => return,
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
