//! Whom Cognito refused of late by an IdentityId that it stands by. Knows no call and no clock.
//!
//! GetId is the scarcest call: without this, every try of a refused user would ask it whether the id is still the right
//! one, and a few dozen such users would use up what all new ones need.

use std::time::Duration;

use papaya::HashMap;

use crate::digest::Digest;

/// For so long the id is not doubted again: that much later a user hears of an identity that was made anew meanwhile.
const LASTS: Duration = Duration::from_secs(5 * 60);

/// How many users are remembered; with more, all are forgotten, which costs each of them one GetId.
const CAPACITY: usize = 10_000;

/// Users, each with the boot time at which the id was asked for.
pub(super) struct Refused(HashMap<Digest, Duration>);

impl Refused {
    pub(super) fn nobody() -> Self {
        Self(HashMap::new())
    }

    /// Cognito has refused `user` by an id that it had just confirmed, or would not give it one.
    pub(super) fn note(&self, user: Digest, now: Duration) {
        let users = self.0.pin();
        // Two who come at once may both find room: a few more do no harm.
        if users.len() >= CAPACITY {
            users.clear();
        }
        users.insert(user, now);
    }

    /// Whether a refusal of `user` says nothing of the id.
    pub(super) fn is_recent(&self, user: &Digest, now: Duration) -> bool {
        self.0.pin().get(user).is_some_and(|noted| now < *noted + LASTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_while_and_within_bounds() {
        let refused = Refused::nobody();
        let now = Duration::from_secs(1_000);
        refused.note([1; 32], now);
        assert!(refused.is_recent(&[1; 32], now + LASTS - Duration::from_secs(1)));
        assert!(!refused.is_recent(&[1; 32], now + LASTS) && !refused.is_recent(&[2; 32], now));
        for number in 0..2 * CAPACITY {
            let mut user = [0; 32];
            user[..8].copy_from_slice(&number.to_be_bytes());
            refused.note(user, now);
            assert!(refused.0.len() <= CAPACITY && refused.is_recent(&user, now));
        }
    }
}
