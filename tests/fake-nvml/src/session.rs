//! What a process has open: the node, the session between nvmlInit and nvmlShutdown, the event sets.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fake_node::model::{Gpu, NodeState, Presence};
use fake_node::state_file::StateFile;

use crate::abi::{Failure, Handle, SetHandle};
use crate::answers::events::EventSet;
use crate::place::{self, Place};

/// The process's one set of globals, as in the real library.
static PROCESS: Process = Process {
    node: Mutex::new(None),
    sessions: RwLock::new(Sessions { references: 0, started: 0, current: None }),
    sets: Mutex::new(None),
};

struct Process {
    node: Mutex<Option<Arc<Node>>>,
    sessions: RwLock<Sessions>,
    sets: Mutex<Option<HashMap<SetHandle, Arc<EventSet>>>>,
}

struct Sessions {
    /// Calls of nvmlInit without their nvmlShutdown.
    references: u32,
    /// How many sessions there were; the number of the current one.
    started: u16,
    current: Option<Arc<Session>>,
}

/// The node that the library lies in.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) file: StateFile,
}

/// The time between nvmlInit and nvmlShutdown.
#[derive(Debug)]
pub(crate) struct Session {
    number: u16,
    /// The driver's epoch at the start.
    epoch: u64,
    /// Slots of the GPUs that this session lists, by index.
    pub(crate) listed: Vec<usize>,
}

/// The node of this library. A failure is said once on standard error and tried again at the next call.
pub(crate) fn node() -> Result<Arc<Node>, Failure> {
    let mut node = lock(&PROCESS.node);
    if let Some(node) = &*node {
        return Ok(Arc::clone(node));
    }
    // Without a node the library is one whose kernel module is not loaded.
    let place = place::find().ok_or(Failure::DRIVER_NOT_LOADED)?;
    let path = fake_node::layout::state_file(&place.driver_root, &place.version);
    let file = StateFile::open(&path).map_err(|error| complain(&error))?;
    Ok(Arc::clone(node.insert(Arc::new(Node { place, file }))))
}

impl Node {
    /// The state now.
    pub(crate) fn state(&self) -> Result<Arc<NodeState>, Failure> {
        self.file.read().map_err(|error| complain(&error))
    }
}

/// The session in force.
pub(crate) fn current() -> Result<Arc<Session>, Failure> {
    let sessions = PROCESS.sessions.read().unwrap_or_else(PoisonError::into_inner);
    sessions.current.clone().ok_or(Failure::UNINITIALIZED)
}

/// Starts a session, or joins the one in force.
pub(crate) fn start(node: &Node, state: &NodeState) -> Result<(), Failure> {
    let mut sessions = PROCESS.sessions.write().unwrap_or_else(PoisonError::into_inner);
    if sessions.current.is_none() {
        let devices = node.place.driver_root.join("dev");
        if !state.driver.loaded || !can_open(&devices.join("nvidiactl")) {
            return Err(Failure::DRIVER_NOT_LOADED);
        }
        if state.driver.version != node.place.version {
            return Err(Failure::VERSION_MISMATCH);
        }
        let visible = |gpu: &Gpu| gpu.enumerated() && can_open(&devices.join(format!("nvidia{}", gpu.minor)));
        let listed = state.gpus.iter().enumerate().filter(|(_, gpu)| visible(gpu)).map(|(slot, _)| slot);
        sessions.started = sessions.started.wrapping_add(1);
        let session = Session { number: sessions.started, epoch: state.epoch, listed: listed.collect() };
        sessions.current = Some(Arc::new(session));
    }
    sessions.references += 1;
    Ok(())
}

/// Leaves the session. The last to leave ends it.
pub(crate) fn end() -> Result<(), Failure> {
    let mut sessions = PROCESS.sessions.write().unwrap_or_else(PoisonError::into_inner);
    match sessions.references {
        0 => return Err(Failure::UNINITIALIZED),
        1 => {
            sessions.current = None;
            *lock(&PROCESS.sets) = None;
        }
        _ => {}
    }
    sessions.references -= 1;
    Ok(())
}

const TAG: usize = 0xFA4E << 48;

impl Session {
    /// The handle of a GPU: the session's number, the GPU's generation, its slot plus one.
    pub(crate) fn handle(&self, slot: usize, gpu: &Gpu) -> Handle {
        let generation = usize::try_from(gpu.live.generation & 0xFFFF).unwrap_or(0);
        Handle(TAG | usize::from(self.number) << 24 | generation << 8 | (slot + 1))
    }

    /// Whether the driver is still loaded, and the one that the session began with.
    pub(crate) fn in_force(&self, state: &NodeState) -> Result<(), Failure> {
        let same = state.driver.loaded && state.epoch == self.epoch;
        same.then_some(()).ok_or(Failure::DRIVER_NOT_LOADED)
    }

    /// The slot behind a handle that this session gave out, whatever became of the GPU.
    pub(crate) fn slot(&self, handle: Handle) -> Option<usize> {
        let slot = (handle.0 & 0xFF).checked_sub(1)?;
        let ours = handle.0 >> 48 == TAG >> 48 && (handle.0 >> 24) & 0xFF_FFFF == usize::from(self.number);
        (ours && self.listed.contains(&slot)).then_some(slot)
    }

    /// Whether the GPU is still the one that the handle was given out for, and answers.
    pub(crate) fn alive(&self, handle: Handle, slot: usize, gpu: &Gpu) -> Result<(), Failure> {
        if gpu.live.presence == Presence::Present && self.handle(slot, gpu) == handle {
            Ok(())
        } else {
            Err(Failure::GPU_IS_LOST)
        }
    }
}

/// Keeps a new event set and gives its handle.
pub(crate) fn add_set(set: EventSet) -> SetHandle {
    let mut sets = lock(&PROCESS.sets);
    let sets = sets.get_or_insert_default();
    let mut number = 0x5E70_0001;
    while sets.contains_key(&SetHandle(number)) {
        number += 1;
    }
    sets.insert(SetHandle(number), Arc::new(set));
    SetHandle(number)
}

/// An event set.
pub(crate) fn set(handle: SetHandle) -> Result<Arc<EventSet>, Failure> {
    lock(&PROCESS.sets).as_ref().and_then(|sets| sets.get(&handle).cloned()).ok_or(Failure::INVALID_ARGUMENT)
}

/// Forgets an event set.
pub(crate) fn remove_set(handle: SetHandle) -> Result<(), Failure> {
    lock(&PROCESS.sets)
        .as_mut()
        .and_then(|sets| sets.remove(&handle))
        .map(drop)
        .ok_or(Failure::INVALID_ARGUMENT)
}

/// Whether the process may use a device node. One that no kernel driver serves (ENXIO, ENODEV) counts: the
/// fake node's are such. One that is absent or that the container's device rules forbid does not.
fn can_open(path: &Path) -> bool {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            matches!(code, Some(rustix::io::Errno::NXIO | rustix::io::Errno::NODEV))
        }
    }
}

#[expect(clippy::print_stderr, reason = "NVML's return codes cannot name a damaged file")]
fn complain(error: &fake_node::state_file::StateError) -> Failure {
    eprintln!("fake-nvml: {error}");
    Failure::UNKNOWN
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
