//! The folder of the CDI specs.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use thiserror::Error;

use super::spec::Spec;

/// A temporary file that is older was left by a process that was killed while it wrote.
const LEFT: Duration = Duration::from_secs(60);

/// Why the folder cannot be used.
#[derive(Debug, Error)]
#[error("cannot {attempt} {path}: {source}{remedy}")]
pub struct FolderError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
    /// What to do, behind "; ". Empty where the cause says it.
    pub remedy: &'static str,
}

/// What is in a spec's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Absent,
    /// Something that is no spec of ours, with the reason.
    Damaged(String),
    /// A spec.
    Present(Spec),
}

/// The CDI folder, as far as it is this driver's: no other file in it is looked at or touched.
///
/// A spec is written under a temporary name that container runtimes pass over, and renamed: they see the old one or
/// the new one whole. A writer holds the folder's lock, of the kernel's file locks: there may be two of this plugin in a
/// rolling update. The folder is made if it is missing.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    driver: String,
}

impl Folder {
    /// The specs of a driver in a folder. Nothing is read or made yet.
    #[must_use]
    pub fn new(cdi_root: PathBuf, driver: &str) -> Self {
        Self { root: cdi_root, driver: driver.to_owned() }
    }

    /// Writes a claim's spec in the place of the one that is there.
    ///
    /// # Errors
    /// The folder or the file cannot be written, or the UID cannot be part of a file name.
    pub fn write_claim(&self, claim_uid: &str, spec: &Spec) -> Result<(), FolderError> {
        self.checked(claim_uid, "write").and_then(|name| self.write(&name, spec))
    }

    /// What is in the place of a claim's spec.
    #[must_use]
    pub fn read_claim(&self, claim_uid: &str) -> Stored {
        match self.checked(claim_uid, "read") {
            Ok(name) => self.read(&name),
            Err(error) => Stored::Damaged(error.to_string()),
        }
    }

    /// Removes a claim's spec. It need not be there.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove_claim(&self, claim_uid: &str) -> Result<(), FolderError> {
        self.remove(&self.checked(claim_uid, "remove")?)
    }

    /// The UIDs of the claims that have a spec, in order. Removes temporary files that a killed process left more
    /// than a minute ago.
    ///
    /// # Errors
    /// The folder cannot be read, or a left file not be removed. A folder that does not exist has no specs.
    pub fn claims(&self) -> Result<Vec<String>, FolderError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read the folder", &self.root, error)),
        };
        let (ours, left) = (format!("{}-claim-", self.driver), format!(".{}-", self.driver));
        let mut claims = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("read the folder", &self.root, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with(&left) && name.ends_with(".tmp") {
                let written = entry.metadata().and_then(|metadata| metadata.modified());
                if written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > LEFT)) {
                    self.remove(&name)?;
                }
            } else if let Some(uid) = name.strip_prefix(&ours).and_then(|rest| rest.strip_suffix(".json"))
                && plain(uid)
            {
                claims.push(uid.to_owned());
            }
        }
        claims.sort_unstable();
        Ok(claims)
    }

    /// Writes the spec of the driver's files in the place of the one that is there.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn write_driver(&self, spec: &Spec) -> Result<(), FolderError> {
        self.write(&self.driver_name(), spec)
    }

    /// What is in the place of the spec of the driver's files.
    #[must_use]
    pub fn read_driver(&self) -> Stored {
        self.read(&self.driver_name())
    }

    /// Where a claim's spec lies.
    #[must_use]
    pub fn claim_path(&self, claim_uid: &str) -> PathBuf {
        self.root.join(self.claim_name(claim_uid))
    }

    /// Where the spec of the driver's files lies.
    #[must_use]
    pub fn driver_path(&self) -> PathBuf {
        self.root.join(self.driver_name())
    }

    fn claim_name(&self, claim_uid: &str) -> String {
        format!("{}-claim-{claim_uid}.json", self.driver)
    }

    fn driver_name(&self) -> String {
        format!("{}-driver.json", self.driver)
    }

    /// The name of a claim's file, if it stays in the folder.
    fn checked(&self, claim_uid: &str, attempt: &'static str) -> Result<String, FolderError> {
        let name = self.claim_name(claim_uid);
        if plain(claim_uid) {
            return Ok(name);
        }
        let source = io::Error::new(
            ErrorKind::InvalidInput,
            format!("the claim UID {claim_uid:?} has to be letters, digits and '-'"),
        );
        Err(failed(attempt, &self.root.join(name), source))
    }

    fn read(&self, name: &str) -> Stored {
        match std::fs::read(self.root.join(name)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(spec) => Stored::Present(spec),
                Err(error) => Stored::Damaged(error.to_string()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Stored::Absent,
            Err(error) => Stored::Damaged(error.to_string()),
        }
    }

    fn write(&self, name: &str, spec: &Spec) -> Result<(), FolderError> {
        let path = self.root.join(name);
        let failed = |error| failed("write", &path, error);
        let mut bytes = serde_json::to_vec_pretty(spec).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let _locked = self.lock()?;
        let temporary = self.root.join(format!(".{name}.tmp"));
        let written = whole(&temporary, &bytes);
        written.and_then(|()| std::fs::rename(&temporary, &path)).map_err(|error| {
            // The first failure is the one to tell of.
            let _ = std::fs::remove_file(&temporary);
            failed(error)
        })
    }

    /// Makes the folder, if it is missing, and waits until no other writes in it.
    fn lock(&self) -> Result<File, FolderError> {
        let failed = |error| failed("lock the folder", &self.root, error);
        let folder = match File::open(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.root)
                    .map_err(|error| self::failed("make the folder", &self.root, error))?;
                File::open(&self.root)
            }
            opened => opened,
        };
        let folder = folder.map_err(failed)?;
        folder.lock().map_err(failed)?;
        Ok(folder)
    }

    fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.root.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }
}

/// Writes a file that every container runtime may read, whatever this process's umask.
fn whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::write(path, bytes)?;
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o644))?)
}

/// Whether a UID stays in the folder when it is part of a file name.
fn plain(uid: &str) -> bool {
    !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn failed(attempt: &'static str, path: &Path, source: io::Error) -> FolderError {
    let remedy = match Errno::from_io_error(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => "; free space on that file system",
        Some(Errno::ROFS) => {
            "; mount the folder writable into the plugin's pod, or set --cdi-root (CDI_ROOT)"
        }
        Some(Errno::ACCESS | Errno::PERM) => "; run the plugin as root, and let SELinux or AppArmor allow it",
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::EXIST) => "; remove what has that name",
        _ => "",
    };
    FolderError { attempt, path: path.to_owned(), source, remedy }
}

#[cfg(test)]
mod tests;
