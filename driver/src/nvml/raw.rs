//! The calls that nvml-wrapper lacks or gets wrong, made on nvml-wrapper-sys.
//!
//! nvml-wrapper reads C strings without a bound and refuses those that are not UTF-8; it drops an event's MIG
//! instances; it has no fabric information and no module id. The methods of nvml-wrapper-sys panic when the
//! library lacks a symbol, so only its fields are used.

#![expect(unsafe_code, reason = "calls into NVIDIA's library")]

use std::ffi::{c_char, c_uint};
use std::mem::{ManuallyDrop, size_of};

use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{self as sys, nvmlDevice_t, nvmlReturn_t};

use super::reading::{Reading, code};

/// Size of the buffers for texts: the largest of NVML's (`NVML_DEVICE_NAME_V2_BUFFER_SIZE`).
const TEXT: usize = 96;

/// A text of NVML's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The text, with U+FFFD for every byte that is not UTF-8.
    pub text: String,
    /// Whether it was UTF-8.
    pub valid: bool,
}

/// `nvmlPciInfo_t`, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciInfo {
    /// Such as "00000000:1B:00.0".
    pub bus_id: Text,
    /// Device id in the upper, vendor id in the lower half.
    pub device: u32,
    /// Subsystem's device id in the upper, its vendor id in the lower half.
    pub subsystem: u32,
}

/// What the GPU knows of the NVLink fabric (`nvmlGpuFabricInfoV_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FabricInfo {
    /// `NVML_GPU_FABRIC_STATE_*`.
    pub state: u8,
    /// The error code with which registration ended, valid when it has.
    pub status: nvmlReturn_t,
    /// The GPU's clique in its cluster.
    pub clique_id: u32,
    /// All zero on a single-node fabric.
    pub cluster_uuid: [u8; 16],
}

/// What a library has and lacks.
#[derive(Debug)]
pub(super) struct Symbols {
    /// The functions that it must have and lacks.
    pub(super) missing: Vec<&'static str>,
    /// Whether it has `nvmlInitWithFlags` (driver 410 and newer).
    pub(super) init_with_flags: bool,
}

/// Loads the library for the life of the process.
///
/// # Errors
/// What the dynamic loader says.
pub(super) fn load_for_ever(path: &std::path::Path) -> Result<Symbols, String> {
    // SAFETY: the file is the driver's library, which its installer trusts to run in every process that uses
    // a GPU; its header was checked. The bindings' types are those of NVIDIA's header.
    let library = unsafe { sys::NvmlLib::new(path) }.map_err(|error| error.to_string())?;
    // Never unloaded: a lane that is stuck in a call executes its code for as long as the process lives.
    let library = ManuallyDrop::new(library);
    // The functions without which there is nothing to work with.
    let required = [
        ("nvmlInit_v2", library.nvmlInit_v2.is_ok()),
        ("nvmlShutdown", library.nvmlShutdown.is_ok()),
        ("nvmlDeviceGetCount_v2", library.nvmlDeviceGetCount_v2.is_ok()),
        ("nvmlDeviceGetHandleByIndex_v2", library.nvmlDeviceGetHandleByIndex_v2.is_ok()),
        ("nvmlDeviceGetUUID", library.nvmlDeviceGetUUID.is_ok()),
        ("nvmlDeviceGetPciInfo_v3", library.nvmlDeviceGetPciInfo_v3.is_ok()),
    ];
    Ok(Symbols {
        missing: required.iter().filter_map(|(name, present)| (!present).then_some(*name)).collect(),
        init_with_flags: library.nvmlInitWithFlags.is_ok(),
    })
}

/// Ends the NVML session. `Nvml`'s own `Drop` panics if the symbol is absent, and unloads the library.
pub(super) fn shutdown(nvml: &Nvml) -> Result<(), NvmlError> {
    let function = symbol(&nvml.lib().nvmlShutdown)?;
    // SAFETY: NVML is initialised, once per `Nvml`.
    nvml_try(unsafe { function() })
}

/// A GPU's handle by its position in this session.
pub(super) fn handle(nvml: &Nvml, index: u32) -> Result<nvmlDevice_t, NvmlError> {
    let device = nvml.device_by_index(index)?;
    // SAFETY: the handle is used only while its session lives: see `GpuContext`.
    Ok(unsafe { device.handle() })
}

/// nvml-wrapper's view of a GPU.
pub(super) fn device(nvml: &Nvml, handle: nvmlDevice_t) -> Device<'_> {
    // SAFETY: the handle was given out by the same NVML session, see `GpuContext`.
    unsafe { Device::new(handle, nvml) }
}

/// Version of the driver, such as "550.163.01".
pub(super) fn driver_version(nvml: &Nvml) -> Reading<Text> {
    text(&nvml.lib().nvmlSystemGetDriverVersion, |function, buffer, size| {
        // SAFETY: the buffer has `size` bytes.
        unsafe { function(buffer, size) }
    })
}

/// Version of the library, such as "12.550.163.01".
pub(super) fn nvml_version(nvml: &Nvml) -> Reading<Text> {
    text(&nvml.lib().nvmlSystemGetNVMLVersion, |function, buffer, size| {
        // SAFETY: the buffer has `size` bytes.
        unsafe { function(buffer, size) }
    })
}

/// Version of CUDA that the driver serves, such as 12040.
///
/// The newer of two functions asks libcuda, which it finds only where the dynamic loader does: not in a container that
/// has the driver in a folder of its own. The older one then answers with the version that the driver came with.
pub(super) fn cuda_driver_version(nvml: &Nvml) -> Result<i32, NvmlError> {
    let version = nvml.sys_cuda_driver_version();
    if !matches!(version, Err(NvmlError::LibraryNotFound)) {
        return version;
    }
    let function = symbol(&nvml.lib().nvmlSystemGetCudaDriverVersion)?;
    let mut version = 0;
    // SAFETY: the place has room for the number.
    nvml_try(unsafe { function(&raw mut version) })?;
    Ok(version)
}

/// The raw calls on one GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawGpu<'a> {
    pub(super) nvml: &'a Nvml,
    pub(super) handle: nvmlDevice_t,
}

impl RawGpu<'_> {
    pub(super) fn name(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetName, |function, buffer, size| {
            // SAFETY: the handle is of this session, the buffer has `size` bytes.
            unsafe { function(self.handle, buffer, size) }
        })
    }

    pub(super) fn uuid(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetUUID, |function, buffer, size| {
            // SAFETY: as in `name`.
            unsafe { function(self.handle, buffer, size) }
        })
    }

    pub(super) fn serial(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetSerial, |function, buffer, size| {
            // SAFETY: as in `name`.
            unsafe { function(self.handle, buffer, size) }
        })
    }

    pub(super) fn board_part_number(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetBoardPartNumber, |function, buffer, size| {
            // SAFETY: as in `name`.
            unsafe { function(self.handle, buffer, size) }
        })
    }

    pub(super) fn vbios_version(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetVbiosVersion, |function, buffer, size| {
            // SAFETY: as in `name`.
            unsafe { function(self.handle, buffer, size) }
        })
    }

    pub(super) fn gsp_firmware_version(self) -> Reading<Text> {
        text(&self.nvml.lib().nvmlDeviceGetGspFirmwareVersion, |function, buffer, _| {
            // SAFETY: as in `name`. NVML takes no size here and writes at most
            // NVML_GSP_FIRMWARE_VERSION_BUF_SIZE (64) bytes.
            unsafe { function(self.handle, buffer) }
        })
    }

    pub(super) fn brand(self) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetBrand, |function, out| {
            // SAFETY: the handle is of this session, `out` is valid for the call.
            unsafe { function(self.handle, out) }
        })
    }

    pub(super) fn architecture(self) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetArchitecture, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, out) }
        })
    }

    pub(super) fn compute_mode(self) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetComputeMode, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, out) }
        })
    }

    pub(super) fn module_id(self) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetModuleId, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, out) }
        })
    }

    /// `nvmlGpuTopologyLevel_t` of the nearest thing that both GPUs hang on.
    pub(super) fn common_ancestor(self, other: nvmlDevice_t) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetTopologyCommonAncestor, |function, out| {
            // SAFETY: as in `brand`; the other handle is of the same session.
            unsafe { function(self.handle, other, out) }
        })
    }

    /// `nvmlIntNvLinkDeviceType_t` of what a link ends in.
    pub(super) fn nvlink_remote_type(self, link: u32) -> Reading<u32> {
        number(&self.nvml.lib().nvmlDeviceGetNvLinkRemoteDeviceType, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, link, out) }
        })
    }

    pub(super) fn nvlink_remote_pci(self, link: u32) -> Reading<PciInfo> {
        pci(&self.nvml.lib().nvmlDeviceGetNvLinkRemotePciInfo_v2, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, link, out) }
        })
    }

    pub(super) fn pci(self) -> Reading<PciInfo> {
        pci(&self.nvml.lib().nvmlDeviceGetPciInfo_v3, |function, out| {
            // SAFETY: as in `brand`.
            unsafe { function(self.handle, out) }
        })
    }

    /// Asks with the newest version of the structure that the library knows: 3 (driver 570), 2 (545), or the
    /// call without versions (535).
    pub(super) fn fabric(self) -> Reading<FabricInfo> {
        for version in [3, 2] {
            match self.fabric_version(version) {
                Reading::NoSymbol => break,
                Reading::Failed(error)
                    if error.code == Some(code::ARGUMENT_VERSION_MISMATCH)
                        || error.code == Some(code::INVALID_ARGUMENT) => {}
                answer => return answer,
            }
        }
        self.fabric_unversioned()
    }

    fn fabric_version(self, version: u32) -> Reading<FabricInfo> {
        let size = if version == 2 {
            size_of::<sys::nvmlGpuFabricInfo_v2_t>()
        } else {
            size_of::<sys::nvmlGpuFabricInfo_v3_t>()
        };
        let mut info = sys::nvmlGpuFabricInfoV_t {
            // NVML_STRUCT_VERSION of nvml.h.
            version: c_uint::try_from(size).unwrap_or(c_uint::MAX) | (version << 24),
            clusterUuid: [0; 16],
            status: 0,
            cliqueId: 0,
            state: 0,
            healthMask: 0,
            healthSummary: 0,
        };
        let called = symbol(&self.nvml.lib().nvmlDeviceGetGpuFabricInfoV).and_then(|function| {
            // SAFETY: as in `brand`. Version 2 of the structure is a beginning of version 3.
            nvml_try(unsafe { function(self.handle, &raw mut info) })
        });
        Reading::from(called).map(|()| FabricInfo {
            state: info.state,
            status: info.status,
            clique_id: info.cliqueId,
            cluster_uuid: info.clusterUuid,
        })
    }

    fn fabric_unversioned(self) -> Reading<FabricInfo> {
        let mut info = sys::nvmlGpuFabricInfo_t { clusterUuid: [0; 16], status: 0, cliqueId: 0, state: 0 };
        let called = symbol(&self.nvml.lib().nvmlDeviceGetGpuFabricInfo).and_then(|function| {
            // SAFETY: as in `brand`.
            nvml_try(unsafe { function(self.handle, &raw mut info) })
        });
        Reading::from(called).map(|()| FabricInfo {
            state: info.state,
            status: info.status,
            clique_id: info.cliqueId,
            cluster_uuid: info.clusterUuid,
        })
    }
}

/// A function of the library, or the error that stands for its absence.
pub(super) fn symbol<F, E: ToString>(field: &Result<F, E>) -> Result<&F, NvmlError> {
    field.as_ref().map_err(|error| NvmlError::FailedToLoadSymbol(error.to_string()))
}

fn number<F, E: ToString>(
    field: &Result<F, E>,
    call: impl FnOnce(&F, *mut c_uint) -> nvmlReturn_t,
) -> Reading<u32> {
    let mut out = 0;
    let called = symbol(field).and_then(|function| nvml_try(call(function, &raw mut out)));
    Reading::from(called.map(|()| out))
}

fn text<F, E: ToString>(
    field: &Result<F, E>,
    call: impl FnOnce(&F, *mut c_char, c_uint) -> nvmlReturn_t,
) -> Reading<Text> {
    let mut buffer: [c_char; TEXT] = [0; TEXT];
    let size = c_uint::try_from(TEXT).unwrap_or(0);
    let called = symbol(field).and_then(|function| nvml_try(call(function, buffer.as_mut_ptr(), size)));
    Reading::from(called.map(|()| Text::of(&buffer)))
}

fn pci<F, E: ToString>(
    field: &Result<F, E>,
    call: impl FnOnce(&F, *mut sys::nvmlPciInfo_t) -> nvmlReturn_t,
) -> Reading<PciInfo> {
    let mut info = sys::nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus: 0,
        device: 0,
        pciDeviceId: 0,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    let called = symbol(field).and_then(|function| nvml_try(call(function, &raw mut info)));
    Reading::from(called.map(|()| PciInfo {
        bus_id: Text::of(&info.busId),
        device: info.pciDeviceId,
        subsystem: info.pciSubSystemId,
    }))
}

impl Text {
    /// The text up to the first NUL or the buffer's end.
    fn of(buffer: &[c_char]) -> Self {
        let bytes: Vec<u8> =
            buffer.iter().map(|&byte| byte.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect();
        let text = String::from_utf8_lossy(&bytes);
        Self { valid: matches!(text, std::borrow::Cow::Borrowed(_)), text: text.trim().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_the_buffer_and_survives_bytes_that_are_no_text() {
        let chars = |bytes: &[u8]| -> Vec<c_char> {
            bytes.iter().map(|byte| c_char::from_ne_bytes([*byte])).collect()
        };
        let cases: [(&str, &[u8], &str, bool); 4] = [
            ("ended by NUL", b"NVIDIA H100\0rest", "NVIDIA H100", true),
            ("fills the buffer", b"NVIDIA H100", "NVIDIA H100", true),
            ("not UTF-8", b"NVIDIA \xff\xfe\0", "NVIDIA \u{fffd}\u{fffd}", false),
            ("empty", b"\0", "", true),
        ];
        for (name, bytes, text, valid) in cases {
            let wanted = Text { text: text.into(), valid };
            assert_eq!(Text::of(&chars(bytes)), wanted, "{name}");
        }
    }
}
