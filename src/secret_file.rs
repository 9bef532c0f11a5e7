//! A secret that stands alone in a file, and its replacement. Knows nothing of what it opens.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes; Cognito's refresh tokens have about 1,800.
pub const MOST_BYTES: usize = 16_384;

/// A file that holds one secret, on one line.
#[derive(Clone, Debug)]
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
        let mut text = Zeroizing::new(String::with_capacity(MOST_BYTES + 2));
        File::open(&self.0).await?.take(MOST_BYTES as u64 + 2).read_to_string(&mut text).await?;
        let secret = text.trim_end_matches(['\r', '\n']);
        let sound = (1..=MOST_BYTES).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !sound {
            let wanted = "the file holds no secret: up to 16384 printable characters without spaces, on one line";
            return Err(io::Error::new(io::ErrorKind::InvalidData, wanted));
        }
        Ok(SecretString::from(secret))
    }

    /// Puts `secret` in the place of the one that is there. Whoever reads meanwhile, also after a crash, finds the one
    /// or the other, whole: the new one is on the disk before the name leads to it. A symbolic link stays one.
    ///
    /// # Errors
    /// When the file's directory cannot be written; then the old secret is still there.
    pub async fn replace(&self, secret: &SecretString) -> io::Result<()> {
        let target = fs::canonicalize(&self.0).await?;
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mode = fs::metadata(&target).await?.permissions().mode() & 0o777;
        let aside = directory.join(aside(name)?);
        let replaced = replace(&aside, &target, mode, secret).await;
        if replaced.is_err() {
            // Perhaps it was never made.
            fs::remove_file(&aside).await.ok();
            return replaced;
        }
        File::open(directory).await?.sync_all().await
    }
}

async fn replace(aside: &Path, target: &Path, mode: u32, secret: &SecretString) -> io::Result<()> {
    // Nobody else may read it before it has the mode of the file whose place it takes.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside).await?;
    file.write_all(secret.expose_secret().as_bytes()).await?;
    file.set_permissions(PermissionsExt::from_mode(mode)).await?;
    file.sync_all().await?;
    fs::rename(aside, target).await
}

/// A name that nothing else has, so that two who replace at once do not write into one file.
fn aside(name: &OsStr) -> io::Result<String> {
    let mut random = [0; 8];
    OsRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    Ok(format!(".{}.{:016x}", name.to_string_lossy(), u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_replaced_whole_and_keeps_its_mode() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = SecretFile::new(&link);
        assert_eq!(file.read().await.unwrap().expose_secret(), "first");
        file.replace(&"second".into()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(file.read().await.unwrap().expose_secret(), "second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[tokio::test]
    async fn what_is_no_secret_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let file = SecretFile::new(&path);
        assert_eq!(file.read().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        for bad in ["", "\n", "two words", "two\nlines", &"x".repeat(MOST_BYTES + 1)] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(file.read().await.unwrap_err().kind(), io::ErrorKind::InvalidData, "{} bytes", bad.len());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let error = SecretFile::new(&path).replace(&"second".into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "only one that is there is replaced");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
