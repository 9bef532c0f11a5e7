//! IdentityIds by user, kept apart from credentials: GetId is the scarcest call (25 a second and account), and a
//! user's id never changes within one identity pool. Not a secret. Knows no SDK.

use std::sync::atomic::{AtomicUsize, Ordering};

use papaya::HashMap;

use crate::digest::{Digest, of_parts};
use crate::model::IdentityId;
use crate::upstream::Order;

/// How many ids are kept: about 100 bytes each.
const CAPACITY: usize = 200_000;

/// The known ids.
pub(super) struct Identities {
    by_user: HashMap<Digest, IdentityId>,
    /// Kept by us, since the map's own count walks it.
    held: AtomicUsize,
}

impl Identities {
    pub(super) fn new() -> Self {
        Self { by_user: HashMap::new(), held: AtomicUsize::new(0) }
    }

    pub(super) fn get(&self, user: &Digest) -> Option<IdentityId> {
        self.by_user.pin().get(user).cloned()
    }

    /// Keeps an id; when there are too many, some other one goes, and costs one GetId when it is needed again.
    pub(super) fn keep(&self, user: Digest, id: IdentityId) {
        let map = self.by_user.pin();
        if self.held.load(Ordering::Relaxed) >= CAPACITY {
            let some = map.keys().next().copied();
            some.iter().for_each(|other| self.forget(other));
        }
        if map.insert(user, id).is_none() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, user: &Digest) {
        if self.by_user.pin().remove(user).is_some() {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The user behind `order`, within its identity pool: a digest of (pool, issuer, subject), each with its length.
pub(super) fn user(order: &Order) -> Digest {
    let target = &order.target.identity_pool_id;
    of_parts(&[target.as_bytes(), order.issuer.as_bytes(), order.subject.as_bytes()])
}
