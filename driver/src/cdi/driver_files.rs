//! The spec of the driver's files, kept right.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use thiserror::Error;

use super::discover::{DiscoverError, Found, discover};
use super::folder::{Folder, FolderError, Stored};
use super::nodes::{self, NodeError};
use super::seen::Seen;
use super::spec::{Device, DeviceNode, Edits, Spec};
use super::{Roots, VERSION};

/// Keeps NVIDIA's own container runtime, where it is installed, from adding GPUs of its choice.
const VOID: &str = "NVIDIA_VISIBLE_DEVICES=void";

/// Why containers cannot be given the driver's files.
#[derive(Debug, Error)]
pub enum FilesError {
    /// The driver's files.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The spec.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// The driver's files. Clones share what was found.
#[derive(Clone, Debug)]
pub struct DriverFiles {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    roots: Roots,
    driver: String,
    known: Mutex<Known>,
}

/// What is known of the last look.
#[derive(Debug, Default)]
struct Known {
    /// All that the spec on disk depends on, the spec included. Empty: look anew.
    seen: Vec<Seen>,
    /// Files that were left out, said once.
    skipped: Vec<String>,
}

impl DriverFiles {
    /// The files of a driver. Nothing is looked for yet.
    #[must_use]
    pub fn new(roots: Roots, driver: &str) -> Self {
        let inner = Inner { roots, driver: driver.to_owned(), known: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Sees to it that the folder holds the spec of the driver's files as they are now. When nothing changed, this
    /// costs some twenty `stat` calls. What was found incomplete is looked for anew at the next call.
    ///
    /// # Errors
    /// A file or node that no container can do without is missing, or the spec cannot be written.
    pub fn ensure(&self, folder: &Folder) -> Result<(), FilesError> {
        let Inner { roots, driver, known } = &*self.inner;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let spec_path = folder.driver_path();
        if known.seen.last().is_some_and(|seen| seen.path() == spec_path)
            && known.seen.iter().all(Seen::still)
        {
            return Ok(());
        }
        known.seen.clear();
        let Found { version, edits, mut seen, skipped } = discover(roots)?;
        let spec = spec(driver, edits);
        // Looked at before it is read: one that another instance writes in between is read again next time.
        seen.push(Seen::now(spec_path));
        let right = folder.read_driver() == Stored::Present(spec.clone());
        if !right {
            folder.write_driver(&spec)?;
            let (path, mounts) = (folder.driver_path(), spec.container_edits.mounts.len());
            let path = path.display();
            tracing::info!(%path, driver_version = version, mounts, "wrote the CDI spec of the driver's files");
        }
        if skipped != known.skipped {
            for file in &skipped {
                tracing::warn!("containers do not get a file of the driver: {file}");
            }
            known.skipped.clone_from(&skipped);
        }
        let now = SystemTime::now();
        if right && skipped.is_empty() && seen.iter().all(|seen| seen.settled(now)) {
            known.seen = seen;
        }
        Ok(())
    }

    /// The node of the GPU with this minor number, as it is now.
    ///
    /// # Errors
    /// It is missing or no character device.
    pub fn gpu_node(&self, minor: u32) -> Result<DeviceNode, NodeError> {
        nodes::gpu_node(&self.inner.roots, minor)
    }
}

/// The spec: the edits at its top, so that a container gets them once, and one device that brings them.
fn spec(driver: &str, edits: Edits) -> Spec {
    Spec {
        cdi_version: VERSION.to_owned(),
        kind: format!("{driver}/driver"),
        devices: vec![Device {
            name: "files".to_owned(),
            container_edits: Edits { env: vec![VOID.to_owned()], ..Edits::default() },
        }],
        container_edits: edits,
    }
}

#[cfg(test)]
mod tests;
