//! What happens to every call before its answer is looked up.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use fake_node::model::{Effect, Gpu, NodeState};
use fake_node::symbols::Function;
use rustix::process::{Signal, getpid, kill_process};

use crate::abi::{Answer, Failure, Handle, Out, sys};
use crate::session::{self, Node, Session};

/// The longest that a hanging call sleeps before it looks whether its fault was cleared.
const HANG_LOOK: Duration = Duration::from_millis(50);

/// A call within a session.
pub(crate) struct Call {
    pub(crate) node: Arc<Node>,
    pub(crate) state: Arc<NodeState>,
    pub(crate) session: Arc<Session>,
}

/// A call for a GPU that answers.
pub(crate) struct Device {
    pub(crate) call: Call,
    pub(crate) slot: usize,
    pub(crate) handle: Handle,
}

impl Device {
    /// The GPU.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.call.state.gpus[self.slot]
    }

    /// Changes the GPU for all processes. Only root may.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Gpu)) -> Answer {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::NO_PERMISSION);
        }
        let slot = self.slot;
        let changed = self.call.node.file.update(|state| {
            let gpu = state.gpus.get_mut(slot).ok_or(Failure::GPU_IS_LOST)?;
            change(gpu);
            Ok(())
        });
        changed.unwrap_or(Err(Failure::NO_PERMISSION))
    }
}

impl Call {
    /// The GPU behind another handle among a call's arguments.
    pub(crate) fn other(&self, handle: Handle) -> Result<(usize, &Gpu), Failure> {
        let slot = resolve(&self.session, &self.state, handle)?;
        let gpu = &self.state.gpus[slot];
        self.session.alive(handle, slot, gpu)?;
        Ok((slot, gpu))
    }
}

/// A call that needs no session.
pub(crate) fn free(function: Function, body: impl FnOnce(&Node, &NodeState) -> Answer) -> sys::nvmlReturn_t {
    observed(function, None, false, |node| body(node, &*node.state()?))
}

/// A call within a session.
pub(crate) fn system(function: Function, body: impl FnOnce(&Call) -> Answer) -> sys::nvmlReturn_t {
    observed(function, None, false, |node| body(&begin(node)?))
}

/// A call for a GPU's handle. A GPU that is lost is listed, but its handle is refused.
pub(crate) fn lookup(
    function: Function,
    handle: Out<Handle>,
    find: impl Fn(&Call) -> Result<usize, Failure>,
) -> sys::nvmlReturn_t {
    // Which GPU it is decides which faults the call meets.
    let sought = session::node().and_then(|node| find(&open(&node)?)).ok();
    observed(function, sought, false, |node| {
        let call = begin(node)?;
        let slot = find(&call)?;
        let gpu = &call.state.gpus[slot];
        let found = call.session.handle(slot, gpu);
        call.session.alive(found, slot, gpu)?;
        handle.set(found)
    })
}

/// A call for a GPU.
pub(crate) fn device(
    function: Function,
    handle: Handle,
    body: impl FnOnce(&Device) -> Answer,
) -> sys::nvmlReturn_t {
    let slot = session::current().ok().and_then(|session| session.slot(handle));
    observed(function, slot, false, |node| {
        let call = begin(node)?;
        let slot = call.other(handle)?.0;
        body(&Device { call, slot, handle })
    })
}

/// A function with nothing behind it.
pub(crate) fn stub(function: Function) -> sys::nvmlReturn_t {
    observed(function, None, true, |node| {
        begin(node)?;
        Err(Failure::NOT_SUPPORTED)
    })
}

fn begin(node: &Arc<Node>) -> Result<Call, Failure> {
    let call = open(node);
    if call.as_ref().is_err_and(|failure| *failure == Failure::UNINITIALIZED) {
        defect_of_client(&*node.state()?, "a call before nvmlInit or after nvmlShutdown");
    }
    call
}

fn open(node: &Arc<Node>) -> Result<Call, Failure> {
    let state = node.state()?;
    let session = session::current()?;
    session.in_force(&state)?;
    Ok(Call { node: Arc::clone(node), state, session })
}

fn resolve(session: &Session, state: &NodeState, handle: Handle) -> Result<usize, Failure> {
    session.slot(handle).ok_or_else(|| {
        defect_of_client(state, "a device handle that this session never gave out");
        Failure::INVALID_ARGUMENT
    })
}

/// In strict mode a client's defect ends the client, so that no test can miss it.
#[expect(clippy::print_stderr, reason = "says why the process ends")]
fn defect_of_client(state: &NodeState, what: &str) {
    if state.strict {
        eprintln!("fake-nvml: strict mode: {what}");
        std::process::abort();
    }
}

/// Version gate, log and faults around an answer.
fn observed(
    function: Function,
    slot: Option<usize>,
    stub: bool,
    answer: impl FnOnce(&Arc<Node>) -> Answer,
) -> sys::nvmlReturn_t {
    let result = session::node().and_then(|node| {
        if function.since() > node.state()?.driver.branch() {
            return Err(Failure::FUNCTION_NOT_FOUND);
        }
        let ticket = node.file.call_begins(function, slot, stub);
        let result = with_faults(&node, function, slot, || answer(&node));
        node.file.call_ends(ticket, code(result));
        result
    });
    code(result)
}

fn code(answer: Answer) -> sys::nvmlReturn_t {
    answer.map_or_else(|failure| failure.0, |()| sys::nvmlReturn_enum_NVML_SUCCESS)
}

fn with_faults(
    node: &Node,
    function: Function,
    slot: Option<usize>,
    answer: impl FnOnce() -> Answer,
) -> Answer {
    let state = node.state()?;
    let mut killed_after = false;
    for fault in &state.faults {
        let concerned = (fault.call == "*" || fault.call == function.name())
            && (fault.slot.is_none() || fault.slot == slot);
        if !concerned {
            continue;
        }
        let passed = node.file.count_fault(fault.id);
        if passed < fault.after || fault.times.is_some_and(|times| passed - fault.after >= times) {
            continue;
        }
        match fault.effect {
            Effect::Delay(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
            Effect::Hang => hang(node, fault.id)?,
            Effect::Fail(code) => return Err(Failure(code)),
            Effect::KillBefore => kill_self(),
            Effect::KillAfter => killed_after = true,
        }
    }
    let answered = answer();
    if killed_after {
        kill_self();
    }
    answered
}

fn hang(node: &Node, id: u16) -> Answer {
    loop {
        let sequence = node.file.sequence();
        if node.state()?.faults.iter().all(|fault| fault.id != id) {
            return Ok(());
        }
        node.file.wait_for_change(sequence, HANG_LOOK);
    }
}

/// SIGKILL, so that no handler and no destructor of the client runs.
fn kill_self() {
    // The kernel refuses no signal of a process to itself.
    let _ = kill_process(getpid(), Signal::KILL);
}

/// `nvmlErrorString`: texts of the real library 550.163.01.
pub(crate) fn error_string(result: sys::nvmlReturn_t) -> *const c_char {
    const TEXTS: [&std::ffi::CStr; 30] = [
        c"Success",
        c"Uninitialized",
        c"Invalid Argument",
        c"Not Supported",
        c"Insufficient Permissions",
        c"Already Initialized",
        c"Not Found",
        c"Insufficient Size",
        c"Insufficient External Power",
        c"Driver Not Loaded",
        c"Timeout",
        c"Interrupt Request Issue",
        c"NVML Shared Library Not Found",
        c"Function Not Found",
        c"Corrupted infoROM",
        c"GPU is lost",
        c"GPU requires reset",
        c"GPU access blocked by the operating system",
        c"Driver/library version mismatch",
        c"In use by another client",
        c"Insufficient Memory",
        c"No data",
        c"vGPU ECC not supported",
        c"Insufficient Resources",
        c"Invalid Frequency",
        c"Argument version mismatch",
        c"Requested functionality has been deprecated",
        c"System is not in ready state",
        c"No supported GPUs were found",
        c"Resource not in correct state to perform requested operation",
    ];
    let text = usize::try_from(result).ok().and_then(|code| TEXTS.get(code));
    text.copied().unwrap_or(c"Unknown Error").as_ptr()
}
