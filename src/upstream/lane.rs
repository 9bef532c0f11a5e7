//! What an exchange will take of the budget, as far as that can be told before it begins. Pure.

use std::time::Duration;

use crate::upstream::Flow;
use crate::upstream::budget::Quota;

/// The calls that an exchange will make: those of its flow, with or without GetId before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The flow.
    pub flow: Flow,
    /// Whether the user's IdentityId is wanted and not known yet.
    pub needs_id: bool,
}

/// For whom a new exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// For a caller without credentials.
    Foreground,
    /// For nobody who waits.
    Background,
}

/// How many exchanges a second there would be, by flow, if everything held were refreshed once in its lifetime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand([u64; 3]);

/// What one entry adds to the demand, in exchanges per 10^9 seconds: whole numbers, so that what was added can be taken
/// away again to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load(u64);

impl Flow {
    /// All flows.
    pub const ALL: [Self; 3] = [Self::Enhanced, Self::Basic, Self::AssumeRole];
}

impl Lane {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// The lane of a user whose IdentityId is known, or not wanted.
    pub fn warm(flow: Flow) -> Self {
        Self { flow, needs_id: false }
    }

    /// A number of its own, below [`Lane::COUNT`].
    pub fn index(self) -> usize {
        self.flow as usize * 2 + usize::from(self.needs_id)
    }

    /// What is booked for it.
    pub(super) fn quotas(self) -> &'static [Quota] {
        match (self.flow, self.needs_id) {
            (Flow::Enhanced, false) => &[Quota::GetCredentialsForIdentity],
            (Flow::Enhanced, true) => &[Quota::GetId, Quota::GetCredentialsForIdentity],
            (Flow::Basic, false) => &[Quota::GetOpenIdToken, Quota::AssumeRole],
            (Flow::Basic, true) => &[Quota::GetId, Quota::GetOpenIdToken, Quota::AssumeRole],
            (Flow::AssumeRole, _) => &[Quota::AssumeRole],
        }
    }
}

impl Load {
    /// Of one entry whose credentials live for `lifetime`.
    pub fn of(lifetime: Duration) -> Self {
        let nanos = lifetime.max(Duration::from_secs(1)).as_nanos();
        Self(u64::try_from(1_000_000_000_000_000_000 / nanos).unwrap_or(u64::MAX))
    }
}

impl Demand {
    /// Puts `new` in the place of `old`.
    pub fn change(&mut self, flow: Flow, old: Load, new: Load) {
        let sum = &mut self.0[flow as usize];
        *sum = sum.saturating_sub(old.0).saturating_add(new.0);
    }

    /// Exchanges of `flow` a second.
    pub fn per_second(&self, flow: Flow) -> f64 {
        self.0[flow as usize] as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_lane_has_its_number() {
        let lanes = Flow::ALL.into_iter().flat_map(|flow| [false, true].map(|needs_id| Lane { flow, needs_id }));
        let numbers: HashSet<_> = lanes.map(Lane::index).collect();
        assert_eq!(numbers, (0..Lane::COUNT).collect());
    }

    #[test]
    fn demand_is_what_is_held_over_its_lifetime() {
        let mut demand = Demand::default();
        let (hour, half) = (Load::of(Duration::from_secs(3_600)), Load::of(Duration::from_secs(1_800)));
        for _ in 0..3_600 {
            demand.change(Flow::Enhanced, Load::default(), hour);
        }
        demand.change(Flow::AssumeRole, Load::default(), half);
        assert!((demand.per_second(Flow::Enhanced) - 1.0).abs() < 1e-5);
        assert!((demand.per_second(Flow::AssumeRole) - 1.0 / 1_800.0).abs() < 1e-8);
        demand.change(Flow::AssumeRole, half, Load::default());
        assert_eq!((demand.per_second(Flow::AssumeRole), demand.per_second(Flow::Basic)), (0.0, 0.0));
    }
}
