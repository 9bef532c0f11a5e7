//! A secret that stands alone in a file, and its replacement. Knows nothing of what it opens.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes; Cognito's refresh tokens have about 1,800.
pub const MOST_BYTES: usize = 16_384;

/// A file that holds one secret, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The file at `path`, which is not looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The secret, without the line break that may end the file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub async fn read(&self) -> io::Result<SecretString> {
        let path = self.0.clone();
        run(move || read(&path)).await
    }

    /// Puts `secret` in the place of the one that is there. Whoever reads meanwhile, also after a crash, finds the one
    /// or the other, whole: the new one is on the disk before the name leads to it. A symbolic link stays one.
    ///
    /// # Errors
    /// When the file's directory cannot be written, or its disk is full; then the old secret is still there.
    pub async fn replace(&self, secret: &SecretString) -> io::Result<()> {
        let (path, secret) = (self.0.clone(), secret.clone());
        // By one thread from the beginning to the end, whatever becomes of who waits for it.
        run(move || replace(&path, &secret)).await
    }
}

/// The secret that `content` is, if it is one.
///
/// # Errors
/// With what would be one.
pub fn judge(content: &[u8]) -> Result<SecretString, &'static str> {
    let text = content.strip_suffix(b"\n").unwrap_or(content);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let sound = (1..=MOST_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    let text = str::from_utf8(text).ok().filter(|_| sound);
    let wanted = "the file holds no secret: up to 16384 printable ASCII characters without spaces, on one line";
    text.map(SecretString::from).ok_or(wanted)
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn read(path: &Path) -> io::Result<SecretString> {
    let mut content = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 4));
    File::open(path)?.take(MOST_BYTES as u64 + 3).read_to_end(&mut content)?;
    judge(&content).map_err(|wanted| io::Error::new(io::ErrorKind::InvalidData, wanted))
}

fn replace(path: &Path, secret: &SecretString) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mode = fs::metadata(&target)?.permissions().mode() & 0o777;
    let aside = directory.join(format!(".{}.new", name.to_string_lossy()));
    // What a crash may have left there; one writer alone replaces a file.
    fs::remove_file(&aside)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    if let Err(error) = write(&aside, mode, secret).and_then(|()| fs::rename(&aside, &target)) {
        // Perhaps it was never made.
        fs::remove_file(&aside).ok();
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn write(path: &Path, mode: u32, secret: &SecretString) -> io::Result<()> {
    // Nobody else may read it before it has the mode of the file whose place it takes.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.expose_secret().as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_replaced_whole_and_keeps_its_mode() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        fs::write(&path, "first\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(place.path().join(".token.new"), "left by a crash").unwrap();
        let file = SecretFile::new(&link);
        assert_eq!(file.read().await.unwrap().expose_secret(), "first");
        file.replace(&"second".into()).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(file.read().await.unwrap().expose_secret(), "second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[tokio::test]
    async fn what_is_no_secret_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let file = SecretFile::new(&path);
        assert_eq!(file.read().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        for bad in ["", "\n", "two words", "two\nlines", &"x".repeat(MOST_BYTES + 1)] {
            fs::write(&path, bad).unwrap();
            assert_eq!(file.read().await.unwrap_err().kind(), io::ErrorKind::InvalidData, "{} bytes", bad.len());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let error = SecretFile::new(&path).replace(&"second".into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "only one that is there is replaced");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

        fs::write(&path, "first").unwrap();
        // A directory in the way stands for whatever may keep the new one from being written.
        fs::create_dir_all(place.path().join(".token.new/full")).unwrap();
        assert!(SecretFile::new(&path).replace(&"second".into()).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }
}
