//! Who a GPU is.

use std::ffi::{c_char, c_int, c_uint};

use fake_node::model::{Gpu, PciAddress};

use crate::abi::{Answer, Failure, Out, characters, sys};
use crate::answers::{flag, unbounded_text};
use crate::call::Device;

const NVIDIA: u32 = 0x10DE;
/// PCI class "3D controller".
const CLASS_3D: c_uint = 0x03;

pub(crate) fn name(device: &Device, name: Out<c_char>, length: c_uint) -> Answer {
    match &device.gpu().live.name_bytes {
        Some(lie) => name.text(length, lie),
        None => name.text(length, &device.gpu().board.name),
    }
}

pub(crate) fn uuid(device: &Device, uuid: Out<c_char>, length: c_uint) -> Answer {
    uuid.text(length, &device.gpu().uuid)
}

pub(crate) fn serial(device: &Device, serial: Out<c_char>, length: c_uint) -> Answer {
    serial.text(length, &device.gpu().serial)
}

pub(crate) fn board_part_number(device: &Device, number: Out<c_char>, length: c_uint) -> Answer {
    number.text(length, &device.gpu().board.part_number)
}

pub(crate) fn vbios(device: &Device, version: Out<c_char>, length: c_uint) -> Answer {
    version.text(length, &device.gpu().board.vbios)
}

pub(crate) fn index(device: &Device, index: Out<c_uint>) -> Answer {
    let listed = &device.call.session.listed;
    let position = listed.iter().position(|slot| *slot == device.slot).ok_or(Failure::UNKNOWN)?;
    index.set(c_uint::try_from(position).map_err(|_| Failure::UNKNOWN)?)
}

pub(crate) fn minor(device: &Device, minor: Out<c_uint>) -> Answer {
    minor.set(device.gpu().minor)
}

pub(crate) fn module_id(device: &Device, id: Out<c_uint>) -> Answer {
    id.set(device.gpu().module_id.ok_or(Failure::NOT_SUPPORTED)?)
}

/// Real boards answer an id made from the PCI address: domain, bus, device.
pub(crate) fn board_id(device: &Device, id: Out<c_uint>) -> Answer {
    let pci = device.gpu().pci;
    id.set(pci.domain << 16 | c_uint::from(pci.bus) << 8 | c_uint::from(pci.device))
}

pub(crate) fn brand(_: &Device, brand: Out<sys::nvmlBrandType_t>) -> Answer {
    brand.set(sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA)
}

pub(crate) fn architecture(_: &Device, architecture: Out<sys::nvmlDeviceArchitecture_t>) -> Answer {
    architecture.set(sys::NVML_DEVICE_ARCH_HOPPER)
}

pub(crate) fn compute_capability(_: &Device, major: Out<c_int>, minor: Out<c_int>) -> Answer {
    major.set(9)?;
    minor.set(0)
}

pub(crate) fn cores(device: &Device, cores: Out<c_uint>) -> Answer {
    cores.set(device.gpu().board.cores())
}

pub(crate) fn bus_type(_: &Device, kind: Out<sys::nvmlBusType_t>) -> Answer {
    kind.set(sys::NVML_BUS_TYPE_PCIE)
}

pub(crate) fn multi_gpu_board(_: &Device, multi: Out<c_uint>) -> Answer {
    multi.set(0)
}

pub(crate) fn virtualization_mode(_: &Device, mode: Out<sys::nvmlGpuVirtualizationMode_t>) -> Answer {
    mode.set(sys::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_NONE)
}

/// A bare-metal Hopper board answers NONE; address translation services exist on Grace only.
pub(crate) fn addressing_mode(_: &Device, mode: Out<sys::nvmlDeviceAddressingMode_v1_t>) -> Answer {
    let mut answer = mode.versioned(1)?;
    answer.value = sys::nvmlDeviceAddressingModeType_t_NVML_DEVICE_ADDRESSING_MODE_NONE;
    mode.set(answer)
}

pub(crate) fn gsp_version(device: &Device, version: Out<c_char>) -> Answer {
    unbounded_text(version, &device.call.state.driver.version)
}

pub(crate) fn gsp_mode(_: &Device, enabled: Out<c_uint>, default: Out<c_uint>) -> Answer {
    enabled.set(1)?;
    default.set(1)
}

pub(crate) fn inforom_image(_: &Device, version: Out<c_char>, length: c_uint) -> Answer {
    version.text(length, "G520.0200.00.05")
}

pub(crate) fn inforom_object(
    _: &Device,
    object: sys::nvmlInforomObject_t,
    version: Out<c_char>,
    length: c_uint,
) -> Answer {
    match object {
        sys::nvmlInforomObject_enum_NVML_INFOROM_OEM => version.text(length, "2.1"),
        sys::nvmlInforomObject_enum_NVML_INFOROM_ECC => version.text(length, "7.16"),
        _ => Err(Failure::NOT_SUPPORTED),
    }
}

pub(crate) fn validate_inforom(_: &Device) -> Answer {
    Ok(())
}

pub(crate) fn display(_: &Device, mode: Out<sys::nvmlEnableState_t>) -> Answer {
    mode.set(flag(false))
}

pub(crate) fn irq(device: &Device, irq: Out<c_uint>) -> Answer {
    irq.set(128 + device.gpu().minor)
}

/// A device's id with NVIDIA's vendor id, as NVML writes them.
pub(super) fn pci_id(device: u16) -> c_uint {
    c_uint::from(device) << 16 | NVIDIA
}

/// A PCI address in NVML's upper-case form, with so many digits for the domain.
fn bus_id(pci: PciAddress, digits: usize) -> String {
    let PciAddress { domain, bus, device, function } = pci;
    format!("{domain:0digits$X}:{bus:02X}:{device:02X}.{function:X}")
}

/// A place on the bus and what sits there.
pub(super) fn pci_info(pci: PciAddress, device_id: c_uint, subsystem_id: c_uint) -> sys::nvmlPciInfo_t {
    sys::nvmlPciInfo_t {
        busIdLegacy: characters(&bus_id(pci, 4)),
        domain: pci.domain,
        bus: c_uint::from(pci.bus),
        device: c_uint::from(pci.device),
        pciDeviceId: device_id,
        pciSubSystemId: subsystem_id,
        busId: characters(&bus_id(pci, 8)),
    }
}

pub(crate) fn pci(device: &Device, info: Out<sys::nvmlPciInfo_t>) -> Answer {
    let Gpu { pci, board, .. } = device.gpu();
    info.set(pci_info(*pci, pci_id(board.pci_device), pci_id(board.pci_subsystem)))
}

/// The layout before `nvmlDeviceGetPciInfo_v3`: no bus id of 32 characters. The fourth field that
/// `nvmlDeviceGetPciInfo_v2` has behind it is for the library's own use.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PciInfoV2 {
    bus_id: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    device_id: c_uint,
}

pub(crate) fn pci_legacy(device: &Device, info: Out<PciInfoV2>) -> Answer {
    let (pci, board) = (device.gpu().pci, &device.gpu().board);
    info.set(PciInfoV2 {
        bus_id: characters(&bus_id(pci, 4)),
        domain: pci.domain,
        bus: c_uint::from(pci.bus),
        device: c_uint::from(pci.device),
        device_id: pci_id(board.pci_device),
    })
}

pub(crate) fn pci_extended(device: &Device, info: Out<sys::nvmlPciInfoExt_v1_t>) -> Answer {
    let mut answer = info.versioned(1)?;
    let (pci, board) = (device.gpu().pci, &device.gpu().board);
    answer.domain = pci.domain;
    answer.bus = c_uint::from(pci.bus);
    answer.device = c_uint::from(pci.device);
    answer.pciDeviceId = pci_id(board.pci_device);
    answer.pciSubSystemId = pci_id(board.pci_subsystem);
    answer.baseClass = CLASS_3D;
    answer.subClass = 0x02;
    answer.busId = characters(&bus_id(pci, 8));
    info.set(answer)
}
