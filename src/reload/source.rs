//! When to read again. Knows no configuration.
//!
//! The files are looked at, not watched: two or three `stat` calls a quarter of a second see every way in which a file
//! can change (written, replaced, a symbolic link above it swapped, on a network's disk too), where inotify needs a watch
//! for each directory and link on the way, and loses them when one is replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::app::off_the_runtime;
use crate::config::Files;

/// The configuration file, what it was last read from, and the signal that asks to read it again.
pub struct Source {
    path: PathBuf,
    files: Files,
    hangups: Signal,
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(250);

impl Source {
    /// The file at `path`, which was read from `files`; `hangups` are SIGHUPs.
    pub fn new(path: PathBuf, files: Files, hangups: Signal) -> Self {
        Self { path, files, hangups }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It has been read again, from these.
    pub(super) fn read(&mut self, files: Files) {
        self.files = files;
    }

    /// Nobody knows from what it was read again: the files that are known do not count until they change once more.
    pub(super) async fn read_in_vain(&mut self) {
        if let Some(now) = self.look().await {
            self.files = now;
        }
    }

    /// Ends when it is to be read again: at once after a SIGHUP, or when a file is another one than was read, and the
    /// same at two looks, so that nobody is about to write it.
    pub(super) async fn changed(&mut self) {
        let mut before = self.files.clone();
        loop {
            tokio::select! {
                Some(()) = self.hangups.recv() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(now) = self.look().await else { continue };
            if now != self.files && now == before {
                return;
            }
            before = now;
        }
    }

    /// The files as they are now; a look that panics has seen nothing.
    async fn look(&self) -> Option<Files> {
        let files = self.files.clone();
        off_the_runtime(move || files.now()).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::signal::unix::{SignalKind, signal};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_file_whose_reading_panicked_is_read_again_when_it_changes_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cupbearer.toml");
        fs::write(&path, "one").unwrap();
        let files = crate::config::read(&path).files;
        let mut source = Source::new(path.clone(), files, signal(SignalKind::hangup()).unwrap());
        fs::write(&path, "another").unwrap();
        timeout(LOOK * 40, source.changed()).await.unwrap();
        source.read_in_vain().await;
        assert!(timeout(LOOK * 4, source.changed()).await.is_err(), "it has not changed since");
        fs::write(&path, "yet another").unwrap();
        timeout(LOOK * 40, source.changed()).await.unwrap();
    }
}
