//! Where the log goes and how much of it. Knows no message.
//!
//! Lines are written by a thread of their own: a pipe that nobody reads holds no request up, and costs lines, which are
//! counted.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, error};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How many lines may wait to be written.
const QUEUE: usize = 8_192;

/// Counts the lines that were lost. The log is one for the process, as tracing's subscriber is.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// How many lines were lost so far.
pub(crate) fn lost() -> u64 {
    LOST.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Starts logging to stderr, panics included: JSON unless that is a terminal, and `info` unless `filter` says otherwise.
///
/// Whatever the filter says, dependencies log at INFO at most: at TRACE the AWS SDK prints whole requests, with the
/// tokens in them.
///
/// What is returned writes the last lines when it is dropped.
///
/// # Errors
/// When `filter` is not a filter.
pub(crate) fn start(format: Option<Format>, filter: Option<&str>) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter.unwrap_or_default())
        .map_err(|error| format!("the log filter is malformed: {error}; an example is \"info,cupbearer=debug\""))?;
    let filter = filter.and(filter_fn(may_be_logged));
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry();
    let started = match format {
        Format::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
        Format::Text => registry.with(lines.with_ansi(terminal).with_target(false).with_filter(filter)).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(guard)
}

/// Tells where a panic was, as a line like every other. What it said is left out: it may hold anything.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (location, thread) = (panic.location().map(ToString::to_string), thread.name().unwrap_or("unnamed"));
    error!(location, thread, "the program panicked, which is a bug");
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some("cupbearer");
    ours || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::panic::{catch_unwind, set_hook, take_hook};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_panic_is_a_line_of_the_log_without_what_it_said() {
        // The hook is the process's: whatever else panics is told as before.
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            tell_panic(panic);
            before(panic);
        }));
        let written: Arc<File> = Arc::new(tempfile::tempfile().unwrap());
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(Arc::clone(&written)).finish();
        let panicked = tracing::subscriber::with_default(log, || catch_unwind(|| panic!("Canary")));
        assert!(panicked.is_err());
        let mut lines = String::new();
        (&*written).rewind().unwrap();
        (&*written).read_to_string(&mut lines).unwrap();
        let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert!(line["location"].as_str().unwrap().starts_with("src/log.rs:"), "{line}");
        assert!(line["thread"].as_str().unwrap().contains("a_panic_is_a_line"), "{line}");
        assert!(!lines.contains("Canary"), "{line}");
    }
}
