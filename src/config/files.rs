//! Which files a configuration was read from, and whether they are still the same. Looks at their inodes, not into them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of one reading, each as it was just before it was read; none where its path led nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Identity>)>);

/// One state of one file. A swapped symbolic link leads to another inode, a file that is written has another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Notes the file at `path`, before it is read: what is written to it from now on is seen.
    pub(super) fn note(&mut self, path: &Path) {
        self.0.push((path.to_owned(), identity(path)));
    }

    /// Looks no more at the file at `path`.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.retain(|(noted, _)| noted != path);
    }

    /// The same files as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self(self.0.iter().map(|(path, _)| (path.clone(), identity(path))).collect())
    }
}

/// Links are followed: it is the file behind them that counts.
fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some(Identity {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_another_one_when_written_replaced_swapped_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let file = at("..data/cupbearer.toml");
        type Change<'a> = (&'a str, &'a dyn Fn());
        let changes: [Change<'_>; 5] = [
            ("longer", &|| fs::write(&file, "one, and more").unwrap()),
            ("replaced by one of the same size", &|| {
                fs::write(at("new"), "two, and more").unwrap();
                fs::rename(at("new"), &file).unwrap();
            }),
            ("swapped, as a ConfigMap is", &|| {
                symlink("second", at("..data_tmp")).unwrap();
                fs::rename(at("..data_tmp"), at("..data")).unwrap();
            }),
            ("gone", &|| fs::remove_file(&file).unwrap()),
            ("there again", &|| fs::write(&file, "one").unwrap()),
        ];
        for version in ["first", "second"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("cupbearer.toml"), "one").unwrap();
        }
        symlink("first", at("..data")).unwrap();
        for (what, change) in changes {
            let mut files = Files::default();
            files.note(&file);
            assert_eq!(files.now(), files, "before it was {what}");
            change();
            assert_ne!(files.now(), files, "{what}");
        }
    }
}
