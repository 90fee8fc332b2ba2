//! Event sets.
//!
//! Each set has its own cursor in the node's log of events, so all processes that registered see every event.

use std::ffi::{c_uint, c_ulonglong};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fake_node::model::{Event, NodeState, event};

use crate::abi::{Answer, Failure, Handle, Out, SetHandle, sys};
use crate::call::{Call, Device};
use crate::session::{self, Session, lock};

/// What a set listens to, and how far it has read.
#[derive(Debug, Default)]
pub(crate) struct EventSet(Mutex<Listening>);

#[derive(Debug, Default)]
struct Listening {
    /// Sequence number of the next event to look at.
    cursor: u64,
    registrations: Vec<Registration>,
}

#[derive(Debug)]
struct Registration {
    handle: Handle,
    slot: usize,
    mask: u64,
    /// Earlier events are not for it.
    since: u64,
}

/// Before `nvmlEventSetWait_v2` there were no instance ids.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EventDataV1 {
    device: sys::nvmlDevice_t,
    kind: c_ulonglong,
    data: c_ulonglong,
}

fn supported(state: &NodeState) -> u64 {
    let hopper = event::SINGLE_BIT_ECC | event::DOUBLE_BIT_ECC | event::PSTATE | event::XID | event::CLOCK;
    if state.driver.branch() >= event::RECOVERY_ACTION_SINCE {
        hopper | event::RECOVERY_ACTION
    } else {
        hopper
    }
}

pub(crate) fn supported_types(device: &Device, types: Out<c_ulonglong>) -> Answer {
    types.set(supported(&device.call.state))
}

pub(crate) fn create(_: &Call, set: Out<SetHandle>) -> Answer {
    if set.is_null() {
        return Err(Failure::INVALID_ARGUMENT);
    }
    set.set(session::add_set(EventSet::default()))
}

pub(crate) fn free(_: &Call, set: SetHandle) -> Answer {
    session::remove_set(set)
}

pub(crate) fn register(device: &Device, mask: c_ulonglong, set: SetHandle) -> Answer {
    let set = session::set(set)?;
    if mask & !supported(&device.call.state) != 0 {
        return Err(Failure::NOT_SUPPORTED);
    }
    let since = device.call.state.events.next;
    let mut listening = lock(&set.0);
    if listening.registrations.is_empty() {
        listening.cursor = since;
    }
    listening.registrations.push(Registration { handle: device.handle, slot: device.slot, mask, since });
    Ok(())
}

pub(crate) fn wait(
    call: &Call,
    set: SetHandle,
    data: Out<sys::nvmlEventData_t>,
    timeout_ms: c_uint,
) -> Answer {
    let (handle, event) = next(call, set, timeout_ms)?;
    data.set(sys::nvmlEventData_t {
        device: handle.as_pointer(),
        eventType: event.kind,
        eventData: event.data,
        gpuInstanceId: event.gpu_instance,
        computeInstanceId: event.compute_instance,
    })
}

pub(crate) fn wait_v1(call: &Call, set: SetHandle, data: Out<EventDataV1>, timeout_ms: c_uint) -> Answer {
    let (handle, event) = next(call, set, timeout_ms)?;
    data.set(EventDataV1 { device: handle.as_pointer(), kind: event.kind, data: event.data })
}

fn next(call: &Call, set: SetHandle, timeout_ms: c_uint) -> Result<(Handle, Event), Failure> {
    let set = session::set(set)?;
    let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    loop {
        let sequence = call.node.file.sequence();
        let state = call.node.state()?;
        call.session.in_force(&state)?;
        if let Some(found) = look(&mut lock(&set.0), &call.session, &state)? {
            return Ok(found);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::TIMEOUT);
        }
        call.node.file.wait_for_change(sequence, left);
        session::current()?;
    }
}

/// The next event for the set. When there is none and a GPU of it is lost, that is the answer, at every call.
fn look(
    listening: &mut Listening,
    session: &Session,
    state: &NodeState,
) -> Result<Option<(Handle, Event)>, Failure> {
    for event in &state.events.recent {
        if event.sequence < listening.cursor {
            continue;
        }
        let wanted = listening.registrations.iter().find(|registration| {
            registration.slot == event.slot
                && registration.mask & event.kind != 0
                && registration.since <= event.sequence
        });
        if let Some(registration) = wanted {
            let found = (registration.handle, *event);
            listening.cursor = event.sequence + 1;
            return Ok(Some(found));
        }
    }
    listening.cursor = state.events.next;
    for registration in &listening.registrations {
        session.alive(registration.handle, registration.slot, &state.gpus[registration.slot])?;
    }
    Ok(None)
}
