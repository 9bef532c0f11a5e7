//! The SDK's clients: one per service and region, all made alike. Knows no call.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::region::Region;
use url::Url;

use crate::upstream::UserPoolsConfig;
use crate::upstream::bounded::Bounded;
use crate::upstream::budget::Rates;
use crate::upstream::connections::Connections;

/// Time to connect; an SDK caller is held for less than a second, so a stuck connection should be known soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where AWS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The regions of all identity pools.
    pub pool_regions: Vec<String>,
    /// The regions of STS.
    pub sts_regions: Vec<String>,
    /// Whether roles are assumed as the broker's own identity, which then has to be found.
    pub own_identity: bool,
    /// Another address for Cognito identity pools than AWS's own.
    pub cognito_identity_endpoint_url: Option<Url>,
    /// Another address for STS.
    pub sts_endpoint_url: Option<Url>,
    /// Time for one call.
    pub call_timeout: Duration,
    /// How many calls.
    pub rates: Rates,
}

/// All clients.
pub(super) struct Clients {
    pub(super) cognito: HashMap<String, aws_sdk_cognitoidentity::Client>,
    pub(super) sts: HashMap<String, aws_sdk_sts::Client>,
}

impl Clients {
    /// Makes them; nothing is called, except that the broker's own identity is looked for where it is needed.
    pub(super) async fn new(config: &Config, own: Option<SharedCredentialsProvider>) -> Self {
        let cognito = config.pool_regions.iter().map(|region| (region.clone(), cognito(region, config)));
        let own = match (config.own_identity, own) {
            (false, _) => None,
            (true, Some(given)) => Some(given),
            (true, None) => Some(default_identity(config.sts_regions.first().map_or("", String::as_str)).await),
        };
        let sts = config.sts_regions.iter().map(|region| (region.clone(), sts(region, config, own.clone())));
        Self { cognito: cognito.collect(), sts: sts.collect() }
    }
}

/// Clients of identity pools that sign, by region: for the calls of an operator, not of the broker.
pub(super) async fn signing(
    config: &Config,
    own: Option<SharedCredentialsProvider>,
) -> HashMap<String, aws_sdk_cognitoidentity::Client> {
    let mut found = HashMap::new();
    for region in &config.pool_regions {
        let own = match &own {
            Some(given) => given.clone(),
            None => default_identity(region).await,
        };
        let unsigned = cognito(region, config);
        let signed = unsigned.config().to_builder().credentials_provider(own).build();
        found.insert(region.clone(), aws_sdk_cognitoidentity::Client::from_conf(signed));
    }
    found
}

fn cognito(region: &str, config: &Config) -> aws_sdk_cognitoidentity::Client {
    let mut builder = aws_sdk_cognitoidentity::Config::builder()
        .behavior_version(aws_sdk_cognitoidentity::config::BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(config.call_timeout))
        .http_client(http());
    builder.set_endpoint_url(config.cognito_identity_endpoint_url.as_ref().map(ToString::to_string));
    aws_sdk_cognitoidentity::Client::from_conf(builder.build())
}

/// Without credentials: what is called needs none but the refresh token.
pub(super) fn user_pools(region: &str, config: &UserPoolsConfig) -> aws_sdk_cognitoidentityprovider::Client {
    let mut builder = aws_sdk_cognitoidentityprovider::Config::builder()
        .behavior_version(aws_sdk_cognitoidentityprovider::config::BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(config.call_timeout))
        .http_client(http());
    builder.set_endpoint_url(config.endpoint_url.as_ref().map(ToString::to_string));
    aws_sdk_cognitoidentityprovider::Client::from_conf(builder.build())
}

/// Regional endpoints, never the global one, whose outage would be everybody's.
pub(super) fn sts(region: &str, config: &Config, own: Option<SharedCredentialsProvider>) -> aws_sdk_sts::Client {
    let mut builder = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(config.call_timeout))
        .http_client(http());
    builder.set_endpoint_url(config.sts_endpoint_url.as_ref().map(ToString::to_string));
    builder.set_credentials_provider(own);
    aws_sdk_sts::Client::from_conf(builder.build())
}

/// AWS's default chain: environment, profile, web identity, container role, instance role. The SDK caches and renews
/// what it finds.
pub(super) async fn default_identity(region: &str) -> SharedCredentialsProvider {
    let chain = DefaultCredentialsChain::builder().region(Region::new(region.to_owned())).build().await;
    SharedCredentialsProvider::new(chain)
}

pub(super) fn timeouts(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT.min(call)).operation_timeout(call).build()
}

/// The HTTP client is named, so that no proxy variable of the environment can redirect it; bounded; and one that trusts
/// no old connection once one was silent.
pub(super) fn http() -> SharedHttpClient {
    let make = || {
        let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        builder.build_https()
    };
    SharedHttpClient::new(Bounded(SharedHttpClient::new(Connections::new(make))))
}
