//! The exchange of a login for credentials: the AWS SDK, and nowhere else. Knows no cache and no door.
//!
//! The SDK's own retries are off: the refresher's are the only ones, so that two layers cannot multiply. Its errors
//! become [`Failure`]s at the border and are told apart by kind from there on.

mod classify;
mod cognito;
mod hints;
mod identities;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::metrics::Operation;
use crate::model::{Credentials, RoleArn};
use crate::secret::CupToken;

pub use cognito::{CognitoIdentity, Config};

/// The seam between the broker and AWS: one method, so that the core can be tested without either.
pub trait Exchange: Send + Sync {
    /// Trades the order's login for credentials.
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a>;
}

/// A future that is boxed because it stands behind a trait object.
pub type Exchanging<'a> = Pin<Box<dyn Future<Output = Result<Credentials, Failure>> + Send + 'a>>;

/// One exchange: whose login, where, for which role.
#[derive(Clone, Debug)]
pub struct Order {
    /// The identity pool to ask.
    pub target: Arc<Target>,
    /// The login's issuer.
    pub issuer: Arc<str>,
    /// The login's subject.
    pub subject: Arc<str>,
    /// The login itself.
    pub token: CupToken,
    /// The role that was asked for, if one was.
    pub custom_role: Option<RoleArn>,
}

/// An identity pool as a profile names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `REGION:GUID`; the region is the one to call.
    pub identity_pool_id: Arc<str>,
    /// The key of the `Logins` map; without one, the issuer without its scheme.
    pub logins_key: Option<Arc<str>>,
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

/// The codes of refusals that concern a user or an identity.
const TERMINAL: &[&str] =
    &["AccessDenied", "AccessDeniedException", "NotAuthorizedException", "ResourceNotFoundException"];

impl Target {
    /// The region to call: what stands before the colon.
    pub fn region(&self) -> &str {
        self.identity_pool_id.split(':').next().unwrap_or_default()
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

impl Failure {
    /// Whether AWS refuses this very user or identity, now and until something changes. What is held for the user is
    /// then dropped. A refusal for another reason, such as a fault in the pool's configuration, leaves it alone.
    pub fn is_terminal(&self) -> bool {
        self.class == Class::Denied && TERMINAL.contains(&self.code.as_str())
    }

    /// A failure that we found, not AWS.
    pub fn ours(class: Class, operation: Operation, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { class, operation, code: code.to_owned(), message, request_id: None, hint: None }
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
