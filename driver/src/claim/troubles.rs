//! The last error of each claim, for people who look at the node's state.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ClaimRef;
use super::file::{self, StateError, plain};

/// What went wrong last with a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// The claim.
    pub claim: ClaimRef,
    /// When.
    pub at: Timestamp,
    /// What.
    pub error: String,
}

/// The folder with one small file for each claim whose last call failed.
#[derive(Clone, Debug)]
pub struct Troubles {
    folder: PathBuf,
}

impl Troubles {
    /// The folder in a driver's state folder. Nothing is read or made yet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("errors") }
    }

    /// Notes what went wrong.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, trouble: &Trouble) -> Result<(), StateError> {
        let path = self.folder.join(format!("{}.json", trouble.claim.uid));
        let failed = |error| StateError::new("write", &path, error);
        if !plain(&trouble.claim.uid) {
            return Err(failed(std::io::ErrorKind::InvalidInput.into()));
        }
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let bytes = serde_json::to_vec(trouble).map_err(|error| failed(error.into()))?;
        file::write(&path, &bytes)
    }

    /// Forgets what went wrong with a claim. There need not be anything.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(&self, uid: &str) -> Result<(), StateError> {
        if plain(uid) { file::remove(&self.folder.join(format!("{uid}.json"))) } else { Ok(()) }
    }

    /// Forgets what went wrong before `then` with claims of which nothing else is kept.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn forget(&self, then: Timestamp, kept: impl Fn(&str) -> bool) -> Result<(), StateError> {
        for trouble in self.all()? {
            if trouble.at < then && !kept(&trouble.claim.uid) {
                self.clear(&trouble.claim.uid)?;
            }
        }
        Ok(())
    }

    /// All that went wrong, in the order of the UIDs. What cannot be read is left out.
    ///
    /// # Errors
    /// The folder cannot be read. If it does not exist, nothing went wrong.
    pub fn all(&self) -> Result<Vec<Trouble>, StateError> {
        let names = file::names(&self.folder)?;
        let read = |name: &String| {
            let bytes = file::read(&self.folder.join(name)).ok()??;
            serde_json::from_slice(&bytes).ok()
        };
        Ok(names.iter().filter(|name| !name.starts_with('.')).filter_map(read).collect())
    }
}
