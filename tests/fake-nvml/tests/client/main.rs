//! The library as the real nvml-wrapper and raw C callers use it, in this process and in others.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test; raw calls are what is tested"
)]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod damage;
mod enumeration;
mod event_sets;
mod faults;
mod lifecycle;
mod losses;
mod reload;
mod strict;
mod versions;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t};

use support::TestNode;

/// Codes of nvmlReturn_t, as nvml.h numbers them.
mod code {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const UNINITIALIZED: u32 = 1;
    pub(crate) const INVALID_ARGUMENT: u32 = 2;
    pub(crate) const NOT_SUPPORTED: u32 = 3;
    pub(crate) const NO_PERMISSION: u32 = 4;
    pub(crate) const NOT_FOUND: u32 = 6;
    pub(crate) const INSUFFICIENT_SIZE: u32 = 7;
    pub(crate) const DRIVER_NOT_LOADED: u32 = 9;
    pub(crate) const TIMEOUT: u32 = 10;
    pub(crate) const FUNCTION_NOT_FOUND: u32 = 13;
    pub(crate) const GPU_IS_LOST: u32 = 15;
    pub(crate) const LIB_RM_VERSION_MISMATCH: u32 = 18;
    pub(crate) const ARGUMENT_VERSION_MISMATCH: u32 = 25;
    pub(crate) const UNKNOWN: u32 = 999;
}

/// A session through nvml-wrapper.
fn session(node: &TestNode) -> Nvml {
    try_session(node).unwrap()
}

fn try_session(node: &TestNode) -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(node.library().as_os_str()).init()
}

/// A library in a session, and the handle of its first GPU.
fn raw_session(node: &TestNode) -> (NvmlLib, nvmlDevice_t) {
    let library = node.raw();
    assert_eq!(nvml!(library, nvmlInit_v2()), code::SUCCESS);
    let device = handle(&library, 0).unwrap();
    (library, device)
}

/// The handle of a GPU, or the code.
fn handle(library: &NvmlLib, index: u32) -> Result<nvmlDevice_t, u32> {
    let mut device = std::ptr::null_mut();
    match nvml!(library, nvmlDeviceGetHandleByIndex_v2(index, &raw mut device)) {
        code::SUCCESS => Ok(device),
        code => Err(code),
    }
}

/// The number of GPUs, or the code.
fn count(library: &NvmlLib) -> Result<u32, u32> {
    let mut count = 0;
    match nvml!(library, nvmlDeviceGetCount_v2(&raw mut count)) {
        code::SUCCESS => Ok(count),
        code => Err(code),
    }
}

/// The minor number of a GPU, as a call that any GPU answers, or the code.
fn minor(library: &NvmlLib, device: nvmlDevice_t) -> Result<u32, u32> {
    let mut minor = 0;
    match nvml!(library, nvmlDeviceGetMinorNumber(device, &raw mut minor)) {
        code::SUCCESS => Ok(minor),
        code => Err(code),
    }
}

/// UUIDs of the GPUs that a session lists.
fn uuids(nvml: &Nvml) -> Vec<String> {
    let count = nvml.device_count().unwrap();
    (0..count).map(|index| nvml.device_by_index(index).unwrap().uuid().unwrap()).collect()
}
