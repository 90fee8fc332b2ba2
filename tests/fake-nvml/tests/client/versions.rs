//! Which functions a driver of which version has, and every function with nothing for its pointers.

use std::collections::BTreeSet;
use std::ffi::c_char;

use nvml_wrapper_sys::bindings::NvmlLib;

use crate::support::{TestNode, is_root};
use crate::{code, raw_session};

/// `nm -D` of the real libraries.
const REAL_535: &str = include_str!("../data/libnvidia-ml-535.261.03-exports.txt");
const REAL_550: &str = include_str!("../data/libnvidia-ml-550.163.01-exports.txt");

/// More arguments than any function has: C's calling conventions let callees ignore what they do not know.
type AnyFunction = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> u32;

fn call(library: &NvmlLib, name: &str, first: usize) -> u32 {
    // SAFETY: every NVML function but nvmlErrorString returns a number and takes integers and pointers.
    let function = unsafe { library.__library.get::<AnyFunction>(name.as_bytes()) }.unwrap();
    // SAFETY: the library withstands NULL in place of every pointer; that is what is tested.
    unsafe { function(first, 0, 0, 0, 0, 0) }
}

/// All functions but those that begin and end sessions and the one that returns a text.
fn ordinary_functions() -> impl Iterator<Item = &'static str> {
    let apart = ["nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown", "nvmlErrorString"];
    fake_node::symbols::FUNCTIONS.iter().map(|(name, _)| *name).filter(move |name| !apart.contains(name))
}

#[test]
fn a_driver_has_what_the_real_library_of_its_version_exports_and_nothing_newer() {
    for (version, real) in [("535.261.03", REAL_535), ("550.163.01", REAL_550)] {
        let node = TestNode::with_driver("h100-nvl-2", version);
        let library = node.raw();
        let real: BTreeSet<&str> = real.lines().collect();
        // These answer without a session: the version is no secret, the table a private matter.
        let open = ["nvmlSystemGetNVMLVersion", "nvmlInternalGetExportTable"];
        for name in ordinary_functions() {
            let expected = match name {
                _ if open.contains(&name) => code::INVALID_ARGUMENT,
                _ if real.contains(name) => code::UNINITIALIZED,
                _ => code::FUNCTION_NOT_FOUND,
            };
            assert_eq!(call(&library, name, 0), expected, "{name} on {version}");
        }
    }
}

/// Branches from NVIDIA's headers: GetC2cModeInfoV came with 550, GetPlatformInfo with 570, GetAddressingMode with 580.
#[test]
fn newer_functions_come_with_newer_drivers() {
    for (version, has) in [
        ("535.261.03", [false, false, false]),
        ("550.163.01", [true, false, false]),
        ("570.172.08", [true, true, false]),
        ("580.95.05", [true, true, true]),
    ] {
        let node = TestNode::with_driver("hgx-h100-8", version);
        let (library, device) = raw_session(&node);
        let functions =
            ["nvmlDeviceGetC2cModeInfoV", "nvmlDeviceGetPlatformInfo", "nvmlDeviceGetAddressingMode"];
        for (name, has) in functions.into_iter().zip(has) {
            let returned = call(&library, name, device.addr());
            assert_eq!(returned != code::FUNCTION_NOT_FOUND, has, "{name} on {version}");
        }
    }
}

#[test]
fn versions_are_those_of_the_driver() {
    // CUDA versions from NVIDIA's release notes of the drivers.
    for (version, nvml_version, cuda) in [
        ("535.261.03", "12.535.261.03", 12020),
        ("550.163.01", "12.550.163.01", 12040),
        ("570.172.08", "12.570.172.08", 12080),
        ("580.95.05", "13.580.95.05", 13000),
    ] {
        let node = TestNode::with_driver("h100-nvl-2", version);
        let nvml = crate::session(&node);
        assert_eq!(nvml.sys_driver_version().unwrap(), version);
        assert_eq!(nvml.sys_nvml_version().unwrap(), nvml_version);
        assert_eq!(nvml.sys_cuda_driver_version().unwrap(), cuda);
        assert_eq!(nvml.device_by_index(0).unwrap().gsp_firmware_version().unwrap(), version);
    }
}

#[test]
fn nothing_for_its_pointers_breaks_no_function() {
    let node = TestNode::with_driver("hgx-h100-8", "580.95.05");
    let (library, device) = raw_session(&node);
    // Setters whose argument 0 means "off" or "default".
    let setters = [
        "nvmlDeviceSetPersistenceMode",
        "nvmlDeviceSetComputeMode",
        "nvmlDeviceSetEccMode",
        "nvmlDeviceClearEccErrorCounts",
    ];
    for name in ordinary_functions() {
        let looks_up = name.starts_with("nvmlDeviceGetHandleBy") || name.starts_with("nvmlDeviceGetCount");
        let of_a_device = name.starts_with("nvmlDevice") && !looks_up;
        let returned = call(&library, name, if of_a_device { device.addr() } else { 0 });
        let expected: &[u32] = match name {
            "nvmlDeviceValidateInforom" => &[code::SUCCESS],
            _ if setters.contains(&name) && is_root() => &[code::SUCCESS],
            _ if setters.contains(&name) => &[code::NO_PERMISSION],
            _ => &[code::INVALID_ARGUMENT, code::NOT_SUPPORTED, code::NOT_FOUND, code::FUNCTION_NOT_FOUND],
        };
        assert!(expected.contains(&returned), "{name} returned {returned}");
    }
    assert_eq!(crate::count(&library), Ok(8), "the session goes on");
}

/// Texts as the real library 550.163.01 prints them.
#[test]
fn error_texts_are_the_real_ones() {
    let library = TestNode::new("h100-nvl-2").raw();
    for (code, expected) in [
        (0, "Success"),
        (1, "Uninitialized"),
        (2, "Invalid Argument"),
        (3, "Not Supported"),
        (4, "Insufficient Permissions"),
        (5, "Already Initialized"),
        (6, "Not Found"),
        (7, "Insufficient Size"),
        (8, "Insufficient External Power"),
        (9, "Driver Not Loaded"),
        (10, "Timeout"),
        (11, "Interrupt Request Issue"),
        (12, "NVML Shared Library Not Found"),
        (13, "Function Not Found"),
        (14, "Corrupted infoROM"),
        (15, "GPU is lost"),
        (16, "GPU requires reset"),
        (17, "GPU access blocked by the operating system"),
        (18, "Driver/library version mismatch"),
        (19, "In use by another client"),
        (20, "Insufficient Memory"),
        (21, "No data"),
        (22, "vGPU ECC not supported"),
        (23, "Insufficient Resources"),
        (24, "Invalid Frequency"),
        (25, "Argument version mismatch"),
        (26, "Requested functionality has been deprecated"),
        (27, "System is not in ready state"),
        (28, "No supported GPUs were found"),
        (29, "Resource not in correct state to perform requested operation"),
        (30, "Unknown Error"),
        (999, "Unknown Error"),
        (u32::MAX, "Unknown Error"),
    ] {
        let text: *const c_char = nvml!(library, nvmlErrorString(code));
        // SAFETY: the library answers a constant C string.
        let text = unsafe { std::ffi::CStr::from_ptr(text) };
        assert_eq!(text.to_str().unwrap(), expected, "{code}");
    }
}
