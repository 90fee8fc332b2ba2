//! Whether a file or folder is still as it was, by its metadata alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How coarse a file system's clock may be: two changes within this time can bear the same time stamp.
const COARSE: Duration = Duration::from_millis(20);

/// What a path was when it was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// What changes when a file is replaced, written, given away, or (a folder) gets and loses entries.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    device: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// Looks at a path now. It need not exist.
    pub(super) fn now(path: PathBuf) -> Self {
        Self { stamp: Stamp::of(&path), path }
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing has changed there.
    pub(super) fn still(&self) -> bool {
        Stamp::of(&self.path) == self.stamp
    }

    /// Whether it was last changed so long before `now` that a further change shows.
    pub(super) fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.stamp.as_ref().is_none_or(|stamp| {
            let (seconds, nanoseconds) = stamp.changed.max(stamp.modified);
            let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
                return true;
            };
            // One from the future is not waited for: its clock is not ours.
            let then = Duration::new(seconds, nanoseconds);
            then > now + COARSE || then + COARSE < now
        })
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::stat(path).ok()?;
        Some(Self {
            file: (stat.st_dev, stat.st_ino),
            device: stat.st_rdev,
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let changes: [(&str, &dyn Fn()); 5] = [
            ("made", &|| fs_err::write(&path, "a").unwrap()),
            ("replaced", &|| {
                fs_err::write(path.with_extension("new"), "a").unwrap();
                fs_err::rename(path.with_extension("new"), &path).unwrap();
            }),
            ("removed", &|| fs_err::remove_file(&path).unwrap()),
            ("a folder in its place", &|| fs_err::create_dir(&path).unwrap()),
            ("a link in its place", &|| {
                fs_err::remove_dir(&path).unwrap();
                std::os::unix::fs::symlink("/dev/null", &path).unwrap();
            }),
        ];
        for (name, change) in changes {
            let seen = Seen::now(path.clone());
            assert!(seen.still(), "before: {name}");
            change();
            assert!(!seen.still(), "{name}");
        }
    }

    /// A change within the same tick of the file system's clock would bear the same time stamps.
    #[test]
    fn only_what_is_old_enough_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::now(folder.path().to_owned());
        let (seconds, nanoseconds) = Stamp::of(folder.path()).unwrap().changed;
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(seconds.unsigned_abs(), u32::try_from(nanoseconds).unwrap());
        let later = |milliseconds| changed + Duration::from_millis(milliseconds);
        for (milliseconds, wanted) in [(0, false), (10, false), (21, true), (60_000, true)] {
            assert_eq!(seen.settled(later(milliseconds)), wanted, "{milliseconds} ms later");
        }
        assert!(seen.settled(changed - Duration::from_secs(60)), "a clock that was set back stops nothing");
        assert!(Seen::now(folder.path().join("missing")).settled(changed), "what is not there");
    }
}
