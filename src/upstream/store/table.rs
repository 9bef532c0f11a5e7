//! What is in the identity map's file: one table. Knows no directory.

use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition};
use tracing::debug;

use crate::digest::Digest;
use crate::model::IdentityId;
use crate::upstream::store::private;

/// IdentityId by user. Another form gets another name, so that an older broker does not take it for its own.
pub(super) const TABLE: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("identities-1");

/// Longest IdentityId (Amazon Cognito Federated Identities API Reference, "IdentityId").
const ID_BYTES: usize = 55;

/// How much of the file the store keeps in memory, in bytes: it is read once, and written a little at a time.
const CACHE_BYTES: usize = 1024 * 1024;

/// All ids of a file.
pub(super) type Ids = Vec<(Digest, IdentityId)>;

/// A user's id, or that there is none any more.
pub(super) type Change = (Digest, Option<IdentityId>);

/// What a commit finds before its changes.
#[derive(PartialEq)]
pub(super) enum Before {
    AsItIs,
    Emptied,
}

pub(super) fn open(path: &Path) -> Result<Database, Error> {
    let backend = FileBackend::new(private(path)?)?;
    let mut builder = Database::builder();
    // Whatever happened to the file since, it is found out here, and not by a panic later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

pub(super) fn read(database: &Database, capacity: usize) -> Result<Ids, Error> {
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

pub(super) fn write(database: &Database, before: Before, changes: impl Iterator<Item = Change>) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    if before == Before::Emptied {
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
