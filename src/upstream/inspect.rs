//! What an identity pool is set to, for `cupbearer doctor`: two calls that are signed, in AWS's own JSON. Not on the way
//! of any request.

use std::collections::HashMap;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cognitoidentity::types::RoleMapping;
use serde_json::{Map, Value, json};

use crate::error::chain;
use crate::upstream::clients::{self, Config};

/// Looks at identity pools as the broker's own identity.
pub struct PoolInspector(HashMap<String, aws_sdk_cognitoidentity::Client>);

impl PoolInspector {
    /// An inspector of all pools of `config`; `own` is who asks, where that is not to be looked for.
    pub async fn new(config: &Config, own: Option<SharedCredentialsProvider>) -> Self {
        Self(clients::signing(config, own).await)
    }

    /// The answer of DescribeIdentityPool.
    ///
    /// # Errors
    /// With what AWS, or the way there, said.
    pub async fn describe(&self, pool: &str) -> Result<Value, String> {
        let answer = self.client(pool)?.describe_identity_pool().identity_pool_id(pool).send().await;
        let answer = answer.map_err(|error| chain(&error))?;
        let provider = |one: &aws_sdk_cognitoidentity::types::CognitoIdentityProvider| {
            json!({
                "ProviderName": one.provider_name,
                "ClientId": one.client_id,
                "ServerSideTokenCheck": one.server_side_token_check,
            })
        };
        Ok(json!({
            "IdentityPoolId": answer.identity_pool_id,
            "IdentityPoolName": answer.identity_pool_name,
            "AllowUnauthenticatedIdentities": answer.allow_unauthenticated_identities,
            "AllowClassicFlow": answer.allow_classic_flow,
            "CognitoIdentityProviders": answer.cognito_identity_providers().iter().map(provider).collect::<Vec<_>>(),
        }))
    }

    /// The answer of GetIdentityPoolRoles.
    ///
    /// # Errors
    /// As [`PoolInspector::describe`].
    pub async fn roles(&self, pool: &str) -> Result<Value, String> {
        let answer = self.client(pool)?.get_identity_pool_roles().identity_pool_id(pool).send().await;
        let answer = answer.map_err(|error| chain(&error))?;
        let mappings = answer.role_mappings.iter().flatten().map(|(key, mapping)| (key.clone(), told(mapping)));
        Ok(json!({
            "IdentityPoolId": pool,
            "Roles": answer.roles.unwrap_or_default(),
            "RoleMappings": mappings.collect::<Map<_, _>>(),
        }))
    }

    fn client(&self, pool: &str) -> Result<&aws_sdk_cognitoidentity::Client, String> {
        let region = pool.split(':').next().unwrap_or_default();
        self.0.get(region).ok_or_else(|| format!("no client for the region {region}"))
    }
}

fn told(mapping: &RoleMapping) -> Value {
    let rules = mapping.rules_configuration.iter().flat_map(|rules| &rules.rules).map(|rule| {
        json!({
            "Claim": rule.claim, "MatchType": rule.match_type.as_str(), "Value": rule.value, "RoleARN": rule.role_arn,
        })
    });
    json!({
        "Type": mapping.r#type.as_str(),
        "AmbiguousRoleResolution": mapping.ambiguous_role_resolution.as_ref().map(|how| how.as_str()),
        "RulesConfiguration": {"Rules": rules.collect::<Vec<_>>()},
    })
}
