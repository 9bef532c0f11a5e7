//! The audit log: one JSON object a line for each decision, written off the request's path. Knows no door and no rule.
//!
//! A line that cannot be queued is lost and counted: a full disk or a blocked pipe never holds a request up.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::OFlags;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::warn;

use crate::digest::of_parts;
use crate::metrics::Metrics;

/// What is written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the lines go.
    pub destination: Destination,
    /// Whether subjects are told by their digests alone: one user's lines can be found and counted, and nobody named.
    pub hashed_subjects: bool,
}

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
    /// Ours, which the log and a refusal tell too; counted from the start of the process.
    pub request_id: u64,
    /// The trace that the request belongs to, by its `traceparent` or our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
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
            trace_id: None,
        }
    }
}

/// The end that decisions are told to.
#[derive(Clone)]
pub struct Audit {
    lines: Option<mpsc::Sender<Line>>,
    hashed_subjects: bool,
    metrics: Arc<Metrics>,
}

/// The end that writes; it blocks, and has a thread of its own.
pub struct Writer {
    lines: mpsc::Receiver<Line>,
    metrics: Arc<Metrics>,
    /// The last line may have been cut off: the next one begins with a line break.
    broken: bool,
    out: Out,
}

enum Out {
    Stdout(io::Stdout),
    /// A file, and which one it is on its disk.
    File {
        path: PathBuf,
        file: File,
        place: (u64, u64),
    },
}

/// How many lines may wait to be written.
const QUEUE: usize = 8_192;

/// The longest name that is told, in characters: Cognito's subjects have 36, and what a token or a caller says is not ours to
/// bound.
const NAME_CHARS: usize = 256;

/// The longest reason: AWS's text, and the hint.
const REASON_CHARS: usize = 2_048;

impl Audit {
    /// Both ends, for `config`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(config: &Config, metrics: Arc<Metrics>) -> io::Result<(Self, Writer)> {
        let out = match &config.destination {
            Destination::Stdout => Out::Stdout(io::stdout()),
            Destination::File(path) => Out::file(path.clone())?,
        };
        let (lines, queue) = mpsc::channel(QUEUE);
        let writer = Writer { lines: queue, metrics: Arc::clone(&metrics), broken: false, out };
        Ok((Self { lines: Some(lines), hashed_subjects: config.hashed_subjects, metrics }, writer))
    }

    /// An end that tells nobody.
    pub fn off(metrics: Arc<Metrics>) -> Self {
        Self { lines: None, hashed_subjects: false, metrics }
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Tells one decision; `line` is not even made when nobody is told.
    pub fn tell(&self, line: impl FnOnce() -> Line) {
        let Some(lines) = &self.lines else { return };
        let line = line();
        let line = Line {
            subject: line.subject.map(|subject| self.told(line.issuer.as_deref(), subject)),
            profile: line.profile.map(|profile| cut(profile, NAME_CHARS)),
            aws_request_id: line.aws_request_id.map(|id| cut(id, NAME_CHARS)),
            reason: cut(line.reason, REASON_CHARS),
            ..line
        };
        if lines.try_send(line).is_err() {
            self.metrics.audit_dropped.inc();
        }
    }

    fn told(&self, issuer: Option<&str>, subject: Arc<str>) -> Arc<str> {
        if self.hashed_subjects {
            let digest = of_parts(&[issuer.unwrap_or_default().as_bytes(), subject.as_bytes()]);
            return format!("sha256:{}", URL_SAFE_NO_PAD.encode(digest)).into();
        }
        match subject.char_indices().nth(NAME_CHARS) {
            Some((end, _)) => subject[..end].into(),
            None => subject,
        }
    }
}

/// The first `chars` of `text`, in no more memory than they take: thousands may wait to be written.
fn cut(mut text: String, chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
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
        self.out.write(&text)
    }
}

impl Out {
    fn file(path: PathBuf) -> io::Result<Self> {
        // A pipe that nobody reads would hold the start up.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(&path)?;
        let place = place(&file.metadata()?);
        Ok(Self::File { path, file, place })
    }

    /// Writes to the file that has the name now: one that was renamed, to be rotated, is left, and made anew.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => {
                out.write_all(text)?;
                out.flush()
            }
            Self::File { path, file, place: own } => {
                if fs::metadata(&*path).ok().map(|found| place(&found)) == Some(*own) {
                    return file.write_all(text);
                }
                *self = Self::file(path.clone())?;
                self.write(text)
            }
        }
    }
}

fn place(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(issuer: &str, subject: &str) -> Line {
        let line = Line::empty("2026-01-01T00:00:00Z".to_owned(), "http", "peer".to_owned(), None, 1);
        Line { issuer: Some(issuer.into()), subject: Some(subject.into()), ..line }
    }

    /// What is in the files after each of `lines` was written, the log being renamed before the last one.
    fn written(hashed_subjects: bool, lines: &[Line]) -> (String, String) {
        let place = tempfile::tempdir().unwrap();
        let (path, old) = (place.path().join("audit"), place.path().join("audit.1"));
        let config = Config { destination: Destination::File(path.clone()), hashed_subjects };
        let (audit, mut writer) = Audit::open(&config, Arc::new(Metrics::new("test").unwrap())).unwrap();
        for (number, line) in lines.iter().enumerate() {
            if number == lines.len() - 1 {
                fs::rename(&path, &old).unwrap();
            }
            audit.tell(|| line.clone());
            let line = writer.lines.try_recv().unwrap();
            writer.write(&line).unwrap();
        }
        (fs::read_to_string(old).unwrap(), fs::read_to_string(path).unwrap())
    }

    #[test]
    fn a_renamed_file_is_left_and_made_anew() {
        let (old, new) = written(false, &[line("i", "first"), line("i", "second"), line("i", "third")]);
        assert!(old.contains("first") && old.contains("second") && old.lines().count() == 2, "{old}");
        assert!(new.contains("third") && new.lines().count() == 1, "{new}");
    }

    #[test]
    fn subjects_are_told_as_configured_on_one_line_and_cut() {
        let long = format!("{}\n\u{1b}[31m{}", "ä".repeat(200), "x".repeat(100));
        let (old, _) = written(false, &[line("i", &long), line("i", "end")]);
        assert_eq!(old.lines().count(), 1);
        let told: serde_json::Value = serde_json::from_str(&old).unwrap();
        assert_eq!(told["subject"].as_str().unwrap().chars().count(), NAME_CHARS);
        let (old, new) = written(true, &[line("i", "alice"), line("j", "alice"), line("i", "alice")]);
        assert!(!old.contains("alice") && !new.contains("alice"));
        let subject = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["subject"].clone();
        let subjects: Vec<_> = old.lines().chain(new.lines()).map(subject).collect();
        assert_eq!(subjects[0], subjects[2]);
        assert_ne!(subjects[0], subjects[1], "another issuer's alice is somebody else");
    }
}
