//! What readers tell the refresher. Knows neither of the two.

use tokio::sync::oneshot;

use crate::broker::entries::{Waiter, Wanted};
use crate::broker::key::Key;
use crate::broker::reload::Reload;
use crate::broker::survey::Survey;
use crate::clock::Expiry;
use crate::secret::CupToken;
use crate::trace::Cause;

/// A wish.
pub(super) enum Wish {
    /// Credentials that were not there.
    Miss(Box<Miss>),
    /// An entry that was thought unused was asked for.
    Nudge(Key),
    /// Another configuration is in force.
    Reload(Box<Reload>),
    /// Drop what is held for these, and say how many entries that were.
    Purge(Selector, oneshot::Sender<usize>),
    /// Say what is held.
    Survey(oneshot::Sender<Survey>),
}

/// Whose entries are dropped by a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Everybody's.
    All,
    /// Those of one app client's tokens.
    Client(String),
    /// One user's.
    Subject {
        /// `iss`
        issuer: String,
        /// `sub`
        subject: String,
    },
}

/// A caller without credentials.
pub(super) struct Miss {
    pub(super) key: Key,
    pub(super) wanted: Wanted,
    pub(super) token: Option<CupToken>,
    pub(super) token_expires: Expiry,
    pub(super) holder: bool,
    pub(super) waiter: Waiter,
    pub(super) cause: Cause,
}
