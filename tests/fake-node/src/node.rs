//! A node on disk: made from a description, changed while programs use it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::calls::{Call, boot_time_ns};
use crate::description::{Description, DescriptionError, DriverVersionError, cuda_of_driver};
use crate::inject::{InjectError, Injection};
use crate::layout::{self, DeviceNodes, LayoutError, NodeKind};
use crate::model::{NodeState, Presence};
use crate::state_file::{StateError, StateFile};

/// Names the fake library to copy into new nodes, where it is not beside the program.
pub const LIBRARY_VARIABLE: &str = "FAKE_NVML_LIBRARY";

/// File name of the fake library as cargo builds it.
const LIBRARY_NAME: &str = "libfake_nvml.so";

/// Where a broken library ends: behind its headers, before the end of its code.
const BROKEN_LENGTH: usize = 64 << 10;

/// Why something with a node failed.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The fake library was not found.
    #[error("no {LIBRARY_NAME} in {}; build it with 'cargo build -p fake-nvml' or name it in {LIBRARY_VARIABLE}", looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoLibrary {
        /// The folders that were searched.
        looked: Vec<PathBuf>,
    },
    /// No node lies there.
    #[error(
        "{path} holds no fake node: nothing like driver/lib/firmware/nvidia/<version>/gsp_ga10x.bin in it"
    )]
    NoNode {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be changed.
    #[error("cannot change the node's files: {0}")]
    Io(#[from] std::io::Error),
    /// The description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The driver version.
    #[error(transparent)]
    DriverVersion(#[from] DriverVersionError),
    /// The files.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The injection.
    #[error(transparent)]
    Inject(#[from] InjectError),
}

/// Choices at a node's creation.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// What the device nodes shall be.
    pub device_nodes: DeviceNodes,
    /// The fake library; searched for if not given.
    pub library: Option<PathBuf>,
}

/// What is to become of the library file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryFile {
    /// Cut off, as after a broken copy.
    Broken,
    /// Removed.
    Missing,
    /// As it was at the creation.
    Restored,
}

/// A node on disk.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    file: StateFile,
}

impl Node {
    /// Lays out a node in an empty or absent folder.
    ///
    /// # Errors
    /// If the library is not found or a file cannot be written.
    pub fn create(description: &Description, dir: &Path, options: &CreateOptions) -> Result<Self, NodeError> {
        Self::create_from(&description.state(), dir, options)
    }

    /// Lays out a node from a state: for nodes that no description allows.
    ///
    /// # Errors
    /// If the library is not found or a file cannot be written.
    pub fn create_from(state: &NodeState, dir: &Path, options: &CreateOptions) -> Result<Self, NodeError> {
        let library = match &options.library {
            Some(library) => library.clone(),
            None => find_library()?,
        };
        layout::create(state, dir, &library, options.device_nodes)?;
        let dir = dir.canonicalize()?;
        // Kept for driver updates: they lay the library out again.
        fs_err::copy(&library, dir.join(LIBRARY_NAME))?;
        let path = layout::state_file(&dir.join("driver"), &state.driver.version);
        let file = StateFile::create(&path, state)?;
        let node = Self { dir, file };
        fs_err::write(node.dir.join("env"), node.environment())?;
        Ok(node)
    }

    /// Opens a node that exists.
    ///
    /// # Errors
    /// If the folder holds none, or its state file is damaged.
    pub fn open(dir: &Path) -> Result<Self, NodeError> {
        let no_node = || NodeError::NoNode { path: dir.to_owned() };
        let dir = dir.canonicalize().map_err(|_| no_node())?;
        let versions = fs_err::read_dir(dir.join("driver/lib/firmware/nvidia")).map_err(|_| no_node())?;
        let path = versions
            .filter_map(Result::ok)
            .map(|version| version.path().join("gsp_ga10x.bin"))
            .find(|path| path.exists())
            .ok_or_else(no_node)?;
        let file = StateFile::open(&path)?;
        Ok(Self { dir, file })
    }

    /// The node's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Root of the driver's files.
    pub fn driver_root(&self) -> PathBuf {
        self.dir.join("driver")
    }

    /// What the kernel shows in /sys.
    pub fn sysfs(&self) -> PathBuf {
        self.dir.join("sys")
    }

    /// What the kernel shows in /proc.
    pub fn procfs(&self) -> PathBuf {
        self.dir.join("proc")
    }

    /// The library, by the name that programs load.
    pub fn library(&self) -> PathBuf {
        layout::library_folder(&self.driver_root()).join("libnvidia-ml.so.1")
    }

    /// The file that holds the state.
    pub fn state_file(&self) -> &StateFile {
        &self.file
    }

    /// Whether the device nodes are real ones.
    pub fn device_nodes(&self) -> NodeKind {
        layout::kind(&self.dir)
    }

    /// The state now.
    ///
    /// # Errors
    /// If the state file was damaged.
    pub fn state(&self) -> Result<Arc<NodeState>, NodeError> {
        Ok(self.file.read()?)
    }

    /// Changes the state in any way: for lies that no injection knows.
    ///
    /// # Errors
    /// If the state file is damaged or read-only.
    pub fn update(&self, change: impl FnOnce(&mut NodeState)) -> Result<(), NodeError> {
        let changed = self.file.update(|state| {
            change(state);
            Ok::<_, Infallible>(())
        })?;
        match changed {
            Ok(()) => Ok(()),
            Err(never) => match never {},
        }
    }

    /// Does something to the node. Answers the number of a fault that was set.
    ///
    /// # Errors
    /// If it names what is not there, or a file cannot be changed.
    pub fn inject(&self, injection: &Injection) -> Result<Option<u16>, NodeError> {
        let before = self.state()?;
        let fault = self.file.update(|state| {
            let fault = state.apply(injection, boot_time_ns())?;
            if let Some(id) = fault {
                self.file.reset_fault(id);
            }
            Ok::<_, InjectError>(fault)
        })??;
        let after = self.state()?;
        for (old, new) in before.gpus.iter().zip(&after.gpus) {
            let (was, is) = (old.live.presence, new.live.presence);
            if was != Presence::Removed && is == Presence::Removed {
                layout::remove_gpu(&self.dir, &before, old)?;
            } else if was == Presence::Removed && is != Presence::Removed {
                layout::add_gpu(&self.dir, &after, new)?;
            }
        }
        Ok(fault)
    }

    /// Unloads the kernel module. Sessions that are open get DRIVER_NOT_LOADED from then on.
    ///
    /// # Errors
    /// If the state file is damaged or read-only.
    pub fn unload_driver(&self) -> Result<(), NodeError> {
        self.update(|state| state.driver.loaded = false)?;
        Ok(layout::unload_module(&self.dir, &self.state()?.driver)?)
    }

    /// Loads the kernel module, of another version if one is given: then the driver root's files are exchanged.
    /// All that a driver forgets is forgotten.
    ///
    /// # Errors
    /// If the version is unknown or a file cannot be changed.
    pub fn load_driver(&mut self, version: Option<&str>) -> Result<(), NodeError> {
        let old = self.state()?;
        let mut driver = old.driver.clone();
        if let Some(version) = version {
            driver.cuda = cuda_of_driver(version)?;
            version.clone_into(&mut driver.version);
        }
        driver.loaded = true;
        if driver.version != old.driver.version {
            let next = NodeState { driver: driver.clone(), ..(*old).clone() };
            layout::install_driver(&next, &self.dir, &self.dir.join(LIBRARY_NAME))?;
            let root = self.driver_root();
            let path = layout::state_file(&root, &driver.version);
            // The same file under another name: programs that still have the old driver open see the change.
            fs_err::rename(layout::state_file(&root, &old.driver.version), &path)?;
            layout::uninstall_driver(&self.dir, &old.driver.version)?;
            self.file = StateFile::open(&path)?;
        }
        layout::load_module(&self.dir, &driver)?;
        self.update(|state| {
            state.driver = driver;
            state.epoch += 1;
            for gpu in &mut state.gpus {
                gpu.live.reset();
                gpu.live.persistence = false;
                gpu.live.energy_mj = 0;
            }
        })
    }

    /// Breaks or restores the library file. Programs that have it open go on.
    ///
    /// # Errors
    /// If the file cannot be changed.
    pub fn set_library(&self, wanted: LibraryFile) -> Result<(), NodeError> {
        let version = self.state()?.driver.version.clone();
        let path = layout::library_folder(&self.driver_root()).join(format!("libnvidia-ml.so.{version}"));
        let whole = fs_err::read(self.dir.join(LIBRARY_NAME))?;
        // Never written over: that would change the pages of programs that run.
        if path.exists() {
            fs_err::remove_file(&path)?;
        }
        match wanted {
            LibraryFile::Missing => {}
            LibraryFile::Broken => fs_err::write(&path, &whole[..whole.len().min(BROKEN_LENGTH)])?,
            LibraryFile::Restored => fs_err::write(&path, &whole)?,
        }
        Ok(())
    }

    /// The calls that programs made, from a number on.
    pub fn calls_since(&self, first: u64) -> Vec<Call> {
        self.file.calls_since(first)
    }

    /// All calls that programs made, as far as the log still holds them.
    pub fn calls(&self) -> Vec<Call> {
        self.calls_since(0)
    }

    /// Shell lines that make a program in this shell use the node.
    fn environment(&self) -> String {
        format!(
            "# Programs started from a shell that has read this file see the fake node.\n\
             export LD_LIBRARY_PATH='{}'\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
             export DRIVER_ROOT='{}'\n\
             export SYSFS_ROOT='{}'\n\
             export PROCFS_ROOT='{}'\n",
            layout::library_folder(&self.driver_root()).display(),
            self.driver_root().display(),
            self.sysfs().display(),
            self.procfs().display(),
        )
    }
}

/// Finds the fake library: where the environment says, or where cargo puts it beside programs and tests.
///
/// # Errors
/// If it is not there.
pub fn find_library() -> Result<PathBuf, NodeError> {
    if let Some(named) = std::env::var_os(LIBRARY_VARIABLE) {
        return Ok(named.into());
    }
    let program = std::env::current_exe()?;
    let beside = program.parent().unwrap_or(Path::new("."));
    // Cargo refreshes the copy in `deps` at every build, the one above it only when asked for the library.
    let looked = vec![beside.join("deps"), beside.to_owned(), beside.join("../deps")];
    let found = looked.iter().map(|folder| folder.join(LIBRARY_NAME)).find(|path| path.exists());
    found.ok_or(NodeError::NoLibrary { looked })
}
