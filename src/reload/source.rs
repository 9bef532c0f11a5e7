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

    /// Ends when it is to be read again: at once after a SIGHUP, or when a file is another one than was read, and the
    /// same at two looks, so that nobody is about to write it.
    pub(super) async fn changed(&mut self) {
        let mut before = self.files.clone();
        loop {
            tokio::select! {
                Some(()) = self.hangups.recv() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let files = self.files.clone();
            // A look that panics has seen nothing.
            let Some(now) = off_the_runtime(move || files.now()).await else { continue };
            if now != self.files && now == before {
                return;
            }
            before = now;
        }
    }
}
