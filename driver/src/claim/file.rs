//! Files of the driver's state: whole or not at all.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// Why a file of the state could not be used.
#[derive(Debug, Error)]
#[error("cannot {attempt} {path}: {source}{remedy}")]
pub struct StateError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
    /// What to do, behind "; ". Empty where the cause says it.
    pub remedy: &'static str,
}

impl StateError {
    /// What failed, with what to do about it.
    #[must_use]
    pub fn new(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        let remedy = match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => "; free space on that file system",
            Some(Errno::ROFS) => "; let the plugin write there, or set --state-root (STATE_ROOT)",
            Some(Errno::ACCESS | Errno::PERM) => {
                "; run the plugin as root, and let SELinux or AppArmor allow it"
            }
            Some(Errno::NOTDIR | Errno::ISDIR | Errno::EXIST) => "; remove what has that name",
            _ => "",
        };
        Self { attempt, path: path.to_owned(), source, remedy }
    }
}

/// Writes a file under a temporary name, and renames it: whoever reads sees the old one or the new one whole.
///
/// Nothing is synchronised to a disk: the state lives on a tmpfs and describes what a reboot ends, so there is no
/// disk, and after a crash of the kernel it is void.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let temporary = temporary(path);
    std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path)).map_err(|error| {
        // The first failure is the one to tell of.
        let _ = std::fs::remove_file(&temporary);
        StateError::new("write", path, error)
    })
}

/// The content of a file. None if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::new("read", path, error)),
    }
}

/// Removes a file. It need not be there.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StateError::new("remove", path, error)),
        _ => Ok(()),
    }
}

/// The names of the files in a folder. A folder that does not exist has none.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StateError> {
    let failed = |error| StateError::new("read the folder", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a UID or device name stays in its folder as part of a file name.
pub(super) fn plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Only one process at a time writes a file: it holds the lock of a device. So the temporary name may be the same
/// for all, and a file that a killed process left is overwritten by the next.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}
