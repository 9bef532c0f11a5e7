//! The three flows from a login to credentials. Knows no request's details.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;

use crate::clock::Clock;
use crate::digest::Digest;
use crate::error::chain;
use crate::metrics::{Metrics, Operation};
use crate::model::{Credentials, IdentityId};
use crate::upstream::api::Api;
use crate::upstream::budget::{Budget, Places};
use crate::upstream::calls::Calls;
use crate::upstream::clients::{Clients, Config};
use crate::upstream::identities::{self, Identities};
use crate::upstream::refused::Refused;
use crate::upstream::trip::Trip;
use crate::upstream::{Demand, Exchange, Exchanging, Failure, Flight, Flow, Lane, Order, Rank, Route, accept};

/// Cognito identity pools and STS.
pub struct Aws {
    pub(super) api: Arc<dyn Api>,
    identities: Arc<Identities>,
    refused: Refused,
    pub(super) budget: Arc<Budget>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Tells who the broker itself is.
    sts: Option<aws_sdk_sts::Client>,
}

impl Aws {
    /// The SDK's clients for all regions. Nothing is called yet, except to find the broker's own identity where it is
    /// needed and `own` does not give it. `identities` are those that are known already.
    pub async fn new(
        config: &Config,
        own: Option<SharedCredentialsProvider>,
        identities: Arc<Identities>,
        budget: Arc<Budget>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let clients = Clients::new(config, own).await;
        let sts = clients.sts.values().next().cloned();
        let calls = Calls { clients, clock: clock.clone() };
        Self { sts, identities, ..Self::over(Arc::new(calls), budget, clock, metrics) }
    }

    /// The flows over any `api`, each call of which is counted by `budget` and `metrics`.
    pub fn over(api: Arc<dyn Api>, budget: Arc<Budget>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let identities = Arc::new(Identities::in_memory());
        Self { api, identities, refused: Refused::nobody(), budget, clock, metrics, sts: None }
    }

    /// Whether the broker's own identity is a role, so that assuming another one is role chaining, which AWS limits to
    /// an hour (AssumeRole, "DurationSeconds").
    ///
    /// # Errors
    /// With what went wrong, when STS does not tell.
    pub async fn chains_roles(&self) -> Result<bool, String> {
        let Some(sts) = &self.sts else { return Ok(false) };
        let answer = sts.get_caller_identity().send().await;
        let answer = answer.map_err(|error| chain(&error))?;
        Ok(answer.arn().is_some_and(|arn| arn.contains(":assumed-role/")))
    }

    async fn flow(&self, order: &Order, places: &Places) -> Result<Credentials, Failure> {
        let trip = Trip { aws: self, order, places };
        match order.target.flow {
            Flow::Enhanced => self.with_identity(&trip, |id| trip.enhanced(id)).await,
            Flow::Basic => self.with_identity(&trip, |id| trip.basic(id)).await,
            Flow::AssumeRole => trip.assume_role().await,
        }
    }

    /// A remembered identity is tried first. When Cognito refuses it, or answers for another one, it is asked for once
    /// more: a pool may have been made anew, or identities merged, behind our back. When Cognito stands by it, the refusal
    /// is the user's own, and the identity is kept.
    async fn with_identity<F, E>(&self, trip: &Trip<'_>, exchange: F) -> Result<Credentials, Failure>
    where
        F: Fn(IdentityId) -> E,
        E: Future<Output = Result<Credentials, Failure>>,
    {
        let user = identities::user(trip.order);
        let known = self.identities.get(&user);
        let mut first = None;
        if let Some(id) = &known {
            match exchange(id.clone()).await {
                Err(failure) if self.is_in_doubt(&user, &failure) => first = Some(failure),
                done => return done,
            }
        }
        let id = trip.get_id().await.inspect_err(|failure| self.note_refusal(&user, failure))?;
        self.identities.keep(user, id.clone());
        let confirmed = known.as_ref() == Some(&id);
        let done = match first {
            Some(failure) if confirmed => Err(failure),
            _ => exchange(id).await,
        };
        done.inspect_err(|failure| self.note_refusal(&user, failure))
    }

    /// Whether `failure` may be the fault of the identity that was tried.
    fn is_in_doubt(&self, user: &Digest, failure: &Failure) -> bool {
        let refused = is_refused(failure) && !self.refused.is_recent(user, self.clock.now().boot);
        refused || is_mismatched(failure)
    }

    /// Notes what a failure says of `user`, after GetId was asked.
    fn note_refusal(&self, user: &Digest, failure: &Failure) {
        if is_mismatched(failure) {
            self.identities.forget(user);
        } else if is_refused(failure) {
            self.refused.note(*user, self.clock.now().boot);
        }
    }
}

impl Exchange for Aws {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(async move { self.flow(order, &Places::none(&self.budget)).await })
    }

    fn lane(&self, order: &Order) -> Lane {
        let wants_id = order.target.flow != Flow::AssumeRole;
        let needs_id = wants_id && self.identities.get(&identities::user(order)).is_none();
        Lane { needs_id, ..Lane::warm(&order.target) }
    }

    fn begin(self: Arc<Self>, order: Order, rank: Rank) -> Result<Flight, Duration> {
        let places = self.budget.book(self.lane(&order), rank)?;
        Ok(Box::pin(async move { self.flow(&order, &places).await }))
    }

    fn crowding(&self, route: &Route, demand: &Demand) -> f64 {
        self.budget.crowding(route, demand)
    }
}

/// STS knows no identity of Cognito's; only Cognito's own refusals can mean that it is the wrong one.
fn is_refused(failure: &Failure) -> bool {
    let sts = matches!(failure.operation, Operation::AssumeRole | Operation::AssumeRoleWithWebIdentity);
    !sts && failure.is_terminal()
}

fn is_mismatched(failure: &Failure) -> bool {
    failure.code == accept::MISMATCH
}
