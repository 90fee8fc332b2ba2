//! PCIe, NVLink, fabric.

use std::ffi::{c_uint, c_ulonglong};

use fake_node::model::{Gpu, NodeState, PciAddress};

use crate::abi::{Answer, Failure, Out, struct_version, sys};
use crate::answers::flag;
use crate::answers::identity::{pci_id, pci_info};
use crate::call::Device;

/// What `nvmlDeviceGetNvLinkVersion` says for NVLink 4. nvml.h has 6 for it; H100 boards were seen to answer 7, the
/// kernel driver's own number.
pub(super) const NVLINK_VERSION: c_uint = 7;
/// The most links that NVML 12 knows: others are no links at all.
const MAX_LINKS: u32 = 18;

pub(crate) fn pcie_generation(device: &Device, generation: Out<c_uint>) -> Answer {
    generation.set(device.gpu().board.pcie_generation)
}

pub(crate) fn pcie_width(device: &Device, width: Out<c_uint>) -> Answer {
    width.set(device.gpu().board.pcie_width)
}

/// MT/s per lane: 32 GT/s at generation 5, half of it for each generation before.
pub(crate) fn pcie_speed(device: &Device, speed: Out<c_uint>) -> Answer {
    speed.set(match device.gpu().board.pcie_generation {
        5 => 32_000,
        4 => 16_000,
        3 => 8_000,
        _ => return Err(Failure::NOT_SUPPORTED),
    })
}

/// `nvmlPcieLinkMaxSpeed`: an enumeration, 6 for 32 GT/s.
pub(crate) fn pcie_max_speed(device: &Device, speed: Out<c_uint>) -> Answer {
    speed.set(device.gpu().board.pcie_generation + 1)
}

pub(crate) fn pcie_replays(_: &Device, count: Out<c_uint>) -> Answer {
    count.set(0)
}

/// kB/s. Nothing moves data on the fake node.
pub(crate) fn pcie_throughput(_: &Device, counter: c_uint, rate: Out<c_uint>) -> Answer {
    if counter > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    rate.set(0)
}

/// The far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Switch(PciAddress),
    Gpu(PciAddress),
}

/// Where a link leads, or none if nothing is plugged in or the link is down.
pub(crate) fn remote(state: &NodeState, gpu: &Gpu, link: u32) -> Option<Remote> {
    if link >= gpu.board.nvlinks || gpu.live.nvlinks_down & (1 << link) != 0 {
        return None;
    }
    if gpu.board.fabric {
        // As evenly as the links divide: 5, 4, 5, 4 of 18 to the four switches of an HGX board.
        let switches = u32::try_from(state.nvswitches.len()).ok().filter(|count| *count > 0)?;
        let switch = usize::try_from(link * switches / gpu.board.nvlinks).ok()?;
        return state.nvswitches.get(switch).copied().map(Remote::Switch);
    }
    let mut first = 0;
    for (peer, links) in &gpu.bridged_to {
        if (first..first + links).contains(&link) {
            return Some(Remote::Gpu(*peer));
        }
        first += links;
    }
    None
}

fn checked(device: &Device, link: c_uint) -> Result<&Gpu, Failure> {
    let gpu = device.gpu();
    match link {
        _ if link >= MAX_LINKS => Err(Failure::INVALID_ARGUMENT),
        _ if link >= gpu.board.nvlinks => Err(Failure::NOT_SUPPORTED),
        _ => Ok(gpu),
    }
}

fn end(device: &Device, link: c_uint) -> Result<Remote, Failure> {
    let gpu = checked(device, link)?;
    remote(&device.call.state, gpu, link).ok_or(Failure::NOT_SUPPORTED)
}

pub(crate) fn nvlink_state(device: &Device, link: c_uint, active: Out<c_uint>) -> Answer {
    let gpu = checked(device, link)?;
    active.set(flag(remote(&device.call.state, gpu, link).is_some()))
}

pub(crate) fn nvlink_version(device: &Device, link: c_uint, version: Out<c_uint>) -> Answer {
    checked(device, link)?;
    version.set(NVLINK_VERSION)
}

pub(crate) fn nvlink_capability(
    device: &Device,
    link: c_uint,
    capability: c_uint,
    answer: Out<c_uint>,
) -> Answer {
    checked(device, link)?;
    match capability {
        sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_SLI_BRIDGE => answer.set(0),
        _ if capability < sys::nvmlNvLinkCapability_enum_NVML_NVLINK_CAP_COUNT => answer.set(1),
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}

pub(crate) fn nvlink_remote_type(device: &Device, link: c_uint, kind: Out<c_uint>) -> Answer {
    kind.set(match end(device, link)? {
        Remote::Gpu(_) => sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU,
        Remote::Switch(_) => sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH,
    })
}

/// PCI device id of NVSwitch 3.
const NVSWITCH: u16 = 0x22A3;

pub(crate) fn nvlink_remote_pci(device: &Device, link: c_uint, info: Out<sys::nvmlPciInfo_t>) -> Answer {
    let (pci, id) = match end(device, link)? {
        Remote::Switch(pci) => (pci, pci_id(NVSWITCH)),
        Remote::Gpu(pci) => {
            let peer = device.call.state.gpus.iter().find(|gpu| gpu.pci == pci);
            (pci, peer.map_or(0, |gpu| pci_id(gpu.board.pci_device)))
        }
    };
    info.set(pci_info(pci, id, 0))
}

pub(crate) fn nvlink_errors(device: &Device, link: c_uint, _: c_uint, count: Out<c_ulonglong>) -> Answer {
    checked(device, link)?;
    count.set(0)
}

/// `nvmlGpuFabricState`: registration takes its time after the driver is loaded.
pub(crate) fn fabric_state(gpu: &Gpu, now_ns: u64) -> c_uint {
    if now_ns < gpu.live.fabric_complete_at_ns {
        sys::NVML_GPU_FABRIC_STATE_IN_PROGRESS
    } else {
        sys::NVML_GPU_FABRIC_STATE_COMPLETED
    }
}

fn on_fabric(device: &Device) -> Result<c_uint, Failure> {
    let gpu = device.gpu();
    if !gpu.board.fabric {
        return Err(Failure::NOT_SUPPORTED);
    }
    Ok(fabric_state(gpu, fake_node::calls::boot_time_ns()))
}

/// `nvmlGpuFabricInfo_t`. Its state is one byte with three of padding behind it, and NVIDIA's Python binding reads
/// all four: they are a number here, so that nothing undefined gets into them.
#[repr(C)]
#[derive(Clone, Copy)]
struct FabricInfo {
    cluster: [u8; 16],
    status: c_uint,
    clique: c_uint,
    state: c_uint,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FabricInfoV2 {
    version: c_uint,
    info: FabricInfo,
    health_mask: c_uint,
}

/// The summary is one byte and padding, like the state.
#[repr(C)]
#[derive(Clone, Copy)]
struct FabricInfoV3 {
    info: FabricInfoV2,
    health_summary: c_uint,
}

/// On one HGX node the cluster's UUID is all zeros and the clique 0.
fn fabric(device: &Device) -> Result<FabricInfo, Failure> {
    Ok(FabricInfo { cluster: [0; 16], status: 0, clique: 0, state: on_fabric(device)? })
}

pub(crate) fn fabric_info(device: &Device, info: Out<sys::nvmlGpuFabricInfo_t>) -> Answer {
    info.seen_as().set(fabric(device)?)
}

/// Every part of the health mask says "false": no degraded bandwidth, no recovery, no unhealthy route, no time-out.
const FABRIC_HEALTHY: c_uint = 0b10_10_10_10;

pub(crate) fn fabric_info_versioned(device: &Device, info: Out<sys::nvmlGpuFabricInfo_v2_t>) -> Answer {
    let version = info.version()?;
    let answer = FabricInfoV2 { version, info: fabric(device)?, health_mask: FABRIC_HEALTHY };
    if version == struct_version::<sys::nvmlGpuFabricInfo_v2_t>(2) {
        info.seen_as().set(answer)
    } else if version == struct_version::<sys::nvmlGpuFabricInfo_v3_t>(3) {
        info.seen_as().set(FabricInfoV3 { info: answer, health_summary: 1 })
    } else {
        Err(Failure::ARGUMENT_VERSION)
    }
}

pub(crate) fn c2c(_: &Device, info: Out<sys::nvmlC2cModeInfo_v1_t>) -> Answer {
    info.set(sys::nvmlC2cModeInfo_v1_t { isC2cEnabled: 0 })
}

pub(crate) fn platform_info(device: &Device, info: Out<sys::nvmlPlatformInfo_v2_t>) -> Answer {
    let mut answer = info.versioned(2)?;
    let module = device.gpu().module_id.ok_or(Failure::NOT_SUPPORTED)?;
    answer.ibGuid = [0; 16];
    answer.chassisSerialNumber = [0; 16];
    answer.slotNumber = 0;
    answer.trayIndex = 0;
    answer.hostId = 1;
    answer.peerType = 1;
    answer.moduleId = u8::try_from(module).map_err(|_| Failure::UNKNOWN)?;
    info.set(answer)
}
