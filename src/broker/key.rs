//! One cache entry's identity: injective over everything that changes the answer. Pure.

use crate::broker::profile::Plan;
use crate::digest::{Digest, of_parts};
use crate::model::Caller;
use crate::upstream::Target;

/// The digest of (profile, target, issuer, subject, client, role, session, claims' fingerprint), each with its length
/// before it: two askers share an entry only if all of these are the same. The target is there since a reload may give
/// a profile another one: from then on nobody finds what came of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(Digest);

/// The digest of (issuer, subject): all entries of one user count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Subject(Digest);

impl Key {
    pub(super) fn new(profile: &str, target: &Target, caller: &Caller, plan: &Plan) -> Self {
        // In the enhanced flow, a role that was asked for differs from the same role by default: only the first is sent.
        let role = plan.role.as_ref().map_or("", |role| role.as_str());
        Self(of_parts(&[
            profile.as_bytes(),
            target.flow.as_str().as_bytes(),
            target.identity_pool_id.as_bytes(),
            optional(target.logins_key.as_deref()),
            target.region.as_bytes(),
            &target.duration.as_secs().to_be_bytes(),
            optional(target.external_id.as_deref()),
            caller.issuer.as_bytes(),
            caller.subject.as_bytes(),
            caller.client_id.as_bytes(),
            role.as_bytes(),
            &plan.session.digest(),
            &plan.fingerprint,
        ]))
    }
}

impl Key {
    /// The entry of a guest, by the handle that its caller gave it: a list of other length than a caller's, and so never
    /// the same.
    pub(super) fn guest(profile: &str, identity_pool_id: &str, handle: &str) -> Self {
        Self(of_parts(&[b"guest", profile.as_bytes(), identity_pool_id.as_bytes(), handle.as_bytes()]))
    }
}

/// A text that may be missing; an empty one is refused by the configuration.
fn optional(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

impl Subject {
    pub(super) fn guest(profile: &str, handle: &str) -> Self {
        Self(of_parts(&[b"guest", profile.as_bytes(), handle.as_bytes()]))
    }

    pub(super) fn new(caller: &Caller) -> Self {
        Self(of_parts(&[caller.issuer.as_bytes(), caller.subject.as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Expiry, Moment};
    use crate::model::{RoleArn, TokenUse};
    use crate::roles::{Choice, Reason};
    use crate::upstream::{Flow, Session};

    type Parts = (String, String, String, String, String, Option<String>, Session, [u8; 32]);

    fn key(parts: &Parts) -> Key {
        let (profile, pool, issuer, subject, client, role, session, fingerprint) = parts;
        let now = Moment { wall: SystemTime::UNIX_EPOCH, boot: Duration::ZERO };
        let caller = Caller {
            user_pool: "pool".into(),
            issuer: issuer.as_str().into(),
            subject: subject.as_str().into(),
            client_id: client.as_str().into(),
            token_use: TokenUse::Id,
            fingerprint: *fingerprint,
            expires: Expiry::at(now.wall, now),
        };
        let choice = Choice { asked: None, expected: None, reason: Reason::PoolDecides };
        let plan = Plan {
            role: role.as_deref().map(RoleArn::new),
            session: Arc::new(session.clone()),
            choice,
            fingerprint: *fingerprint,
        };
        let target = Target {
            flow: Flow::Enhanced,
            identity_pool_id: pool.as_str().into(),
            logins_key: None,
            region: "".into(),
            duration: Duration::ZERO,
            external_id: None,
        };
        Key::new(profile, &target, &caller, &plan)
    }

    /// Short texts over few letters, separators and look-alikes among them, so that near-collisions are common.
    fn parts() -> impl Strategy<Value = Parts> {
        let text = || "[ab|:\u{0}é]{0,3}";
        let arn = prop::option::of("[ab|:]{1,3}");
        (text(), text(), text(), text(), text(), arn, session(), prop::array::uniform32(0_u8..2))
    }

    fn session() -> impl Strategy<Value = Session> {
        let text = || "[ab]{0,2}";
        let texts = || prop::collection::vec(text(), 0..3);
        let tags = prop::collection::vec((text(), text()), 0..3);
        let whole = (text(), prop::option::of(text()), tags, texts(), prop::option::of(text()), texts());
        whole.prop_map(|(name, source_identity, tags, transitive_tag_keys, policy, policy_arns)| Session {
            name,
            source_identity,
            tags,
            transitive_tag_keys,
            policy,
            policy_arns,
        })
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_parts(one in parts(), other in parts()) {
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn a_letter_cannot_move_to_its_neighbour(text in "[ab|]{2,6}", cut in 1_usize..5) {
            let cut = cut.min(text.len() - 1);
            let split = |at: usize| {
                let (issuer, subject) = (text[..at].to_owned(), text[at..].to_owned());
                let pool = String::new();
                key(&("default".to_owned(), pool, issuer, subject, "client".to_owned(), None, Session::default(), [0; 32]))
            };
            prop_assert_ne!(split(cut), split(cut - 1));
        }
    }
}
