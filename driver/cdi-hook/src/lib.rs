//! What a container with a GPU needs beside mounts and device nodes, done by an OCI hook before the container starts.
//!
//! The command lines are those of NVIDIA's `nvidia-cdi-hook`, so that a CDI spec may name either. The hook runs as root,
//! in the container's namespaces, beside a root file system that a hostile image may have laid out (CVE-2024-0132,
//! CVE-2025-23266, CVE-2025-23267). So it is linked statically and takes nothing from its environment; every path of the
//! container is resolved by the kernel inside the container's root, without crossing a mount where something is written;
//! and whatever is written takes its place by a rename, never through a link.
//!
//! ```text
//! arguments ──▶ Command ─┐
//! stdin: OCI state ──▶ bundle ──▶ config.json ──▶ Root ──▶ links, loader's cache, compat, params
//! ```

pub mod arguments;
pub mod cache;
mod compat;
pub mod container;
mod ldcache;
mod params;
pub mod root;
mod symlinks;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use arguments::Command;
use root::Root;

/// Why the hook fails. The container then does not start, and the kubelet's Event has this text.
#[derive(Debug, Error)]
pub enum HookError {
    /// Something in the container's root.
    #[error("cannot {attempt} {path} in the container: {source}", path = .path.display())]
    Container {
        /// What was attempted.
        attempt: &'static str,
        /// On what, as the container sees it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A folder of the container that is too long a path, or leads nowhere.
    #[error("cannot use the folder {path} of the container: {why}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The driver's settings on the host.
    #[error("cannot read /proc/driver/nvidia/params of the host: {0}; is NVIDIA's driver loaded?")]
    Params(io::Error),
    /// A mount.
    #[error("cannot mount over /proc/driver/nvidia/params in the container ({attempt}): {source}")]
    Mount {
        /// Which step.
        attempt: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Does what a command says, in a container's root.
///
/// # Errors
/// Any [`HookError`].
pub fn run(command: &Command, root: &Root) -> Result<(), HookError> {
    match command {
        Command::CreateSymlinks { links } => symlinks::create(root, links),
        Command::UpdateLdcache { folders } => ldcache::update(root, folders),
        Command::EnableCudaCompat { host_driver_version } => compat::enable(root, host_driver_version),
        Command::DisableDeviceNodeModification => params::disable_modification(root),
    }
}
