//! Who acts on a node when two instances of the plugin run side by side, as in a rolling update: the newest one that
//! lives.
//!
//! Files in the driver's state folder tell, by the kernel's file locks, which end with the process that holds them:
//!
//! * `owner-<number>`: each instance holds its own as long as it lives; newer ones have higher numbers,
//! * `owner`: held by the one that acts; the others wait until it has let go,
//! * `owner.lock`: held while a number is given out.
//!
//! So the older has stopped before the newer acts, an instance that is killed leaves nothing behind, and when the
//! newer ends the older goes on.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often an instance looks whether it is to act.
const LOOK: Duration = Duration::from_millis(100);
/// What the one that stops to act leaves between saying so and letting go. Whoever follows drops at once what is
/// under way; this is the time for it.
const SETTLE: Duration = Duration::from_millis(100);
/// How long until files that could not be used are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why ownership cannot be told.
#[derive(Debug, Error)]
pub enum OwnerError {
    /// A file or folder.
    #[error(
        "cannot use {path} to tell which instance of the plugin acts on this node: {source}; check --state-root",
        path = .path.display()
    )]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start the thread that watches for other instances: {0}; check the limit on processes")]
    Thread(io::Error),
}

/// Joins the instances of this node, which meet in `folder`, until `cancel`. What comes back says whether this one
/// is to act. Blocks for nothing but small files; what waits is a thread.
///
/// # Errors
/// Any [`OwnerError`].
pub fn start(folder: &Path, cancel: CancellationToken) -> Result<watch::Receiver<bool>, OwnerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| OwnerError::File { path: folder.to_owned(), source })?;
    let (owns, receiver) = watch::channel(false);
    let instance = Instance {
        folder: folder.to_owned(),
        numbers: open(&folder.join("owner.lock"))?,
        acting: open(&folder.join("owner"))?,
        owns,
        cancel,
    };
    thread::Builder::new().name("owner".to_owned()).spawn(|| instance.run()).map_err(OwnerError::Thread)?;
    Ok(receiver)
}

/// One of the instances.
struct Instance {
    folder: PathBuf,
    numbers: File,
    acting: File,
    owns: watch::Sender<bool>,
    cancel: CancellationToken,
}

/// An instance's place among the others, held as long as it lives.
struct Place {
    number: u64,
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Instance {
    fn run(self) {
        let place = loop {
            if self.cancel.is_cancelled() {
                return;
            }
            match self.join() {
                Ok(place) => break place,
                Err(error) => self.wait_after(&error),
            }
        };
        while !self.cancel.is_cancelled() {
            match self.look(&place) {
                Ok(()) => thread::sleep(LOOK),
                Err(error) => self.wait_after(&error),
            }
        }
        self.owns.send_replace(false);
        // The locks end with the files in any case; a file that stays is removed by the next instance.
        if let Err(error) = fs::remove_file(&place.path) {
            tracing::debug!(%error, path = %place.path.display(), "not removed");
        }
    }

    fn wait_after(&self, error: &OwnerError) {
        tracing::warn!("{error}");
        thread::sleep(RETRY);
    }

    /// Takes the next number.
    fn join(&self) -> Result<Place, OwnerError> {
        let failed = |source| OwnerError::File { path: self.folder.join("owner.lock"), source };
        // Held by others only for as long as this function takes.
        self.numbers.lock().map_err(failed)?;
        let place = self.next_place();
        self.numbers.unlock().map_err(failed)?;
        place
    }

    fn next_place(&self) -> Result<Place, OwnerError> {
        let others = self.others()?;
        let number = others.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        for (_, path) in others {
            if !lives(&path)? {
                fs::remove_file(&path).map_err(|source| OwnerError::File { path: path.clone(), source })?;
            }
        }
        let path = self.folder.join(format!("owner-{number}"));
        let file = open(&path)?;
        // Nobody but this instance locks it for longer than a look.
        file.lock().map_err(|source| OwnerError::File { path: path.clone(), source })?;
        Ok(Place { number, path, _file: file })
    }

    /// Finds out whether this instance is to act, and says so.
    fn look(&self, place: &Place) -> Result<(), OwnerError> {
        let failed = |source| OwnerError::File { path: self.folder.join("owner"), source };
        let mut newer = false;
        for (number, path) in self.others()? {
            newer |= number > place.number && lives(&path)?;
        }
        let acts = *self.owns.borrow();
        if newer && acts {
            tracing::info!("a newer instance of the plugin acts on this node from now on");
            self.owns.send_replace(false);
            thread::sleep(SETTLE);
            self.acting.unlock().map_err(failed)?;
        } else if !newer && !acts {
            match self.acting.try_lock() {
                Ok(()) => {
                    tracing::info!("this instance of the plugin acts on this node");
                    self.owns.send_replace(true);
                }
                // The older has not let go yet.
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// The instances' files, with their numbers.
    fn others(&self) -> Result<Vec<(u64, PathBuf)>, OwnerError> {
        let failed = |source| OwnerError::File { path: self.folder.clone(), source };
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("owner-")?.parse().ok());
            others.extend(number.map(|number| (number, entry.path())));
        }
        Ok(others)
    }
}

/// Whether the instance of this file lives.
fn lives(path: &Path) -> Result<bool, OwnerError> {
    let failed = |source| OwnerError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open(path: &Path) -> Result<File, OwnerError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|source| OwnerError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const GUARD: Duration = Duration::from_secs(30);

    async fn becomes(owns: &mut watch::Receiver<bool>, wanted: bool) {
        let seen = timeout(GUARD, owns.wait_for(|owns| *owns == wanted)).await;
        seen.unwrap_or_else(|_| panic!("it does not come to be {wanted}")).unwrap();
    }

    #[tokio::test]
    async fn the_newest_acts_and_only_after_the_older_has_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let mut older = start(folder.path(), cancel.clone()).unwrap();
        becomes(&mut older, true).await;
        let mut newer = start(folder.path(), cancel.clone()).unwrap();
        becomes(&mut newer, true).await;
        assert!(!*older.borrow(), "both act");
        cancel.cancel();
        becomes(&mut newer, false).await;
    }

    #[tokio::test]
    async fn when_the_newer_ends_the_older_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let mut older = start(folder.path(), first.clone()).unwrap();
        becomes(&mut older, true).await;
        let mut newer = start(folder.path(), second.clone()).unwrap();
        becomes(&mut newer, true).await;
        second.cancel();
        becomes(&mut older, true).await;
        assert!(!*newer.borrow(), "both act");
        first.cancel();
    }

    #[tokio::test]
    async fn of_many_at_once_one_acts_at_a_time_and_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let mut all: Vec<_> = (0..8).map(|_| start(folder.path(), cancel.clone()).unwrap()).collect();
        let read = || all.iter().map(|owns| *owns.borrow()).collect::<Vec<bool>>();
        let settled = async {
            loop {
                // One may stop and the next begin while they are read: who acts is who acts in both readings.
                let acting = read().into_iter().zip(read()).filter(|(one, again)| *one && *again).count();
                assert!(acting <= 1, "{acting} act");
                let files = fs::read_dir(folder.path()).unwrap().flatten();
                let names = files.map(|file| file.file_name().into_string().unwrap());
                let joined = names.filter(|name| name.starts_with("owner-")).count();
                if acting == 1 && joined == 8 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(GUARD, settled).await.unwrap();
        cancel.cancel();
        for owns in &mut all {
            becomes(owns, false).await;
        }
    }

    #[tokio::test]
    async fn files_of_instances_that_were_killed_hinder_nobody() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("owner-99"), "").unwrap();
        fs::write(folder.path().join("owner"), "").unwrap();
        let cancel = CancellationToken::new();
        let mut owns = start(folder.path(), cancel.clone()).unwrap();
        becomes(&mut owns, true).await;
        assert!(!folder.path().join("owner-99").exists());
        assert!(folder.path().join("owner-100").exists());
        cancel.cancel();
        becomes(&mut owns, false).await;
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = start(&file.join("state"), CancellationToken::new()).unwrap_err().to_string();
        assert!(error.contains("file/state") && error.contains("--state-root"), "{error}");
    }
}
