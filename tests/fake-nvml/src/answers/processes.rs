//! Programs on a GPU.

use std::ffi::{c_uint, c_ulonglong};

use fake_node::model::{Process, event};

use crate::abi::{Answer, Out, fill, sys};
use crate::call::Device;

/// Before `_v2` there were no instance ids.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProcessV1 {
    pid: c_uint,
    used: c_ulonglong,
}

fn of_kind(device: &Device, graphics: bool) -> impl Iterator<Item = &Process> {
    device.gpu().live.processes.iter().filter(move |process| process.graphics == graphics)
}

fn list_v1(device: &Device, graphics: bool, count: Out<c_uint>, infos: Out<ProcessV1>) -> Answer {
    let list: Vec<ProcessV1> = of_kind(device, graphics)
        .map(|process| ProcessV1 { pid: process.pid, used: process.memory_mib << 20 })
        .collect();
    fill(count, infos, &list)
}

fn list(
    device: &Device,
    graphics: bool,
    count: Out<c_uint>,
    infos: Out<sys::nvmlProcessInfo_v2_t>,
) -> Answer {
    let list: Vec<sys::nvmlProcessInfo_v2_t> = of_kind(device, graphics)
        .map(|process| sys::nvmlProcessInfo_v2_t {
            pid: process.pid,
            usedGpuMemory: process.memory_mib << 20,
            gpuInstanceId: event::NO_INSTANCE,
            computeInstanceId: event::NO_INSTANCE,
        })
        .collect();
    fill(count, infos, &list)
}

pub(crate) fn compute_v1(device: &Device, count: Out<c_uint>, infos: Out<ProcessV1>) -> Answer {
    list_v1(device, false, count, infos)
}

pub(crate) fn graphics_v1(device: &Device, count: Out<c_uint>, infos: Out<ProcessV1>) -> Answer {
    list_v1(device, true, count, infos)
}

/// Version 3 is version 2 with another meaning of the memory in MIG mode.
pub(crate) fn compute(device: &Device, count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) -> Answer {
    list(device, false, count, infos)
}

pub(crate) fn graphics(device: &Device, count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) -> Answer {
    list(device, true, count, infos)
}

/// No MPS server runs on the fake node.
pub(crate) fn none_v1(_: &Device, count: Out<c_uint>, infos: Out<ProcessV1>) -> Answer {
    fill(count, infos, &[])
}

/// No MPS server runs on the fake node.
pub(crate) fn none(_: &Device, count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) -> Answer {
    fill(count, infos, &[])
}
