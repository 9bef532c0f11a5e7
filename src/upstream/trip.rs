//! The calls of one exchange: each counted, timed, and within the budget; tried again at once only if its connection
//! broke. Knows neither the flows' order nor a request's details.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Operation, Result as Outcome};
use crate::model::{Credentials, IdentityId, RoleArn};
use crate::trace;
use crate::upstream::api::Calling;
use crate::upstream::budget::{Places, Quota, Sent};
use crate::upstream::flows::Aws;
use crate::upstream::{Class, Failure, Order, Route, accept, departure};

/// One exchange on its way through its calls.
pub(super) struct Trip<'a> {
    pub(super) aws: &'a Aws,
    pub(super) order: &'a Order,
    /// What was booked for it.
    pub(super) places: &'a Places,
}

/// How often one call may be sent in all, while connections break: with three calls in ten breaking, all five do once
/// in 400 times, so that a cold answer of three calls comes in 99 of 100 cases.
const ATTEMPTS: u32 = 5;

impl<'a> Trip<'a> {
    pub(super) async fn get_id(&self) -> Result<IdentityId, Failure> {
        self.call(Operation::GetId, Quota::GetId, || self.aws.api.get_id(self.order)).await
    }

    pub(super) async fn enhanced(&self, id: IdentityId) -> Result<Credentials, Failure> {
        let operation = Operation::GetCredentialsForIdentity;
        let quota = Quota::GetCredentialsForIdentity;
        self.call(operation, quota, || self.aws.api.get_credentials(self.order, &id)).await
    }

    pub(super) async fn basic(&self, id: IdentityId) -> Result<Credentials, Failure> {
        match self.by_fresh_token(&id).await {
            // The token lives for ten minutes, and a clock may be off by more: one fresh one is worth a try.
            Err(failure) if failure.code == "ExpiredTokenException" => self.by_fresh_token(&id).await,
            done => done,
        }
    }

    pub(super) async fn assume_role(&self) -> Result<Credentials, Failure> {
        let operation = Operation::AssumeRole;
        let role = self.role(operation)?;
        self.call(operation, Quota::AssumeRole, || self.aws.api.assume_role(self.order, role)).await
    }

    async fn by_fresh_token(&self, id: &IdentityId) -> Result<Credentials, Failure> {
        let (api, order) = (&self.aws.api, self.order);
        let operation = Operation::AssumeRoleWithWebIdentity;
        let role = self.role(operation)?;
        let token = self.call(Operation::GetOpenIdToken, Quota::GetOpenIdToken, || api.get_open_id_token(order, id));
        let token = token.await?;
        let assume = || api.assume_role_with_web_identity(order, role, &token, id);
        self.call(operation, Quota::AssumeRole, assume).await
    }

    /// The role to assume. The broker lets no order without one come here in these flows; should one come, it is refused.
    fn role(&self, operation: Operation) -> Result<&'a RoleArn, Failure> {
        let missing = || Failure::ours(Class::Denied, operation, "NoRole", "no role was chosen for this user");
        self.order.role.as_ref().ok_or_else(missing)
    }

    /// Sends one call, and again if its connection breaks. A call that was throttled is never sent again at once.
    async fn call<'b, T>(
        &self,
        operation: Operation,
        quota: Quota,
        call: impl Fn() -> Calling<'b, T>,
    ) -> Result<T, Failure> {
        let (budget, endpoint) = (&self.aws.budget, Route::to(&self.order.target).endpoint(quota));
        let mut attempts = 0;
        loop {
            let sent = budget.send(endpoint.clone(), Some(self.places)).await;
            let sent = sent.map_err(|wait| paused(operation, wait))?;
            let done = self.counted(operation, sent, call()).await;
            attempts += 1;
            let broken = done.as_ref().is_err_and(|failure| failure.broken);
            let again = if broken && attempts < ATTEMPTS { budget.take_retry(&endpoint) } else { None };
            let Some(pause) = again else { return done };
            tokio::time::sleep(pause).await;
        }
    }

    async fn counted<T>(&self, operation: Operation, sent: Sent, call: Calling<'_, T>) -> Result<T, Failure> {
        let metrics = &self.aws.metrics;
        let under_way = metrics.call(operation, &self.aws.clock);
        if !self.aws.api.tells_departures() {
            sent.ticket().departs();
        }
        let traced = trace::Call::begin(operation.as_str());
        let done = departure::told(Arc::clone(sent.ticket()), call).await;
        let outcome = done.as_ref().map_or_else(|failure| Outcome::from(failure.class), |_| Outcome::Ok);
        under_way.ended(outcome);
        let request_id = done.as_ref().err().and_then(|failure| failure.request_id.as_deref());
        traced.end(outcome.as_str(), done.is_err(), request_id);
        if done.as_ref().is_err_and(|failure| failure.code == accept::MISMATCH) {
            metrics.identity_mismatch.inc();
        }
        sent.ended(done.as_ref().err());
        done
    }
}

/// A call that is not sent, since it would have to wait for too long. Nothing is said of the user.
pub(super) fn paused(operation: Operation, wait: Duration) -> Failure {
    let message = format!("not sent: the budget has no room for {} ms", wait.as_millis());
    Failure::ours(Class::Throttled, operation, "NoRoom", message)
}
