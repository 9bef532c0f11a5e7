//! The doors: bytes in, a question to the broker, bytes out. Knows no AWS type and decides nothing.

use std::net::SocketAddr;
use std::time::Duration;

/// Where the doors are and how much may come in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP door; port 0 takes any free one.
    pub http: SocketAddr,
    /// The gRPC door.
    pub grpc: SocketAddr,
    /// The admin door.
    pub admin: SocketAddr,
    /// Bounds.
    pub limits: Limits,
    /// How long an HTTP caller is held for an answer that is not there yet.
    pub cold_hold: Duration,
    /// The same for a gRPC caller who sets no deadline of its own, or a later one.
    pub longest_hold: Duration,
    /// How long serving goes on after SIGTERM.
    pub drain: Duration,
}

/// What one caller may send and how many callers there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of the HTTP and the gRPC door together.
    pub connections: usize,
    /// All headers of one request, names and values, in bytes.
    pub header_bytes: usize,
}
