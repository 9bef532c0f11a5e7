//! IdentityIds by user, kept apart from credentials: GetId is the scarcest call (25 a second and account), and a
//! user's id never changes within one identity pool. Not a secret. Knows no SDK.
//!
//! Read without a lock. With `[state] dir` set, each change is also told to the one [`Writer`], who brings the file on
//! disk up to it; nobody waits for the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use papaya::HashMap;
use tokio::sync::mpsc;
use tracing::warn;

use crate::digest::{Digest, of_parts};
use crate::metrics::Metrics;
use crate::model::IdentityId;
use crate::upstream::Order;
use crate::upstream::store::{Store, StoreError};

/// How many ids are kept: about 100 bytes each.
const CAPACITY: usize = 200_000;

/// How many changes may wait for the disk; GetId brings a few in a second.
const QUEUE: usize = 16_384;

/// How many changes go to disk at once.
const BATCH: usize = 1_024;

/// The known ids, in memory and perhaps on disk.
pub struct Identities {
    known: Arc<Known>,
    changed: Option<mpsc::Sender<Digest>>,
}

/// The end that writes; it blocks, and has a thread of its own.
pub struct Writer {
    known: Arc<Known>,
    changed: mpsc::Receiver<Digest>,
    store: Store,
    metrics: Arc<Metrics>,
    /// The last write failed, which has been told.
    failing: bool,
}

/// The ids in memory.
struct Known {
    by_user: HashMap<Digest, IdentityId>,
    /// Kept by us, since the map's own count walks it.
    held: AtomicUsize,
}

impl Identities {
    /// No ids yet, and none on disk ever.
    pub fn in_memory() -> Self {
        Self { known: Arc::new(Known::new()), changed: None }
    }

    /// The ids of the file in `dir`, which this process holds from now on, and the writer that has to run for changes to
    /// reach it. A file that is torn or not ours is set aside; a disk that refuses is counted as a failed write, and tried
    /// again with the first change.
    ///
    /// # Errors
    /// When the directory is not there, or another process holds it.
    pub fn open(dir: &Path, metrics: Arc<Metrics>) -> Result<(Self, Writer), StoreError> {
        let (store, ids) = Store::open(dir, CAPACITY)?;
        if store.database.is_none() {
            metrics.state_write_failures.inc();
        }
        let known = Arc::new(Known::new());
        ids.into_iter().for_each(|(user, id)| drop(known.insert(user, id)));
        let (changed, queue) = mpsc::channel(QUEUE);
        let writer = Writer { known: Arc::clone(&known), changed: queue, store, metrics, failing: false };
        Ok((Self { known, changed: Some(changed) }, writer))
    }

    pub(super) fn get(&self, user: &Digest) -> Option<IdentityId> {
        self.known.get(user)
    }

    /// Keeps an id; when there are too many, some other one goes, and costs one GetId when it is needed again.
    pub(super) fn keep(&self, user: Digest, id: IdentityId) {
        if self.known.held.load(Ordering::Relaxed) >= CAPACITY {
            self.known.any().iter().for_each(|other| self.forget(other));
        }
        if self.known.insert(user, id.clone()) != Some(id) {
            self.tell(user);
        }
    }

    pub(super) fn forget(&self, user: &Digest) {
        if self.known.remove(user) {
            self.tell(*user);
        }
    }

    /// Tells the writer after the map has changed, never before: it writes what the map says when it looks, so that the
    /// last change of a user always reaches the disk, in whatever order two of them were told. With the queue full, a
    /// change does not: a lost id costs one GetId after a restart, and a stale one is refused by AWS and forgotten again.
    fn tell(&self, user: Digest) {
        if let Some(changed) = &self.changed {
            changed.try_send(user).ok();
        }
    }
}

impl Writer {
    /// Writes until the last of the [`Identities`] is gone; blocks.
    pub fn run(mut self) {
        while let Some(first) = self.changed.blocking_recv() {
            let mut users = vec![first];
            while users.len() < BATCH
                && let Ok(user) = self.changed.try_recv()
            {
                users.push(user);
            }
            self.save(&users);
        }
    }

    fn save(&mut self, users: &[Digest]) {
        let now = |user: &Digest| (*user, self.known.get(user));
        let done = if self.failing {
            // Nobody knows what of the earlier ones is on disk, nor which of those there were forgotten meanwhile.
            self.store.replace(self.known.users().iter().map(now))
        } else {
            self.store.save(users.iter().map(now))
        };
        if let Err(error) = &done {
            self.metrics.state_write_failures.inc();
            if !self.failing {
                warn!(error, "the identity map cannot be written to [state] dir; tried again with its next change");
            }
        }
        self.failing = done.is_err();
    }
}

impl Known {
    fn new() -> Self {
        Self { by_user: HashMap::new(), held: AtomicUsize::new(0) }
    }

    fn get(&self, user: &Digest) -> Option<IdentityId> {
        self.by_user.pin().get(user).cloned()
    }

    fn any(&self) -> Option<Digest> {
        self.by_user.pin().keys().next().copied()
    }

    fn users(&self) -> Vec<Digest> {
        self.by_user.pin().keys().copied().collect()
    }

    /// Returns what was there before.
    fn insert(&self, user: Digest, id: IdentityId) -> Option<IdentityId> {
        let before = self.by_user.pin().insert(user, id).cloned();
        if before.is_none() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        before
    }

    fn remove(&self, user: &Digest) -> bool {
        let removed = self.by_user.pin().remove(user).is_some();
        if removed {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }
}

/// The user behind `order`, within its identity pool: a digest of (pool, issuer, subject), each with its length.
pub(super) fn user(order: &Order) -> Digest {
    let target = &order.target.identity_pool_id;
    of_parts(&[target.as_bytes(), order.issuer.as_bytes(), order.subject.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> IdentityId {
        IdentityId(format!("us-east-1:{number}").into())
    }

    /// Both ends, on a directory.
    fn open(dir: &Path) -> (Identities, Writer) {
        Identities::open(dir, Arc::new(Metrics::new("test").unwrap())).unwrap()
    }

    #[test]
    fn every_change_reaches_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (identities, writer) = open(dir.path());
        (1..=5).for_each(|number| identities.keep([number; 32], id(number)));
        identities.keep([1; 32], id(11));
        identities.forget(&[2; 32]);
        identities.forget(&[9; 32]);
        drop(identities);
        writer.run();
        let (identities, _writer) = open(dir.path());
        let found: Vec<_> = (1..=9).map(|number| identities.get(&[number; 32])).collect();
        let wanted = [Some(id(11)), None, Some(id(3)), Some(id(4)), Some(id(5)), None, None, None, None];
        assert_eq!(found, wanted);
        assert_eq!(identities.known.held.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_disk_that_refuses_at_start_is_counted_and_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        std::fs::create_dir(&lock).unwrap();
        let (identities, writer) = open(dir.path());
        assert_eq!(writer.metrics.state_write_failures.get(), 1);
        identities.keep([1; 32], id(1));
        std::fs::remove_dir(&lock).unwrap();
        drop(identities);
        writer.run();
        assert_eq!(open(dir.path()).0.get(&[1; 32]), Some(id(1)));
    }

    #[test]
    fn what_is_known_already_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (identities, mut writer) = open(dir.path());
        identities.keep([1; 32], id(1));
        assert!(writer.changed.try_recv().is_ok());
        identities.keep([1; 32], id(1));
        identities.forget(&[2; 32]);
        assert!(writer.changed.try_recv().is_err());
    }

    #[test]
    fn a_write_that_fails_is_counted_and_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        let (identities, mut writer) = open(dir.path());
        let (file, away) = (dir.path().join("identities.redb"), dir.path().join("away"));
        identities.keep([9; 32], id(9));
        writer.save(&[[9; 32]]);
        // A store that failed once opens its file again; here it finds a directory.
        writer.store.database = None;
        std::fs::rename(&file, &away).unwrap();
        std::fs::create_dir(&file).unwrap();
        for number in 1..=2 {
            identities.keep([number; 32], id(number));
            writer.save(&[[number; 32]]);
        }
        identities.forget(&[9; 32]);
        writer.save(&[[9; 32]]);
        assert_eq!(writer.metrics.state_write_failures.get(), 3);
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&away, &file).unwrap();
        while writer.changed.try_recv().is_ok() {}
        identities.keep([3; 32], id(3));
        drop(identities);
        writer.run();
        let (identities, _writer) = open(dir.path());
        let found: Vec<_> = [1, 2, 3, 9].iter().map(|number| identities.get(&[*number; 32])).collect();
        assert_eq!(
            found,
            [Some(id(1)), Some(id(2)), Some(id(3)), None],
            "what failed is made up for, a removal as well"
        );
    }
}
