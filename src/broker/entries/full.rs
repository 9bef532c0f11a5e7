//! Why there is no room for one more entry, and what its caller is told.

use crate::error::{Error, Kind};

/// Why there is no room for one more entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Full {
    /// The user has as many as one may have.
    Subject,
    /// The broker has as many as it may have.
    All,
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        match full {
            Full::Subject => {
                Self::new(Kind::TooManyRequests, "this user has limits.entries_per_subject exchanges under way")
            }
            Full::All => Self::new(Kind::UpstreamUnavailable, "limits.entries exchanges are under way: raise it"),
        }
    }
}
