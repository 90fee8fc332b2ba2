//! Calls with arguments that are wrong.

use std::ffi::{CStr, c_char, c_uint};
use std::mem::zeroed;

use nvml_wrapper_sys::bindings as sys;

use crate::support::TestNode;
use crate::{code, raw_session};

/// Sizes and versions are those that nvml.h computes, written out.
#[test]
fn a_struct_must_carry_its_version() {
    let node = TestNode::with_driver("hgx-h100-8", "580.95.05");
    let (library, device) = raw_session(&node);
    macro_rules! answers {
        ($name:ident, $type:ident, $version:expr) => {{
            // SAFETY: NVML's structs are plain C data.
            let mut answer: sys::$type = unsafe { zeroed() };
            answer.version = $version;
            nvml!(library, $name(device, (&raw mut answer).cast()))
        }};
    }
    for (name, right, wrong) in [
        (
            "nvmlDeviceGetMemoryInfo_v2",
            answers!(nvmlDeviceGetMemoryInfo_v2, nvmlMemory_v2_t, 0x0200_0028),
            [
                answers!(nvmlDeviceGetMemoryInfo_v2, nvmlMemory_v2_t, 0),
                answers!(nvmlDeviceGetMemoryInfo_v2, nvmlMemory_v2_t, 0x0100_0028),
                answers!(nvmlDeviceGetMemoryInfo_v2, nvmlMemory_v2_t, 0x0200_0020),
            ],
        ),
        (
            "nvmlDeviceGetGpuFabricInfoV",
            answers!(nvmlDeviceGetGpuFabricInfoV, nvmlGpuFabricInfo_v2_t, 0x0200_0024),
            [
                answers!(nvmlDeviceGetGpuFabricInfoV, nvmlGpuFabricInfo_v2_t, 0),
                answers!(nvmlDeviceGetGpuFabricInfoV, nvmlGpuFabricInfo_v2_t, 0x0100_0024),
                answers!(nvmlDeviceGetGpuFabricInfoV, nvmlGpuFabricInfo_v2_t, 0x0200_0028),
            ],
        ),
        (
            "nvmlDeviceGetPciInfoExt",
            answers!(nvmlDeviceGetPciInfoExt, nvmlPciInfoExt_v1_t, 0x0100_0040),
            [
                answers!(nvmlDeviceGetPciInfoExt, nvmlPciInfoExt_v1_t, 0),
                answers!(nvmlDeviceGetPciInfoExt, nvmlPciInfoExt_v1_t, 1),
                answers!(nvmlDeviceGetPciInfoExt, nvmlPciInfoExt_v1_t, 0x0200_0040),
            ],
        ),
        (
            "nvmlDeviceGetPlatformInfo",
            answers!(nvmlDeviceGetPlatformInfo, nvmlPlatformInfo_v2_t, 0x0200_002c),
            [
                answers!(nvmlDeviceGetPlatformInfo, nvmlPlatformInfo_v2_t, 0),
                answers!(nvmlDeviceGetPlatformInfo, nvmlPlatformInfo_v2_t, 2),
                answers!(nvmlDeviceGetPlatformInfo, nvmlPlatformInfo_v2_t, 0x0300_002c),
            ],
        ),
        (
            "nvmlDeviceGetTemperatureV",
            answers!(nvmlDeviceGetTemperatureV, nvmlTemperature_v1_t, 0x0100_000c),
            [
                answers!(nvmlDeviceGetTemperatureV, nvmlTemperature_v1_t, 0),
                answers!(nvmlDeviceGetTemperatureV, nvmlTemperature_v1_t, 0x0100_0008),
                answers!(nvmlDeviceGetTemperatureV, nvmlTemperature_v1_t, 0x0200_000c),
            ],
        ),
    ] {
        assert_eq!(right, code::SUCCESS, "{name}");
        assert_eq!(wrong, [code::ARGUMENT_VERSION_MISMATCH; 3], "{name}");
    }
}

#[test]
fn the_third_version_of_the_fabric_info_is_known_too() {
    let node = TestNode::with_driver("hgx-h100-8", "580.95.05");
    let (library, device) = raw_session(&node);
    // SAFETY: plain C data.
    let mut info: sys::nvmlGpuFabricInfo_v3_t = unsafe { zeroed() };
    info.version = 0x0300_0028;
    let returned = nvml!(library, nvmlDeviceGetGpuFabricInfoV(device, (&raw mut info).cast()));
    // State 3 is COMPLETED. On one node the clique is 0.
    assert_eq!((returned, info.state, info.status, info.cliqueId), (code::SUCCESS, 3, 0, 0));
    assert_eq!(info.healthSummary, 1, "healthy");
}

#[test]
fn a_text_needs_room_for_its_closing_zero() {
    let node = TestNode::new("hgx-h100-8");
    let (library, device) = raw_session(&node);
    // "NVIDIA H100 80GB HBM3" has 21 characters.
    let mut buffer: [c_char; 96] = [0x55; 96];
    for (room, expected) in [
        (0, code::INSUFFICIENT_SIZE),
        (21, code::INSUFFICIENT_SIZE),
        (22, code::SUCCESS),
        (96, code::SUCCESS),
    ] {
        let returned = nvml!(library, nvmlDeviceGetName(device, buffer.as_mut_ptr(), room));
        assert_eq!(returned, expected, "{room} bytes");
        if expected == code::INSUFFICIENT_SIZE {
            assert_eq!(buffer, [0x55; 96], "nothing is written where there is too little room");
        }
    }
    // SAFETY: the library closed it with a zero.
    let name = unsafe { CStr::from_ptr(buffer.as_ptr()) };
    assert_eq!(name, c"NVIDIA H100 80GB HBM3");
    assert_eq!(buffer[22..], [0x55; 74], "nothing is written behind the text");

    let buffer = buffer.as_mut_ptr();
    for (name, returned) in [
        // A UUID with its prefix has 40 characters, a serial number 13.
        ("nvmlDeviceGetUUID", nvml!(library, nvmlDeviceGetUUID(device, buffer, 40))),
        ("nvmlDeviceGetSerial", nvml!(library, nvmlDeviceGetSerial(device, buffer, 13))),
        ("nvmlDeviceGetVbiosVersion", nvml!(library, nvmlDeviceGetVbiosVersion(device, buffer, 4))),
        ("nvmlDeviceGetBoardPartNumber", nvml!(library, nvmlDeviceGetBoardPartNumber(device, buffer, 4))),
        ("nvmlSystemGetDriverVersion", nvml!(library, nvmlSystemGetDriverVersion(buffer, 10))),
        ("nvmlSystemGetNVMLVersion", nvml!(library, nvmlSystemGetNVMLVersion(buffer, 13))),
    ] {
        assert_eq!(returned, code::INSUFFICIENT_SIZE, "{name}");
    }
}

#[test]
fn a_list_says_how_much_room_it_needs() {
    use fake_node::inject::{GpuSelector, Injection};
    use fake_node::model::Process;

    let node = TestNode::new("h100-nvl-2");
    for pid in [4001, 4002, 4003] {
        let process = Process { pid, name: "/opt/train".into(), memory_mib: 1024, graphics: false };
        node.inject(&Injection::ProcessStarts { gpu: GpuSelector::Slot(0), process }).unwrap();
    }
    let (library, device) = raw_session(&node);
    let mut infos = [const { std::mem::MaybeUninit::<sys::nvmlProcessInfo_t>::zeroed() }; 4];
    for (room, expected) in [(0, code::INSUFFICIENT_SIZE), (2, code::INSUFFICIENT_SIZE), (4, code::SUCCESS)] {
        let mut count: c_uint = room;
        let infos = infos.as_mut_ptr().cast();
        let returned = nvml!(library, nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, infos));
        assert_eq!((returned, count), (expected, 3), "room for {room}");
    }
    // SAFETY: all of it was zeroed, and three of it written.
    let infos = infos.map(|info| unsafe { info.assume_init() });
    assert_eq!(infos.map(|info| info.pid), [4001, 4002, 4003, 0]);
    assert_eq!(infos[0].usedGpuMemory, 1024 << 20);
    assert_eq!(infos[0].gpuInstanceId, u32::MAX, "no GPU instance");

    // The structs of the first version have 16 bytes: pid, memory.
    let mut first = [[0_u64; 2]; 3];
    let mut count = 3;
    let returned = nvml!(
        library,
        nvmlDeviceGetComputeRunningProcesses(device, &raw mut count, first.as_mut_ptr().cast())
    );
    assert_eq!(returned, code::SUCCESS);
    assert_eq!(
        first.map(|[pid, used]| (pid & 0xFFFF_FFFF, used >> 20)),
        [(4001, 1024), (4002, 1024), (4003, 1024)]
    );
}

#[test]
fn a_handle_that_was_never_given_out_is_an_invalid_argument() {
    let node = TestNode::new("h100-nvl-2");
    let (library, device) = raw_session(&node);
    let good = device.addr();
    for (what, bad) in [
        ("NULL", 0),
        ("a small number", 3),
        ("another slot", good + 200),
        ("another tag", good ^ 1 << 60),
        ("all bits", usize::MAX),
    ] {
        let mut index = 0;
        let handle = std::ptr::without_provenance_mut(bad);
        let returned = nvml!(library, nvmlDeviceGetIndex(handle, &raw mut index));
        assert_eq!(returned, code::INVALID_ARGUMENT, "{what}");
    }
}
