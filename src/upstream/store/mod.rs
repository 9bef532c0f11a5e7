//! The identity map's file: an embedded store whose commits a kill at any instant cannot tear. Holds digests of users and
//! their IdentityIds, and nothing secret. Knows no SDK and no map.

mod fault;
mod table;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::Database;
use tracing::{info, warn};

use fault::{Fault, guarded, or_anew};
use table::{Before, Change, Ids};

/// The file, and the one whose lock says whose the directory is.
const FILE: &str = "identities.redb";
const LOCK: &str = "lock";

/// Largest file that is read: a full map has about 50 MB.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there, or not a directory.
    #[error("[state] dir: {path} cannot be used: {cause}; make it a directory that the broker may write to")]
    Unusable {
        /// The directory.
        path: String,
        /// What the system said.
        cause: String,
    },
    /// Another process uses it.
    #[error("[state] dir: another cupbearer uses {path}; give each its own directory")]
    Taken {
        /// The directory.
        path: String,
    },
}

/// The file, in a directory that is there.
pub(super) struct Store {
    dir: PathBuf,
    /// None before the store was first opened, and after a failure: it takes nothing more until it is opened again.
    pub(super) database: Option<Database>,
    /// Held for as long as the store is; none where the disk has refused it so far.
    lock: Option<File>,
}

impl Store {
    /// The store in `dir` and what it holds, or `capacity` ids of that, should it be more. A file that is torn, too large
    /// or not ours is set aside, and a new one begun. Where the disk refuses to be read or written, full as it may be,
    /// nothing is known, and [`Store::save`] tries again.
    ///
    /// # Errors
    /// When the directory is not there, or another process uses it.
    pub(super) fn open(dir: &Path, capacity: usize) -> Result<(Self, Ids), StoreError> {
        let mut store = Self { dir: dir.to_owned(), database: None, lock: None };
        let path = store.path();
        let held = store.hold()?;
        match held.and_then(|()| or_anew(&path, || load(&path, capacity))) {
            Ok((database, ids)) => {
                info!(identities = ids.len(), path = %path.display(), "identity map read");
                store.database = Some(database);
                Ok((store, ids))
            }
            Err(fault) => {
                let (path, cause) = (path.display(), fault.cause());
                warn!(%path, cause, "the identity map cannot be read and written: the broker goes on without it");
                Ok((store, Ids::new()))
            }
        }
    }

    /// Writes changes, all or none: an id, or that there is none any more. They are on disk when it returns.
    ///
    /// # Errors
    /// With what the store said. The next call opens the file anew.
    pub(super) fn save(&mut self, changes: impl Iterator<Item = Change>) -> Result<(), String> {
        self.commit(Before::AsItIs, changes)
    }

    /// Writes `ids` in the place of all that is on disk, or nothing.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub(super) fn replace(&mut self, ids: impl Iterator<Item = Change>) -> Result<(), String> {
        self.commit(Before::Emptied, ids)
    }

    fn commit(&mut self, before: Before, changes: impl Iterator<Item = Change>) -> Result<(), String> {
        let path = self.path();
        self.hold().map_err(|error| error.to_string())?.map_err(Fault::cause)?;
        // What fails half-way is dropped, and its next commit is of a file that was read anew.
        let database = match self.database.take() {
            Some(database) => database,
            None => or_anew(&path, || guarded(|| table::open(&path))).map_err(Fault::cause)?,
        };
        match guarded(|| table::write(&database, before, changes)) {
            Ok(()) => self.database = Some(database),
            Err(fault) => {
                drop(database);
                // One that opens well and cannot be written would fail for ever; what it held is written to the next one.
                fault.set_aside(&path).map_err(Fault::cause)?;
                return Err("its file was of no use".to_owned());
            }
        }
        Ok(())
    }

    /// Holds the directory, if the disk lets it.
    ///
    /// # Errors
    /// When it is not there, or another process uses it.
    fn hold(&mut self) -> Result<Result<(), Fault>, StoreError> {
        if self.lock.is_some() {
            return Ok(Ok(()));
        }
        let path = self.dir.display().to_string();
        let found = fs::metadata(&self.dir);
        let found = found.and_then(|found| found.is_dir().then_some(()).ok_or(io::ErrorKind::NotADirectory.into()));
        if let Err(error) = found {
            return Err(StoreError::Unusable { path, cause: error.to_string() });
        }
        let refused = |error: io::Error| Ok(Err(Fault::System(error.to_string())));
        let lock = match private(&self.dir.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) => return refused(error),
        };
        match lock.try_lock() {
            Ok(()) => self.lock = Some(lock),
            Err(TryLockError::WouldBlock) => return Err(StoreError::Taken { path }),
            Err(TryLockError::Error(error)) => return refused(error),
        }
        Ok(Ok(()))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }
}

/// The database of the file at `path`, which is made if it is not there, and its ids.
fn load(path: &Path, capacity: usize) -> Result<(Database, Ids), Fault> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(Fault::Content("it is not a file".to_owned())),
        Ok(found) if found.len() > FILE_BYTES => {
            return Err(Fault::Content(format!("it is larger than {FILE_BYTES} bytes")));
        }
        _ => {}
    }
    guarded(|| {
        let database = table::open(path)?;
        // So that a file that cannot be written shows at start, and the table is there to be read.
        table::write(&database, Before::AsItIs, std::iter::empty())?;
        let ids = table::read(&database, capacity)?;
        Ok((database, ids))
    })
}

/// Opens a file that only its owner may read, and makes it if it is not there.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use redb::TableDefinition;

    use super::fault::ASIDE;
    use super::table::TABLE;
    use super::*;
    use crate::digest::Digest;
    use crate::model::IdentityId;

    const CAPACITY: usize = 100;

    fn id(number: u8) -> (Digest, IdentityId) {
        ([number; 32], IdentityId(format!("us-east-1:{number:08}").into()))
    }

    fn some(number: u8) -> (Digest, Option<IdentityId>) {
        let (user, id) = id(number);
        (user, Some(id))
    }

    /// What a store in `dir` holds, by user.
    fn held(dir: &Path) -> Ids {
        let (_store, ids) = Store::open(dir, CAPACITY).unwrap();
        ids
    }

    fn aside(dir: &Path) -> usize {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".aside-")).count()
    }

    #[test]
    fn what_is_saved_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (mut store, ids) = Store::open(dir.path(), CAPACITY).unwrap();
            assert!(ids.is_empty());
            store.save((1..=20).map(some)).unwrap();
            store.save([(id(3).0, None), (id(99).0, None)].into_iter()).unwrap();
        }
        let wanted: Ids = (1..=20).filter(|number| *number != 3).map(id).collect();
        assert_eq!(held(dir.path()), wanted);
        assert_eq!(aside(dir.path()), 0);
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), CAPACITY).unwrap();
        let told = Store::open(dir.path(), CAPACITY).err().unwrap().to_string();
        assert!(told.contains("another cupbearer") && told.contains(dir.path().to_str().unwrap()), "{told}");
        drop(store);
        assert!(held(dir.path()).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for place in [dir.path().join("missing"), file] {
            let told = Store::open(&place, CAPACITY).err().unwrap().to_string();
            assert!(told.contains("[state] dir") && told.contains(place.to_str().unwrap()), "{told}");
        }
    }

    #[test]
    fn a_disk_that_refuses_at_start_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join(LOCK);
        fs::create_dir(&lock).unwrap();
        let (mut store, ids) = Store::open(dir.path(), CAPACITY).unwrap();
        assert!(ids.is_empty());
        assert!(store.save([some(1)].into_iter()).is_err());
        fs::remove_dir(&lock).unwrap();
        store.save([some(2)].into_iter()).unwrap();
        assert!(Store::open(dir.path(), CAPACITY).is_err(), "it has its owner now");
        drop(store);
        assert_eq!(held(dir.path()), [id(2)]);
    }

    #[test]
    fn a_file_that_is_of_no_use_any_more_is_set_aside_by_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path(), CAPACITY).unwrap();
        store.database = None;
        fs::write(dir.path().join(FILE), "torn meanwhile").unwrap();
        store.save([some(1)].into_iter()).unwrap();
        drop(store);
        assert_eq!((held(dir.path()), aside(dir.path())), (vec![id(1)], 1));
    }

    /// A store that another program, or another form of this one, has written.
    fn foreign_store(path: &Path, write: impl FnOnce(&redb::WriteTransaction)) {
        let database = Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        write(&transaction);
        transaction.commit().unwrap();
    }

    #[test]
    fn a_file_that_is_not_ours_is_set_aside() {
        type Make = fn(&Path);
        let makers: [(&str, Make); 6] = [
            ("text", |path| fs::write(path, "identities = []").unwrap()),
            ("zeroes", |path| fs::write(path, vec![0; 1_000_000]).unwrap()),
            ("too large", |path| File::create(path).unwrap().set_len(FILE_BYTES + 1).unwrap()),
            ("a directory", |path| fs::create_dir(path).unwrap()),
            ("another table", |path| {
                foreign_store(path, |transaction| {
                    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("identities-1");
                    transaction.open_table(table).unwrap().insert(1, 1).unwrap();
                });
            }),
            ("no identity", |path| {
                foreign_store(path, |transaction| {
                    transaction.open_table(TABLE).unwrap().insert(&[1; 32], &b"no identity"[..]).unwrap();
                });
            }),
        ];
        for (what, make) in makers {
            let dir = tempfile::tempdir().unwrap();
            make(&dir.path().join(FILE));
            {
                let (mut store, ids) = Store::open(dir.path(), CAPACITY).unwrap();
                assert!(ids.is_empty(), "{what}");
                store.save([some(1)].into_iter()).unwrap();
            }
            assert_eq!((held(dir.path()), aside(dir.path())), (vec![id(1)], 1), "{what}");
        }
    }

    #[test]
    fn of_more_than_are_kept_as_many_are_read_and_nothing_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path(), CAPACITY).unwrap();
        store.save((0..=CAPACITY as u8).map(some)).unwrap();
        drop(store);
        assert_eq!((held(dir.path()).len(), aside(dir.path())), (CAPACITY, 0));
        let (mut store, _) = Store::open(dir.path(), CAPACITY).unwrap();
        store.replace([some(3), some(4)].into_iter()).unwrap();
        drop(store);
        assert_eq!(held(dir.path()), [id(3), id(4)], "nothing else is left");
    }

    #[test]
    fn what_stands_aside_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..ASIDE + 3 {
            fs::write(dir.path().join(FILE), "not a store").unwrap();
            assert!(held(dir.path()).is_empty());
        }
        assert_eq!(aside(dir.path()), ASIDE as usize);
    }

    /// Cut off or changed anywhere, a file gives the ids that were saved, or is set aside: never anything else, and never
    /// an end of the program.
    #[test]
    fn a_torn_file_is_never_fatal() {
        let whole = {
            let dir = tempfile::tempdir().unwrap();
            let (mut store, _) = Store::open(dir.path(), CAPACITY).unwrap();
            (0..60).for_each(|number| store.save([some(number)].into_iter()).unwrap());
            drop(store);
            fs::read(dir.path().join(FILE)).unwrap()
        };
        let mut torn = 0;
        // A sample of the header, and one of the rest.
        let places = (0..320).step_by(5).chain((320..whole.len()).step_by(whole.len() / 40));
        for (number, place) in places.enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = whole.clone();
            match number % 3 {
                0 => bytes.truncate(place),
                1 => bytes[place] ^= 0x55,
                _ => bytes[place..].iter_mut().take(4_096).for_each(|byte| *byte = 0xff),
            }
            fs::write(dir.path().join(FILE), bytes).unwrap();
            let ids = held(dir.path());
            assert!(ids.iter().all(|(user, found)| *found == id(user[0]).1), "at {place}");
            torn += aside(dir.path());
        }
        assert!(torn > 30, "only {torn} were found to be torn");
    }
}
