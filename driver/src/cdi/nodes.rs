//! Device nodes of GPUs and of the driver itself, as they are on the host.
//!
//! Their numbers are read at each use: `nvidia-uvm` gets another major number when the module is loaded anew.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, major, minor};
use thiserror::Error;

use super::Roots;
use super::spec::DeviceNode;

/// The nodes of the driver itself, and whether CUDA works without. In the order of their names.
const CONTROL: [(&str, Need); 4] = [
    // For display; there is none on a compute node without nvidia-modeset.ko.
    ("nvidia-modeset", Need::Optional),
    ("nvidia-uvm", Need::Always),
    // For profilers.
    ("nvidia-uvm-tools", Need::Optional),
    (CTL, Need::Always),
];
/// The node that every program opens first.
const CTL: &str = "nvidiactl";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    Optional,
}

/// Why a device node cannot be given to a container.
#[derive(Debug, Error)]
pub enum NodeError {
    /// It does not exist.
    #[error("the device node {path} is missing on the host; {remedy}")]
    Missing {
        /// The node, as the container runtime would see it.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// Something else has its name.
    #[error("{path} is not a character device; remove it from the host, then {remedy}")]
    NotCharacter {
        /// The node, as the container runtime sees it.
        path: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// It cannot be looked at.
    #[error("cannot look at the device node {path}: {source}; let the plugin read the host's /dev")]
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
    Folder::of(roots).node(&format!("nvidia{minor}"))
}

/// A folder of device nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Where this process sees it.
    here: PathBuf,
    /// Where the container runtime sees it.
    host: PathBuf,
}

impl Folder {
    /// The driver root's own `dev` if the driver has its nodes there, as in the root of a driver container, else
    /// the host's.
    pub(super) fn of(roots: &Roots) -> Self {
        let own = roots.driver.join("dev");
        if Self::sign(roots).exists() {
            return Self { here: own, host: roots.host_driver.join("dev") };
        }
        Self { here: roots.dev.clone(), host: PathBuf::from("/dev") }
    }

    /// The file that decides which folder it is.
    pub(super) fn sign(roots: &Roots) -> PathBuf {
        roots.driver.join("dev").join(CTL)
    }

    /// The nodes of the driver itself.
    pub(super) fn control_nodes(&self) -> Result<Vec<DeviceNode>, NodeError> {
        let mut nodes = Vec::new();
        for (name, need) in CONTROL {
            match self.node(name) {
                Ok(node) => nodes.push(node),
                Err(NodeError::Missing { .. }) if need == Need::Optional => {}
                Err(error) => return Err(error),
            }
        }
        Ok(nodes)
    }

    /// Where this process sees the nodes of the driver itself, those included that do not exist.
    pub(super) fn control_paths(&self) -> impl Iterator<Item = PathBuf> {
        CONTROL.iter().map(|(name, _)| self.here.join(name))
    }

    fn node(&self, name: &str) -> Result<DeviceNode, NodeError> {
        let (here, host) = (self.here.join(name), self.host.join(name));
        let stat = match rustix::fs::stat(&here) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(NodeError::Missing { path: host, remedy: remedy(name) });
            }
            Err(error) => return Err(NodeError::Unreadable { path: here, source: error.into() }),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            return Err(NodeError::NotCharacter { path: host, remedy: remedy(name) });
        }
        let inside = Path::new("/dev").join(name);
        Ok(DeviceNode {
            host_path: (host != inside).then(|| host.display().to_string()),
            path: inside.display().to_string(),
            kind: "c".to_owned(),
            major: major(stat.st_rdev),
            minor: minor(stat.st_rdev),
            file_mode: stat.st_mode & 0o7777,
            permissions: "rwm".to_owned(),
            gid: (stat.st_gid != 0).then_some(stat.st_gid),
        })
    }
}

/// How the node with this name is made.
fn remedy(name: &str) -> String {
    let arguments = match name.strip_prefix("nvidia").map(str::parse::<u32>) {
        Some(Ok(minor)) => format!("-c {minor}"),
        _ if name.starts_with("nvidia-uvm") => "-u -c 0".to_owned(),
        _ if name == "nvidia-modeset" => "-m".to_owned(),
        _ => "-c 0".to_owned(),
    };
    format!("make it by running 'nvidia-modprobe {arguments}' there as root, or restart the driver container")
}
