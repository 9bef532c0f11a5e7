//! The calls to AWS, one function each: the request, the reply's inspection, the count and the time. Knows no flow.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_cognitoidentity::operation::RequestId;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use secrecy::{ExposeSecret, SecretString};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::model::{Credentials, IdentityId, RoleArn};
use crate::secret::CupToken;
use crate::upstream::accept::{self, Parts};
use crate::upstream::clients::Clients;
use crate::upstream::{Class, Failure, Order, classify};

/// From this part of the allotted space on, a session's policies and tags are worth a warning, in percent.
const PACKED_SIZE_WARNING: i32 = 80;

/// Everything that a call needs.
pub(super) struct Calls {
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl Calls {
    /// The identity of the order's user in its pool.
    pub(super) async fn get_id(&self, order: &Order) -> Result<IdentityId, Failure> {
        let operation = Operation::GetId;
        let request = self
            .cognito(order, operation)?
            .get_id()
            .identity_pool_id(&*order.target.identity_pool_id)
            .set_logins(order.logins());
        self.measured(operation, async {
            let answer = request.send().await.map_err(|error| failure(operation, &error, order))?;
            let id = answer.identity_id().filter(|id| !id.is_empty()).map(|id| IdentityId(id.into()));
            id.ok_or_else(|| Failure::invalid(operation, "the answer holds no IdentityId"))
        })
        .await
    }

    /// Credentials in the enhanced flow. `CustomRoleArn` goes along only when the caller asked for a role.
    pub(super) async fn get_credentials(&self, order: &Order, id: &IdentityId) -> Result<Credentials, Failure> {
        let operation = Operation::GetCredentialsForIdentity;
        let request = self
            .cognito(order, operation)?
            .get_credentials_for_identity()
            .identity_id(&*id.0)
            .set_custom_role_arn(order.role.as_ref().map(ToString::to_string))
            .set_logins(order.logins());
        self.measured(operation, async {
            let answer = request.send().await.map_err(|error| failure(operation, &error, order))?;
            let request_id = answer.request_id().map(ToOwned::to_owned);
            let parts = answer.credentials.map(|held| Parts {
                access_key_id: held.access_key_id,
                secret: held.secret_key,
                session_token: held.session_token,
                expiration: held.expiration,
            });
            let now = self.clock.now();
            accept::same_identity(operation, answer.identity_id.as_deref(), id)
                .and_then(|()| accept::credentials(operation, parts, order.role.clone(), Some(id.clone()), now))
                .map_err(|failure| Failure { request_id, ..failure })
        })
        .await
    }

    /// The identity pool's own token for the user: good for ten minutes, and for AssumeRoleWithWebIdentity alone.
    pub(super) async fn get_open_id_token(&self, order: &Order, id: &IdentityId) -> Result<SecretString, Failure> {
        let operation = Operation::GetOpenIdToken;
        let request =
            self.cognito(order, operation)?.get_open_id_token().identity_id(&*id.0).set_logins(order.logins());
        self.measured(operation, async {
            let answer = request.send().await.map_err(|error| failure(operation, &error, order))?;
            let request_id = answer.request_id().map(ToOwned::to_owned);
            let token = answer.token.filter(|token| !token.is_empty());
            accept::same_identity(operation, answer.identity_id.as_deref(), id)
                .and_then(|()| token.ok_or_else(|| Failure::invalid(operation, "the answer holds no token")))
                .map(SecretString::from)
                .map_err(|failure| Failure { request_id, ..failure })
        })
        .await
    }

    /// The role's credentials for the bearer of an identity pool's token.
    pub(super) async fn assume_role_with_web_identity(
        &self,
        order: &Order,
        role: &RoleArn,
        token: &SecretString,
        id: &IdentityId,
    ) -> Result<Credentials, Failure> {
        let operation = Operation::AssumeRoleWithWebIdentity;
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
        self.measured(operation, async {
            let answer = request.send().await;
            let answer = answer.map_err(|error| classify::failure(operation, &error, token.expose_secret()))?;
            #[expect(deprecated, reason = "its successor is not answered everywhere yet")]
            packed(operation, answer.packed_policy_size);
            let request_id = answer.request_id().map(ToOwned::to_owned);
            let parts = answer.credentials.map(Parts::from);
            accept::credentials(operation, parts, Some(role.clone()), Some(id.clone()), self.clock.now())
                .map_err(|failure| Failure { request_id, ..failure })
        })
        .await
    }

    /// The role's credentials for the broker's own identity, in the user's name.
    pub(super) async fn assume_role(&self, order: &Order, role: &RoleArn) -> Result<Credentials, Failure> {
        let operation = Operation::AssumeRole;
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
        self.measured(operation, async {
            let answer = request.send().await.map_err(|error| failure(operation, &error, order))?;
            #[expect(deprecated, reason = "its successor is not answered everywhere yet")]
            packed(operation, answer.packed_policy_size);
            let request_id = answer.request_id().map(ToOwned::to_owned);
            let parts = answer.credentials.map(Parts::from);
            accept::credentials(operation, parts, Some(role.clone()), None, self.clock.now())
                .map_err(|failure| Failure { request_id, ..failure })
        })
        .await
    }

    fn cognito(&self, order: &Order, operation: Operation) -> Result<&aws_sdk_cognitoidentity::Client, Failure> {
        let client = self.clients.cognito.get(order.target.pool_region());
        client.ok_or_else(|| Failure::invalid(operation, "no client for the identity pool's region"))
    }

    fn sts(&self, order: &Order, operation: Operation) -> Result<&aws_sdk_sts::Client, Failure> {
        let client = self.clients.sts.get(&*order.target.region);
        client.ok_or_else(|| Failure::invalid(operation, "no client for the profile's region"))
    }

    async fn measured<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let under_way = self.metrics.call(operation, &self.clock);
        let done = call.await;
        under_way.ended(done.as_ref().map_or_else(|failure| Outcome::from(failure.class), |_| Outcome::Ok));
        if done.as_ref().is_err_and(|failure| failure.code == accept::MISMATCH) {
            self.metrics.identity_mismatch.inc();
        }
        done
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

fn failure<E>(
    operation: Operation,
    error: &aws_sdk_cognitoidentity::error::SdkError<E, aws_smithy_runtime_api::http::Response>,
    order: &Order,
) -> Failure
where
    E: aws_sdk_cognitoidentity::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    aws_sdk_cognitoidentity::error::SdkError<E, aws_smithy_runtime_api::http::Response>: RequestId,
{
    classify::failure(operation, error, order.secret())
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
        debug!(operation, percent, "packed size of the session's policies and tags");
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
