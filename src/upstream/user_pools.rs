//! What user pools do with refresh tokens: newer logins for one, or its end. Knows no session.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::clock::Clock;
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::secret::CupToken;
use crate::upstream::api::Calling;
use crate::upstream::budget::{Budget, Endpoint, Quota};
use crate::upstream::trip::paused;
use crate::upstream::{Failure, classify, clients, departure};

/// The seam between sessions and user pools.
pub trait UserPools: Send + Sync {
    /// Trades `refresh_token`, which is one of `client`'s, for newer tokens (GetTokensFromRefreshToken).
    fn renew<'a>(&'a self, client: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, Tokens>;

    /// Ends `refresh_token` and what was issued from it (RevokeToken).
    fn revoke<'a>(&'a self, client: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, ()>;
}

/// An app client of a user pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppClient {
    /// The user pool's id, `REGION_NAME`.
    pub user_pool: Arc<str>,
    /// The app client's own.
    pub id: Arc<str>,
}

/// What a refresh token was traded for.
pub struct Tokens {
    /// Says who the user is.
    pub id: Option<CupToken>,
    /// Says what the client may do in the user's name.
    pub access: Option<CupToken>,
    /// Takes the place of the one that was traded, where the client rotates them.
    pub refresh: Option<SecretString>,
}

/// Where user pools are, and what their confidential clients have to show.
#[derive(Clone, Debug)]
pub struct UserPoolsConfig {
    /// The regions of all user pools.
    pub regions: Vec<String>,
    /// Another address than AWS's own.
    pub endpoint_url: Option<Url>,
    /// The app clients' secrets, of those that have one.
    pub client_secrets: HashMap<AppClient, SecretString>,
    /// Time for one call. A trade that is given up may have rotated the refresh token, so that it is given long.
    pub call_timeout: Duration,
}

/// User pools, by the SDK.
pub struct AwsUserPools {
    reach: ArcSwap<Reach>,
    budget: Arc<Budget>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// What one configuration reaches.
struct Reach {
    config: UserPoolsConfig,
    clients: Arc<Clients>,
}

/// By region.
type Clients = HashMap<String, aws_sdk_cognitoidentityprovider::Client>;

impl Reach {
    fn new(config: UserPoolsConfig) -> Self {
        let client = |region: &String| (region.clone(), clients::user_pools(region, &config));
        let clients = Arc::new(config.regions.iter().map(client).collect());
        Self { config, clients }
    }

    /// What another configuration reaches: with the same clients, and their connections, unless these would be others.
    fn changed(&self, config: UserPoolsConfig) -> Self {
        let place =
            |config: &UserPoolsConfig| (config.regions.clone(), config.endpoint_url.clone(), config.call_timeout);
        if place(&config) == place(&self.config) {
            return Self { config, clients: Arc::clone(&self.clients) };
        }
        Self::new(config)
    }
}

impl AwsUserPools {
    /// Clients for all regions. Nothing is called yet.
    pub fn new(config: UserPoolsConfig, budget: Arc<Budget>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { reach: ArcSwap::from_pointee(Reach::new(config)), budget, clock, metrics }
    }

    /// Puts another configuration in force, for the calls to come.
    pub fn change(&self, config: UserPoolsConfig) {
        self.reach.store(Arc::new(self.reach.load().changed(config)));
    }

    async fn renewed(&self, client: &AppClient, refresh_token: &SecretString) -> Result<Tokens, Failure> {
        let operation = Operation::GetTokensFromRefreshToken;
        let request = self
            .sdk(client, operation)?
            .get_tokens_from_refresh_token()
            .client_id(&*client.id)
            .set_client_secret(self.secret(client))
            .refresh_token(refresh_token.expose_secret());
        let endpoint = Endpoint { quota: Quota::RefreshToken, region: client.region().into() };
        let sent = self.budget.send(endpoint, None).await.map_err(|wait| paused(operation, wait))?;
        let call = async {
            let answer = request.send().await;
            let answer = answer.map_err(|error| {
                classify::failure(operation, &error, refresh_token.expose_secret(), self.clock.now().wall)
            })?;
            let missing = || Failure::invalid(operation, "the answer holds no tokens");
            let found = answer.authentication_result.ok_or_else(missing)?;
            let token = |text: Option<String>| text.filter(|text| !text.is_empty()).map(SecretString::from);
            let (id, access) = (token(found.id_token), token(found.access_token));
            // Whatever is missing, the refresh token has been rotated.
            Ok(Tokens { id: id.map(Into::into), access: access.map(Into::into), refresh: token(found.refresh_token) })
        };
        let done = self.measured(operation, departure::told(Arc::clone(sent.ticket()), call)).await;
        sent.ended(done.as_ref().err());
        done
    }

    async fn revoked(&self, client: &AppClient, refresh_token: &SecretString) -> Result<(), Failure> {
        let operation = Operation::RevokeToken;
        let request = self
            .sdk(client, operation)?
            .revoke_token()
            .client_id(&*client.id)
            .set_client_secret(self.secret(client))
            .token(refresh_token.expose_secret());
        self.measured(operation, async {
            let answer = request.send().await;
            let told = answer.map_err(|error| {
                classify::failure(operation, &error, refresh_token.expose_secret(), self.clock.now().wall)
            });
            told.map(drop)
        })
        .await
    }

    fn sdk(
        &self,
        client: &AppClient,
        operation: Operation,
    ) -> Result<aws_sdk_cognitoidentityprovider::Client, Failure> {
        let found = self.reach.load().clients.get(client.region()).cloned();
        found.ok_or_else(|| Failure::invalid(operation, "no client for the user pool's region"))
    }

    fn secret(&self, client: &AppClient) -> Option<String> {
        self.reach.load().config.client_secrets.get(client).map(|secret| secret.expose_secret().to_owned())
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

impl UserPools for AwsUserPools {
    fn renew<'a>(&'a self, client: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, Tokens> {
        Box::pin(self.renewed(client, refresh_token))
    }

    fn revoke<'a>(&'a self, client: &'a AppClient, refresh_token: &'a SecretString) -> Calling<'a, ()> {
        Box::pin(self.revoked(client, refresh_token))
    }
}

impl AppClient {
    /// The region in the user pool's id.
    pub fn region(&self) -> &str {
        self.user_pool.split('_').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(regions: &[&str], endpoint: Option<&str>, seconds: u64, secret: &str) -> UserPoolsConfig {
        let client = AppClient { user_pool: "us-east-1_AbCdEf123".into(), id: "1example23456789".into() };
        UserPoolsConfig {
            regions: regions.iter().map(ToString::to_string).collect(),
            endpoint_url: endpoint.map(|url| Url::parse(url).unwrap()),
            client_secrets: HashMap::from([(client, SecretString::from(secret))]),
            call_timeout: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn clients_are_made_anew_only_for_another_place() {
        let first = Reach::new(config(&["us-east-1"], None, 5, "one"));
        let same = first.changed(config(&["us-east-1"], None, 5, "two"));
        assert!(Arc::ptr_eq(&same.clients, &first.clients));
        let secrets: Vec<_> = same.config.client_secrets.values().map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["two"], "the secret is the new one all the same");
        for other in [
            config(&["us-east-1", "eu-west-1"], None, 5, "one"),
            config(&["us-east-1"], Some("https://aws.example"), 5, "one"),
            config(&["us-east-1"], None, 6, "one"),
        ] {
            let regions = other.regions.len();
            let changed = first.changed(other);
            assert!(!Arc::ptr_eq(&changed.clients, &first.clients));
            assert_eq!(changed.clients.len(), regions);
        }
    }
}
