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
