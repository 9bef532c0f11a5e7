//! A configured way from a caller to credentials: what an ask becomes under it. Pure; knows no cache.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use crate::auth::fingerprint;
use crate::digest::Digest;
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller, Claims, RoleArn, TokenUse};
use crate::roles::{Choice, Refusal, Rules};
use crate::templates::{
    Fault, NameTemplate, PolicyFault, PolicyTemplate, TagTemplate, check_policy, check_policy_arns, check_policy_size,
};
use crate::upstream::{Flow, Session, Target};

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The user pools whose users are admitted.
    pub user_pools: HashSet<Arc<str>>,
    /// Whether access tokens are taken as well as ID tokens; only where no identity pool has to take them.
    pub accept_access_tokens: bool,
    /// Whether guests are served, on a path of their own.
    pub allow_unauthenticated: bool,
    /// Claims that say nothing of what a user may have, beyond those that change with each token anyway.
    pub volatile_claims: Vec<Arc<str>>,
    /// How claims become a role.
    pub rules: Rules,
    /// Where the credentials come from.
    pub target: Arc<Target>,
    /// What the session of an assumed role is called, tagged with and limited to.
    pub session: SessionTemplates,
}

/// The parts of a session that claims fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTemplates {
    /// `RoleSessionName`.
    pub name: NameTemplate,
    /// `SourceIdentity`.
    pub source_identity: Option<NameTemplate>,
    /// Session tags by key.
    pub tags: Vec<(String, TagTemplate)>,
    /// The tags' keys that go on when roles are chained.
    pub transitive_tag_keys: Vec<String>,
    /// The session policy.
    pub policy: Option<PolicyTemplate>,
    /// Managed session policies.
    pub policy_arns: Vec<String>,
}

/// What an ask has become: what is sent to AWS, and so what the cache's key is made of.
pub(super) struct Plan {
    /// In the enhanced flow the role that was asked for; in the others the role to assume.
    pub(super) role: Option<RoleArn>,
    pub(super) session: Arc<Session>,
    pub(super) choice: Choice,
    /// The digest of every claim that may change the credentials.
    pub(super) fingerprint: Digest,
}

/// The session of the enhanced flow, which names none: one for all.
static UNNAMED: LazyLock<Arc<Session>> = LazyLock::new(Arc::default);

impl Profile {
    /// What `ask` becomes for `caller`, whose token says `claims`. What is not there at all is judged before what the caller may not have.
    ///
    /// # Errors
    /// As the error table says; nothing else is tried in place of what is refused.
    pub(super) fn plan(&self, caller: &Caller, claims: &Claims, ask: &Ask) -> Result<Plan, Error> {
        let choice = self.rules.resolve(claims, ask.role.as_deref());
        if choice != Err(Refusal::UnknownAlias) {
            self.admit(caller)?;
        }
        let choice = choice?;
        if self.target.flow == Flow::Enhanced {
            if ask.session_policy.is_some() || !ask.policy_arns.is_empty() {
                let cause = "the enhanced flow takes no session policy: use a profile of flow basic or assume-role";
                return Err(Error::new(Kind::InvalidRequest, cause));
            }
            let (role, fingerprint) = (choice.asked.clone(), self.fingerprint(caller, claims));
            return Ok(Plan { role, session: Arc::clone(&UNNAMED), choice, fingerprint });
        }
        let missing = "no role is known for this user: name one as authenticated_role";
        let role = choice.expected.clone().ok_or_else(|| Error::new(Kind::RoleNotAllowed, missing))?;
        Ok(Plan {
            role: Some(role),
            session: Arc::new(self.session(claims, ask)?),
            choice,
            fingerprint: self.fingerprint(caller, claims),
        })
    }

    /// Where AWS never sees the token, no claim matters but those that have become the role and the session.
    fn fingerprint(&self, caller: &Caller, claims: &Claims) -> Digest {
        match self.target.flow {
            Flow::AssumeRole => [0; 32],
            _ if self.volatile_claims.is_empty() => caller.fingerprint,
            _ => fingerprint(claims, &self.volatile_claims),
        }
    }

    pub(super) fn admit(&self, caller: &Caller) -> Result<(), Error> {
        self.admit_pool(&caller.user_pool)?;
        if caller.token_use == TokenUse::Access && !self.accept_access_tokens {
            let cause = "token_use is not \"id\": identity pools take ID tokens only";
            return Err(Error::new(Kind::Unauthorized, cause));
        }
        Ok(())
    }

    pub(super) fn admit_pool(&self, user_pool: &Arc<str>) -> Result<(), Error> {
        let cause = "the token's user pool is not admitted to the profile (profiles.*.user_pools)";
        self.user_pools.contains(user_pool).then_some(()).ok_or_else(|| Error::new(Kind::ProfileNotAllowed, cause))
    }

    pub(super) fn admit_guests(&self) -> Result<(), Error> {
        let cause = "the profile takes no guests (profiles.*.allow_unauthenticated)";
        self.allow_unauthenticated.then_some(()).ok_or_else(|| Error::new(Kind::ProfileNotAllowed, cause))
    }

    fn session(&self, claims: &Claims, ask: &Ask) -> Result<Session, Error> {
        let templates = &self.session;
        let limited = templates.policy.is_some() || !templates.policy_arns.is_empty();
        if limited && (ask.session_policy.is_some() || !ask.policy_arns.is_empty()) {
            // All session policies of a session count as one set, in which one Allow is enough: a caller's own would
            // open what the profile's has closed.
            let cause = "the profile has session policies of its own, so that a caller's are not taken";
            return Err(Error::new(Kind::InvalidRequest, cause));
        }
        let own = templates.policy.as_ref().map(|template| template.fill(claims)).transpose()?;
        let asked = ask.session_policy.as_deref().map(check_policy).transpose()?;
        let policy = own.or(asked);
        let policy_arns: Vec<_> = templates.policy_arns.iter().chain(&ask.policy_arns).cloned().collect();
        check_policy_arns(&policy_arns)?;
        check_policy_size(policy.as_deref(), &policy_arns)?;
        let filled = |(key, template): &(String, TagTemplate)| Ok((key.clone(), template.fill(claims)?));
        Ok(Session {
            name: templates.name.fill(claims)?,
            source_identity: templates.source_identity.as_ref().map(|name| name.fill(claims)).transpose()?,
            tags: templates.tags.iter().map(filled).collect::<Result<_, Fault>>()?,
            transitive_tag_keys: templates.transitive_tag_keys.clone(),
            policy,
            policy_arns,
        })
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::UnknownAlias => Kind::NotFound,
            _ => Kind::RoleNotAllowed,
        };
        Self::new(kind, refusal.cause())
    }
}

/// A claim that a template needs and the token does not have is a right that the user does not have.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(Kind::RoleNotAllowed, fault.to_string())
    }
}

impl From<PolicyFault> for Error {
    fn from(fault: PolicyFault) -> Self {
        Self::new(Kind::InvalidRequest, fault.to_string())
    }
}
