//! The audit log: one JSON object a line for each decision, written off the request's path. Knows no door and no rule.
//!
//! A line that cannot be queued is lost and counted: a full disk or a blocked pipe never holds a request up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;
use tracing::warn;

use crate::metrics::Metrics;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0600.
    File(PathBuf),
}

/// One decision. No secret is in it; the subject is personal data, as the log's readers know.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// RFC 3339, whole seconds.
    pub time: String,
    /// `issued`, `denied` or `error`.
    pub decision: &'static str,
    /// Where it was asked.
    pub listener: &'static str,
    /// Who asked, as far as the network knows.
    pub peer: String,
    /// `iss` of a verified token.
    pub issuer: Option<Arc<str>>,
    /// `aud` of a verified token.
    pub client_id: Option<Arc<str>>,
    /// `sub` of a verified token.
    pub subject: Option<Arc<str>>,
    /// The profile that was asked for.
    pub profile: Option<String>,
    /// The profile's flow.
    pub flow: Option<&'static str>,
    /// The role, where it is known.
    pub role_arn: Option<String>,
    /// Why the role, or why not; AWS's text and the hint included.
    pub reason: String,
    /// Names the credentials in AWS's own logs.
    pub access_key_id: Option<String>,
    /// When they end.
    pub expiration: Option<String>,
    /// `hit` or `exchange`.
    pub source: Option<&'static str>,
    /// The request id of AWS's refusal.
    pub aws_request_id: Option<String>,
    /// Ours, for the log's readers to count by.
    pub request_id: u64,
}

impl Line {
    /// A line that says when and where, and nothing yet of the decision.
    pub fn empty(time: String, listener: &'static str, peer: String, profile: Option<String>, request_id: u64) -> Self {
        Self {
            time,
            decision: "error",
            listener,
            peer,
            issuer: None,
            client_id: None,
            subject: None,
            profile,
            flow: None,
            role_arn: None,
            reason: String::new(),
            access_key_id: None,
            expiration: None,
            source: None,
            aws_request_id: None,
            request_id,
        }
    }
}

/// The end that decisions are told to.
#[derive(Clone)]
pub struct Audit {
    lines: Option<mpsc::Sender<Line>>,
    metrics: Arc<Metrics>,
}

/// The end that writes; it blocks, and has a thread of its own.
pub struct Writer {
    lines: mpsc::Receiver<Line>,
    metrics: Arc<Metrics>,
    /// The last line may have been cut off: the next one begins with a line break.
    broken: bool,
    out: Box<dyn Write + Send>,
}

/// How many lines may wait to be written.
const QUEUE: usize = 8_192;

impl Audit {
    /// Both ends, for `destination`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(destination: &Destination, metrics: Arc<Metrics>) -> io::Result<(Self, Writer)> {
        let out: Box<dyn Write + Send> = match destination {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(append(path)?),
        };
        let (lines, queue) = mpsc::channel(QUEUE);
        let writer = Writer { lines: queue, metrics: Arc::clone(&metrics), broken: false, out };
        Ok((Self { lines: Some(lines), metrics }, writer))
    }

    /// An end that tells nobody.
    pub fn off(metrics: Arc<Metrics>) -> Self {
        Self { lines: None, metrics }
    }

    /// Tells one decision; `line` is not even made when nobody is told.
    pub fn tell(&self, line: impl FnOnce() -> Line) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(line()).is_err() {
            self.metrics.audit_dropped.inc();
        }
    }
}

impl Writer {
    /// Writes until the last teller is gone; blocks.
    pub fn run(mut self) {
        while let Some(line) = self.lines.blocking_recv() {
            let done = self.write(&line);
            if let Err(error) = &done {
                self.metrics.audit_dropped.inc();
                if !self.broken {
                    warn!(%error, "the audit log cannot be written; lines are lost until it can");
                }
            }
            self.broken = done.is_err();
        }
    }

    /// One write for one line, so that lines of two processes do not mix.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = if self.broken { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.out.flush()
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
