//! `nvmlDeviceGetFieldValues`: the fields that clients of whole GPUs read.

use std::ffi::{c_int, c_uint};

use fake_node::model::Gpu;

use crate::abi::{Answer, Failure, Out, sys};
use crate::answers::links::{NVLINK_VERSION, Remote, remote};
use crate::answers::memory::ecc_count;
use crate::answers::power::margin_of;
use crate::call::Device;

/// Mb/s of one NVLink 4 in one direction: 26.562 GB/s.
const NVLINK_MBPS: c_uint = 26_562;

/// The first driver branch that recommends recovery actions (together with XID 154).
const RECOVERY_ACTION_SINCE: u16 = 565;
/// `nvmlDeviceGpuRecoveryAction_t`: reset the GPU.
const RESET: u32 = 1;
/// `nvmlDeviceGpuRecoveryAction_t`: drain the GPU, then reset it.
const DRAIN_AND_RESET: u32 = 4;

/// Each field has its own return code; the call itself fails only on a bad argument.
pub(crate) fn values(device: &Device, count: c_int, values: Out<sys::nvmlFieldValue_t>) -> Answer {
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Failure::INVALID_ARGUMENT)?;
    for index in 0..count {
        let mut value = values.get_at(index)?;
        let now_us = fake_node::calls::boot_time_ns() / 1000;
        value.timestamp = i64::try_from(now_us).unwrap_or(i64::MAX);
        value.latencyUsec = 1;
        match field(device, value.fieldId, value.scopeId) {
            Ok(Value::Unsigned(number)) => {
                value.nvmlReturn = sys::nvmlReturn_enum_NVML_SUCCESS;
                value.valueType = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
                value.value = sys::nvmlValue_t { uiVal: number };
            }
            Ok(Value::Long(number)) => {
                value.nvmlReturn = sys::nvmlReturn_enum_NVML_SUCCESS;
                value.valueType = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
                value.value = sys::nvmlValue_t { ullVal: number };
            }
            Ok(Value::Signed(number)) => {
                value.nvmlReturn = sys::nvmlReturn_enum_NVML_SUCCESS;
                value.valueType = sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT;
                value.value = sys::nvmlValue_t { siVal: number };
            }
            Err(failure) => value.nvmlReturn = failure.0,
        }
        values.set_at(index, value)?;
    }
    Ok(())
}

enum Value {
    Unsigned(c_uint),
    Signed(c_int),
    Long(u64),
}

use Value::{Long, Signed, Unsigned};

fn field(device: &Device, id: c_uint, scope: c_uint) -> Result<Value, Failure> {
    let gpu = device.gpu();
    let (live, board) = (&gpu.live, &gpu.board);
    if let Some(value) = ecc(gpu, id) {
        return Ok(value);
    }
    Ok(match id {
        sys::field_id::NVML_FI_DEV_RETIRED_PENDING_SBE | sys::field_id::NVML_FI_DEV_RETIRED_PENDING_DBE => {
            return Err(Failure::NOT_SUPPORTED);
        }
        sys::field_id::NVML_FI_DEV_MEMORY_TEMP => Unsigned(live.memory_temperature),
        sys::field_id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION | sys::field_id::NVML_FI_DEV_ENERGY => {
            Long(live.energy_mj)
        }
        sys::field_id::NVML_FI_DEV_NVLINK_LINK_COUNT => Unsigned(board.nvlinks),
        sys::field_id::NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON => Unsigned(NVLINK_MBPS),
        sys::field_id::NVML_FI_DEV_NVLINK_GET_SPEED if scope < board.nvlinks => Unsigned(NVLINK_MBPS),
        sys::field_id::NVML_FI_DEV_NVLINK_GET_STATE if scope < board.nvlinks => {
            Unsigned(c_uint::from(remote(&device.call.state, gpu, scope).is_some()))
        }
        sys::field_id::NVML_FI_DEV_NVLINK_GET_VERSION if scope < board.nvlinks => Unsigned(NVLINK_VERSION),
        sys::field_id::NVML_FI_DEV_PCIE_REPLAY_COUNTER
        | sys::field_id::NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER => Unsigned(0),
        sys::field_id::NVML_FI_DEV_REMAPPED_COR => Unsigned(live.remapped.corrected),
        sys::field_id::NVML_FI_DEV_REMAPPED_UNC => Unsigned(live.remapped.uncorrected),
        sys::field_id::NVML_FI_DEV_REMAPPED_PENDING => Unsigned(c_uint::from(live.remapped.pending)),
        sys::field_id::NVML_FI_DEV_REMAPPED_FAILURE => Unsigned(c_uint::from(live.remapped.failure)),
        sys::field_id::NVML_FI_DEV_C2C_LINK_COUNT => Unsigned(0),
        // Hopper switches MIG without a GPU reset.
        sys::field_id::NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED => Unsigned(1),
        sys::field_id::NVML_FI_DEV_POWER_AVERAGE | sys::field_id::NVML_FI_DEV_POWER_INSTANT if scope == 0 => {
            Unsigned(live.power_mw)
        }
        sys::field_id::NVML_FI_DEV_POWER_MIN_LIMIT if scope == 0 => Unsigned(board.power.min_w * 1000),
        sys::field_id::NVML_FI_DEV_POWER_MAX_LIMIT if scope == 0 => Unsigned(board.power.max_w * 1000),
        sys::field_id::NVML_FI_DEV_POWER_DEFAULT_LIMIT if scope == 0 => {
            Unsigned(board.power.default_w * 1000)
        }
        sys::field_id::NVML_FI_DEV_POWER_CURRENT_LIMIT | sys::field_id::NVML_FI_DEV_POWER_REQUESTED_LIMIT
            if scope == 0 =>
        {
            Unsigned(live.power_limit_w * 1000)
        }
        sys::field_id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT => {
            Signed(distance(gpu, board.thresholds.shutdown))
        }
        sys::field_id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT => {
            Signed(distance(gpu, board.thresholds.slowdown))
        }
        sys::field_id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT
        | sys::field_id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT => Signed(0),
        // nvidia-smi takes the number of links between two GPUs of a fabric from here.
        sys::field_id::NVML_FI_DEV_NVSWITCH_CONNECTED_LINK_COUNT => Unsigned(switched_links(device)),
        sys::field_id::NVML_FI_DEV_RESET_STATUS => Unsigned(c_uint::from(live.recovery_action == RESET)),
        sys::field_id::NVML_FI_DEV_DRAIN_AND_RESET_STATUS => {
            Unsigned(c_uint::from(live.recovery_action == DRAIN_AND_RESET))
        }
        sys::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
            if device.call.state.driver.branch() >= RECOVERY_ACTION_SINCE =>
        {
            Unsigned(live.recovery_action)
        }
        _ => return Err(Failure::NOT_SUPPORTED),
    })
}

fn switched_links(device: &Device) -> c_uint {
    let gpu = device.gpu();
    let ends = (0..gpu.board.nvlinks).filter_map(|link| remote(&device.call.state, gpu, link));
    let switched = ends.filter(|end| matches!(end, Remote::Switch(_))).count();
    c_uint::try_from(switched).unwrap_or(c_uint::MAX)
}

/// A threshold as a margin relative to the highest operating temperature: negative beyond it.
fn distance(gpu: &Gpu, threshold: u32) -> c_int {
    let now = c_int::try_from(gpu.live.temperature).unwrap_or(0);
    margin_of(gpu) - (c_int::try_from(threshold).unwrap_or(0) - now)
}

/// The ECC fields: all modelled errors are the device memory's.
fn ecc(gpu: &Gpu, id: c_uint) -> Option<Value> {
    let count = |uncorrected, aggregate| Some(Long(ecc_count(gpu, uncorrected, aggregate)));
    match id {
        sys::field_id::NVML_FI_DEV_ECC_CURRENT => Some(Unsigned(c_uint::from(gpu.live.ecc_enabled))),
        sys::field_id::NVML_FI_DEV_ECC_PENDING => Some(Unsigned(c_uint::from(gpu.live.ecc_pending))),
        sys::field_id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL | sys::field_id::NVML_FI_DEV_ECC_SBE_VOL_DEV => {
            count(false, false)
        }
        sys::field_id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL | sys::field_id::NVML_FI_DEV_ECC_DBE_VOL_DEV => {
            count(true, false)
        }
        sys::field_id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL | sys::field_id::NVML_FI_DEV_ECC_SBE_AGG_DEV => {
            count(false, true)
        }
        sys::field_id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL | sys::field_id::NVML_FI_DEV_ECC_DBE_AGG_DEV => {
            count(true, true)
        }
        _ => None,
    }
}
