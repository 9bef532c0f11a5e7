//! The audit log: one line for each decision, written off the request's path. Knows no door and no decision.

use std::path::PathBuf;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}
