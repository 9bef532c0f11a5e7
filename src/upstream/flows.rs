//! The three flows from a login to credentials. Knows no request's details.

use std::future::Future;
use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;

use crate::clock::Clock;
use crate::error::chain;
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::model::{Credentials, IdentityId, RoleArn};
use crate::upstream::api::{Api, Calling};
use crate::upstream::budget::Budget;
use crate::upstream::calls::Calls;
use crate::upstream::clients::{Clients, Config};
use crate::upstream::identities::{self, Identities};
use crate::upstream::{Class, Exchange, Exchanging, Failure, Flow, Order, accept};

/// Cognito identity pools and STS.
pub struct Aws {
    api: Arc<dyn Api>,
    identities: Identities,
    budget: Arc<Budget>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Tells who the broker itself is.
    sts: Option<aws_sdk_sts::Client>,
}

impl Aws {
    /// The SDK's clients for all regions. Nothing is called yet, except to find the broker's own identity where it is
    /// needed and `own` does not give it.
    pub async fn new(
        config: &Config,
        own: Option<SharedCredentialsProvider>,
        budget: Arc<Budget>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let clients = Clients::new(config, own).await;
        let sts = clients.sts.values().next().cloned();
        let calls = Calls { clients, clock: clock.clone() };
        Self { sts, ..Self::over(Arc::new(calls), budget, clock, metrics) }
    }

    /// The flows over any `api`, each call of which is counted by `budget` and `metrics`.
    pub fn over(api: Arc<dyn Api>, budget: Arc<Budget>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { api, identities: Identities::new(), budget, clock, metrics, sts: None }
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

    async fn flow(&self, order: &Order) -> Result<Credentials, Failure> {
        match order.target.flow {
            Flow::Enhanced => self.with_identity(order, |id| self.enhanced(order, id)).await,
            Flow::Basic => self.with_identity(order, |id| self.basic(order, id)).await,
            Flow::AssumeRole => self.assume_role(order).await,
        }
    }

    /// A remembered identity is tried first. When Cognito refuses it, or answers for another one, it is forgotten and
    /// asked for once more: a pool may have been made anew, or identities merged, behind our back.
    async fn with_identity<F, E>(&self, order: &Order, exchange: F) -> Result<Credentials, Failure>
    where
        F: Fn(IdentityId) -> E,
        E: Future<Output = Result<Credentials, Failure>>,
    {
        let user = identities::user(order);
        if let Some(id) = self.identities.get(&user) {
            match exchange(id).await {
                Err(failure) if blames_identity(&failure) => self.identities.forget(&user),
                done => return done,
            }
        }
        let id = self.measured(Operation::GetId, self.api.get_id(order)).await?;
        self.identities.keep(user, id.clone());
        let done = exchange(id).await;
        if done.as_ref().is_err_and(blames_identity) {
            self.identities.forget(&user);
        }
        done
    }

    async fn enhanced(&self, order: &Order, id: IdentityId) -> Result<Credentials, Failure> {
        self.measured(Operation::GetCredentialsForIdentity, self.api.get_credentials(order, &id)).await
    }

    async fn basic(&self, order: &Order, id: IdentityId) -> Result<Credentials, Failure> {
        match self.by_fresh_token(order, &id).await {
            // The token lives for ten minutes, and a clock may be off by more: one fresh one is worth a try.
            Err(failure) if failure.code == "ExpiredTokenException" => self.by_fresh_token(order, &id).await,
            done => done,
        }
    }

    async fn by_fresh_token(&self, order: &Order, id: &IdentityId) -> Result<Credentials, Failure> {
        let operation = Operation::AssumeRoleWithWebIdentity;
        let role = role(order, operation)?;
        let token = self.measured(Operation::GetOpenIdToken, self.api.get_open_id_token(order, id)).await?;
        self.measured(operation, self.api.assume_role_with_web_identity(order, role, &token, id)).await
    }

    async fn assume_role(&self, order: &Order) -> Result<Credentials, Failure> {
        let operation = Operation::AssumeRole;
        self.measured(operation, self.api.assume_role(order, role(order, operation)?)).await
    }

    async fn measured<T>(&self, operation: Operation, call: Calling<'_, T>) -> Result<T, Failure> {
        let under_way = self.metrics.call(operation, &self.clock);
        let done = call.await;
        under_way.ended(done.as_ref().map_or_else(|failure| Outcome::from(failure.class), |_| Outcome::Ok));
        if done.as_ref().is_err_and(|failure| failure.code == accept::MISMATCH) {
            self.metrics.identity_mismatch.inc();
        }
        done
    }
}

impl Exchange for Aws {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(self.flow(order))
    }
}

/// STS knows no identity of Cognito's; only Cognito's own refusals can mean that it is the wrong one.
fn blames_identity(failure: &Failure) -> bool {
    let cognito = matches!(failure.operation, Operation::GetCredentialsForIdentity | Operation::GetOpenIdToken);
    cognito && (failure.is_terminal() || failure.code == accept::MISMATCH)
}

/// The role to assume. The broker lets no order without one come here in these flows; should one come, it is refused.
fn role(order: &Order, operation: Operation) -> Result<&RoleArn, Failure> {
    let missing = || Failure::ours(Class::Denied, operation, "NoRole", "no role was chosen for this user");
    order.role.as_ref().ok_or_else(missing)
}
