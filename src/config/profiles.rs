//! `[profiles.NAME]`: the ways from a caller to credentials. Knows of user pools no more than their ids.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::Profile;
use crate::config::defaults::*;
use crate::config::faults::Found;
use crate::config::field::{Field, List};
use crate::config::pools::Claims;
use crate::config::session::{self, Texts};
use crate::config::{forms, raw, roles};
use crate::upstream::{Flow, Target};

/// What profiles stand on.
pub(super) struct Ground<'a> {
    /// The configured user pools.
    pub(super) pools: &'a Claims,
    /// The ids of the sound ones.
    pub(super) all: &'a [Arc<str>],
    /// `aws.region`, judged.
    pub(super) region: &'a Field<String>,
}

/// The sound profiles, each with the texts of its templates.
#[derive(Default)]
pub(super) struct Profiles {
    pub(super) resolved: HashMap<String, Profile>,
    pub(super) texts: HashMap<String, Texts>,
    /// The names of all, also of those at fault.
    names: HashSet<String>,
}

const FLOWS: &[(&str, Flow)] =
    &[("enhanced", Flow::Enhanced), ("basic", Flow::Basic), ("assume-role", Flow::AssumeRole)];

/// The name of `flow`, as the configuration has it.
pub(super) fn flow_name(flow: Flow) -> &'static str {
    FLOWS.iter().find(|(_, other)| *other == flow).map_or("", |(name, _)| name)
}

/// The sound profiles.
pub(super) fn resolve(typed: Field<Vec<raw::Profile>>, ground: &Ground<'_>, found: &Found) -> Profiles {
    let typed = typed.at_least_one(found, "[profiles.NAME], like [profiles.default]");
    let names = typed.iter().filter_map(|profile| profile.name.as_given().cloned()).collect();
    let mut profiles = Profiles { names, ..Profiles::default() };
    for (name, profile, texts) in typed.into_iter().filter_map(|profile| resolve_profile(profile, ground, found)) {
        profiles.texts.insert(name.clone(), texts);
        profiles.resolved.insert(name, profile);
    }
    profiles
}

impl Profiles {
    /// Whether a profile of this name is, or may be, in the file.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    /// The regions of the profiles' identity pools, each once.
    pub(super) fn pool_regions(&self) -> Vec<String> {
        self.each_once(|target| (target.flow != Flow::AssumeRole).then(|| target.pool_region()))
    }

    /// The regions in which the profiles call STS, each once.
    pub(super) fn sts_regions(&self) -> Vec<String> {
        self.each_once(|target| (target.flow != Flow::Enhanced).then_some(&*target.region))
    }

    /// Whether any profile assumes roles as the broker's own identity.
    pub(super) fn own_identity(&self) -> bool {
        self.resolved.values().any(|profile| profile.target.flow == Flow::AssumeRole)
    }

    /// Whether any profile takes access tokens.
    pub(super) fn access_tokens(&self) -> bool {
        self.resolved.values().any(|profile| profile.accept_access_tokens)
    }

    /// The shortest life that credentials of these flows have, if there is a profile of one.
    pub(super) fn shortest_lifetime(&self, flows: &[Flow]) -> Option<Duration> {
        let targets = self.resolved.values().map(|profile| &profile.target);
        targets.filter(|target| flows.contains(&target.flow)).map(|target| target.duration).min()
    }

    fn each_once(&self, region: impl Fn(&Target) -> Option<&str>) -> Vec<String> {
        let regions: BTreeSet<_> = self.resolved.values().filter_map(|profile| region(&profile.target)).collect();
        regions.into_iter().map(str::to_owned).collect()
    }
}

fn resolve_profile(typed: raw::Profile, ground: &Ground<'_>, found: &Found) -> Option<(String, Profile, Texts)> {
    let name = typed.name.judged(found, forms::name).given();
    // Without a known flow, nothing is said of what the flow needs and does not use.
    let flow = typed.flow.judged(found, |text| forms::choice(&text, FLOWS)).sound(DEFAULT_FLOW);
    let user_pools = user_pools(typed.user_pools, ground, found);
    let refusal = "identity pools take ID tokens only; access tokens are for flow assume-role";
    let for_pool = matches!(flow, Some(Flow::Enhanced | Flow::Basic));
    let accepting = typed.accept_access_tokens.as_given() == Some(&true);
    let accept_access_tokens = typed.accept_access_tokens.unless((for_pool && accepting).then_some(refusal), found);
    let guests_elsewhere = typed.allow_unauthenticated.as_given() == Some(&true) && flow != Some(Flow::Enhanced);
    let refusal = "only the enhanced flow gives guests a role, and AWS scopes it down there";
    let guests = typed.allow_unauthenticated.unless((flow.is_some() && guests_elsewhere).then_some(refusal), found);
    let target = target(typed.target, flow, user_pools.len() > 1, ground.region, found);
    let session = session::resolve(typed.session, flow, found);
    let rules = roles::resolve(typed.roles, typed.groups, flow, found);
    let volatile_claims = typed.volatile_claims.each(found, forms::claim).given().unwrap_or_default();
    let (session, texts) = session?;
    let profile = Profile {
        user_pools: user_pools.into_iter().collect(),
        accept_access_tokens: accept_access_tokens.or(false),
        allow_unauthenticated: guests.or(false),
        volatile_claims: volatile_claims.into_iter().map(|(claim, _)| claim).collect(),
        rules,
        target: Arc::new(target?),
        session,
    };
    Some((name?, profile, texts))
}

fn user_pools(typed: Field<List>, ground: &Ground<'_>, found: &Found) -> Vec<Arc<str>> {
    if typed.is_absent() {
        return ground.all.to_vec();
    }
    let unknown = "unknown: no [[user_pools]] has this id";
    let known = |id: String| if ground.pools.may_have(&id) { Ok(id) } else { Err(unknown) };
    let placed = typed.each(found, known).given().unwrap_or_default();
    placed.into_iter().map(|(id, _)| id).collect()
}

/// Where the credentials come from. `several` user pools cannot share one key of the `Logins` map.
fn target(
    typed: raw::Target,
    flow: Option<Flow>,
    several: bool,
    region: &Field<String>,
    found: &Found,
) -> Option<Target> {
    let no_pool = Some("flow assume-role asks no identity pool").filter(|_| flow == Some(Flow::AssumeRole));
    let pool = typed.identity_pool_id.unless(no_pool, found).judged(found, forms::identity_pool_id);
    let logins_key = typed.logins_key.unless(no_pool, found).judged(found, |text| match several {
        false => forms::logins_key(text),
        true => Err("names one user pool, and the profile admits several: leave it out, or make a profile for each"),
    });
    let one_hour = Some("AWS fixes it at one hour in the enhanced flow").filter(|_| flow == Some(Flow::Enhanced));
    let duration = typed.duration_seconds.unless(one_hour, found).ranged(&DURATION_SECONDS, found);
    let no_external =
        Some("only flow assume-role sends it").filter(|_| flow.is_some_and(|flow| flow != Flow::AssumeRole));
    let external_id = typed.external_id.unless(no_external, found).judged(found, forms::external_id);
    let flow = flow?;
    let (identity_pool_id, region) = if flow == Flow::AssumeRole {
        (String::new(), sts_region(region, found)?)
    } else {
        let pool = pool.required(found, "the identity pool that gives the credentials, REGION:GUID")?;
        let own = pool.split(':').next().unwrap_or_default().to_owned();
        // Where no role is assumed, the region of STS says nothing.
        let region = region.as_given().filter(|_| flow == Flow::Basic).cloned().unwrap_or(own);
        (pool, region)
    };
    Some(Target {
        flow,
        identity_pool_id: identity_pool_id.into(),
        logins_key: logins_key.given().map(Into::into),
        region: region.into(),
        duration: Duration::from_secs(duration.or(DEFAULT_DURATION_SECONDS)),
        external_id: external_id.given(),
    })
}

/// The region where roles are assumed that no identity pool tells.
fn sts_region(region: &Field<String>, found: &Found) -> Option<String> {
    if region.is_absent() {
        found.tell(&region.place, "missing: the region whose STS profiles of flow assume-role call, like us-east-1");
    }
    region.as_given().cloned()
}
