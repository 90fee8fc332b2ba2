//! Event sets: NVML's news of XIDs, ECC errors, clock changes.
//!
//! An event set has a lane of its own, in which it waits. nvml-wrapper drops the MIG instances of an event,
//! so the set is handled through the raw functions.

#![expect(unsafe_code, reason = "calls into NVIDIA's library")]

use std::cell::RefCell;
use std::ffi::c_uint;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t};
use thiserror::Error;

use super::lane::{Lane, LaneError};
use super::raw;
use super::reading::{CallError, code};
use super::session::{GpuHandle, Live, Session};

/// What an event's instance fields hold when it concerns the whole GPU.
const NO_INSTANCE: u32 = u32::MAX;

/// Something that happened to a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name under which the GPU was registered. None for a GPU that was not.
    pub gpu: Option<String>,
    /// One bit of `nvmlEventType*`.
    pub kind: u64,
    /// For XID events the XID.
    pub data: u64,
    /// The MIG GPU instance that it concerns, if one.
    pub gpu_instance: Option<u32>,
    /// The MIG compute instance that it concerns, if one.
    pub compute_instance: Option<u32>,
}

/// What waiting for an event brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// An event.
    Event(Event),
    /// No event in the time given.
    Nothing,
    /// One of the registered GPUs is lost. NVML does not say which, and says it again at once on the next
    /// wait: find out which, and go on with a new set without it.
    GpuLost,
}

/// Why an event set cannot be had.
#[derive(Debug, Error)]
pub enum EventError {
    /// NVML refused.
    #[error("cannot create an event set: {0}")]
    Create(CallError),
    /// Its lane gave no answer.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// An event set, in its lane.
#[derive(Debug)]
pub struct EventSet {
    live: Arc<Live>,
    set: nvmlEventSet_t,
    registered: RefCell<Vec<(nvmlDevice_t, String)>>,
}

impl Session {
    /// Creates an event set in a lane of its own, which keeps the session open as long as it lives.
    ///
    /// # Errors
    /// Any [`EventError`].
    pub fn event_set(&self, within: Duration) -> Result<Lane<EventSet>, EventError> {
        let live = self.node().read("join the session", within, super::session::NodeContext::live)?;
        Lane::start("nvml-events", within, move || {
            EventSet::create(live).map_err(|error| EventError::Create(error.into()))
        })
    }
}

impl EventSet {
    fn create(live: Arc<Live>) -> Result<Self, NvmlError> {
        let create = raw::symbol(&live.nvml().lib().nvmlEventSetCreate)?;
        // The wait and the release are used without a check that could come too late.
        raw::symbol(&live.nvml().lib().nvmlEventSetWait_v2)?;
        let mut set: nvmlEventSet_t = ptr::null_mut();
        // SAFETY: NVML is initialised, `set` is valid for the call.
        nvml_try(unsafe { create(&raw mut set) })?;
        Ok(Self { live, set, registered: RefCell::default() })
    }

    /// Asks for a GPU's events under a name of the caller's. Of the `kinds` that the GPU does not know, none
    /// are registered; the registered ones are returned. Events from before are not seen.
    ///
    /// # Errors
    /// What NVML says. `InvalidArg` for a handle of another session.
    pub fn register(&self, gpu: GpuHandle, name: &str, kinds: u64) -> Result<u64, NvmlError> {
        let handle = gpu.of_session(self.live.id()).ok_or(NvmlError::InvalidArg)?;
        let lib = self.live.nvml().lib();
        let supported_types = raw::symbol(&lib.nvmlDeviceGetSupportedEventTypes)?;
        let register = raw::symbol(&lib.nvmlDeviceRegisterEvents)?;
        let mut supported = 0;
        // SAFETY: the handle is of this session, `supported` is valid for the call.
        nvml_try(unsafe { supported_types(handle, &raw mut supported) })?;
        let kinds = kinds & supported;
        // SAFETY: the handle and the set are of this session.
        nvml_try(unsafe { register(handle, kinds, self.set) })?;
        self.registered.borrow_mut().push((handle, name.to_owned()));
        Ok(kinds)
    }

    /// Waits for an event, in whole milliseconds. The lane's deadline for this call has to be longer.
    ///
    /// # Errors
    /// What NVML says, except that there was no event or that a GPU is lost.
    pub fn wait(&self, within: Duration) -> Result<Waited, CallError> {
        let wait = raw::symbol(&self.live.nvml().lib().nvmlEventSetWait_v2)?;
        let mut data = nvmlEventData_t {
            device: ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        };
        let milliseconds = c_uint::try_from(within.as_millis()).unwrap_or(c_uint::MAX);
        // SAFETY: the set is of this session, `data` is valid for the call.
        match unsafe { wait(self.set, &raw mut data, milliseconds) } {
            code::TIMEOUT => Ok(Waited::Nothing),
            code::GPU_IS_LOST => Ok(Waited::GpuLost),
            returned => {
                nvml_try(returned)?;
                Ok(Waited::Event(self.event(&data)))
            }
        }
    }

    fn event(&self, data: &nvmlEventData_t) -> Event {
        let instance = |id| (id != NO_INSTANCE).then_some(id);
        Event {
            gpu: self
                .registered
                .borrow()
                .iter()
                .find_map(|(handle, name)| (*handle == data.device).then(|| name.clone())),
            kind: data.eventType,
            data: data.eventData,
            gpu_instance: instance(data.gpuInstanceId),
            compute_instance: instance(data.computeInstanceId),
        }
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        if let Ok(free) = &self.live.nvml().lib().nvmlEventSetFree {
            // SAFETY: the set is of this session and is not used again.
            let returned = unsafe { free(self.set) };
            if let Err(error) = nvml_try(returned) {
                tracing::debug!(%error, "NVML did not free an event set");
            }
        }
    }
}
