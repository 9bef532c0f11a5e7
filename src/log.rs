//! Where the log goes and how much of it. Knows no message.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
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

/// Starts logging to stderr: JSON unless that is a terminal, and `info` unless `filter` says otherwise.
///
/// Whatever the filter says, dependencies log at INFO at most: at TRACE the AWS SDK prints whole requests, with the
/// tokens in them.
///
/// # Errors
/// When `filter` is not a filter.
pub(crate) fn start(format: Option<Format>, filter: Option<&str>) -> Result<(), String> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter.unwrap_or_default())
        .map_err(|error| format!("the log filter is malformed: {error}; an example is \"info,cupbearer=debug\""))?;
    let filter = filter.and(filter_fn(may_be_logged));
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    let started = match format {
        Format::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
        Format::Text => registry.with(lines.with_ansi(terminal).with_target(false).with_filter(filter)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some("cupbearer");
    ours || *metadata.level() <= Level::INFO
}
