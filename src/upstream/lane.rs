//! What an exchange will take of the budget, as far as that can be told before it begins. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::upstream::budget::{Endpoint, Quota};
use crate::upstream::{Flow, Target};

/// A flow and the regions that it leads through: AWS counts calls by region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    flow: Flow,
    /// Where the identity pool is; empty in the flow that has none.
    pool_region: Arc<str>,
    /// Where STS is asked; empty in the flow that does not.
    sts_region: Arc<str>,
}

/// The calls that an exchange will make: those of its route, with or without GetId before them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The route.
    pub route: Route,
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

/// How many exchanges a second there would be, by route, if everything held were refreshed once in its lifetime.
#[derive(Clone, Debug, Default)]
pub struct Demand(HashMap<Route, u64>);

/// What one entry adds to the demand, in exchanges per 10^9 seconds: whole numbers, so that what was added can be taken
/// away again to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load(u64);

impl Route {
    /// To `target`'s credentials.
    pub fn to(target: &Target) -> Self {
        let (pool, sts) = (target.pool_region().into(), Arc::clone(&target.region));
        let (pool_region, sts_region) = match target.flow {
            Flow::Enhanced => (pool, "".into()),
            Flow::Basic => (pool, sts),
            Flow::AssumeRole => ("".into(), sts),
        };
        Self { flow: target.flow, pool_region, sts_region }
    }

    /// Where `quota` is counted on this route.
    pub(super) fn endpoint(&self, quota: Quota) -> Endpoint {
        let region = if quota == Quota::AssumeRole { &self.sts_region } else { &self.pool_region };
        Endpoint { quota, region: Arc::clone(region) }
    }

    /// The calls of each of its exchanges, in their order.
    pub(super) fn quotas(&self) -> &'static [Quota] {
        match self.flow {
            Flow::Enhanced => &[Quota::GetCredentialsForIdentity],
            Flow::Basic => &[Quota::GetOpenIdToken, Quota::AssumeRole],
            Flow::AssumeRole => &[Quota::AssumeRole],
        }
    }

    fn leads_through(&self, endpoint: &Endpoint) -> bool {
        self.quotas().contains(&endpoint.quota) && self.endpoint(endpoint.quota) == *endpoint
    }
}

impl Lane {
    /// The lane of a user whose IdentityId is known, or not wanted.
    pub fn warm(target: &Target) -> Self {
        Self { route: Route::to(target), needs_id: false }
    }

    /// What it takes, in the order of its calls.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        let id = self.needs_id.then_some(Quota::GetId);
        id.into_iter().chain(self.route.quotas().iter().copied()).map(|quota| self.route.endpoint(quota))
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
    pub fn change(&mut self, route: &Route, old: Load, new: Load) {
        let sum = self.0.entry(route.clone()).or_default();
        *sum = sum.saturating_sub(old.0).saturating_add(new.0);
        if *sum == 0 {
            self.0.remove(route);
        }
    }

    /// Calls a second at `endpoint`.
    pub(super) fn per_second(&self, endpoint: &Endpoint) -> f64 {
        let callers = self.0.iter().filter(|(route, _)| route.leads_through(endpoint));
        callers.map(|(_, sum)| *sum).sum::<u64>() as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(flow: Flow, pool: &str, region: &str) -> Route {
        Route::to(&Target {
            flow,
            identity_pool_id: format!("{pool}:0").into(),
            logins_key: None,
            region: region.into(),
            duration: Duration::from_secs(3_600),
            external_id: None,
        })
    }

    #[test]
    fn demand_is_what_is_held_over_its_lifetime_by_api_and_region() {
        let mut demand = Demand::default();
        let (hour, half) = (Load::of(Duration::from_secs(3_600)), Load::of(Duration::from_secs(1_800)));
        let enhanced = route(Flow::Enhanced, "us-east-1", "eu-west-1");
        for _ in 0..3_600 {
            demand.change(&enhanced, Load::default(), hour);
        }
        let routes = [route(Flow::Basic, "us-east-1", "us-west-2"), route(Flow::AssumeRole, "us-east-1", "us-west-2")];
        routes.iter().for_each(|route| demand.change(route, Load::default(), half));
        let table = [
            (Quota::GetCredentialsForIdentity, "us-east-1", 1.0),
            (Quota::GetCredentialsForIdentity, "eu-west-1", 0.0),
            (Quota::GetOpenIdToken, "us-east-1", 1.0 / 1_800.0),
            (Quota::AssumeRole, "us-west-2", 2.0 / 1_800.0),
            (Quota::AssumeRole, "us-east-1", 0.0),
        ];
        for (quota, region, wanted) in table {
            let found = demand.per_second(&Endpoint { quota, region: region.into() });
            assert!((found - wanted).abs() < 1e-5, "{quota:?} {region}: {found}");
        }
        routes.iter().for_each(|route| demand.change(route, half, Load::default()));
        assert_eq!(demand.0.keys().collect::<Vec<_>>(), [&enhanced], "what is nobody's is forgotten");
    }

    #[test]
    fn calls_are_counted_where_they_are_made() {
        let lane = |flow, needs_id| Lane { route: route(flow, "us-east-1", "eu-west-1"), needs_id };
        let calls = |lane: Lane| lane.endpoints().map(|at| (at.quota, at.region.to_string())).collect::<Vec<_>>();
        let (pool, sts) = ("us-east-1".to_owned(), "eu-west-1".to_owned());
        let id = (Quota::GetId, pool.clone());
        let basic = [(Quota::GetOpenIdToken, pool.clone()), (Quota::AssumeRole, sts.clone())];
        assert_eq!(calls(lane(Flow::Basic, false)), basic);
        assert_eq!(calls(lane(Flow::Basic, true)), [id.clone(), basic[0].clone(), basic[1].clone()]);
        assert_eq!(calls(lane(Flow::Enhanced, true)), [id, (Quota::GetCredentialsForIdentity, pool)]);
        assert_eq!(calls(lane(Flow::AssumeRole, false)), [(Quota::AssumeRole, sts)]);
    }
}
