//! The identity map's file: an embedded store whose commits a kill at any instant cannot tear. Holds digests of users and
//! their IdentityIds, and nothing secret. Knows no SDK and no map.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition};
use tracing::{debug, info, warn};

use crate::digest::Digest;
use crate::error::chain;
use crate::model::IdentityId;

/// The file, and the one whose lock says whose the directory is.
const FILE: &str = "identities.redb";
const LOCK: &str = "lock";

/// IdentityId by user. Another form gets another name, so that an older broker does not take it for its own.
const TABLE: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("identities-1");

/// Largest file that is read: a full map has about 50 MB.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Longest IdentityId (Amazon Cognito Federated Identities API Reference, "IdentityId").
const ID_BYTES: usize = 55;

/// How much of the file the store keeps in memory, in bytes: it is read once, and written a little at a time.
const CACHE_BYTES: usize = 1024 * 1024;

/// How many files may stand aside; the last one is replaced by each further one.
const ASIDE: u32 = 9;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there, not a directory, or not to be written to.
    #[error("[state] dir: {path} cannot be used: {cause}; make it a directory that the broker may write to")]
    Unusable {
        /// The directory or file.
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

/// The open file.
pub(super) struct Store {
    path: PathBuf,
    /// None after a failure: the store takes nothing more until it is opened again.
    pub(super) database: Option<Database>,
    /// Held for as long as the store is.
    _lock: File,
}

/// All ids of a file.
type Ids = Vec<(Digest, IdentityId)>;

/// A user's id, or that there is none any more.
type Change = (Digest, Option<IdentityId>);

/// What a commit finds before its changes.
#[derive(PartialEq)]
enum Table {
    AsItIs,
    Emptied,
}

/// Why a file is of no use.
enum Fault {
    /// What is in it: torn, too large, or not ours.
    Content(String),
    /// The system refuses: its disk is full, say, which says nothing of what is in the file.
    System(String),
}

impl Store {
    /// The store in `dir` and what it holds, or `capacity` ids of that, should it be more. A file that is torn, too large
    /// or not ours is set aside, and a new one begun.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub(super) fn open(dir: &Path, capacity: usize) -> Result<(Self, Ids), StoreError> {
        let unusable = |path: &Path, cause: String| StoreError::Unusable { path: path.display().to_string(), cause };
        let lock = private(&dir.join(LOCK)).map_err(|error| unusable(dir, error.to_string()))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Taken { path: dir.display().to_string() },
            TryLockError::Error(error) => unusable(dir, error.to_string()),
        })?;
        let path = dir.join(FILE);
        let opened = load(&path, capacity).or_else(|fault| {
            let Fault::Content(cause) = &fault else { return Err(fault) };
            set_aside(&path, cause).map_err(|error| Fault::System(error.to_string()))?;
            load(&path, capacity)
        });
        let (database, ids) = opened.map_err(|fault| unusable(&path, fault.cause()))?;
        info!(identities = ids.len(), path = %path.display(), "identity map read");
        Ok((Self { path, database: Some(database), _lock: lock }, ids))
    }

    /// Writes changes, all or none: an id, or that there is none any more. They are on disk when it returns.
    ///
    /// # Errors
    /// With what the store said. The next call opens the file anew.
    pub(super) fn save(&mut self, changes: impl Iterator<Item = Change>) -> Result<(), String> {
        self.commit(Table::AsItIs, changes)
    }

    /// Writes `ids` in the place of all that is on disk, or nothing.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub(super) fn replace(&mut self, ids: impl Iterator<Item = Change>) -> Result<(), String> {
        self.commit(Table::Emptied, ids)
    }

    fn commit(&mut self, table: Table, changes: impl Iterator<Item = Change>) -> Result<(), String> {
        // What fails half-way is dropped, and its next commit is of a file that was read anew.
        let database = match self.database.take() {
            Some(database) => database,
            None => guarded(|| open(&self.path)).map_err(Fault::cause)?,
        };
        guarded(|| write(&database, table, changes)).map_err(Fault::cause)?;
        self.database = Some(database);
        Ok(())
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
        let database = open(path)?;
        // So that a file that cannot be written shows at start, and the table is there to be read.
        write(&database, Table::AsItIs, std::iter::empty())?;
        let ids = read(&database, capacity)?;
        Ok((database, ids))
    })
}

fn open(path: &Path) -> Result<Database, Error> {
    let backend = FileBackend::new(private(path)?)?;
    let mut builder = Database::builder();
    // Whatever happened to the file since, it is found out here, and not by a panic later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

fn read(database: &Database, capacity: usize) -> Result<Ids, Error> {
    let table = database.begin_read()?.open_table(TABLE)?;
    let mut ids = Vec::new();
    // What is over it costs its users one GetId each, and is not worth the others' ids.
    for pair in table.iter()?.take(capacity) {
        let (user, id) = pair?;
        let id = identity(id.value()).ok_or_else(|| foreign("it holds something else than IdentityIds"))?;
        ids.push((*user.value(), id));
    }
    Ok(ids)
}

fn write(database: &Database, before: Table, changes: impl Iterator<Item = Change>) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    if before == Table::Emptied {
        transaction.delete_table(TABLE)?;
    }
    let mut saved = 0_usize;
    {
        let mut table = transaction.open_table(TABLE)?;
        for (user, id) in changes {
            saved += 1;
            match id {
                Some(id) => drop(table.insert(&user, id.0.as_bytes())?),
                None => drop(table.remove(&user)?),
            }
        }
    }
    transaction.commit()?;
    debug!(saved, "identities are on disk");
    Ok(())
}

/// `REGION:GUID`, as Cognito makes it.
fn identity(bytes: &[u8]) -> Option<IdentityId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let sound = text.len() <= ID_BYTES && text.contains(':') && text.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| IdentityId(text.into()))
}

fn foreign(what: &str) -> Error {
    Error::Corrupted(what.to_owned())
}

/// Does `work` on the store. A panic of the store, which a file that was tampered with may bring about, is a fault like
/// any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| Fault::of(&error)),
        Err(_panic) => Err(Fault::Content("the store panicked over it".to_owned())),
    }
}

impl Fault {
    fn of(error: &Error) -> Self {
        let system = match error {
            // A file that is not one of the store's is an error of this kind too.
            Error::Io(error) => !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
            Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch | Error::Backend(_) | Error::PreviousIo => true,
            _ => false,
        };
        if system { Self::System(chain(error)) } else { Self::Content(chain(error)) }
    }

    fn cause(self) -> String {
        match self {
            Self::Content(cause) | Self::System(cause) => cause,
        }
    }
}

/// Renames the file that is of no use, so that somebody may look at it.
fn set_aside(path: &Path, cause: &str) -> io::Result<()> {
    let name = |number| path.with_extension(format!("redb.aside-{number}"));
    let free = (1..ASIDE).map(name).find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = free.unwrap_or_else(|| name(ASIDE));
    fs::rename(path, &aside)?;
    let (path, aside) = (path.display(), aside.display());
    warn!(%path, %aside, cause, "the identity map cannot be read: it is set aside, and a new one begun");
    Ok(())
}

/// Opens a file that only its owner may read, and makes it if it is not there.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
