//! Whether an identity pool is what the profiles take it for. Pure: AWS's own JSON in, findings out.

use serde_json::Value;

use crate::auth::UserPool;
use crate::broker::Profile;
use crate::config::Config;
use crate::doctor::finding::Finding;
use crate::roles::{Ambiguous, Mapping};
use crate::upstream::Flow;

/// What is known of one identity pool.
#[derive(Clone, Debug, Default)]
pub struct PoolDocuments {
    /// The answer of DescribeIdentityPool.
    pub description: Option<Value>,
    /// The answer of GetIdentityPoolRoles.
    pub roles: Option<Value>,
}

impl PoolDocuments {
    /// Takes `document` for the answer that it is, and says which pool it is about.
    ///
    /// # Errors
    /// With what would be one.
    pub fn add(&mut self, document: Value) -> Result<(), &'static str> {
        let is_roles = document.get("RoleMappings").is_some() || document.get("Roles").is_some();
        if document.get("IdentityPoolName").is_some() || document.get("AllowUnauthenticatedIdentities").is_some() {
            self.description = Some(document);
        } else if is_roles || document.get("IdentityPoolId").is_some() {
            self.roles = Some(document);
        } else {
            return Err(
                "neither the output of `aws cognito-identity describe-identity-pool` nor of `get-identity-pool-roles`",
            );
        }
        Ok(())
    }
}

/// Judges the pool of the profile `name` by `documents`.
pub fn pool(name: &str, profile: &Profile, config: &Config, documents: &PoolDocuments) -> Vec<Finding> {
    let id = &*profile.target.identity_pool_id;
    let mut found = Vec::new();
    let scene = Scene { profile, about: format!("{id} (profile {name})"), pools: admitted(profile, config) };
    match &documents.description {
        Some(description) => found.extend(scene.description(description)),
        None => found.push(Finding::skipped(
            "pool",
            &scene.about,
            "nobody has described it",
            "give the output of `aws cognito-identity describe-identity-pool` as --identity-pool FILE",
        )),
    }
    match &documents.roles {
        Some(roles) => found.extend(scene.roles(roles)),
        None => found.push(Finding::skipped(
            "pool-roles",
            &scene.about,
            "nobody has told its roles",
            "give the output of `aws cognito-identity get-identity-pool-roles` as --identity-pool FILE",
        )),
    }
    let classic_blocked = profile.target.flow == Flow::Basic
        && documents
            .roles
            .as_ref()
            .is_some_and(|roles| roles["RoleMappings"].as_object().is_some_and(|all| !all.is_empty()));
    if classic_blocked {
        let fix = "use an identity pool without role mappings for this profile, or flow = \"enhanced\"";
        found.push(Finding::error(
            "pool-flow",
            &scene.about,
            "AWS has no basic (classic) flow on a pool with role mappings",
            fix,
        ));
    }
    found
}

fn admitted<'a>(profile: &Profile, config: &'a Config) -> Vec<&'a UserPool> {
    config.auth.user_pools.iter().filter(|pool| profile.user_pools.contains(&pool.id)).collect()
}

struct Scene<'a> {
    profile: &'a Profile,
    about: String,
    pools: Vec<&'a UserPool>,
}

impl Scene<'_> {
    /// The providers that the pool has to know: the key of the logins and the app client.
    fn providers(&self) -> Vec<(String, &str)> {
        let each = self.pools.iter().flat_map(|pool| {
            let issuer = pool.issuers.first().map_or("", |issuer| &**issuer);
            let own = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
            let key = self.profile.target.logins_key.as_deref().unwrap_or(own).to_owned();
            pool.client_ids.iter().map(move |client| (key.clone(), &**client))
        });
        each.collect()
    }

    fn description(&self, description: &Value) -> Vec<Finding> {
        let mut found: Vec<_> =
            self.providers().into_iter().flat_map(|(key, client)| self.provider(description, &key, client)).collect();
        let classic = description["AllowClassicFlow"].as_bool().unwrap_or(false);
        found.extend(match (self.profile.target.flow, classic) {
            (Flow::Basic, false) => Some(Finding::error(
                "pool-flow",
                &self.about,
                "the basic (classic) flow is off, and the profile goes this way",
                "switch it on (AllowClassicFlow), or set flow = \"enhanced\"",
            )),
            (Flow::Enhanced, true) => Some(Finding::warning(
                "pool-flow",
                &self.about,
                "the basic (classic) flow is on: users can trade their tokens for any role that trusts the pool",
                "switch it off (AllowClassicFlow), since the profile needs the enhanced flow alone",
            )),
            _ => None,
        });
        let guests = description["AllowUnauthenticatedIdentities"].as_bool().unwrap_or(false);
        found.extend(match (self.profile.allow_unauthenticated, guests) {
            (true, false) => Some(Finding::error(
                "pool-guests",
                &self.about,
                "the pool takes no guests, and the profile serves them",
                "set AllowUnauthenticatedIdentities, or leave allow_unauthenticated out",
            )),
            (false, true) => Some(Finding::warning(
                "pool-guests",
                &self.about,
                "the pool takes guests, whom the profile does not serve: anybody on the internet can have its unauthenticated role",
                "switch AllowUnauthenticatedIdentities off unless something else needs it",
            )),
            _ => None,
        });
        self.well(found, "pool", "it admits the app clients, and its flows are those of the profile")
    }

    fn provider(&self, description: &Value, key: &str, client: &str) -> Option<Finding> {
        let providers = description["CognitoIdentityProviders"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = providers.iter().find(|one| one["ProviderName"] == key && one["ClientId"] == client);
        let Some(ours) = ours else {
            let text = format!("it does not take tokens of {key} for the app client {client}");
            let fix = "add the user pool and the app client to the identity pool's CognitoIdentityProviders, or mend user_pools";
            return Some(Finding::error("pool-client", &self.about, text, fix));
        };
        (ours["ServerSideTokenCheck"] != true).then(|| {
            let text = format!("ServerSideTokenCheck is off for the app client {client}: users who were signed out or deleted still get credentials until their token expires");
            Finding::warning("pool-token-check", &self.about, text, "set ServerSideTokenCheck of the identity pool's provider")
        })
    }

    fn roles(&self, roles: &Value) -> Vec<Finding> {
        if self.profile.target.flow != Flow::Enhanced {
            return Vec::new();
        }
        let default = roles["Roles"]["authenticated"].as_str();
        let mut found: Vec<_> =
            self.providers().iter().flat_map(|(key, client)| self.mapping(roles, &format!("{key}:{client}"))).collect();
        if let Ambiguous::AuthenticatedRole(ours) = &self.profile.rules.ambiguous {
            let fix = "set the pool's authenticated role, or ambiguous_role_resolution = \"deny\" on both sides";
            match (ours.as_ref().map(|role| role.as_str()), default) {
                (_, None) => found.push(Finding::error(
                    "pool-default-role",
                    &self.about,
                    "it has no authenticated role, which the profile falls to",
                    fix,
                )),
                (Some(ours), Some(theirs)) if ours != theirs => {
                    let text = format!("its authenticated role is {theirs}, and the profile says {ours}");
                    found.push(Finding::error(
                        "pool-default-role",
                        &self.about,
                        text,
                        "set authenticated_role to the pool's",
                    ));
                }
                _ => {}
            }
        }
        self.well(found, "pool-roles", "its role mapping is that of the profile")
    }

    /// The role mapping of one app client against ours.
    fn mapping(&self, roles: &Value, key: &str) -> Vec<Finding> {
        let theirs = &roles["RoleMappings"][key];
        let ours = match &self.profile.rules.mapping {
            Mapping::Pool => return Vec::new(),
            // Cognito knows nothing of configured groups.
            Mapping::Token => "Token",
            Mapping::Rules(_) => "Rules",
        };
        let error = |check, text: String, fix: &str| vec![Finding::error(check, &self.about, text, fix)];
        if theirs.is_null() {
            let text = format!(
                "it has no role mapping for {key}: Cognito gives everybody the default role, and refuses a role that is asked for"
            );
            return error(
                "pool-mapping",
                text,
                "add a role mapping with SetIdentityPoolRoles, or set mapping = \"pool\"",
            );
        }
        if theirs["Type"] != ours {
            let text = format!("its role mapping for {key} is {}, and the profile's is {ours}", theirs["Type"]);
            return error("pool-mapping", text, "make both the same, or set mapping = \"pool\"");
        }
        let deny = theirs["AmbiguousRoleResolution"] == "Deny";
        if deny != (self.profile.rules.ambiguous == Ambiguous::Deny) {
            let text = format!(
                "its AmbiguousRoleResolution for {key} is {}, and the profile says otherwise",
                theirs["AmbiguousRoleResolution"]
            );
            return error(
                "pool-ambiguous",
                text,
                "set ambiguous_role_resolution to the pool's: Cognito decides by its own",
            );
        }
        match &self.profile.rules.mapping {
            Mapping::Rules(rules) => {
                let listed = theirs["RulesConfiguration"]["Rules"].as_array().map(Vec::as_slice).unwrap_or_default();
                let same = listed.len() == rules.len()
                    && listed.iter().zip(rules).all(|(theirs, ours)| {
                        theirs["Claim"] == *ours.claim
                            && theirs["MatchType"] == ours.match_type.name()
                            && theirs["Value"] == *ours.value
                            && theirs["RoleARN"] == ours.role.as_str()
                    });
                let text = format!("its rules for {key} are not those of the profile, in their order");
                if same {
                    Vec::new()
                } else {
                    error("pool-rules", text, "make roles.rules the pool's: Cognito decides by its own")
                }
            }
            _ => Vec::new(),
        }
    }

    fn well(&self, found: Vec<Finding>, check: &'static str, text: &str) -> Vec<Finding> {
        if !found.is_empty() {
            return found;
        }
        vec![Finding::ok(check, &self.about, text)]
    }
}
