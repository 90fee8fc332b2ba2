//! The state folder, opened when it is needed: one that cannot be used now may be later.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dra_driver::cdi::folder::Folder;
use dra_driver::claim::StateError;
use dra_driver::claim::journal::Journal;
use dra_driver::claim::locks::Locks;
use dra_driver::claim::troubles::Troubles;

use super::Settings;

/// The folders that claims are kept in.
#[derive(Debug)]
pub(super) struct Ground {
    state: PathBuf,
    pub(super) cdi: Folder,
    pub(super) troubles: Troubles,
    open: Mutex<Option<Arc<Open>>>,
}

/// The state folder, as it was opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) journal: Journal,
    pub(super) locks: Locks,
}

impl Ground {
    pub(super) fn new(settings: &Settings) -> Self {
        let state = settings.state_root.join(&settings.driver);
        Self {
            cdi: Folder::new(settings.cdi_root.clone(), &settings.driver),
            troubles: Troubles::new(&state),
            state,
            open: Mutex::default(),
        }
    }

    /// The state folder. Makes it, readable for this user alone, if it is not there.
    pub(super) fn open(&self) -> Result<Arc<Open>, StateError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have removed it meanwhile.
        if let Some(open) = open.as_ref().filter(|_| self.state.join("locks").is_dir()) {
            return Ok(Arc::clone(open));
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state);
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(StateError::new("make the folder", &self.state, error));
            }
            _ => {}
        }
        let opened =
            Arc::new(Open { journal: Journal::open(&self.state)?, locks: Locks::open(&self.state)? });
        *open = Some(Arc::clone(&opened));
        Ok(opened)
    }
}
