//! The library as the loader and C callers see it: symbols, link flags, sizes and places in structs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test"
)]

mod symbols;
mod wrapper_fields;

use std::mem::{offset_of, size_of};

use nvml_wrapper_sys::bindings as sys;

/// Sizes as gcc computes them from nvml.h of NVML API 13.
#[test]
fn structs_have_the_sizes_of_nvml_h() {
    for (name, size, expected) in [
        ("nvmlPciInfo_t", size_of::<sys::nvmlPciInfo_t>(), 68),
        ("nvmlPciInfoExt_v1_t", size_of::<sys::nvmlPciInfoExt_v1_t>(), 64),
        ("nvmlMemory_t", size_of::<sys::nvmlMemory_t>(), 24),
        ("nvmlMemory_v2_t", size_of::<sys::nvmlMemory_v2_t>(), 40),
        ("nvmlBAR1Memory_t", size_of::<sys::nvmlBAR1Memory_t>(), 24),
        ("nvmlUtilization_t", size_of::<sys::nvmlUtilization_t>(), 8),
        ("nvmlEventData_t", size_of::<sys::nvmlEventData_t>(), 32),
        ("nvmlDeviceAttributes_t", size_of::<sys::nvmlDeviceAttributes_t>(), 40),
        ("nvmlGpuInstancePlacement_t", size_of::<sys::nvmlGpuInstancePlacement_t>(), 8),
        ("nvmlGpuInstanceProfileInfo_t", size_of::<sys::nvmlGpuInstanceProfileInfo_t>(), 48),
        ("nvmlGpuInstanceProfileInfo_v2_t", size_of::<sys::nvmlGpuInstanceProfileInfo_v2_t>(), 152),
        ("nvmlGpuInstanceProfileInfo_v3_t", size_of::<sys::nvmlGpuInstanceProfileInfo_v3_t>(), 152),
        ("nvmlGpuInstanceInfo_t", size_of::<sys::nvmlGpuInstanceInfo_t>(), 24),
        ("nvmlComputeInstanceProfileInfo_t", size_of::<sys::nvmlComputeInstanceProfileInfo_t>(), 36),
        ("nvmlComputeInstanceProfileInfo_v2_t", size_of::<sys::nvmlComputeInstanceProfileInfo_v2_t>(), 136),
        ("nvmlComputeInstanceProfileInfo_v3_t", size_of::<sys::nvmlComputeInstanceProfileInfo_v3_t>(), 140),
        ("nvmlComputeInstanceInfo_t", size_of::<sys::nvmlComputeInstanceInfo_t>(), 32),
        ("nvmlGpuFabricInfo_t", size_of::<sys::nvmlGpuFabricInfo_t>(), 28),
        ("nvmlGpuFabricInfo_v2_t", size_of::<sys::nvmlGpuFabricInfo_v2_t>(), 36),
        ("nvmlGpuFabricInfo_v3_t", size_of::<sys::nvmlGpuFabricInfo_v3_t>(), 40),
        ("nvmlProcessInfo_v1_t", size_of::<sys::nvmlProcessInfo_v1_t>(), 16),
        ("nvmlProcessInfo_v2_t", size_of::<sys::nvmlProcessInfo_v2_t>(), 24),
        ("nvmlProcessInfo_t", size_of::<sys::nvmlProcessInfo_t>(), 24),
        ("nvmlFieldValue_t", size_of::<sys::nvmlFieldValue_t>(), 40),
        ("nvmlC2cModeInfo_v1_t", size_of::<sys::nvmlC2cModeInfo_v1_t>(), 4),
        ("nvmlPlatformInfo_v2_t", size_of::<sys::nvmlPlatformInfo_v2_t>(), 44),
        ("nvmlUUID_v1_t", size_of::<sys::nvmlUUID_v1_t>(), 52),
        ("nvmlTemperature_v1_t", size_of::<sys::nvmlTemperature_v1_t>(), 12),
    ] {
        assert_eq!(size, expected, "{name}");
    }
}

/// Places as gcc computes them from nvml.h of NVML API 13.
#[test]
fn struct_fields_are_where_nvml_h_puts_them() {
    macro_rules! places {
        ($($type:ident { $($field:ident @ $expected:literal),* })*) => {
            [$($((concat!(stringify!($type), ".", stringify!($field)),
                  offset_of!(sys::$type, $field), $expected)),*),*]
        };
    }
    for (field, place, expected) in places! {
        nvmlPciInfo_t {
            busIdLegacy @ 0, domain @ 16, bus @ 20, device @ 24, pciDeviceId @ 28, pciSubSystemId @ 32, busId @ 36
        }
        nvmlEventData_t {
            device @ 0, eventType @ 8, eventData @ 16, gpuInstanceId @ 24, computeInstanceId @ 28
        }
        nvmlGpuInstanceProfileInfo_v2_t {
            version @ 0, id @ 4, isP2pSupported @ 8, sliceCount @ 12, instanceCount @ 16, multiprocessorCount @ 20,
            copyEngineCount @ 24, decoderCount @ 28, encoderCount @ 32, jpegCount @ 36, ofaCount @ 40,
            memorySizeMB @ 48, name @ 56
        }
        nvmlGpuInstanceProfileInfo_v3_t {
            version @ 0, id @ 4, sliceCount @ 8, memorySizeMB @ 40, name @ 48, capabilities @ 144
        }
        nvmlGpuInstanceInfo_t { device @ 0, id @ 8, profileId @ 12, placement @ 16 }
        nvmlComputeInstanceInfo_t { device @ 0, gpuInstance @ 8, id @ 16, profileId @ 20, placement @ 24 }
    } {
        assert_eq!(place, expected, "{field}");
    }
}

/// What a caller must write into the field `version`: sizes from nvml.h in hexadecimal, version in the top byte.
#[test]
fn struct_versions_are_size_and_version() {
    fn version<T>(number: u32) -> u32 {
        u32::try_from(size_of::<T>()).unwrap() | number << 24
    }
    for (name, computed, expected) in [
        ("nvmlMemory_v2", version::<sys::nvmlMemory_v2_t>(2), 0x0200_0028),
        ("nvmlGpuInstanceProfileInfo_v2", version::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2), 0x0200_0098),
        ("nvmlGpuInstanceProfileInfo_v3", version::<sys::nvmlGpuInstanceProfileInfo_v3_t>(3), 0x0300_0098),
        (
            "nvmlComputeInstanceProfileInfo_v2",
            version::<sys::nvmlComputeInstanceProfileInfo_v2_t>(2),
            0x0200_0088,
        ),
        (
            "nvmlComputeInstanceProfileInfo_v3",
            version::<sys::nvmlComputeInstanceProfileInfo_v3_t>(3),
            0x0300_008c,
        ),
        ("nvmlGpuFabricInfo_v2", version::<sys::nvmlGpuFabricInfo_v2_t>(2), 0x0200_0024),
        ("nvmlGpuFabricInfo_v3", version::<sys::nvmlGpuFabricInfo_v3_t>(3), 0x0300_0028),
        ("nvmlC2cModeInfo_v1", version::<sys::nvmlC2cModeInfo_v1_t>(1), 0x0100_0004),
    ] {
        assert_eq!(computed, expected, "{name}");
    }
}

/// nvml.h's promises to callers that do not ask how much room a text needs.
#[test]
fn buffers_have_the_sizes_of_nvml_h() {
    for (name, size, expected) in [
        ("NVML_DEVICE_NAME_BUFFER_SIZE", sys::NVML_DEVICE_NAME_BUFFER_SIZE, 64),
        ("NVML_DEVICE_NAME_V2_BUFFER_SIZE", sys::NVML_DEVICE_NAME_V2_BUFFER_SIZE, 96),
        ("NVML_DEVICE_UUID_BUFFER_SIZE", sys::NVML_DEVICE_UUID_BUFFER_SIZE, 80),
        ("NVML_DEVICE_UUID_V2_BUFFER_SIZE", sys::NVML_DEVICE_UUID_V2_BUFFER_SIZE, 96),
        ("NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE", sys::NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE, 80),
    ] {
        assert_eq!(size, expected, "{name}");
    }
}
