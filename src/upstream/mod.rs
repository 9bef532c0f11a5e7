//! The exchange of a login for credentials: the AWS SDK, and nowhere else. Knows no cache and no door.
//!
//! Three flows ([`flows`]) are made of five calls ([`api`], of which [`calls`] is the SDK's side), whose replies are
//! taken apart with suspicion ([`accept`]). Every call goes through the [`budget`]. The SDK's own retries are off: what
//! is tried again is tried again by us and counted by the budget, so that two layers cannot multiply.
//! Its errors become [`Failure`]s at the border ([`classify`]) and are told apart by kind from there on.

mod accept;
mod api;
mod bounded;
mod budget;
mod calls;
mod classify;
mod clients;
mod connections;
mod departure;
mod flows;
mod hints;
mod iam;
mod identities;
mod inspect;
mod lane;
mod refused;
mod store;
mod trip;
mod user_pools;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::{Digest, of_parts};
use crate::metrics::Operation;
use crate::model::{Credentials, RoleArn};
use crate::secret::CupToken;

pub use api::{Api, Calling};
pub use budget::{Budget, Quota, Rates};
pub use clients::Config;
pub use flows::Aws;
pub use iam::{RoleFault, RoleInspector};
pub use identities::{Identities, Writer};
pub use inspect::PoolInspector;
pub use lane::{Demand, Lane, Load, Rank, Route};
pub use store::StoreError;
pub use user_pools::{AppClient, AwsUserPools, Tokens, UserPools, UserPoolsConfig};

/// The seam between the broker and AWS: one method and, for who has a budget, three more, so that the core can be
/// tested without either.
pub trait Exchange: Send + Sync + 'static {
    /// Trades the order's login for credentials.
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a>;

    /// Which calls an exchange would take now.
    fn lane(&self, order: &Order) -> Lane {
        Lane::warm(&order.target)
    }

    /// Begins an exchange, if there is room in the budget for all its calls.
    ///
    /// # Errors
    /// With the boot time before which it is of no use to ask again.
    fn begin(self: Arc<Self>, order: Order, _rank: Rank) -> Result<Flight, Duration> {
        Ok(Box::pin(async move { self.exchange(&order).await }))
    }

    /// The part of a lifetime that the budget takes to refresh all that `demand` stands for, as far as it goes the way
    /// of `route`.
    fn crowding(&self, _route: &Route, _demand: &Demand) -> f64 {
        0.0
    }
}

/// An exchange under way, with its places in the budget.
pub type Flight = Pin<Box<dyn Future<Output = Result<Credentials, Failure>> + Send>>;

/// A future that is boxed because it stands behind a trait object.
pub type Exchanging<'a> = Pin<Box<dyn Future<Output = Result<Credentials, Failure>> + Send + 'a>>;

/// One exchange: whose login, where, for which role.
#[derive(Clone, Debug)]
pub struct Order {
    /// How and where to ask.
    pub target: Arc<Target>,
    /// The login's issuer; empty for a guest.
    pub issuer: Arc<str>,
    /// The login's subject, or the handle by which a guest is known.
    pub subject: Arc<str>,
    /// The login itself; a guest has none.
    pub token: Option<CupToken>,
    /// In the enhanced flow the role that was asked for, if one was; in the others the role to assume.
    pub role: Option<RoleArn>,
    /// What the session of an assumed role is to be like.
    pub session: Arc<Session>,
}

/// Where a profile's credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which calls.
    pub flow: Flow,
    /// `REGION:GUID`; empty in the flow that needs none.
    pub identity_pool_id: Arc<str>,
    /// The key of the `Logins` map; without one, the issuer without its scheme.
    pub logins_key: Option<Arc<str>>,
    /// The region of STS.
    pub region: Arc<str>,
    /// How long an assumed role's credentials are to live.
    pub duration: Duration,
    /// What the role's trust policy may want to hear from a third party (AssumeRole's `ExternalId`).
    pub external_id: Option<String>,
}

/// The ways from a login to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flow {
    /// GetId, GetCredentialsForIdentity: Cognito chooses, or confirms, the role.
    Enhanced,
    /// GetId, GetOpenIdToken, AssumeRoleWithWebIdentity: we choose the role.
    Basic,
    /// AssumeRole as the broker's own identity: we choose the role.
    AssumeRole,
}

/// The session of an assumed role. Part of the cache's key: whoever shares it shares all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// `RoleSessionName`.
    pub name: String,
    /// `SourceIdentity`.
    pub source_identity: Option<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The tags' keys that go on when roles are chained.
    pub transitive_tag_keys: Vec<String>,
    /// The session policy, as JSON.
    pub policy: Option<String>,
    /// Managed session policies.
    pub policy_arns: Vec<String>,
}

/// Why an exchange brought no credentials.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it means for the next try.
    pub class: Class,
    /// The call that failed.
    pub operation: Operation,
    /// AWS's error code, or ours.
    pub code: String,
    /// AWS's message, or ours: cut short, on one line, without the token.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
    /// What the operator should look at.
    pub hint: Option<&'static str>,
    /// AWS wants nothing of this API before so much time has passed.
    pub retry_after: Option<Duration>,
    /// The connection broke, so that the same call may well succeed at once.
    pub broken: bool,
}

/// The four kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// AWS refuses: trying again with the same input is of no use.
    Denied,
    /// AWS is asked too often.
    Throttled,
    /// AWS cannot be reached or is broken.
    Unavailable,
    /// AWS's reply makes no sense and must not be stored.
    Invalid,
}

/// How long Cognito's own credentials live; no other time can be asked for (Developer Guide, "Enhanced flow").
const ENHANCED_LIFETIME: Duration = Duration::from_secs(3_600);

/// The codes of refusals that concern a user or an identity.
const TERMINAL: &[&str] =
    &["AccessDenied", "AccessDeniedException", "NotAuthorizedException", "ResourceNotFoundException"];

impl Flow {
    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enhanced => "enhanced",
            Self::Basic => "basic",
            Self::AssumeRole => "assume-role",
        }
    }
}

impl Target {
    /// The region of the identity pool: what stands before the colon.
    pub fn pool_region(&self) -> &str {
        self.identity_pool_id.split(':').next().unwrap_or_default()
    }

    /// How long credentials live that are asked for now.
    pub fn lifetime(&self) -> Duration {
        match self.flow {
            Flow::Enhanced => ENHANCED_LIFETIME,
            Flow::Basic | Flow::AssumeRole => self.duration,
        }
    }
}

impl Order {
    /// The key under which the login goes into `Logins`.
    fn logins_key(&self) -> &str {
        self.target
            .logins_key
            .as_deref()
            .unwrap_or_else(|| self.issuer.split_once("://").map_or(&*self.issuer, |(_, rest)| rest))
    }
}

impl Session {
    /// A digest of all of it, for the cache's key.
    pub fn digest(&self) -> Digest {
        let count = |length: usize| (length as u64).to_be_bytes();
        let (tags, transitive) = (count(self.tags.len()), count(self.transitive_tag_keys.len()));
        let mut parts: Vec<&[u8]> = vec![self.name.as_bytes()];
        for text in [&self.source_identity, &self.policy] {
            // An absent text and an empty one are two things.
            parts.extend([if text.is_some() { b"+" } else { b"-" }, text.as_deref().unwrap_or_default().as_bytes()]);
        }
        parts.push(&tags);
        for (key, value) in &self.tags {
            parts.extend([key.as_bytes(), value.as_bytes()]);
        }
        parts.push(&transitive);
        parts.extend(self.transitive_tag_keys.iter().chain(&self.policy_arns).map(String::as_bytes));
        of_parts(&parts)
    }
}

impl Failure {
    /// Whether AWS refuses this very user or identity, now and until something changes. What is held for the user is
    /// then dropped. A refusal for another reason, such as a fault in the pool's configuration, leaves it alone.
    pub fn is_terminal(&self) -> bool {
        self.class == Class::Denied && TERMINAL.contains(&self.code.as_str())
    }

    /// A failure that we found, not AWS.
    pub fn ours(class: Class, operation: Operation, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let code = code.to_owned();
        Self { class, operation, code, message, request_id: None, hint: None, retry_after: None, broken: false }
    }

    /// A reply that is not what the service's documentation promises.
    fn invalid(operation: Operation, message: &str) -> Self {
        Self::ours(Class::Invalid, operation, "InvalidReply", message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with {}: {}", self.operation.as_str(), self.code, self.message)?;
        if let Some(hint) = self.hint {
            write!(f, "; hint: {hint}")?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (AWS request id {id})"),
            None => Ok(()),
        }
    }
}
