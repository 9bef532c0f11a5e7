//! What can be wrong with the identity map's file, and what becomes of one that is of no use.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::{fs, io};

use redb::Error;
use tracing::warn;

use crate::error::chain;

/// How many files may stand aside; the last one is replaced by each further one.
pub(super) const ASIDE: u32 = 9;

/// Why a file is of no use.
pub(super) enum Fault {
    /// What is in it: torn, too large, or not ours.
    Content(String),
    /// The system refuses: its disk is full, say, which says nothing of what is in the file.
    System(String),
}

/// Does `work` on the store. A panic of the store, which a file that was tampered with may bring about, is a fault like
/// any other.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| Fault::of(&error)),
        Err(_panic) => Err(Fault::Content("the store panicked over it".to_owned())),
    }
}

/// Does `attempt` on the file at `path`, and once more on a new one, should what is in it be of no use.
pub(super) fn or_anew<T>(path: &Path, attempt: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    attempt().or_else(|fault| {
        fault.set_aside(path)?;
        attempt()
    })
}

impl Fault {
    fn of(error: &Error) -> Self {
        let system = match error {
            // A file that is not one of the store's is an error of this kind too.
            Error::Io(error) => !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch | Error::Backend(_) | Error::PreviousIo => true,
            _ => false,
        };
        if system { Self::System(chain(error)) } else { Self::Content(chain(error)) }
    }

    /// Sets the file aside that has this fault.
    ///
    /// # Errors
    /// With the fault itself, if it is the system's, which says nothing of the file.
    pub(super) fn set_aside(self, path: &Path) -> Result<(), Self> {
        match self {
            Self::Content(cause) => set_aside(path, &cause).map_err(|error| Self::System(error.to_string())),
            Self::System(_) => Err(self),
        }
    }

    pub(super) fn cause(self) -> String {
        match self {
            Self::Content(cause) | Self::System(cause) => cause,
        }
    }
}

/// Renames the file that is of no use, so that somebody may look at it.
fn set_aside(path: &Path, cause: &str) -> io::Result<()> {
    let name = |number| path.with_extension(format!("redb.aside-{number}"));
    let free = (1..ASIDE).map(name).find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = free.unwrap_or_else(|| name(ASIDE));
    fs::rename(path, &aside)?;
    let (path, aside) = (path.display(), aside.display());
    warn!(%path, %aside, cause, "the identity map cannot be read: it is set aside, and a new one begun");
    Ok(())
}
