//! What is near a GPU: other GPUs, CPUs, memory.

use std::ffi::{c_int, c_uint, c_ulong};

use fake_node::layout;
use fake_node::model::{Gpu, PciAddress};

use crate::abi::{Answer, Failure, Handle, Out, Text, fill, sys};
use crate::answers::links::{Remote, remote};
use crate::call::{Call, Device};

/// `nvmlGpuTopologyLevel_t` between two GPUs.
fn level(left: (usize, &Gpu), right: (usize, &Gpu)) -> c_uint {
    let ((left_slot, left), (right_slot, right)) = (left, right);
    if left_slot == right_slot {
        return sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL;
    }
    if left.pcie_root == right.pcie_root {
        let shared = left.bridges.iter().zip(&right.bridges).take_while(|(l, r)| l == r).count();
        let below = left.bridges.len().max(right.bridges.len()) - shared;
        return match (shared, below) {
            (0, _) => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE,
            (_, 0 | 1) => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE,
            _ => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_MULTIPLE,
        };
    }
    if left.numa == right.numa && left.numa >= 0 {
        sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE
    } else {
        sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM
    }
}

pub(crate) fn common_ancestor(device: &Device, other: Handle, answer: Out<c_uint>) -> Answer {
    let other = device.call.other(other)?;
    answer.set(level((device.slot, device.gpu()), other))
}

/// The same for two PCI addresses in nvidia-smi's private counting: 0 one bridge, 1 several, 2 host bridge, 3 NUMA
/// node, 4 further. A device that is no GPU is as far as can be.
pub(crate) fn of_pci_devices(call: &Call, left: Text, right: Text, answer: Out<c_uint>) -> Answer {
    let gpu = |text: Text| {
        let pci: PciAddress = text.read()?.parse().map_err(|_| Failure::INVALID_ARGUMENT)?;
        Ok(call.state.gpus.iter().enumerate().find(|(_, gpu)| gpu.pci == pci))
    };
    let level = match (gpu(left)?, gpu(right)?) {
        (Some(left), Some(right)) => level(left, right),
        _ => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM,
    };
    answer.set((level / 10).saturating_sub(1))
}

pub(crate) fn nearest(device: &Device, wanted: c_uint, count: Out<c_uint>, gpus: Out<Handle>) -> Answer {
    let call = &device.call;
    let others = call.session.listed.iter().filter(|slot| **slot != device.slot);
    let near: Vec<Handle> = others
        .map(|slot| (*slot, &call.state.gpus[*slot]))
        .filter(|other| level((device.slot, device.gpu()), *other) <= wanted)
        .map(|(slot, gpu)| call.session.handle(slot, gpu))
        .collect();
    fill(count, gpus, &near)
}

pub(crate) fn of_cpu(call: &Call, cpu: c_uint, count: Out<c_uint>, gpus: Out<Handle>) -> Answer {
    let near: Vec<Handle> = call
        .session
        .listed
        .iter()
        .map(|slot| (*slot, &call.state.gpus[*slot]))
        .filter(|(_, gpu)| cpus(call, gpu).contains(&cpu))
        .map(|(slot, gpu)| call.session.handle(slot, gpu))
        .collect();
    fill(count, gpus, &near)
}

pub(crate) fn on_same_board(device: &Device, other: Handle, answer: Out<c_int>) -> Answer {
    let (slot, _) = device.call.other(other)?;
    answer.set(c_int::from(slot == device.slot))
}

/// Reading, writing and atomics over PCIe between GPUs of one host bridge; over NVLink where links lead to the
/// same fabric or straight to the other GPU.
pub(crate) fn p2p(device: &Device, other: Handle, capability: c_uint, status: Out<c_uint>) -> Answer {
    let state = &device.call.state;
    let gpu = device.gpu();
    let (slot, peer) = device.call.other(other)?;
    if slot == device.slot {
        return Err(Failure::INVALID_ARGUMENT);
    }
    let linked = (0..gpu.board.nvlinks).filter_map(|link| remote(state, gpu, link)).any(|end| match end {
        Remote::Gpu(pci) => pci == peer.pci,
        Remote::Switch(_) => peer.board.fabric,
    });
    let near = level((device.slot, gpu), (slot, peer)) <= sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE;
    let works = match capability {
        sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_NVLINK => linked,
        sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_READ
        | sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_WRITE
        | sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_ATOMICS => linked || near,
        _ if capability < sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_UNKNOWN => near,
        _ => return Err(Failure::INVALID_ARGUMENT),
    };
    status.set(if works {
        sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_OK
    } else {
        sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_NOT_SUPPORTED
    })
}

/// CPUs of a GPU's NUMA node; all CPUs where the firmware names no node.
fn cpus(call: &Call, gpu: &Gpu) -> Vec<c_uint> {
    match usize::try_from(gpu.numa) {
        Ok(node) => call.state.numa_cpus.get(node).map_or_else(Vec::new, |list| expand(list)),
        Err(_) => call.state.numa_cpus.iter().flat_map(|list| expand(list)).collect(),
    }
}

/// "0-3,8" to 0, 1, 2, 3, 8.
fn expand(list: &str) -> Vec<c_uint> {
    layout::cpu_ranges(list).unwrap_or_default().into_iter().flat_map(|(first, last)| first..=last).collect()
}

/// Writes numbers as a bit mask of `words` machine words.
fn mask(numbers: &[c_uint], words: c_uint, out: Out<c_ulong>) -> Answer {
    let words = usize::try_from(words).map_err(|_| Failure::INVALID_ARGUMENT)?;
    if words == 0 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    for word in 0..words {
        let bits = numbers.iter().filter(|number| usize::try_from(**number / 64).is_ok_and(|at| at == word));
        out.set_at(word, bits.fold(0, |bits, number| bits | 1 << (number % 64)))?;
    }
    Ok(())
}

pub(crate) fn cpu_affinity(device: &Device, words: c_uint, set: Out<c_ulong>) -> Answer {
    mask(&cpus(&device.call, device.gpu()), words, set)
}

pub(crate) fn cpu_affinity_scoped(
    device: &Device,
    words: c_uint,
    set: Out<c_ulong>,
    scope: c_uint,
) -> Answer {
    if scope > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    cpu_affinity(device, words, set)
}

pub(crate) fn memory_affinity(device: &Device, words: c_uint, set: Out<c_ulong>, scope: c_uint) -> Answer {
    if scope > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    let nodes: Vec<c_uint> = match c_uint::try_from(device.gpu().numa) {
        Ok(node) => vec![node],
        Err(_) => (0..).take(device.call.state.numa_cpus.len()).collect(),
    };
    mask(&nodes, words, set)
}
