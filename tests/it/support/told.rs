//! What the program tells of one request: the lines of its log and of its audit log that came since, and no earlier ones.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::daemon::Daemon;

/// A place in both logs.
pub struct Told {
    log: usize,
    audit: usize,
    file: PathBuf,
}

impl Told {
    /// The end of both as they are now; the audit log is at `file`.
    pub fn from_now(daemon: &Daemon, file: &Path) -> Self {
        let file = file.to_owned();
        Self { log: daemon.log().lines().count(), audit: lines(&file, 0).len(), file }
    }

    /// The log's lines since.
    pub fn log(&self, daemon: &Daemon) -> Vec<Value> {
        let log = daemon.log();
        log.lines().skip(self.log).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The audit log's lines since.
    pub fn audit(&self) -> Vec<Value> {
        lines(&self.file, self.audit)
    }

    /// The audit log's lines since, once there are so many.
    pub async fn audited(&self, daemon: &Daemon, count: usize) -> Vec<Value> {
        let found = daemon.wait_for(|_| Some(self.audit()).filter(|lines| lines.len() >= count)).await;
        found.unwrap_or_else(|| panic!("{count} lines were to come: {:?}", self.audit()))
    }

    /// The cause in the log and the reason in the audit log of the first refusal since.
    pub async fn refusal(&self, daemon: &Daemon) -> (String, String) {
        let logged = |daemon: &Daemon| {
            let log = self.log(daemon).into_iter().find(|line| line["message"] == "refused")?;
            Some(log["cause"].as_str()?.to_owned())
        };
        let cause = daemon.wait_for(logged).await.unwrap_or_else(|| panic!("not logged: {:?}", self.log(daemon)));
        let refused = |line: &Value| line["decision"] != "issued";
        let line = daemon.wait_for(|_| self.audit().into_iter().find(refused)).await;
        let line = line.unwrap_or_else(|| panic!("not audited: {:?}", self.audit()));
        (cause, line["reason"].as_str().unwrap().to_owned())
    }
}

/// The hint in a cause; nothing where there is none.
pub fn hinted(cause: &str) -> &str {
    cause.split_once("; hint: ").map_or("", |(_, hint)| hint)
}

/// The whole lines of the file from `first` on.
fn lines(file: &Path, first: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().skip(first).map(|line| serde_json::from_str(line).unwrap()).collect()
}
