//! The Unix socket: a file that only one broker has, in a directory where nobody else can put another one in its place.
//! Knows no protocol.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::getuid;
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::metrics::Listener;
use crate::server::listen::{BindError, Listen};

/// For the broker's user and its group; who of them may ask is judged for each request.
const MODE: u32 = 0o660;

/// What nobody but the owner may do with the directory.
const OTHERS_WRITE: u32 = 0o022;

/// In such a directory, files are only their owners' to replace.
const STICKY: u32 = 0o1000;

/// A bound socket; its file is gone when this is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// As long as it is held no other broker touches the socket's file. The lock's own file stays for good: with it gone,
    /// two brokers could each hold a lock of their own.
    _lock: File,
}

impl Socket {
    /// Binds the socket at `path`, and tells so. One that a dead broker left there is replaced.
    ///
    /// # Errors
    /// When the directory is not safe, a broker that lives has the socket, or something that is no socket is there.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let listener = Listener::GrpcUds.as_str();
        let bound = bind(path);
        let address = path.display().to_string();
        let bound = bound.map_err(|source| BindError { listener, address: address.clone(), source })?;
        info!(listener, address, "listening");
        Ok(bound)
    }
}

impl Listen for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The lock is held still, so that it cannot be a successor's.
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "the socket's file cannot be removed");
        }
    }
}

fn bind(path: &Path) -> io::Result<Socket> {
    check_directory(path.parent().unwrap_or(Path::new("/")))?;
    let lock = lock(&beside(path, ".lock"))?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(refusal(io::ErrorKind::AlreadyExists, "what is there is no socket, and is left alone"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // Bound aside and renamed over what is there: at every moment the path leads to a socket that is whole, with its
    // mode set, or to none. The lock keeps other brokers away from the name in between.
    let aside = beside(path, ".new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&aside)?;
    fs::set_permissions(&aside, Permissions::from_mode(MODE))?;
    fs::rename(&aside, path)?;
    Ok(Socket { listener, path: path.to_owned(), _lock: lock })
}

/// Whoever can write to the directory can replace the socket by one of their own, and be told everybody's tokens; whoever
/// can write to one above it can replace the directory, unless that one is sticky (sticky(7)), as /tmp is.
fn check_directory(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("its directory cannot be looked at ({error})")))?;
    if !found.is_dir() {
        return Err(refusal(io::ErrorKind::NotADirectory, "its directory is none, or a symbolic link"));
    }
    if found.uid() != 0 && found.uid() != getuid().as_raw() {
        return Err(refusal(io::ErrorKind::PermissionDenied, "its directory is neither the broker's nor root's"));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        let cause = "its directory can be written by its group or by others: chmod go-w";
        return Err(refusal(io::ErrorKind::PermissionDenied, cause));
    }
    dir.canonicalize()?.ancestors().skip(1).try_for_each(check_above)
}

fn check_above(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)?;
    let refused = |what: &str| {
        let cause = format!("{}, a directory above it, {what}", dir.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, cause))
    };
    if found.uid() != 0 && found.uid() != getuid().as_raw() {
        return refused("is neither the broker's nor root's");
    }
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return refused("can be written by its group or by others: chmod go-w");
    }
    Ok(())
}

fn lock(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refusal(io::ErrorKind::AddrInUse, "another broker has it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn refusal(kind: io::ErrorKind, cause: &'static str) -> io::Error {
    io::Error::new(kind, cause)
}
