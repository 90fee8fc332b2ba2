//! The files of a node: driver root, device nodes, `/proc`, `/sys`.
//!
//! ```text
//! DIR/driver/            driver root: usr/lib/<triplet>, usr/bin, lib/firmware/nvidia/<version>, etc, run
//! DIR/driver/dev/        nvidia0 …, nvidiactl, nvidia-uvm, nvidia-caps/ …
//! DIR/dev                → driver/dev
//! DIR/proc, DIR/sys      what the kernel shows
//! ```
//!
//! Each module renders its part as data (`tree::Tree`); one function writes it.

mod cpu_list;
mod devices;
mod driver_root;
mod elf;
mod procfs;
mod sysfs;
mod tree;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::{Driver, Gpu, NodeState};
pub use cpu_list::cpu_ranges;
pub use driver_root::{library_folder, state_file};
pub use procfs::{compute_instance_capability, gpu_instance_capability};
use tree::{Entry, Tree};

/// What the device nodes of a new node shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceNodes {
    /// Character devices where this process can make them and programs could open them, else records.
    #[default]
    Auto,
    /// Character devices. Only root can make them.
    Mknod,
    /// Regular files that say what the device would be, like "c 195 0 0666".
    Record,
}

/// What the device nodes of a node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Character devices.
    Character,
    /// Regular files.
    Record,
}

/// What can go wrong while a node's files are written.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// There is something in the node's folder.
    #[error("cannot create a node in {path}: the folder is not empty; remove it or choose another")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The fake library cannot be read.
    #[error("cannot read the fake NVML library {path}: {source}; build it with 'cargo build -p fake-nvml'")]
    Library {
        /// Where it was expected.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A device node cannot be made.
    #[error("cannot make the device node {path}: {source}; run as root, or let device nodes be recorded")]
    DeviceNode {
        /// The node.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written or removed. The cause names it.
    #[error("cannot change the node's files: {0}; check that the folder is writable and the disk not full")]
    Write(#[source] std::io::Error),
}

/// Lays out a node in `dir`, which must be empty or absent, and says what its device nodes became.
///
/// The state file is not written, only its folder made: see [`state_file`].
///
/// # Errors
///
/// A file could not be written. What was written stays.
pub fn create(
    state: &NodeState,
    dir: &Path,
    library: &Path,
    device_nodes: DeviceNodes,
) -> Result<NodeKind, LayoutError> {
    fs_err::create_dir_all(dir).map_err(LayoutError::Write)?;
    let mut present = fs_err::read_dir(dir).map_err(LayoutError::Write)?;
    if present.next().is_some() {
        return Err(LayoutError::NotEmpty { path: dir.to_owned() });
    }
    let kind = match device_nodes {
        DeviceNodes::Mknod => NodeKind::Character,
        DeviceNodes::Record => NodeKind::Record,
        DeviceNodes::Auto => probe(dir),
    };

    install_driver(state, dir, library)?;
    driver_root::unversioned().write(&dir.join("driver"), kind)?;
    devices::node(state).write(&dev(dir), kind)?;
    procfs::module().write(&dir.join("proc"), kind)?;
    sysfs::node(state).write(&dir.join("sys"), kind)?;
    let mut dev_link = Tree::default();
    dev_link.symlink("dev", "driver/dev");
    dev_link.write(dir, kind)?;
    for gpu in state.gpus.iter().filter(|gpu| gpu.enumerated()) {
        write_gpu(dir, state, gpu, kind)?;
    }
    Ok(kind)
}

/// What the device nodes of the node in `dir` are.
pub fn kind(dir: &Path) -> NodeKind {
    let control = std::fs::metadata(dev(dir).join("nvidiactl"));
    if control.is_ok_and(|node| node.file_type().is_char_device()) {
        NodeKind::Character
    } else {
        NodeKind::Record
    }
}

/// Gives a GPU its device node and its files in `/proc` and `/sys`.
///
/// # Errors
///
/// A file could not be written.
pub fn add_gpu(dir: &Path, state: &NodeState, gpu: &Gpu) -> Result<(), LayoutError> {
    write_gpu(dir, state, gpu, kind(dir))
}

/// Takes away what [`add_gpu`] gives. What is not there is no error.
///
/// # Errors
///
/// A file could not be removed.
pub fn remove_gpu(dir: &Path, state: &NodeState, gpu: &Gpu) -> Result<(), LayoutError> {
    for (root, tree) in gpu_trees(dir, state, gpu) {
        tree.remove(&root, |_, _| true)?;
    }
    Ok(())
}

/// Writes everything that depends on the driver's version. Links like `libcuda.so.1` lead to it afterwards, also
/// where another version is still installed. Files that programs have mapped stay as they are for them.
///
/// # Errors
///
/// The fake library could not be read, or a file not be written.
pub fn install_driver(state: &NodeState, dir: &Path, library: &Path) -> Result<(), LayoutError> {
    fs_err::File::open(library)
        .map_err(|source| LayoutError::Library { path: library.to_owned(), source })?;
    for (root, tree) in driver_trees(dir, &state.driver, library) {
        // There are no devices among them.
        tree.write(&root, NodeKind::Record)?;
    }
    let proc = dir.join("proc");
    procfs::devices(&state.driver).write(&proc, NodeKind::Record)?;
    for gpu in state.gpus.iter().filter(|gpu| gpu.enumerated()) {
        procfs::gpu(gpu, &state.driver).write(&proc, NodeKind::Record)?;
    }
    Ok(())
}

/// Writes what the kernel shows of a loaded driver.
///
/// # Errors
///
/// A file could not be written.
pub fn load_module(dir: &Path, driver: &Driver) -> Result<(), LayoutError> {
    module_trees(dir, driver).into_iter().try_for_each(|(root, tree)| tree.write(&root, NodeKind::Record))
}

/// Removes what the kernel shows only of a loaded driver.
///
/// # Errors
///
/// A file could not be removed.
pub fn unload_module(dir: &Path, driver: &Driver) -> Result<(), LayoutError> {
    module_trees(dir, driver).into_iter().try_for_each(|(root, tree)| tree.remove(&root, |_, _| true))
}

/// Removes everything that bears this driver version, and leaves what another version has replaced. The state
/// file stays, and with it its folder: move it to the next version's folder first.
///
/// # Errors
///
/// A file could not be removed.
pub fn uninstall_driver(dir: &Path, version: &str) -> Result<(), LayoutError> {
    let driver = Driver { version: version.to_owned(), ..driver_of_any_cuda() };
    for (root, tree) in driver_trees(dir, &driver, Path::new("")) {
        tree.remove(&root, |path, entry| match entry {
            Entry::Symlink { target } => std::fs::read_link(path).is_ok_and(|present| present == *target),
            Entry::File { bytes, .. } => std::fs::read(path).is_ok_and(|present| present == *bytes),
            _ => true,
        })?;
    }
    Ok(())
}

/// The CUDA version shows in no file.
fn driver_of_any_cuda() -> Driver {
    Driver { version: String::new(), cuda: crate::model::CudaVersion { major: 0, minor: 0 }, loaded: false }
}

fn dev(dir: &Path) -> PathBuf {
    dir.join("driver/dev")
}

fn write_gpu(dir: &Path, state: &NodeState, gpu: &Gpu, kind: NodeKind) -> Result<(), LayoutError> {
    for (root, tree) in gpu_trees(dir, state, gpu) {
        tree.write(&root, kind)?;
    }
    Ok(())
}

fn gpu_trees(dir: &Path, state: &NodeState, gpu: &Gpu) -> [(PathBuf, Tree); 3] {
    [
        (dev(dir), devices::gpu(gpu)),
        (dir.join("proc"), procfs::gpu(gpu, &state.driver)),
        (dir.join("sys"), sysfs::gpu(gpu, state)),
    ]
}

fn driver_trees(dir: &Path, driver: &Driver, library: &Path) -> [(PathBuf, Tree); 3] {
    let root = driver_root::versioned(&driver.version, driver.branch(), library);
    let [proc, sys] = module_trees(dir, driver);
    [(dir.join("driver"), root), proc, sys]
}

fn module_trees(dir: &Path, driver: &Driver) -> [(PathBuf, Tree); 2] {
    [(dir.join("proc"), procfs::versioned(driver)), (dir.join("sys"), sysfs::versioned(driver))]
}

/// Whether character devices of use can be made here: as root, and not on a file system mounted with nodev,
/// where opening them is refused whatever their mode says.
fn probe(dir: &Path) -> NodeKind {
    let path = dir.join(".probe");
    if tree::mknod(&path, devices::MAJOR_NVIDIA, devices::MINOR_CTL).is_err() {
        return NodeKind::Record;
    }
    let opened = OpenOptions::new().read(true).open(&path);
    let removed = std::fs::remove_file(&path);
    match opened {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => NodeKind::Record,
        _ if removed.is_err() => NodeKind::Record,
        _ => NodeKind::Character,
    }
}
