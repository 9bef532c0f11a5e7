//! The seam between the flows and AWS: one method for each call. What a flow is made of, what a budget counts and what
//! a metric shows lies above it; what a request looks like, below.

use std::future::Future;
use std::pin::Pin;

use secrecy::SecretString;

use crate::model::{Credentials, IdentityId, RoleArn};
use crate::upstream::{Failure, Order};

/// The calls to AWS that exchanges are made of: those of the SDK, or a test's.
///
/// Each method is one request, sent when its future is polled, and never sent again by it.
pub trait Api: Send + Sync {
    /// Whether requests tell when they go onto the wire, which may be some time after the future was first polled.
    fn tells_departures(&self) -> bool {
        false
    }

    /// The identity of the order's user in its identity pool.
    fn get_id<'a>(&'a self, order: &'a Order) -> Calling<'a, IdentityId>;

    /// Credentials in the enhanced flow. `CustomRoleArn` goes along only when the order has a role.
    fn get_credentials<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, Credentials>;

    /// The identity pool's own token for the user: good for ten minutes, and for AssumeRoleWithWebIdentity alone.
    fn get_open_id_token<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, SecretString>;

    /// The role's credentials for the bearer of an identity pool's token.
    fn assume_role_with_web_identity<'a>(
        &'a self,
        order: &'a Order,
        role: &'a RoleArn,
        token: &'a SecretString,
        id: &'a IdentityId,
    ) -> Calling<'a, Credentials>;

    /// The role's credentials for the broker's own identity, in the user's name.
    fn assume_role<'a>(&'a self, order: &'a Order, role: &'a RoleArn) -> Calling<'a, Credentials>;
}

/// A call under way; boxed because it stands behind a trait object.
pub type Calling<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;
