//! The table of private functions that NVIDIA's nvidia-smi asks for.
//!
//! Nobody has published it. What stands here was found by watching the real nvidia-smi 550.163.01: which places
//! of the table it calls, with what, and what it prints for which answer.

#![expect(unsafe_code, reason = "a C table of C functions")]

use std::ffi::{c_int, c_uint, c_void};

use fake_node::symbols::Function;

use crate::abi::{Answer, Failure, Handle, Out, sys};
use crate::call::{self, Device};
use crate::session;

/// nvidia-smi's table, 6c3efec4-8fc9-4e6c-a327-ee696e12f7c4.
const SMI_TABLE: [u8; 16] =
    [0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e, 0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4];

const PLACES: usize = 256;
/// The first place holds the table's size in bytes; it must pass 648 and this is what the real one says.
const SIZE: usize = 0x1000;

type Entry = unsafe extern "C" fn();

/// The table. Its first place is a number.
#[repr(C)]
pub(crate) struct Table {
    size: usize,
    entries: [Entry; PLACES - 1],
}

static TABLE: Table = Table { size: SIZE, entries: entries() };

const fn entries() -> [Entry; PLACES - 1] {
    let mut entries: [Entry; PLACES - 1] = [entry(unknown as *const ()); PLACES - 1];
    entries[26 - 1] = entry(trace as *const ());
    entries[81 - 1] = entry(handle_by_index as *const ());
    entries[192 - 1] = entry(set_compute_policy as *const ());
    entries[193 - 1] = entry(get_compute_policy as *const ());
    entries[213 - 1] = entry(process_list as *const ());
    entries[214 - 1] = entry(process_list as *const ());
    entries[215 - 1] = entry(process_list as *const ());
    entries[230 - 1] = entry(host_pcie_generation as *const ());
    entries
}

const fn entry(function: *const ()) -> Entry {
    // SAFETY: one function pointer seen as another; whoever calls it casts it back, as C does.
    unsafe { std::mem::transmute::<*const (), Entry>(function) }
}

/// `nvmlInternalGetExportTable`.
pub(crate) fn export_table(table: Out<*const Table>, id: Out<[u8; 16]>) -> Answer {
    if id.get()? == SMI_TABLE { table.set(&raw const TABLE) } else { Err(Failure::NOT_FOUND) }
}

/// The name under which calls through the table are in the call log.
const FUNCTION: Function = Function::named("nvmlInternalGetExportTable");

fn private(device: Handle, body: impl FnOnce(&Device) -> Answer) -> sys::nvmlReturn_t {
    call::device(FUNCTION, device, body)
}

/// A place of unknown meaning. Answering success and a zero satisfies nvidia-smi; the zero is written only if the
/// first argument shows that the second is an out-parameter.
extern "C" fn unknown(first: Handle, second: Out<c_uint>) -> sys::nvmlReturn_t {
    let known = session::current().is_ok_and(|session| session.slot(first).is_some());
    if known { private(first, |_| second.set(0)) } else { sys::nvmlReturn_enum_NVML_SUCCESS }
}

/// Takes two texts, it seems for a trace.
extern "C" fn trace() -> sys::nvmlReturn_t {
    sys::nvmlReturn_enum_NVML_SUCCESS
}

extern "C" fn handle_by_index(index: c_uint, device: Out<Handle>, _: c_uint) -> sys::nvmlReturn_t {
    call::system(FUNCTION, |call| super::system::by_index(call, index, device))
}

/// What `compute-policy --set-timeslice` hands over.
#[repr(C)]
#[derive(Clone, Copy)]
struct ComputePolicy {
    kind: c_int,
    value: c_uint,
}

extern "C" fn set_compute_policy(device: Handle, policy: Out<ComputePolicy>, _: c_int) -> sys::nvmlReturn_t {
    private(device, |device| {
        let policy = policy.get()?;
        device.change(|gpu| gpu.live.time_slice = policy.value)
    })
}

extern "C" fn get_compute_policy(device: Handle, policy: Out<ComputePolicy>) -> sys::nvmlReturn_t {
    private(device, |device| {
        let mut answer = policy.get()?;
        answer.value = device.gpu().live.time_slice;
        policy.set(answer)
    })
}

/// Process lists in a format of their own: always empty.
extern "C" fn process_list(device: Handle, count: Out<c_uint>, _: *mut c_void) -> sys::nvmlReturn_t {
    private(device, |_| count.set(0))
}

extern "C" fn host_pcie_generation(device: Handle, generation: Out<c_uint>) -> sys::nvmlReturn_t {
    private(device, |device| generation.set(device.gpu().board.pcie_generation))
}
