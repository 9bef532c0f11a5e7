//! Whether the budget of calls carries the entries: `limits.entries` against `[upstream]`. Knows no other key.
//!
//! A rate is for each region, and nobody knows in which one the users' entries will be: one region has to carry all of
//! them, which is more than it may be asked where profiles are spread over several.

use std::time::Duration;

use crate::broker::Policy;
use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::Field;
use crate::config::profiles::Profiles;
use crate::config::raw;
use crate::upstream::{Flow, Rates};

/// The rates as typed, each judged by itself.
pub(super) struct Typed {
    get_id: Field<u32>,
    get_credentials_for_identity: Field<u32>,
    get_open_id_token: Field<u32>,
    assume_role: Field<u32>,
    refresh_token: Field<u32>,
}

/// An API that every refresh of some flows calls. GetId is none: its answer is remembered.
struct Carrier<'a> {
    api: &'static str,
    key: &'static str,
    rate: &'a Field<u32>,
    default: u32,
    flows: &'static [Flow],
}

impl Typed {
    pub(super) fn judge(typed: raw::Rates, found: &Found) -> Self {
        Self {
            get_id: typed.get_id.ranged(&RATE, found),
            get_credentials_for_identity: typed.get_credentials_for_identity.ranged(&RATE, found),
            get_open_id_token: typed.get_open_id_token.ranged(&RATE, found),
            assume_role: typed.assume_role.ranged(&RATE, found),
            refresh_token: typed.refresh_token.ranged(&RATE, found),
        }
    }

    pub(super) fn rates(self) -> Rates {
        Rates {
            get_id: self.get_id.or(DEFAULT_RATES.get_id),
            get_credentials_for_identity: self
                .get_credentials_for_identity
                .or(DEFAULT_RATES.get_credentials_for_identity),
            get_open_id_token: self.get_open_id_token.or(DEFAULT_RATES.get_open_id_token),
            assume_role: self.assume_role.or(DEFAULT_RATES.assume_role),
            refresh_token: self.refresh_token.or(DEFAULT_RATES.refresh_token),
        }
    }

    /// The limit of entries: as many as `entries` says, if each API can refresh all of them in time; where it says
    /// nothing, as many as that, up to the default.
    pub(super) fn entries(
        &self,
        entries: &Field<usize>,
        profiles: &Profiles,
        policy: Option<&Policy>,
        found: &Found,
    ) -> usize {
        let Some(policy) = policy else { return DEFAULT_ENTRIES };
        let mut most = DEFAULT_ENTRIES;
        for carrier in self.carriers() {
            let Some(rate) = carrier.rate.sound(carrier.default) else { continue };
            let Some(lifetime) = profiles.shortest_lifetime(carrier.flows) else { continue };
            let latest = policy.latest(lifetime);
            let carried = (f64::from(rate) * latest.as_secs_f64()) as usize;
            most = most.min(carried);
            if let Some(wanted) = entries.as_given().filter(|wanted| **wanted > carried) {
                let needed = *wanted as f64 / latest.as_secs_f64();
                let (api, key, seconds) = (carrier.api, carrier.key, between(policy, lifetime));
                let message = format!(
                    "too many: {wanted} entries need {needed:.1} {api} calls/s ({wanted} / ({seconds})), and \
                     upstream.{key} = {rate} carries {carried}: lower the one or raise the other"
                );
                found.tell(&entries.place, message);
            }
        }
        entries.sound(most).unwrap_or(most)
    }

    fn carriers(&self) -> [Carrier<'_>; 3] {
        let default = DEFAULT_RATES;
        [
            Carrier {
                api: "GetCredentialsForIdentity",
                key: "get_credentials_for_identity_per_second",
                rate: &self.get_credentials_for_identity,
                default: default.get_credentials_for_identity,
                flows: &[Flow::Enhanced],
            },
            Carrier {
                api: "GetOpenIdToken",
                key: "get_open_id_token_per_second",
                rate: &self.get_open_id_token,
                default: default.get_open_id_token,
                flows: &[Flow::Basic],
            },
            Carrier {
                api: "AssumeRole",
                key: "assume_role_per_second",
                rate: &self.assume_role,
                default: default.assume_role,
                flows: &[Flow::Basic, Flow::AssumeRole],
            },
        ]
    }
}

/// How the longest time between two refreshes comes about.
fn between(policy: &Policy, lifetime: Duration) -> String {
    let (seconds, latest) = (lifetime.as_secs(), policy.latest(lifetime));
    if latest < lifetime.mul_f64(policy.latest_at) {
        format!("{seconds} s - {} s that must be left", (lifetime - latest).as_secs())
    } else {
        format!("{} x {seconds} s", policy.latest_at)
    }
}
