//! What a configuration needs of IAM: for each role, whom it has to trust, and for what. Writes the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::broker::Profile;
use crate::config::Config;
use crate::model::RoleArn;
use crate::roles::{Ambiguous, Mapping};
use crate::upstream::Flow;

/// What one role has to allow, for all profiles that give it: it has one trust policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The profiles that give it.
    pub profiles: BTreeSet<String>,
    /// The identity pools whose users take it on.
    pub pools: BTreeSet<Arc<str>>,
    /// What the broker itself needs, if it takes the role on.
    pub broker: Option<BrokerNeeds>,
}

/// What the broker needs that takes a role on as itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerNeeds {
    /// It gives session tags.
    pub tags: bool,
    /// It names a source identity.
    pub source_identity: bool,
    /// It names these, each for a profile.
    pub external_ids: BTreeSet<String>,
    /// A profile names none.
    pub without_external_id: bool,
}

/// Who the broker is where nobody has said so; to be replaced by whoever pastes it.
pub const PLACEHOLDER: &str = "arn:aws:iam::ACCOUNT:role/BROKER-ROLE";

/// The name under which the trust policy stands of roles that the configuration does not name.
pub const ANY_OTHER: &str = "every other role of the user pool's groups";

/// The roles that a profile names.
pub fn roles(profile: &Profile) -> BTreeSet<RoleArn> {
    let rules = &profile.rules;
    let of_rules = match &rules.mapping {
        Mapping::Rules(rules) => rules.iter().map(|rule| rule.role.clone()).collect(),
        Mapping::Token | Mapping::Pool => Vec::new(),
    };
    let default = match &rules.ambiguous {
        Ambiguous::AuthenticatedRole(role) => role.clone(),
        Ambiguous::Deny => None,
    };
    let groups = rules.groups.iter().map(|group| group.role.clone());
    rules.aliases.values().cloned().chain(of_rules).chain(default).chain(groups).collect()
}

/// Whether roles come from elsewhere than the configuration: from tokens, or from the identity pool.
pub fn gives_others(profile: &Profile) -> bool {
    match profile.rules.mapping {
        Mapping::Token => profile.rules.groups.is_empty(),
        Mapping::Pool => true,
        Mapping::Rules(_) => false,
    }
}

/// The needs of every role that the profiles name, and under [`ANY_OTHER`] of those that they do not.
pub fn all<'a>(profiles: impl IntoIterator<Item = (&'a String, &'a Profile)>) -> BTreeMap<String, Needs> {
    let mut needs: BTreeMap<String, Needs> = BTreeMap::new();
    for (name, profile) in profiles {
        let others = gives_others(profile).then(|| ANY_OTHER.to_owned());
        for role in roles(profile).iter().map(ToString::to_string).chain(others) {
            needs.entry(role).or_default().add(name, profile);
        }
    }
    needs
}

impl Needs {
    fn add(&mut self, name: &str, profile: &Profile) {
        self.profiles.insert(name.to_owned());
        if profile.target.flow != Flow::AssumeRole {
            self.pools.insert(Arc::clone(&profile.target.identity_pool_id));
            return;
        }
        let broker = self.broker.get_or_insert_default();
        broker.tags |= !profile.session.tags.is_empty();
        broker.source_identity |= profile.session.source_identity.is_some();
        match &profile.target.external_id {
            Some(id) => {
                broker.external_ids.insert(id.clone());
            }
            None => broker.without_external_id = true,
        }
    }

    /// The trust policy that is enough, and no more. `broker` is the ARN of the broker's own user or role.
    pub fn trust_policy(&self, broker: &str) -> Value {
        let mut by_service: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pool in &self.pools {
            by_service.entry(service(pool)).or_default().push(pool);
        }
        let users = by_service.into_iter().map(|(service, pools)| users_statement(service, &pools, "authenticated"));
        let own = self.broker.iter().map(|needs| needs.statement(broker));
        json!({"Version": "2012-10-17", "Statement": users.chain(own).collect::<Vec<_>>()})
    }
}

impl BrokerNeeds {
    /// The actions, the role's and the broker's own policies alike.
    pub fn actions(&self) -> Vec<&'static str> {
        let more = [(self.tags, "sts:TagSession"), (self.source_identity, "sts:SetSourceIdentity")];
        std::iter::once("sts:AssumeRole")
            .chain(more.into_iter().filter_map(|(wanted, name)| wanted.then_some(name)))
            .collect()
    }

    fn statement(&self, broker: &str) -> Value {
        let mut statement = json!({
            "Sid": "Broker", "Effect": "Allow", "Principal": {"AWS": broker}, "Action": self.actions(),
        });
        if !self.external_ids.is_empty() && !self.without_external_id {
            statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": one_or_all(&self.external_ids)}});
        }
        statement
    }
}

/// The trust policy of the role that an identity pool gives to guests.
pub fn guests_trust_policy(pool: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [users_statement(service(pool), &[pool], "unauthenticated")]})
}

fn users_statement(service: &str, pools: &[&str], amr: &str) -> Value {
    json!({
        "Sid": if amr == "authenticated" { "Users" } else { "Guests" },
        "Effect": "Allow",
        "Principal": {"Federated": service},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {format!("{service}:aud"): one_or_all(&pools.iter().map(|pool| (*pool).to_owned()).collect())},
            "ForAnyValue:StringLike": {format!("{service}:amr"): amr},
        },
    })
}

/// What the broker's own user or role has to be allowed; nothing where no profile takes roles on as the broker.
pub fn broker_policy(needs: &BTreeMap<String, Needs>) -> Option<Value> {
    let mut by_actions: BTreeMap<Vec<&'static str>, Vec<&str>> = BTreeMap::new();
    let named = needs.iter().filter(|(role, _)| *role != ANY_OTHER);
    for (role, broker) in named.filter_map(|(role, needs)| Some((role, needs.broker.as_ref()?))) {
        by_actions.entry(broker.actions()).or_default().push(role);
    }
    let statements: Vec<_> = by_actions
        .into_iter()
        .map(|(actions, roles)| json!({"Effect": "Allow", "Action": actions, "Resource": roles}))
        .collect();
    (!statements.is_empty()).then(|| json!({"Version": "2012-10-17", "Statement": statements}))
}

/// What `cupbearer doctor` has to be allowed so that it can look at the identity pools and roles of `config` by itself.
pub fn doctor_policy(config: &Config, account: &str) -> Value {
    let targets = config.broker.profiles.values().map(|profile| &profile.target);
    let pools: BTreeSet<_> =
        targets.filter(|target| target.flow != Flow::AssumeRole).map(|target| &target.identity_pool_id).collect();
    let arn = |pool: &Arc<str>| {
        let region = pool.split(':').next().unwrap_or_default();
        format!("arn:{}:cognito-identity:{region}:{account}:identitypool/{pool}", partition(region))
    };
    let pools: Vec<_> = pools.into_iter().map(arn).collect();
    let named: BTreeSet<_> = config.broker.profiles.values().flat_map(roles).map(|role| role.to_string()).collect();
    let statements = [
        (json!(["cognito-identity:DescribeIdentityPool", "cognito-identity:GetIdentityPoolRoles"]), json!(pools)),
        (json!("iam:GetRole"), json!(named)),
    ];
    let wanted = statements.into_iter().filter(|(_, resources)| resources != &json!([]));
    let each = wanted.map(|(actions, resources)| json!({"Effect": "Allow", "Action": actions, "Resource": resources}));
    json!({"Version": "2012-10-17", "Statement": each.collect::<Vec<_>>()})
}

/// The federated principal of an identity pool, by its region; the condition keys begin with it (Developer Guide, "IAM
/// roles"; AWS GovCloud (US) User Guide and the guide for China, "Amazon Cognito").
pub fn service(pool: &str) -> &'static str {
    match pool.split(':').next().unwrap_or_default() {
        "us-gov-west-1" => "cognito-identity-us-gov.amazonaws.com",
        "us-gov-east-1" => "cognito-identity.us-gov-east-1.amazonaws.com",
        "cn-north-1" => "cognito-identity.cn-north-1.amazonaws.com.cn",
        _ => "cognito-identity.amazonaws.com",
    }
}

/// The partition of a region.
pub fn partition(region: &str) -> &'static str {
    match region.split('-').next().unwrap_or_default() {
        "cn" => "aws-cn",
        "eusc" => "aws-eusc",
        "us" if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

fn one_or_all(values: &BTreeSet<String>) -> Value {
    match values.len() {
        1 => values.iter().next().cloned().into(),
        _ => Value::Array(values.iter().cloned().map(Value::from).collect()),
    }
}

/// All documents, as JSON for scripts.
pub fn documents(config: &Config, needs: &BTreeMap<String, Needs>, broker: &str, account: &str) -> Value {
    let role = |(role, needs): (&String, &Needs)| {
        (role.clone(), json!({"profiles": needs.profiles, "trust_policy": needs.trust_policy(broker)}))
    };
    let guests: Map<_, _> = guests(config).map(|(name, pool)| (name.clone(), guests_trust_policy(pool))).collect();
    json!({
        "roles": needs.iter().map(role).collect::<Map<_, _>>(),
        "guests": guests,
        "broker_policy": broker_policy(needs),
        "doctor_policy": doctor_policy(config, account),
    })
}

/// The profiles that serve guests, by name, with their identity pools.
pub fn guests(config: &Config) -> impl Iterator<Item = (&String, &str)> {
    let mut profiles: Vec<_> =
        config.broker.profiles.iter().filter(|(_, profile)| profile.allow_unauthenticated).collect();
    profiles.sort_by_key(|(name, _)| *name);
    profiles.into_iter().map(|(name, profile)| (name, &*profile.target.identity_pool_id))
}
