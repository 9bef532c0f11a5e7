//! The calls as the SDK makes them: the request, and the reply's inspection. Knows no flow and no budget.

use std::collections::HashMap;

use aws_sdk_cognitoidentity::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentity::operation::RequestId;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use aws_smithy_runtime_api::http::Response;
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::metrics::{Operation, Result as Outcome};
use crate::model::{Credentials, IdentityId, RoleArn};
use crate::secret::CupToken;
use crate::upstream::accept::{self, Parts};
use crate::upstream::api::{Api, Calling};
use crate::upstream::clients::Clients;
use crate::upstream::{Class, Failure, Order, classify};

/// From this part of the allotted space on, a session's policies and tags are worth a warning, in percent.
const PACKED_SIZE_WARNING: i32 = 80;

/// AWS itself.
pub(super) struct Calls {
    pub(super) clients: Clients,
    pub(super) clock: Clock,
}

impl Api for Calls {
    fn tells_departures(&self) -> bool {
        true
    }

    fn get_id<'a>(&'a self, order: &'a Order) -> Calling<'a, IdentityId> {
        Box::pin(async move {
            let operation = Operation::GetId;
            let request = self
                .cognito(order, operation)?
                .get_id()
                .identity_pool_id(&*order.target.identity_pool_id)
                .set_logins(order.logins());
            let answer = request.send().await.map_err(|error| self.failure(operation, &error, order.secret()))?;
            let id = answer.identity_id().filter(|id| accept::is_plain(id)).map(|id| IdentityId(id.into()));
            id.ok_or_else(|| Failure::invalid(operation, "the answer holds no IdentityId"))
        })
    }

    fn get_credentials<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::GetCredentialsForIdentity, self.clock.now());
            let request = self
                .cognito(order, operation)?
                .get_credentials_for_identity()
                .identity_id(&*id.0)
                .set_custom_role_arn(order.role.as_ref().map(ToString::to_string))
                .set_logins(order.logins());
            let answer = request.send().await.map_err(|error| self.failure(operation, &error, order.secret()))?;
            let request_id = answer.request_id().map(|id| classify::presentable(id, order.secret()));
            let parts = answer.credentials.map(|held| Parts {
                access_key_id: held.access_key_id,
                secret: held.secret_key,
                session_token: held.session_token,
                expiration: held.expiration,
            });
            let (lifetime, now) = ((order.target.lifetime(), sent), self.clock.now());
            accept::same_identity(operation, answer.identity_id.as_deref(), id)
                .and_then(|()| {
                    accept::credentials(operation, parts, order.role.clone(), Some(id.clone()), lifetime, now)
                })
                .map_err(|failure| Failure { request_id, ..failure })
        })
    }

    fn get_open_id_token<'a>(&'a self, order: &'a Order, id: &'a IdentityId) -> Calling<'a, SecretString> {
        Box::pin(async move {
            let operation = Operation::GetOpenIdToken;
            let request =
                self.cognito(order, operation)?.get_open_id_token().identity_id(&*id.0).set_logins(order.logins());
            let answer = request.send().await.map_err(|error| self.failure(operation, &error, order.secret()))?;
            let request_id = answer.request_id().map(|id| classify::presentable(id, order.secret()));
            let token = answer.token.filter(|token| !token.is_empty());
            accept::same_identity(operation, answer.identity_id.as_deref(), id)
                .and_then(|()| token.ok_or_else(|| Failure::invalid(operation, "the answer holds no token")))
                .map(SecretString::from)
                .map_err(|failure| Failure { request_id, ..failure })
        })
    }

    fn assume_role_with_web_identity<'a>(
        &'a self,
        order: &'a Order,
        role: &'a RoleArn,
        token: &'a SecretString,
        id: &'a IdentityId,
    ) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::AssumeRoleWithWebIdentity, self.clock.now());
            let session = &order.session;
            let request = self
                .sts(order, operation)?
                .assume_role_with_web_identity()
                .role_arn(role.as_str())
                .role_session_name(&session.name)
                .web_identity_token(token.expose_secret())
                .duration_seconds(seconds(order))
                .set_policy(session.policy.clone())
                .set_policy_arns(policy_arns(&session.policy_arns));
            let answer = request.send().await;
            let answer = answer.map_err(|error| self.failure(operation, &error, token.expose_secret()))?;
            #[expect(deprecated, reason = "its successor is not answered everywhere yet")]
            packed(operation, answer.packed_policy_size);
            let request_id = answer.request_id().map(|id| classify::presentable(id, token.expose_secret()));
            let (parts, lifetime) = (answer.credentials.map(Parts::from), (order.target.lifetime(), sent));
            accept::credentials(operation, parts, Some(role.clone()), Some(id.clone()), lifetime, self.clock.now())
                .map_err(|failure| Failure { request_id, ..failure })
        })
    }

    fn assume_role<'a>(&'a self, order: &'a Order, role: &'a RoleArn) -> Calling<'a, Credentials> {
        Box::pin(async move {
            let (operation, sent) = (Operation::AssumeRole, self.clock.now());
            let session = &order.session;
            let request = self
                .sts(order, operation)?
                .assume_role()
                .role_arn(role.as_str())
                .role_session_name(&session.name)
                .duration_seconds(seconds(order))
                .set_external_id(order.target.external_id.clone())
                .set_source_identity(session.source_identity.clone())
                .set_policy(session.policy.clone())
                .set_policy_arns(policy_arns(&session.policy_arns))
                .set_tags(tags(&session.tags))
                .set_transitive_tag_keys(Some(session.transitive_tag_keys.clone()).filter(|keys| !keys.is_empty()));
            let answer = request.send().await.map_err(|error| self.failure(operation, &error, order.secret()))?;
            #[expect(deprecated, reason = "its successor is not answered everywhere yet")]
            packed(operation, answer.packed_policy_size);
            let request_id = answer.request_id().map(|id| classify::presentable(id, order.secret()));
            let (parts, lifetime) = (answer.credentials.map(Parts::from), (order.target.lifetime(), sent));
            accept::credentials(operation, parts, Some(role.clone()), None, lifetime, self.clock.now())
                .map_err(|failure| Failure { request_id, ..failure })
        })
    }
}

impl Calls {
    fn cognito(&self, order: &Order, operation: Operation) -> Result<&aws_sdk_cognitoidentity::Client, Failure> {
        let client = self.clients.cognito.get(order.target.pool_region());
        client.ok_or_else(|| Failure::invalid(operation, "no client for the identity pool's region"))
    }

    fn sts(&self, order: &Order, operation: Operation) -> Result<&aws_sdk_sts::Client, Failure> {
        let client = self.clients.sts.get(&*order.target.region);
        client.ok_or_else(|| Failure::invalid(operation, "no client for the profile's region"))
    }

    /// What the SDK says of `operation`, as a failure; `secret` is kept out of its text.
    fn failure<E>(&self, operation: Operation, error: &SdkError<E, Response>, secret: &str) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        SdkError<E, Response>: RequestId,
    {
        classify::failure(operation, error, secret, self.clock.now().wall)
    }
}

impl Order {
    /// The `Logins` of Cognito's calls: exactly one, or none for a guest.
    fn logins(&self) -> Option<HashMap<String, String>> {
        let login = |token: &CupToken| (self.logins_key().to_owned(), token.expose_secret().to_owned());
        self.token.as_ref().map(|token| HashMap::from([login(token)]))
    }

    /// The login's text, to be kept out of what is told of a failure.
    fn secret(&self) -> &str {
        self.token.as_ref().map_or("", CupToken::expose_secret)
    }
}

fn seconds(order: &Order) -> i32 {
    i32::try_from(order.target.duration.as_secs()).unwrap_or(i32::MAX)
}

fn policy_arns(arns: &[String]) -> Option<Vec<PolicyDescriptorType>> {
    let descriptors = arns.iter().map(|arn| PolicyDescriptorType::builder().arn(arn).build());
    (!arns.is_empty()).then(|| descriptors.collect())
}

fn tags(tags: &[(String, String)]) -> Option<Vec<Tag>> {
    // A tag with a key and a value always builds.
    let built = tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok());
    (!tags.is_empty()).then(|| built.collect())
}

/// AWS packs policies and tags into a space of its own, and says how full it is; nobody else can compute that.
fn packed(operation: Operation, percent: Option<i32>) {
    let Some(percent) = percent else { return };
    let operation = operation.as_str();
    if percent >= PACKED_SIZE_WARNING {
        warn!(operation, percent, "the session's policies and tags nearly fill the space that AWS has for them");
    } else {
        info!(operation, percent, "packed size of the session's policies and tags");
    }
}

impl From<aws_sdk_sts::types::Credentials> for Parts {
    fn from(held: aws_sdk_sts::types::Credentials) -> Self {
        Self {
            access_key_id: Some(held.access_key_id),
            secret: Some(held.secret_access_key),
            session_token: Some(held.session_token),
            expiration: Some(held.expiration),
        }
    }
}

impl From<Class> for Outcome {
    fn from(class: Class) -> Self {
        match class {
            Class::Denied => Self::Denied,
            Class::Throttled => Self::Throttled,
            Class::Unavailable => Self::Unavailable,
            Class::Invalid => Self::Invalid,
        }
    }
}
