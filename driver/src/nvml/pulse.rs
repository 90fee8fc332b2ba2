//! What changes while a GPU runs: whether it answers, what the driver recommends, its figures, its processes.

use std::collections::BTreeSet;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper_sys::bindings::field_id::{
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_FAILURE,
    NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_UNC,
};

use super::raw;
use super::reading::{CallError, Reading, code};
use super::session::{GpuContext, NodeContext};

/// What a GPU said when it was asked whether it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It answers.
    Beats {
        /// `nvmlDeviceGpuRecoveryAction_t`; none from drivers before 565, which recommend nothing.
        recovery_action: Option<u32>,
    },
    /// NVML says that it is lost.
    Lost,
    /// It was lost, and a GPU answers in its place. This session's handles of it are void: open a new one.
    Returned,
    /// NVML says that it needs a reset.
    NeedsReset,
    /// The driver is gone, and this session with it.
    NoDriver,
    /// The call failed for another reason, which says nothing about the GPU's health.
    Failed(CallError),
}

/// A GPU's figures of the moment, in NVML's units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Share of the last sampling period in which a kernel ran, in percent. Not available while MIG is on.
    pub utilization: Reading<u32>,
    /// Framebuffer memory in use and in all, in bytes.
    pub memory: Reading<(u64, u64)>,
    /// Power drawn, in mW.
    pub power: Reading<u32>,
    /// Temperature in °C.
    pub temperature: Reading<u32>,
    /// Clock of the multiprocessors in MHz.
    pub clock_sm: Reading<u32>,
    /// ECC errors since the driver was loaded that were corrected.
    pub ecc_corrected: Reading<u64>,
    /// ECC errors since the driver was loaded that were not corrected.
    pub ecc_uncorrected: Reading<u64>,
    /// Rows of memory that were remapped.
    pub remapped_rows: Reading<RemappedRows>,
}

/// Rows of a GPU's memory that were replaced by spare ones, over the board's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemappedRows {
    /// Because of errors that were corrected.
    pub corrected: u64,
    /// Because of errors that were not.
    pub uncorrected: u64,
    /// Whether a remapping waits for a reset of the GPU.
    pub pending: bool,
    /// Whether a remapping failed: there is no spare row left.
    pub failed: bool,
}

impl NodeContext {
    /// Whether the driver that the session was opened with is still there.
    ///
    /// # Errors
    /// What NVML says.
    pub fn is_in_force(&self) -> Result<(), CallError> {
        self.nvml().device_count().map(drop).map_err(CallError::from)
    }
}

impl GpuContext {
    /// Asks whether the GPU lives. Never fails: what NVML says is the answer.
    pub fn pulse(&self) -> Pulse {
        let error = match self.device().and_then(|device| {
            // The UUID and the like may come from a cache; this one the GPU has to answer.
            device.temperature(TemperatureSensor::Gpu)?;
            Ok(recovery_action(&device))
        }) {
            Ok(recovery_action) => return Pulse::Beats { recovery_action },
            Err(error) => error,
        };
        match CallError::from(error) {
            error if error.is_gpu_lost() => {
                if self.answers_anew() {
                    Pulse::Returned
                } else {
                    Pulse::Lost
                }
            }
            error if error.code == Some(code::RESET_REQUIRED) => Pulse::NeedsReset,
            error if error.is_driver_gone() => Pulse::NoDriver,
            error if error.code == Some(code::NOT_SUPPORTED) => Pulse::Beats { recovery_action: None },
            error => Pulse::Failed(error),
        }
    }

    /// The figures of the moment.
    ///
    /// # Errors
    /// The GPU cannot even be named.
    pub fn figures(&self) -> Result<Figures, NvmlError> {
        let device = self.device()?;
        Ok(Figures {
            utilization: Reading::from(device.utilization_rates()).map(|rates| rates.gpu),
            memory: Reading::from(device.memory_info()).map(|memory| (memory.used, memory.total)),
            power: device.power_usage().into(),
            temperature: device.temperature(TemperatureSensor::Gpu).into(),
            clock_sm: device.clock_info(Clock::SM).into(),
            ecc_corrected: device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile).into(),
            ecc_uncorrected: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).into(),
            remapped_rows: remapped_rows(&device).into(),
        })
    }

    /// The process ids of all programs with a context on the GPU, of CUDA and of graphics, in order. As NVML
    /// sees them: in the pid namespace of the host, or of this process.
    ///
    /// # Errors
    /// What NVML says.
    pub fn processes(&self) -> Result<Vec<u32>, NvmlError> {
        let device = self.device()?;
        let mut processes = BTreeSet::new();
        for listed in [device.running_compute_processes(), device.running_graphics_processes()] {
            match listed {
                Ok(listed) => processes.extend(listed.iter().map(|process| process.pid)),
                // Boards without graphics have no such list.
                Err(NvmlError::NotSupported) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(processes.into_iter().collect())
    }

    /// Whether a GPU answers under this index when NVML is asked for it anew.
    fn answers_anew(&self) -> bool {
        self.look_up()
            .map(|handle| raw::device(self.live().nvml(), handle))
            .is_ok_and(|device| device.temperature(TemperatureSensor::Gpu).is_ok())
    }
}

/// What the driver recommends. Drivers that do not know the field refuse it in one of several ways.
fn recovery_action(device: &Device<'_>) -> Option<u32> {
    let samples = device.field_values_for(&[FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)]).ok()?;
    let action = whole_number(samples.into_iter().next()?.ok()?.value.ok()?)?;
    u32::try_from(action).ok()
}

fn remapped_rows(device: &Device<'_>) -> Result<RemappedRows, NvmlError> {
    let fields = [
        NVML_FI_DEV_REMAPPED_COR,
        NVML_FI_DEV_REMAPPED_UNC,
        NVML_FI_DEV_REMAPPED_PENDING,
        NVML_FI_DEV_REMAPPED_FAILURE,
    ];
    let mut samples = device.field_values_for(&fields.map(FieldId))?.into_iter();
    let mut next = || {
        let sample = samples.next().ok_or(NvmlError::Unknown)?;
        whole_number(sample?.value?).ok_or(NvmlError::Unknown)
    };
    Ok(RemappedRows { corrected: next()?, uncorrected: next()?, pending: next()? != 0, failed: next()? != 0 })
}

fn whole_number(value: SampleValue) -> Option<u64> {
    match value {
        SampleValue::U32(number) => Some(number.into()),
        SampleValue::U64(number) => Some(number),
        SampleValue::I64(number) => u64::try_from(number).ok(),
        SampleValue::F64(_) => None,
    }
}
