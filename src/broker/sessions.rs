//! Handles for stock SDKs: one URI per user. Knows no door.

use std::time::Duration;

/// The bounds of `[sessions]`.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Most sessions in all.
    pub all: usize,
    /// Most sessions of one user.
    pub per_subject: usize,
    /// How long a session lives that nobody asks.
    pub idle: Duration,
}
