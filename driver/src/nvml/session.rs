//! A session with NVML: from `nvmlInit` to `nvmlShutdown`, with a lane for the node and one for each GPU.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::nvmlDevice_t;
use thiserror::Error;

use super::lane::{Lane, LaneError, Watcher};
use super::raw::{self, RawGpu};
use super::reading::{CallError, code};

/// Why there is no session.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The library's file cannot be looked at.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable {
        /// The library.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The dynamic loader refused the library.
    #[error("cannot load {path}: {reason}; the driver's installation is damaged or incomplete", path = .path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is no NVML, or far too old.
    #[error(
        "{path} lacks {}: it is not NVIDIA's management library of a driver for Hopper (525 or newer)",
        .missing.join(", "),
        path = .path.display()
    )]
    Symbols {
        /// The library.
        path: PathBuf,
        /// The functions that it must have and lacks.
        missing: Vec<&'static str>,
    },
    /// An earlier `nvmlInit` has not returned.
    #[error(
        "an earlier initialisation of NVML of {path} has not returned; the kernel driver hangs: see the kernel log, and \
         reboot the node if it stays so",
        path = .path.display()
    )]
    Stuck {
        /// The library.
        path: PathBuf,
    },
    /// `nvmlInit` failed.
    #[error("cannot initialise NVML of {path}: {error}{}", remedy(.error), path = .path.display())]
    Init {
        /// The library.
        path: PathBuf,
        /// What NVML said.
        error: CallError,
    },
    /// NVML cannot say how many GPUs there are.
    #[error("cannot count the GPUs: {0}")]
    Count(CallError),
    /// NVML did not answer.
    #[error("NVML did not start: {0}")]
    Lane(#[from] LaneError),
}

/// Why a session is still open.
#[derive(Debug, Error)]
pub enum CloseError {
    /// Calls have not returned. NVML is shut down when the last of them does, if ever.
    #[error("NVML is still in use by {}; its device nodes stay open until that returns", .0.join(", "))]
    InUse(Vec<String>),
    /// `nvmlShutdown` failed.
    #[error("NVML did not shut down: {0}")]
    Shutdown(CallError),
}

/// An open session with NVML. Dropping it closes it without waiting.
#[derive(Debug)]
pub struct Session {
    node: Lane<NodeContext>,
    gpus: Vec<Lane<GpuContext>>,
    closed: Mutex<Receiver<Result<(), CallError>>>,
}

/// What calls on the node work on.
#[derive(Debug)]
pub struct NodeContext {
    live: Arc<Live>,
}

/// What calls on one GPU work on. Belongs to the thread of its lane.
#[derive(Debug)]
pub struct GpuContext {
    live: Arc<Live>,
    index: u32,
    handle: OnceCell<nvmlDevice_t>,
}

/// A GPU's handle, to name it in a call on another GPU of the same session.
#[derive(Clone, Copy, Debug)]
pub struct GpuHandle {
    session: u64,
    handle: nvmlDevice_t,
}

#[expect(unsafe_code, reason = "NVML's handles are valid in every thread")]
// SAFETY: NVML is thread-safe, and its handles are process-wide tokens that this program never dereferences.
unsafe impl Send for GpuHandle {}

impl GpuHandle {
    /// The raw handle, for calls in the session that gave it out.
    pub(super) fn of_session(self, id: u64) -> Option<nvmlDevice_t> {
        (self.session == id).then_some(self.handle)
    }
}

/// NVML, initialised. The lanes own it together; the last one's thread shuts it down.
#[derive(Debug)]
pub(super) struct Live {
    /// Never dropped: that would unload the library, and panic if it lacks `nvmlShutdown`.
    nvml: ManuallyDrop<Nvml>,
    id: u64,
    closed: SyncSender<Result<(), CallError>>,
}

impl Session {
    /// Loads the library (once per process and file) and initialises NVML. After a driver reload, close the
    /// old session and open a new one.
    ///
    /// # Errors
    /// Any [`OpenError`]. A library that hangs costs `within`, and its thread.
    pub fn open(library: &Path, within: Duration) -> Result<Self, OpenError> {
        let path = library.to_owned();
        let (closer, closed) = mpsc::sync_channel(1);
        let node = Lane::start("nvml-node", within, move || {
            init(&path, closer).map(|live| NodeContext { live: Arc::new(live) })
        })?;
        let (live, count) =
            node.read("count the GPUs", within, |node| (Arc::clone(&node.live), node.nvml().device_count()))?;
        let count = count.map_err(|error| OpenError::Count(error.into()))?;
        let gpus = (0..count)
            .map(|index| {
                let live = Arc::clone(&live);
                Lane::start(format!("nvml-gpu-{index}"), within, move || {
                    Ok::<_, LaneError>(GpuContext { live, index, handle: OnceCell::new() })
                })
            })
            .collect::<Result<_, _>>()?;
        tracing::debug!(library = %library.display(), gpus = count, "NVML session opened");
        Ok(Self { node, gpus, closed: Mutex::new(closed) })
    }

    /// The lane of calls that concern no single GPU.
    pub fn node(&self) -> &Lane<NodeContext> {
        &self.node
    }

    /// The GPUs' lanes in NVML's order, which is no identity: it may differ in the next session.
    pub fn gpus(&self) -> &[Lane<GpuContext>] {
        &self.gpus
    }

    /// Closes the session, and waits until NVML is shut down and holds no device node any more.
    ///
    /// # Errors
    /// `InUse` if calls have not returned in time: they keep NVML open until they do.
    pub fn close(self, within: Duration) -> Result<(), CloseError> {
        let Self { node, gpus, closed } = self;
        let (of_gpus, of_node) = (gpus.iter().map(Lane::watcher).collect::<Vec<_>>(), node.watcher());
        drop(gpus);
        drop(node);
        let closed = closed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match closed.recv_timeout(within) {
            Ok(result) => result.map_err(CloseError::Shutdown),
            Err(_) => {
                // One that was about to end has ended by now.
                let of_gpus = of_gpus.iter().filter_map(Watcher::running);
                let mut running: Vec<String> = of_gpus.chain(of_node.running()).collect();
                if running.is_empty() {
                    running.push("nvmlShutdown".into());
                }
                Err(CloseError::InUse(running))
            }
        }
    }
}

impl NodeContext {
    /// NVML.
    pub fn nvml(&self) -> &Nvml {
        &self.live.nvml
    }

    /// A share in the session, for another lane.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }
}

impl GpuContext {
    /// The GPU. Asks NVML for its handle the first time, which wakes the GPU up and can take long.
    ///
    /// # Errors
    /// What NVML says, such as that the GPU is lost.
    pub fn device(&self) -> Result<Device<'_>, NvmlError> {
        Ok(raw::device(&self.live.nvml, self.handle()?))
    }

    /// A name of this GPU for calls on other GPUs.
    ///
    /// # Errors
    /// As of [`device`](Self::device).
    pub fn share(&self) -> Result<GpuHandle, NvmlError> {
        Ok(GpuHandle { session: self.live.id, handle: self.handle()? })
    }

    /// The raw calls on this GPU.
    pub(super) fn raw(&self) -> Result<RawGpu<'_>, NvmlError> {
        Ok(RawGpu { nvml: &self.live.nvml, handle: self.handle()? })
    }

    /// The raw handle of another GPU.
    pub(super) fn other(&self, other: GpuHandle) -> Result<nvmlDevice_t, NvmlError> {
        other.of_session(self.live.id).ok_or(NvmlError::InvalidArg)
    }

    /// A share in the session.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Asks NVML for the handle, whether it is known or not.
    pub(super) fn look_up(&self) -> Result<nvmlDevice_t, NvmlError> {
        raw::handle(&self.live.nvml, self.index)
    }

    fn handle(&self) -> Result<nvmlDevice_t, NvmlError> {
        if let Some(handle) = self.handle.get() {
            return Ok(*handle);
        }
        let handle = self.look_up()?;
        Ok(*self.handle.get_or_init(|| handle))
    }
}

impl Live {
    pub(super) fn nvml(&self) -> &Nvml {
        &self.nvml
    }

    /// Differs from that of every other session of this process.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let result = raw::shutdown(&self.nvml).map_err(CallError::from);
        // Nobody waits if the session was dropped and not closed.
        let _ = self.closed.try_send(result);
    }
}

fn init(path: &Path, closed: SyncSender<Result<(), CallError>>) -> Result<Live, OpenError> {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let _begun = Begun::new(path)?;
    let loaded = load_once(path)?;
    let mut builder = Nvml::builder();
    builder.lib_path(loaded.name.as_os_str());
    if loaded.with_flags {
        // A node whose GPUs are all gone is a state to report, not an error.
        builder.flags(InitFlags::NO_GPUS);
    }
    let nvml =
        builder.init().map_err(|error| OpenError::Init { path: path.to_owned(), error: error.into() })?;
    Ok(Live { nvml: ManuallyDrop::new(nvml), id: SESSIONS.fetch_add(1, Ordering::Relaxed), closed })
}

/// An initialisation under way. There is one at a time for a library: where the kernel driver hangs, every try
/// would cost a thread.
struct Begun(PathBuf);

impl Begun {
    fn new(path: &Path) -> Result<Self, OpenError> {
        if Self::all().insert(path.to_owned()) {
            Ok(Self(path.to_owned()))
        } else {
            Err(OpenError::Stuck { path: path.to_owned() })
        }
    }

    fn all() -> MutexGuard<'static, BTreeSet<PathBuf>> {
        static BEGUN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        Self::all().remove(&self.0);
    }
}

/// A library that this process has loaded.
#[derive(Clone)]
struct Loaded {
    /// Device and inode: how the kernel tells files apart.
    file: (u64, u64),
    /// The path that the dynamic loader knows it by.
    name: PathBuf,
    missing: Vec<&'static str>,
    with_flags: bool,
}

/// Loads the library if this process has not.
///
/// The dynamic loader knows libraries by path, and takes a file that replaced another under the same path for
/// the one that it has. A replacement is therefore loaded under a path that it has not seen: the same one with
/// `/.` put in, once more for every replacement. What was loaded stays; each replacement costs the library's
/// memory until the process ends.
fn load_once(path: &Path) -> Result<Loaded, OpenError> {
    static LOADED: Mutex<BTreeMap<PathBuf, Vec<Loaded>>> = Mutex::new(BTreeMap::new());
    let metadata =
        fs_err::metadata(path).map_err(|source| OpenError::Unreadable { path: path.to_owned(), source })?;
    let file = (metadata.dev(), metadata.ino());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let of_path = loaded.entry(path.to_owned()).or_default();
    let library = match of_path.iter().find(|before| before.file == file) {
        Some(before) => before.clone(),
        None => {
            let name = unseen(path, of_path.len());
            let raw::Symbols { missing, init_with_flags: with_flags } = raw::load_for_ever(&name)
                .map_err(|reason| OpenError::Load { path: path.to_owned(), reason })?;
            let new = Loaded { file, name, missing, with_flags };
            of_path.push(new.clone());
            new
        }
    };
    if library.missing.is_empty() {
        Ok(library)
    } else {
        Err(OpenError::Symbols { path: path.to_owned(), missing: library.missing })
    }
}

/// Another spelling of the path for every number.
fn unseen(path: &Path, replacements: usize) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    let mut spelled = folder.as_os_str().to_owned();
    for _ in 0..replacements {
        spelled.push("/.");
    }
    spelled.push("/");
    spelled.push(name);
    spelled.into()
}

fn remedy(error: &CallError) -> &'static str {
    match error.code {
        Some(code::DRIVER_NOT_LOADED) => {
            "; load the kernel module (modprobe nvidia) or wait for the driver's installer"
        }
        Some(code::LIB_RM_VERSION_MISMATCH) => {
            "; the driver was upgraded: reload the kernel module or reboot the node"
        }
        _ => "",
    }
}
