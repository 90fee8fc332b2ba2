//! What NVML's numbers mean, by nvml.h.

use super::{ComputeMode, Via};

/// `NVML_DEVICE_ARCH_HOPPER`.
pub(super) const HOPPER: u32 = 9;

/// `nvmlGpuTopologyLevel_t` of nvml.h.
pub(super) fn via(level: u32) -> Option<Via> {
    Some(match level {
        0 => Via::Board,
        10 => Via::Switch,
        20 => Via::Switches,
        30 => Via::HostBridge,
        40 => Via::NumaNode,
        50 => Via::System,
        _ => return None,
    })
}

/// `nvmlComputeMode_t` of nvml.h.
pub(super) fn compute_mode(mode: u32) -> Option<ComputeMode> {
    Some(match mode {
        0 => ComputeMode::Default,
        1 => ComputeMode::ExclusiveThread,
        2 => ComputeMode::Prohibited,
        3 => ComputeMode::ExclusiveProcess,
        _ => return None,
    })
}

/// `nvmlBrandType_t` of nvml.h, in the words of NVIDIA's own DRA driver.
pub(super) fn brand(brand: u32) -> String {
    match brand {
        0 => "Unknown",
        1 => "Quadro",
        2 => "Tesla",
        3 => "NVS",
        4 => "Grid",
        5 => "GeForce",
        6 => "Titan",
        7 => "NvidiaVApps",
        8 => "NvidiaVPC",
        9 => "NvidiaVCS",
        10 => "NvidiaVWS",
        11 => "NvidiaCloudGaming",
        12 => "QuadroRTX",
        13 => "NvidiaRTX",
        14 => "Nvidia",
        15 => "GeForceRTX",
        16 => "TitanRTX",
        other => return format!("Unknown({other})"),
    }
    .to_owned()
}

/// `NVML_DEVICE_ARCH_*` of nvml.h.
pub(super) fn architecture(architecture: u32) -> String {
    match architecture {
        2 => "Kepler",
        3 => "Maxwell",
        4 => "Pascal",
        5 => "Volta",
        6 => "Turing",
        7 => "Ampere",
        8 => "Ada Lovelace",
        HOPPER => "Hopper",
        10 => "Blackwell",
        u32::MAX => "Unknown",
        other => return format!("Unknown({other})"),
    }
    .to_owned()
}
