//! Framebuffer, BAR1, ECC, remapped rows.

use std::ffi::{c_uint, c_ulonglong};

use fake_node::model::Gpu;

use crate::abi::{Answer, Failure, Out, sys};
use crate::answers::flag;
use crate::call::Device;

/// Bytes of BAR1 that the driver itself maps.
const BAR1_USED_MIB: u64 = 1;

/// Total, reserved, free, used: in bytes. Used comprises no reserved memory since NVML 11.5 (v2).
fn figures(gpu: &Gpu) -> (u64, u64, u64, u64) {
    let (total, reserved) = (gpu.board.memory_mib << 20, gpu.board.reserved_mib << 20);
    let used = gpu.used_memory();
    (total, reserved, total.saturating_sub(reserved.saturating_add(used)), used)
}

/// The first version counts reserved memory as used.
pub(crate) fn info(device: &Device, memory: Out<sys::nvmlMemory_t>) -> Answer {
    let (total, reserved, free, used) = figures(device.gpu());
    memory.set(sys::nvmlMemory_t { total, free, used: used.saturating_add(reserved) })
}

pub(crate) fn info_v2(device: &Device, memory: Out<sys::nvmlMemory_v2_t>) -> Answer {
    let version = memory.versioned(2)?.version;
    let (total, reserved, free, used) = figures(device.gpu());
    memory.set(sys::nvmlMemory_v2_t { version, total, reserved, free, used })
}

pub(crate) fn bar1(device: &Device, memory: Out<sys::nvmlBAR1Memory_t>) -> Answer {
    let total = device.gpu().board.bar1_mib << 20;
    let used = BAR1_USED_MIB << 20;
    memory.set(sys::nvmlBAR1Memory_t {
        bar1Total: total,
        bar1Free: total.saturating_sub(used),
        bar1Used: used,
    })
}

pub(crate) fn bus_width(device: &Device, bits: Out<c_uint>) -> Answer {
    bits.set(device.gpu().board.memory_bus_bits)
}

pub(crate) fn ecc_mode(device: &Device, current: Out<c_uint>, pending: Out<c_uint>) -> Answer {
    current.set(flag(device.gpu().live.ecc_enabled))?;
    pending.set(flag(device.gpu().live.ecc_pending))
}

pub(crate) fn ecc_default(_: &Device, mode: Out<c_uint>) -> Answer {
    mode.set(flag(true))
}

/// Takes effect at the next reset.
pub(crate) fn set_ecc_mode(device: &Device, enabled: c_uint) -> Answer {
    if enabled > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    device.change(|gpu| gpu.live.ecc_pending = enabled == 1)
}

/// Errors of one severity and life time.
pub(crate) fn ecc_count(gpu: &Gpu, uncorrected: bool, aggregate: bool) -> u64 {
    let ecc = &gpu.live.ecc;
    match (uncorrected, aggregate) {
        (false, false) => ecc.volatile_corrected,
        (true, false) => ecc.volatile_uncorrected,
        (false, true) => ecc.aggregate_corrected,
        (true, true) => ecc.aggregate_uncorrected,
    }
}

fn count(device: &Device, severity: c_uint, lifetime: c_uint) -> Result<u64, Failure> {
    if severity > 1 || lifetime > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    if !device.gpu().live.ecc_enabled {
        return Err(Failure::NOT_SUPPORTED);
    }
    Ok(ecc_count(device.gpu(), severity == 1, lifetime == 1))
}

pub(crate) fn total_ecc_errors(
    device: &Device,
    severity: sys::nvmlMemoryErrorType_t,
    lifetime: sys::nvmlEccCounterType_t,
    errors: Out<c_ulonglong>,
) -> Answer {
    errors.set(count(device, severity, lifetime)?)
}

/// All modelled errors are the framebuffer's; other places that Hopper counts have none.
pub(crate) fn memory_error_counter(
    device: &Device,
    severity: sys::nvmlMemoryErrorType_t,
    lifetime: sys::nvmlEccCounterType_t,
    place: sys::nvmlMemoryLocation_t,
    errors: Out<c_ulonglong>,
) -> Answer {
    let errors_there = count(device, severity, lifetime)?;
    match place {
        sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_DRAM => errors.set(errors_there),
        sys::nvmlMemoryLocation_enum_NVML_MEMORY_LOCATION_SRAM => errors.set(0),
        _ => Err(Failure::NOT_SUPPORTED),
    }
}

pub(crate) fn sram_ecc(device: &Device, status: Out<sys::nvmlEccSramErrorStatus_v1_t>) -> Answer {
    let mut answer = status.versioned(1)?;
    if !device.gpu().live.ecc_enabled {
        return Err(Failure::NOT_SUPPORTED);
    }
    answer.aggregateUncParity = 0;
    answer.aggregateUncSecDed = 0;
    answer.aggregateCor = 0;
    answer.volatileUncParity = 0;
    answer.volatileUncSecDed = 0;
    answer.volatileCor = 0;
    answer.aggregateUncBucketL2 = 0;
    answer.aggregateUncBucketSm = 0;
    answer.aggregateUncBucketPcie = 0;
    answer.aggregateUncBucketMcu = 0;
    answer.aggregateUncBucketOther = 0;
    answer.bThresholdExceeded = 0;
    status.set(answer)
}

pub(crate) fn clear_ecc_errors(device: &Device, lifetime: sys::nvmlEccCounterType_t) -> Answer {
    device.change(|gpu| {
        let ecc = &mut gpu.live.ecc;
        if lifetime == sys::nvmlEccCounterType_enum_NVML_VOLATILE_ECC {
            (ecc.volatile_corrected, ecc.volatile_uncorrected) = (0, 0);
        } else {
            (ecc.aggregate_corrected, ecc.aggregate_uncorrected) = (0, 0);
        }
    })
}

pub(crate) fn remapped_rows(
    device: &Device,
    corrected: Out<c_uint>,
    uncorrected: Out<c_uint>,
    pending: Out<c_uint>,
    failure: Out<c_uint>,
) -> Answer {
    let rows = device.gpu().live.remapped;
    corrected.set(rows.corrected)?;
    uncorrected.set(rows.uncorrected)?;
    pending.set(flag(rows.pending))?;
    failure.set(flag(rows.failure))
}

/// Banks by how many spare rows are left: all of them, less one for each remapped row.
pub(crate) fn row_remapper_histogram(
    device: &Device,
    banks: Out<sys::nvmlRowRemapperHistogramValues_t>,
) -> Answer {
    /// [FIELD] what healthy 80 GB boards answer.
    const BANKS: c_uint = 2560;
    let rows = device.gpu().live.remapped;
    let used = rows.corrected.saturating_add(rows.uncorrected).min(BANKS);
    banks.set(sys::nvmlRowRemapperHistogramValues_t {
        max: BANKS - used,
        high: used,
        partial: 0,
        low: 0,
        none: 0,
    })
}

pub(crate) fn repair_status(device: &Device, status: Out<sys::nvmlRepairStatus_v1_t>) -> Answer {
    let mut answer = status.versioned(1)?;
    answer.bChannelRepairPending = flag(device.gpu().live.remapped.pending);
    answer.bTpcRepairPending = 0;
    status.set(answer)
}
