//! The table of private functions that NVIDIA's nvidia-smi asks for.
//!
//! Nobody has published it. What stands here was found by watching the real nvidia-smi 550.163.01: which places
//! of the table it calls, with what, and what it prints for which answer.

#![expect(unsafe_code, reason = "a C table of C functions")]

use std::ffi::{c_char, c_int, c_uint};

use fake_node::model::event;
use fake_node::symbols::Function;

use crate::abi::{Answer, Failure, Handle, Out, Text, characters, sys};
use crate::call::{self, Device};

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
    entries[23 - 1] = entry(common_ancestor as *const ());
    entries[26 - 1] = entry(say_nothing as *const ());
    entries[81 - 1] = entry(handle_by_index as *const ());
    entries[192 - 1] = entry(set_compute_policy as *const ());
    entries[193 - 1] = entry(get_compute_policies as *const ());
    entries[213 - 1] = entry(compute_processes as *const ());
    entries[214 - 1] = entry(mps_processes as *const ());
    entries[215 - 1] = entry(graphics_processes as *const ());
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

/// A place of unknown meaning: a stub like others. nvidia-smi prints N/A for what it would have said.
extern "C" fn unknown() -> sys::nvmlReturn_t {
    call::stub(FUNCTION)
}

/// Takes two texts, it seems for a trace.
extern "C" fn say_nothing() -> sys::nvmlReturn_t {
    sys::nvmlReturn_enum_NVML_SUCCESS
}

extern "C" fn handle_by_index(index: c_uint, device: Out<Handle>, _: c_uint) -> sys::nvmlReturn_t {
    call::lookup(FUNCTION, device, |call| super::system::by_index(call, index))
}

/// One compute policy and its value. The time slice is the only policy.
#[repr(C)]
#[derive(Clone, Copy)]
struct ComputePolicy {
    kind: c_uint,
    value: c_uint,
}

const TIME_SLICE: c_uint = 0;

/// What `compute-policy -l` gets for a GPU. nvidia-smi prints as many policies as are counted.
#[repr(C)]
#[derive(Clone, Copy)]
struct ComputePolicies {
    count: c_uint,
    policies: [ComputePolicy; 1],
}

/// `compute-policy --set-timeslice`: 0 default, 1 short, 2 medium, 3 long.
extern "C" fn set_compute_policy(device: Handle, policy: Out<ComputePolicy>, _: c_int) -> sys::nvmlReturn_t {
    private(device, |device| {
        let policy = policy.get()?;
        if policy.kind != TIME_SLICE || policy.value > 3 {
            return Err(Failure::INVALID_ARGUMENT);
        }
        device.change(|gpu| gpu.live.time_slice = policy.value)
    })
}

extern "C" fn get_compute_policies(device: Handle, policies: Out<ComputePolicies>) -> sys::nvmlReturn_t {
    private(device, |device| {
        let policy = ComputePolicy { kind: TIME_SLICE, value: device.gpu().live.time_slice };
        policies.set(ComputePolicies { count: 1, policies: [policy] })
    })
}

/// A program, as nvidia-smi lists it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Process {
    pid: c_uint,
    used_bytes: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
    unknown: u64,
    name: [c_char; 4096],
}

extern "C" fn compute_processes(device: Handle, count: Out<c_uint>, list: Out<Process>) -> sys::nvmlReturn_t {
    private(device, |device| list_processes(device, false, count, list))
}

extern "C" fn graphics_processes(
    device: Handle,
    count: Out<c_uint>,
    list: Out<Process>,
) -> sys::nvmlReturn_t {
    private(device, |device| list_processes(device, true, count, list))
}

/// nvidia-smi has room for 500.
fn list_processes(device: &Device, graphics: bool, count: Out<c_uint>, list: Out<Process>) -> Answer {
    let of_kind = device.gpu().live.processes.iter().filter(|process| process.graphics == graphics);
    let mut listed = 0;
    for (index, process) in of_kind.take(500).enumerate() {
        let item = Process {
            pid: process.pid,
            used_bytes: process.memory_mib << 20,
            gpu_instance: event::NO_INSTANCE,
            compute_instance: event::NO_INSTANCE,
            unknown: 0,
            name: characters(&process.name),
        };
        list.set_at(index, item)?;
        listed += 1;
    }
    count.set(listed)
}

/// No MPS server runs on the fake node.
extern "C" fn mps_processes(device: Handle, count: Out<c_uint>) -> sys::nvmlReturn_t {
    private(device, |_| count.set(0))
}

/// How near two PCI devices are to each other, for `topo -m`.
extern "C" fn common_ancestor(left: Text, right: Text, level: Out<c_uint>) -> sys::nvmlReturn_t {
    call::system(FUNCTION, |call| super::topology::of_pci_devices(call, left, right, level))
}

extern "C" fn host_pcie_generation(device: Handle, generation: Out<c_uint>) -> sys::nvmlReturn_t {
    private(device, |device| generation.set(device.gpu().board.pcie_generation))
}
