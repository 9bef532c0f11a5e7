//! What is in force where the file says nothing, and the bounds of what it may say. Knows no file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::broker::Floods;
use crate::config::roles::{Kind, Resolution};
use crate::upstream::{Flow, Rates};

pub(super) const DEFAULT_HTTP: SocketAddr = local(2870);
pub(super) const DEFAULT_GRPC: SocketAddr = local(2871);
pub(super) const DEFAULT_ADMIN: SocketAddr = local(2872);
pub(super) const DEFAULT_DRAIN_SECONDS: u64 = 10;

/// What stands before the region in the two issuers that Cognito documents for a user pool, and what after it. Where
/// AWS has another domain, `issuers` must be set.
pub(super) const DEFAULT_ISSUER_SERVICES: [&str; 2] = ["cognito-idp", "issuer-cognito-idp"];
pub(super) const DEFAULT_ISSUER_DOMAIN: &str = "amazonaws.com";
/// What is added to a user pool's first issuer.
pub(super) const DEFAULT_JWKS_PATH: &str = "/.well-known/jwks.json";

pub(super) const DEFAULT_FLOW: Flow = Flow::Enhanced;
/// Also what the enhanced flow has, whatever one may want.
pub(super) const DEFAULT_DURATION_SECONDS: u64 = 3600;
pub(super) const DEFAULT_SESSION_NAME: &str = "{{sub}}";
pub(super) const DEFAULT_MAPPING: Kind = Kind::Token;
pub(super) const DEFAULT_AMBIGUOUS: Resolution = Resolution::Deny;
pub(super) const DEFAULT_PREFERRED_MUST_BE_LISTED: bool = true;

pub(super) const DEFAULT_AT: f64 = 0.333;
pub(super) const DEFAULT_JITTER: f64 = 0.1;
pub(super) const DEFAULT_LATEST_AT: f64 = 0.6;
pub(super) const DEFAULT_MIN_REMAINING_SECONDS: u64 = 1200;

pub(super) const DEFAULT_COLD_HOLD_MS: u64 = 900;
pub(super) const DEFAULT_EXCHANGE_TIMEOUT_MS: u64 = 5000;
/// As many as this, if the budget carries them.
pub(super) const DEFAULT_ENTRIES: usize = 100_000;
pub(super) const DEFAULT_ENTRIES_PER_SUBJECT: usize = 32;
/// More than any honest caller meets.
pub(super) const DEFAULT_FLOODS: Floods = Floods { misses_per_subject: 10, failures_per_peer: 50 };
pub(super) const DEFAULT_CONNECTIONS: usize = 10_000;
pub(super) const DEFAULT_TOKEN_BYTES: usize = 16_384;
pub(super) const DEFAULT_HEADER_BYTES: usize = 32_768;
pub(super) const DEFAULT_CONCURRENCY: usize = 64;
/// Fractions of an account's quotas, which all its brokers share.
pub(super) const DEFAULT_RATES: Rates =
    Rates { get_id: 5, get_credentials_for_identity: 20, get_open_id_token: 20, assume_role: 20, refresh_token: 10 };

pub(super) const DEFAULT_SESSIONS: usize = 10_000;
pub(super) const DEFAULT_SESSIONS_PER_SUBJECT: usize = 32;
pub(super) const DEFAULT_IDLE_SECONDS: u64 = 3600;

/// The addresses beside loopback that SDKs call over plain http (AWS SDKs and Tools Reference Guide, "Container
/// credential provider"): of ECS, and of EKS Pod Identity.
pub(super) const LINK_LOCAL: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

pub(super) const DRAIN_SECONDS: RangeInclusive<u64> = 0..=3600;
/// Of users and groups: the last one means none (chown(2)).
pub(super) const IDS: RangeInclusive<u32> = 0..=u32::MAX - 1;
/// Twelve hours: no credentials live longer.
pub(super) const MIN_REMAINING_SECONDS: RangeInclusive<u64> = 0..=43_200;
pub(super) const JITTER: RangeInclusive<f64> = 0.0..=0.3;
/// A refresh later than this leaves no time for a second try.
pub(super) const LATEST_AT_MOST: f64 = 0.9;
pub(super) const COLD_HOLD_MS: RangeInclusive<u64> = 1..=10_000;
pub(super) const EXCHANGE_TIMEOUT_MS: RangeInclusive<u64> = 1..=60_000;
pub(super) const ENTRIES: RangeInclusive<usize> = 1..=10_000_000;
pub(super) const ENTRIES_PER_SUBJECT: RangeInclusive<usize> = 1..=10_000;
pub(super) const FLOOD: RangeInclusive<u32> = 1..=1_000_000;
pub(super) const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;
pub(super) const TOKEN_BYTES: RangeInclusive<usize> = 256..=524_288;
/// From the smallest buffer that the HTTP/1 parser takes.
pub(super) const HEADER_BYTES: RangeInclusive<usize> = 8192..=1_048_576;
/// The highest quota that AWS has by default for any of the calls is 600.
pub(super) const RATE: RangeInclusive<u32> = 1..=10_000;
pub(super) const CONCURRENCY: RangeInclusive<usize> = 1..=1024;
pub(super) const SESSIONS: RangeInclusive<usize> = 1..=1_000_000;
pub(super) const SESSIONS_PER_SUBJECT: RangeInclusive<usize> = 1..=10_000;
pub(super) const IDLE_SECONDS: RangeInclusive<u64> = 60..=86_400;
/// What STS takes; a role's own maximum may be lower (AWS Security Token Service API Reference, AssumeRole).
pub(super) const DURATION_SECONDS: RangeInclusive<u64> = 900..=43_200;
/// What Cognito takes (GroupType), and so what a user pool's groups can have.
pub(super) const PRECEDENCE: RangeInclusive<u32> = 0..=2_147_483_647;

/// Which part of the requests that come without a decision of their own is traced.
pub(super) const DEFAULT_SAMPLE_RATIO: f64 = 1.0;
pub(super) const SAMPLE_RATIO: RangeInclusive<f64> = 0.0..=1.0;

/// How `audit.subject` may be told: as it is, or by its digest.
pub(super) const AUDIT_SUBJECTS: &[(&str, bool)] = &[("plain", false), ("hashed", true)];

/// Time for one trade of a refresh token. No key of the file: nobody waits for it as long, and cutting it loses the token.
pub(super) const TRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many entries there are for one remembered verdict on a token. A verdict weighs about as much as an entry without
/// one (4 KiB); a token whose verdict was dropped is verified once more, which takes some ten microseconds.
pub(super) const ENTRIES_PER_VERDICT: usize = 4;
/// However few the entries.
pub(super) const LEAST_VERDICTS: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
