//! `cupbearer wait`: blocks until a broker is ready, and then becomes a program or says so by its exit code.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use url::Url;

use crate::cli::broker::{Asker, below};
use crate::cli::duration::seconds;
use crate::cli::serve::on_runtime;
use crate::cli::terminal::Progress;
use crate::cli::{Failure, replace};
use crate::clock::Clock;

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Where the broker's admin door is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2872")]
    endpoint: String,
    /// How long to wait; 0 asks once.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    timeout: Duration,
    /// The program to become then, and its arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(args: &WaitArgs) -> Result<(), Failure> {
    let url = below(&args.endpoint, "readyz")?;
    on_runtime(ready(&url, args.timeout))?;
    if args.command.is_empty() { Ok(()) } else { Err(replace::with(&args.command, |_| {})) }
}

async fn ready(url: &Url, timeout: Duration) -> Result<(), Failure> {
    let asker = Asker::new();
    let clock = Clock::system();
    let until = clock.now().boot + timeout;
    let mut progress = Progress::new();
    loop {
        let asking = asker.get(url, None);
        let left = until.saturating_sub(clock.now().boot).max(PAUSE);
        let lacking = match tokio::time::timeout(left, asking).await {
            Ok(Ok(answer)) if answer.status == 200 => return Ok(()),
            Ok(Ok(answer)) => waiting_for(&answer.body),
            Ok(Err(error)) => format!("{url} does not answer: {error}"),
            Err(_elapsed) => format!("{url} does not answer"),
        };
        if clock.now().boot + PAUSE > until {
            let seconds = timeout.as_secs_f64();
            return Err(Failure::Failed(format!("not ready after {seconds} s: {lacking}; the broker's log says more")));
        }
        progress.tell(&lacking);
        tokio::time::sleep(PAUSE).await;
    }
}

fn waiting_for(body: &[u8]) -> String {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let names = told["waiting_for"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    match names {
        Some(names) if !names.is_empty() => format!("it waits for {}", names.join(", ")),
        _ => "it does not say what it waits for".to_owned(),
    }
}
