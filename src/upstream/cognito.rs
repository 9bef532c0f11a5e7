//! The enhanced flow: GetId, then GetCredentialsForIdentity, against Amazon Cognito identity pools.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_cognitoidentity::Client;
use aws_sdk_cognitoidentity::config::{BehaviorVersion, Region};
use aws_sdk_cognitoidentity::operation::RequestId;
use aws_sdk_cognitoidentity::operation::get_credentials_for_identity::GetCredentialsForIdentityOutput;
use aws_sdk_cognitoidentity::types::Credentials as AwsCredentials;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use secrecy::SecretString;
use url::Url;

use crate::clock::{Clock, Expiry, Moment};
use crate::digest::Digest;
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::model::{Credentials, IdentityId};
use crate::upstream::classify;
use crate::upstream::identities::{self, Identities};
use crate::upstream::{Class, Exchange, Exchanging, Failure, Order};

/// Time to connect; an SDK caller is held for less than a second, so a stuck connection should be known soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest life that credentials can have (12 hours, the longest session of STS) with room for unequal clocks.
/// A date beyond it is not an expiration.
const LONGEST_LIFE: Duration = Duration::from_secs(13 * 3600);

/// Where Cognito is.
pub struct Config {
    /// The regions of all identity pools.
    pub regions: Vec<String>,
    /// Another address than AWS's own.
    pub endpoint_url: Option<Url>,
    /// Time for one call.
    pub call_timeout: Duration,
}

/// Amazon Cognito identity pools, one client per region.
pub struct CognitoIdentity {
    clients: HashMap<String, Client>,
    identities: Identities,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl CognitoIdentity {
    /// Clients for all regions. Nothing is called yet.
    pub fn new(config: &Config, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let clients = config.regions.iter().map(|region| (region.clone(), client(region.clone(), config))).collect();
        Self { clients, identities: Identities::new(), clock, metrics }
    }

    /// A remembered identity is tried first. When AWS refuses it, or answers for another one, it is forgotten and
    /// asked for once more: a pool may have been made anew, or identities merged, behind our back.
    async fn enhanced(&self, order: &Order) -> Result<Credentials, Failure> {
        let user = identities::user(order);
        if let Some(id) = self.identities.get(&user) {
            match self.credentials_for(order, &id).await {
                Err(failure) if failure.is_terminal() || failure.code == MISMATCH => {
                    self.identities.forget(&user);
                }
                done => return done,
            }
        }
        let id = self.identity_of(order, user).await?;
        let done = self.credentials_for(order, &id).await;
        if done.as_ref().is_err_and(Failure::is_terminal) {
            self.identities.forget(&user);
        }
        done
    }

    async fn identity_of(&self, order: &Order, user: Digest) -> Result<IdentityId, Failure> {
        let request = self
            .client(order, Operation::GetId)?
            .get_id()
            .identity_pool_id(&*order.target.identity_pool_id)
            .logins(order.logins_key(), order.token.expose_secret());
        let call = async {
            let answer = request.send().await;
            let answer =
                answer.map_err(|error| classify::failure(Operation::GetId, &error, order.token.expose_secret()))?;
            let id = answer.identity_id().filter(|id| !id.is_empty());
            id.map(|id| IdentityId(id.into()))
                .ok_or_else(|| invalid(Operation::GetId, "the answer holds no IdentityId"))
        };
        let id = self.measured(Operation::GetId, call).await?;
        self.identities.keep(user, id.clone());
        Ok(id)
    }

    async fn credentials_for(&self, order: &Order, id: &IdentityId) -> Result<Credentials, Failure> {
        let operation = Operation::GetCredentialsForIdentity;
        let request = self
            .client(order, operation)?
            .get_credentials_for_identity()
            .identity_id(&*id.0)
            .set_custom_role_arn(order.custom_role.as_ref().map(ToString::to_string))
            .logins(order.logins_key(), order.token.expose_secret());
        let call = async {
            let answer = request.send().await;
            let answer = answer.map_err(|error| classify::failure(operation, &error, order.token.expose_secret()))?;
            let request_id = answer.request_id().map(ToOwned::to_owned);
            accept(answer, order, id, self.clock.now()).map_err(|failure| Failure { request_id, ..failure })
        };
        let done = self.measured(operation, call).await;
        if done.as_ref().is_err_and(|failure| failure.code == MISMATCH) {
            self.metrics.identity_mismatch.inc();
        }
        done
    }

    fn client(&self, order: &Order, operation: Operation) -> Result<&Client, Failure> {
        self.clients
            .get(order.target.region())
            .ok_or_else(|| invalid(operation, "no client for the identity pool's region"))
    }

    async fn measured<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let under_way = self.metrics.call(operation, &self.clock);
        let done = call.await;
        under_way.ended(done.as_ref().map_or_else(|failure| Outcome::from(failure.class), |_| Outcome::Ok));
        done
    }
}

impl Exchange for CognitoIdentity {
    fn exchange<'a>(&'a self, order: &'a Order) -> Exchanging<'a> {
        Box::pin(self.enhanced(order))
    }
}

/// Our code for a reply that belongs to somebody else.
const MISMATCH: &str = "IdentityMismatch";

/// Takes a reply apart, and takes it only if it is whole, alive and for the identity that was asked for.
pub(super) fn accept(
    answer: GetCredentialsForIdentityOutput,
    order: &Order,
    asked: &IdentityId,
    now: Moment,
) -> Result<Credentials, Failure> {
    let operation = Operation::GetCredentialsForIdentity;
    if answer.identity_id.as_deref() != Some(&*asked.0) {
        let told = "the answer is for another identity than was asked for";
        return Err(Failure::ours(Class::Invalid, operation, MISMATCH, told));
    }
    let AwsCredentials { access_key_id, secret_key, session_token, expiration, .. } =
        answer.credentials.ok_or_else(|| invalid(operation, "the answer holds no credentials"))?;
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (Some(access_key_id), Some(secret), Some(token)) =
        (present(access_key_id), present(secret_key), present(session_token))
    else {
        return Err(invalid(operation, "the answer's credentials are not whole"));
    };
    let expires = expiration
        .and_then(|date| SystemTime::try_from(date).ok())
        .filter(|date| *date > now.wall && *date <= now.wall + LONGEST_LIFE)
        .ok_or_else(|| invalid(operation, "the expiration is missing, past, or further away than any session"))?;
    Ok(Credentials {
        access_key_id,
        secret_access_key: SecretString::from(secret),
        session_token: SecretString::from(token),
        received: now,
        expires: Expiry::at(expires, now),
        role_arn: order.custom_role.clone(),
        identity_id: Some(asked.clone()),
    })
}

fn invalid(operation: Operation, message: &str) -> Failure {
    Failure::ours(Class::Invalid, operation, "InvalidReply", message)
}

/// One client. Its HTTP client is named here, so that no proxy variable of the environment can redirect it.
fn client(region: String, config: &Config) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(config.call_timeout))
        .operation_timeout(config.call_timeout)
        .build();
    let mut builder = aws_sdk_cognitoidentity::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .http_client(http);
    builder.set_endpoint_url(config.endpoint_url.as_ref().map(ToString::to_string));
    Client::from_conf(builder.build())
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
