//! Modes that can be set.

use std::ffi::c_uint;

use crate::abi::{Answer, Failure, Out, sys};
use crate::answers::flag;
use crate::call::Device;

pub(crate) fn persistence(device: &Device, mode: Out<c_uint>) -> Answer {
    mode.set(flag(device.gpu().live.persistence))
}

pub(crate) fn set_persistence(device: &Device, mode: c_uint) -> Answer {
    if mode > 1 {
        return Err(Failure::INVALID_ARGUMENT);
    }
    device.change(|gpu| gpu.live.persistence = mode == 1)
}

pub(crate) fn compute(device: &Device, mode: Out<sys::nvmlComputeMode_t>) -> Answer {
    mode.set(device.gpu().live.compute_mode)
}

/// EXCLUSIVE_THREAD was removed with CUDA 8.
pub(crate) fn set_compute(device: &Device, mode: sys::nvmlComputeMode_t) -> Answer {
    match mode {
        sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_DEFAULT
        | sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_PROHIBITED
        | sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_EXCLUSIVE_PROCESS => {
            device.change(|gpu| gpu.live.compute_mode = mode)
        }
        sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_EXCLUSIVE_THREAD => Err(Failure::NOT_SUPPORTED),
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}

/// Disabled now and after a reset. Setting it is not modelled and answers NOT_SUPPORTED.
pub(crate) fn mig(_: &Device, current: Out<c_uint>, pending: Out<c_uint>) -> Answer {
    current.set(sys::NVML_DEVICE_MIG_DISABLE)?;
    pending.set(sys::NVML_DEVICE_MIG_DISABLE)
}

pub(crate) fn max_mig_devices(device: &Device, count: Out<c_uint>) -> Answer {
    count.set(device.gpu().board.max_mig_devices)
}

pub(crate) fn is_mig(_: &Device, answer: Out<c_uint>) -> Answer {
    answer.set(0)
}

/// All interfaces are open to all users.
pub(crate) fn api_restriction(_: &Device, kind: c_uint, restricted: Out<c_uint>) -> Answer {
    match kind {
        sys::nvmlRestrictedAPI_enum_NVML_RESTRICTED_API_SET_APPLICATION_CLOCKS => restricted.set(1),
        _ => Err(Failure::NOT_SUPPORTED),
    }
}

pub(crate) fn accounting(_: &Device, mode: Out<c_uint>) -> Answer {
    mode.set(0)
}

pub(crate) fn accounting_buffer(_: &Device, size: Out<c_uint>) -> Answer {
    size.set(4000)
}
