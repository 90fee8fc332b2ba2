//! Power, temperature, clocks, utilisation.

use std::ffi::{c_int, c_uint, c_ulonglong};

use fake_node::model::{Clocks, Gpu};

use crate::abi::{Answer, Failure, Out, fill, sys};
use crate::call::Device;

/// Clock event reasons that Hopper knows: idle, application clocks, power cap, hardware and software slow-down,
/// sync boost, thermal (software, hardware), power brake.
const KNOWN_REASONS: u64 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80;

pub(crate) fn usage(device: &Device, milliwatts: Out<c_uint>) -> Answer {
    milliwatts.set(device.gpu().live.power_mw)
}

pub(crate) fn limit(device: &Device, milliwatts: Out<c_uint>) -> Answer {
    milliwatts.set(device.gpu().live.power_limit_w * 1000)
}

pub(crate) fn default_limit(device: &Device, milliwatts: Out<c_uint>) -> Answer {
    milliwatts.set(device.gpu().board.power.default_w * 1000)
}

pub(crate) fn limits(device: &Device, min: Out<c_uint>, max: Out<c_uint>) -> Answer {
    min.set(device.gpu().board.power.min_w * 1000)?;
    max.set(device.gpu().board.power.max_w * 1000)
}

pub(crate) fn set_limit(device: &Device, milliwatts: c_uint) -> Answer {
    let range = device.gpu().board.power;
    if !(range.min_w * 1000..=range.max_w * 1000).contains(&milliwatts) {
        return Err(Failure::INVALID_ARGUMENT);
    }
    device.change(|gpu| gpu.live.power_limit_w = milliwatts / 1000)
}

pub(crate) fn management_mode(_: &Device, mode: Out<c_uint>) -> Answer {
    mode.set(1)
}

pub(crate) fn source(_: &Device, source: Out<sys::nvmlPowerSource_t>) -> Answer {
    source.set(0)
}

pub(crate) fn energy(device: &Device, millijoules: Out<c_ulonglong>) -> Answer {
    millijoules.set(device.gpu().live.energy_mj)
}

pub(crate) fn temperature(device: &Device, sensor: c_uint, celsius: Out<c_uint>) -> Answer {
    match sensor {
        sys::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU => celsius.set(device.gpu().live.temperature),
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}

pub(crate) fn temperature_versioned(device: &Device, answer: Out<sys::nvmlTemperature_v1_t>) -> Answer {
    let mut temperature = answer.versioned(1)?;
    if temperature.sensorType != sys::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU {
        return Err(Failure::INVALID_ARGUMENT);
    }
    temperature.temperature = signed(device.gpu().live.temperature);
    answer.set(temperature)
}

pub(crate) fn margin_temperature(device: &Device, answer: Out<sys::nvmlMarginTemperature_v1_t>) -> Answer {
    let mut margin = answer.versioned(1)?;
    margin.marginTemperature = margin_of(device.gpu());
    answer.set(margin)
}

/// Degrees left before the GPU slows down ("T.Limit").
pub(crate) fn margin_of(gpu: &Gpu) -> c_int {
    signed(gpu.board.thresholds.max_operating) - signed(gpu.live.temperature)
}

fn signed(value: u32) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

pub(crate) fn threshold(device: &Device, kind: c_uint, celsius: Out<c_uint>) -> Answer {
    let thresholds = device.gpu().board.thresholds;
    celsius.set(match kind {
        sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SHUTDOWN => thresholds.shutdown,
        sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_SLOWDOWN => thresholds.slowdown,
        sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_MEM_MAX => thresholds.memory_max,
        sys::nvmlTemperatureThresholds_enum_NVML_TEMPERATURE_THRESHOLD_GPU_MAX => thresholds.max_operating,
        _ => return Err(Failure::NOT_SUPPORTED),
    })
}

/// Of graphics (0), SM (1), memory (2) and video (3) clock.
fn choose(kind: c_uint, sm: u32, memory: u32, video: u32) -> Result<u32, Failure> {
    match kind {
        sys::nvmlClockType_enum_NVML_CLOCK_GRAPHICS | sys::nvmlClockType_enum_NVML_CLOCK_SM => Ok(sm),
        sys::nvmlClockType_enum_NVML_CLOCK_MEM => Ok(memory),
        sys::nvmlClockType_enum_NVML_CLOCK_VIDEO => Ok(video),
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}

fn busy(gpu: &Gpu) -> bool {
    gpu.live.utilization_gpu > 0
}

fn clock_now(gpu: &Gpu, kind: c_uint) -> Result<u32, Failure> {
    let Clocks { sm_max, memory_max, video_max, sm_idle, memory_idle, video_idle } = gpu.board.clocks;
    if busy(gpu) {
        choose(kind, sm_max, memory_max, video_max)
    } else {
        choose(kind, sm_idle, memory_idle, video_idle)
    }
}

fn clock_max(gpu: &Gpu, kind: c_uint) -> Result<u32, Failure> {
    choose(kind, gpu.board.clocks.sm_max, gpu.board.clocks.memory_max, gpu.board.clocks.video_max)
}

pub(crate) fn clock(device: &Device, kind: c_uint, mhz: Out<c_uint>) -> Answer {
    mhz.set(clock_now(device.gpu(), kind)?)
}

pub(crate) fn max_clock(device: &Device, kind: c_uint, mhz: Out<c_uint>) -> Answer {
    mhz.set(clock_max(device.gpu(), kind)?)
}

pub(crate) fn clock_by_id(device: &Device, kind: c_uint, id: c_uint, mhz: Out<c_uint>) -> Answer {
    match id {
        sys::nvmlClockId_enum_NVML_CLOCK_ID_CURRENT => clock(device, kind, mhz),
        sys::nvmlClockId_enum_NVML_CLOCK_ID_APP_CLOCK_TARGET
        | sys::nvmlClockId_enum_NVML_CLOCK_ID_APP_CLOCK_DEFAULT
        | sys::nvmlClockId_enum_NVML_CLOCK_ID_CUSTOMER_BOOST_MAX => application_clock(device, kind, mhz),
        _ => Err(Failure::INVALID_ARGUMENT),
    }
}

/// Unless set otherwise, applications run at the highest clocks.
pub(crate) fn application_clock(device: &Device, kind: c_uint, mhz: Out<c_uint>) -> Answer {
    if kind == sys::nvmlClockType_enum_NVML_CLOCK_VIDEO {
        return Err(Failure::NOT_SUPPORTED);
    }
    max_clock(device, kind, mhz)
}

pub(crate) fn memory_clocks(device: &Device, count: Out<c_uint>, mhz: Out<c_uint>) -> Answer {
    fill(count, mhz, &[device.gpu().board.clocks.memory_max])
}

/// Steps of 15 MHz from the highest down to idle, for the one memory clock.
pub(crate) fn graphics_clocks(
    device: &Device,
    memory_mhz: c_uint,
    count: Out<c_uint>,
    mhz: Out<c_uint>,
) -> Answer {
    let clocks = device.gpu().board.clocks;
    if memory_mhz != clocks.memory_max {
        return Err(Failure::NOT_FOUND);
    }
    let steps: Vec<c_uint> = (clocks.sm_idle..=clocks.sm_max).rev().step_by(15).collect();
    fill(count, mhz, &steps)
}

pub(crate) fn event_reasons(device: &Device, reasons: Out<c_ulonglong>) -> Answer {
    reasons.set(device.gpu().live.clock_event_reasons)
}

pub(crate) fn known_event_reasons(_: &Device, reasons: Out<c_ulonglong>) -> Answer {
    reasons.set(KNOWN_REASONS)
}

pub(crate) fn performance_state(_: &Device, state: Out<sys::nvmlPstates_t>) -> Answer {
    state.set(sys::nvmlPStates_enum_NVML_PSTATE_0)
}

pub(crate) fn utilization(device: &Device, rates: Out<sys::nvmlUtilization_t>) -> Answer {
    let live = &device.gpu().live;
    rates.set(sys::nvmlUtilization_t { gpu: live.utilization_gpu, memory: live.utilization_memory })
}

/// Encoders, decoders, JPEG and optical flow engines idle. Hopper has no encoder and says zero.
pub(crate) fn engine_idle(_: &Device, percent: Out<c_uint>, period_us: Out<c_uint>) -> Answer {
    percent.set(0)?;
    period_us.set(167_000)
}

pub(crate) fn violation(_: &Device, _: c_uint, time: Out<sys::nvmlViolationTime_t>) -> Answer {
    let now_us = fake_node::calls::boot_time_ns() / 1000;
    time.set(sys::nvmlViolationTime_t { referenceTime: now_us, violationTime: 0 })
}
