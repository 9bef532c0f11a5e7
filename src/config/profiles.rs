//! `[profiles.NAME]`: the ways from a caller to credentials. Knows of user pools no more than their ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::broker::{Profile, SessionTemplates};
use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::{Field, List, Names};
use crate::config::pools::Claims;
use crate::config::{forms, raw};
use crate::model::RoleArn;
use crate::roles::{Ambiguous, Mapping, Rules};
use crate::templates::NameTemplate;
use crate::upstream::{self, Target};

/// How a profile gets credentials.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    Enhanced,
}

/// `ambiguous_role_resolution` as it is typed.
#[derive(Clone, Copy)]
pub(super) enum Resolution {
    Deny,
    AuthenticatedRole,
}

/// The sound profiles. `pools` are the configured user pools, `all` the ids of the sound ones.
pub(super) fn resolve(
    typed: Field<Vec<raw::Profile>>,
    pools: &Claims,
    all: &[Arc<str>],
    found: &Found,
) -> HashMap<String, Profile> {
    let typed = typed.at_least_one(found, "[profiles.NAME], like [profiles.default]");
    typed.into_iter().filter_map(|profile| resolve_profile(profile, pools, all, found)).collect()
}

/// The regions of the profiles' identity pools, each once.
pub(super) fn regions(profiles: &HashMap<String, Profile>) -> Vec<String> {
    let regions: BTreeSet<_> = profiles.values().map(|profile| profile.target.pool_region().to_owned()).collect();
    regions.into_iter().collect()
}

fn resolve_profile(typed: raw::Profile, pools: &Claims, all: &[Arc<str>], found: &Found) -> Option<(String, Profile)> {
    let name = typed.name.judged(found, forms::name).given();
    let flow = typed.flow.judged(found, |text| {
        forms::choice(&text, &[("enhanced", Some(Flow::Enhanced)), ("basic", None), ("assume-role", None)])
    });
    // The only flow so far, so that a profile need not remember it.
    let Flow::Enhanced = flow.or(DEFAULT_FLOW);
    let user_pools = user_pools(typed.user_pools, pools, all, found);
    let logins_key = typed.logins_key.judged(found, |text| match user_pools.len() {
        0 | 1 => forms::logins_key(text),
        _ => Err("names one user pool, and the profile admits several: leave it out, or make a profile for each"),
    });
    let identity_pool_id = typed.identity_pool_id.judged(found, forms::identity_pool_id);
    let identity_pool_id =
        identity_pool_id.required(found, "the identity pool that gives the credentials, REGION:GUID");
    let rules = rules(typed.roles, found);
    let identity_pool_id: Arc<str> = identity_pool_id?.into();
    let target = Target {
        flow: upstream::Flow::Enhanced,
        region: identity_pool_id.split(':').next().unwrap_or_default().into(),
        identity_pool_id,
        logins_key: logins_key.given().map(Into::into),
        duration: DEFAULT_DURATION,
        external_id: None,
    };
    let session = SessionTemplates {
        name: NameTemplate::parse(DEFAULT_SESSION_NAME).ok()?,
        source_identity: None,
        tags: Vec::new(),
        transitive_tag_keys: Vec::new(),
        policy: None,
        policy_arns: Vec::new(),
    };
    let profile = Profile {
        user_pools: user_pools.into_iter().collect(),
        accept_access_tokens: false,
        rules,
        target: Arc::new(target),
        session,
    };
    Some((name?, profile))
}

fn user_pools(typed: Field<List>, pools: &Claims, all: &[Arc<str>], found: &Found) -> Vec<Arc<str>> {
    if typed.is_absent() {
        return all.to_vec();
    }
    let known = |id: String| if pools.may_have(&id) { Ok(id) } else { Err("unknown: no [[user_pools]] has this id") };
    let placed = typed.each(found, known).given().unwrap_or_default();
    placed.into_iter().map(|(id, _)| id).collect()
}

fn rules(typed: raw::Roles, found: &Found) -> Rules {
    let mapping = typed.mapping.judged(found, |text| {
        forms::choice(&text, &[("token", Some(Mapping::Token)), ("rules", None), ("pool", Some(Mapping::Pool))])
    });
    let resolution = typed.ambiguous_role_resolution.judged(found, |text| {
        let options = [("deny", Some(Resolution::Deny)), ("authenticated_role", Some(Resolution::AuthenticatedRole))];
        forms::choice(&text, &options)
    });
    let authenticated_role = typed.authenticated_role.judged(found, forms::role).given();
    Rules {
        mapping: mapping.or(DEFAULT_MAPPING),
        ambiguous: match resolution.or(DEFAULT_AMBIGUOUS) {
            Resolution::Deny => Ambiguous::Deny,
            // Optional: in the enhanced flow Cognito knows its own default role.
            Resolution::AuthenticatedRole => Ambiguous::AuthenticatedRole(authenticated_role),
        },
        aliases: aliases(typed.aliases, found),
        groups: Vec::new(),
        preferred_must_be_listed: typed.preferred_role_must_be_listed.or(DEFAULT_PREFERRED_MUST_BE_LISTED),
    }
}

fn aliases(typed: Field<Names>, found: &Found) -> BTreeMap<String, RoleArn> {
    let each = typed.given().unwrap_or_default().into_iter().filter_map(|(name, role)| {
        let name = name.judged(found, forms::name).given();
        let role = role.judged(found, forms::role).given();
        name.zip(role)
    });
    each.collect()
}
