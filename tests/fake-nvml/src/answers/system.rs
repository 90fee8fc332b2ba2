//! Start, end, versions, and the way to a GPU's handle.

use std::ffi::{c_char, c_int, c_uint};

use fake_node::model::{Gpu, NodeState, PciAddress};

use crate::abi::{Answer, Failure, Out, Text, sys};
use crate::call::Call;
use crate::session::{self, Node};

/// `nvmlInit`, `nvmlInit_v2`, `nvmlInitWithFlags`. A node without GPUs is no error in any of them.
pub(crate) fn init(node: &Node, state: &NodeState) -> Answer {
    session::start(node, state)
}

/// Without a kernel module the real library 550.163.01 lets even a shutdown that ends nothing succeed.
pub(crate) fn shutdown(_: &Node, state: &NodeState) -> Answer {
    session::end().or_else(|failure| if state.driver.loaded { Err(failure) } else { Ok(()) })
}

pub(crate) fn driver_version(call: &Call, version: Out<c_char>, length: c_uint) -> Answer {
    version.text(length, &call.state.driver.version)
}

/// CUDA's major version, then the driver's.
pub(crate) fn nvml_version(node: &Node, state: &NodeState, version: Out<c_char>, length: c_uint) -> Answer {
    version.text(length, format!("{}.{}", state.driver.cuda.major, node.place.version))
}

pub(crate) fn cuda_version(call: &Call, version: Out<c_int>) -> Answer {
    let cuda = call.state.driver.cuda;
    version.set(c_int::from(cuda.major) * 1000 + c_int::from(cuda.minor) * 10)
}

pub(crate) fn driver_branch(
    call: &Call,
    info: Out<sys::nvmlSystemDriverBranchInfo_v1_t>,
    length: c_uint,
) -> Answer {
    let mut answer = info.versioned(1)?;
    let branch = format!("r{}_00", call.state.driver.branch());
    if usize::try_from(length).is_ok_and(|length| length <= branch.len()) {
        return Err(Failure::INSUFFICIENT_SIZE);
    }
    answer.branch = crate::abi::characters(&branch);
    info.set(answer)
}

pub(crate) fn process_name(call: &Call, pid: c_uint, name: Out<c_char>, length: c_uint) -> Answer {
    let mut processes = call.state.gpus.iter().flat_map(|gpu| &gpu.live.processes);
    let process = processes.find(|process| process.pid == pid).ok_or(Failure::NOT_FOUND)?;
    name.text(length, &process.name)
}

pub(crate) fn count(call: &Call, count: Out<c_uint>) -> Answer {
    count.set(c_uint::try_from(call.session.listed.len()).unwrap_or(c_uint::MAX))
}

pub(crate) fn no_excluded_devices(_: &Call, count: Out<c_uint>) -> Answer {
    count.set(0)
}

pub(crate) fn excluded_device(_: &Call, _: c_uint, _: Out<sys::nvmlExcludedDeviceInfo_t>) -> Answer {
    Err(Failure::INVALID_ARGUMENT)
}

pub(crate) fn by_index(call: &Call, index: c_uint) -> Result<usize, Failure> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    call.session.listed.get(index).copied().ok_or(Failure::INVALID_ARGUMENT)
}

pub(crate) fn by_uuid(call: &Call, uuid: Text) -> Result<usize, Failure> {
    let uuid = uuid.read()?;
    find(call, |gpu| gpu.uuid == uuid)
}

pub(crate) fn by_serial(call: &Call, serial: Text) -> Result<usize, Failure> {
    let serial = serial.read()?;
    find(call, |gpu| gpu.serial == serial)
}

/// Any spelling of a PCI address, with or without domain.
pub(crate) fn by_pci(call: &Call, pci: Text) -> Result<usize, Failure> {
    let pci: PciAddress = pci.read()?.parse().map_err(|_| Failure::INVALID_ARGUMENT)?;
    find(call, |gpu| gpu.pci == pci)
}

pub(crate) fn by_uuid_versioned(call: &Call, uuid: Out<sys::nvmlUUID_v1_t>) -> Result<usize, Failure> {
    let uuid = uuid.versioned(1)?;
    let wanted = crate::abi::uuid_of(&uuid)?;
    find(call, |gpu| gpu.uuid == wanted)
}

fn find(call: &Call, wanted: impl Fn(&Gpu) -> bool) -> Result<usize, Failure> {
    let listed = &call.session.listed;
    listed.iter().copied().find(|slot| wanted(&call.state.gpus[*slot])).ok_or(Failure::NOT_FOUND)
}
