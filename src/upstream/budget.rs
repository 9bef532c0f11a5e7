//! How many calls of each API may be sent.

use crate::clock::Clock;

/// `[upstream]`: the most calls of each API in any second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// GetId.
    pub get_id: u32,
    /// GetCredentialsForIdentity.
    pub get_credentials_for_identity: u32,
    /// GetOpenIdToken.
    pub get_open_id_token: u32,
    /// AssumeRole and AssumeRoleWithWebIdentity together.
    pub assume_role: u32,
    /// GetTokensFromRefreshToken.
    pub refresh_token: u32,
}

/// What is left of the rates, now.
pub struct Budget {
    rates: Rates,
    clock: Clock,
}

impl Budget {
    /// A budget of which nothing is used yet.
    pub fn new(rates: Rates, clock: Clock) -> Self {
        Self { rates, clock }
    }
}
