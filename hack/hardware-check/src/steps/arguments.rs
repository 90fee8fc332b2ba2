//! What a GPU's functions answer to arguments that are wrong, as far as asking is safe: no NULL for an answer,
//! no handle that NVML did not give out.

use nvml_wrapper_sys::bindings as sys;

use super::shapes::{length, number_of, number_of2, numbers, scoped_set, set, structure, text, text_of};
use super::{Gpu, Step, steps};
use crate::answer::Asked;
use crate::answer::Class::{Fact, Volatile};
use crate::raw::{self, version_of, zeroed};

/// The steps.
pub(crate) fn of_gpu() -> Vec<Step<Gpu>> {
    let mut steps = buffers();
    steps.extend(enumerations());
    steps.extend(versions());
    steps.extend(own_names());
    steps
}

fn buffers() -> Vec<Step<Gpu>> {
    let mut steps = steps![Gpu;
        nvmlDeviceGetName("length 1") = text[1, Fact];
        nvmlDeviceGetName("length 0") = text[0, Fact];
        nvmlDeviceGetUUID("length 8") = text[8, Fact];
        nvmlDeviceGetSerial("length 2") = text[2, Fact];
        nvmlDeviceGetVbiosVersion("length 2") = text[2, Fact];
        nvmlDeviceGetBoardPartNumber("length 2") = text[2, Fact];
        nvmlDeviceGetSupportedMemoryClocks("room 0") = numbers[0, Fact];
        nvmlDeviceGetComputeRunningProcesses_v3("room 0") = length[0, Volatile];
        nvmlDeviceGetCpuAffinity("0 words") = set[0, Fact];
        nvmlDeviceGetMemoryAffinity("0 words") = scoped_set[(0, 0), Fact];
    ];
    steps.push(Step::new("nvmlDeviceGetName", "length one less than needed", |on: &Gpu| {
        of_name(on, |length| length)
    }));
    steps.push(Step::new("nvmlDeviceGetName", "length just as needed", |on: &Gpu| {
        of_name(on, |length| length + 1)
    }));
    steps
}

/// Asks for the name with a length made from its own.
fn of_name(on: &Gpu, room: fn(u32) -> u32) -> Asked {
    let function = &on.library.functions.nvmlDeviceGetName;
    let raw::Got::Code(0, name) = raw::text1(function, on.device, 96) else {
        return Asked::on_success(raw::text1(function, on.device, 96), |_| Vec::new());
    };
    let length = u32::try_from(name.len()).unwrap_or(0);
    Asked::on_success(raw::text1(function, on.device, room(length)), |_| Vec::new())
}

fn enumerations() -> Vec<Step<Gpu>> {
    steps![Gpu;
        nvmlDeviceGetClockInfo("type 99") = number_of[99, Fact];
        nvmlDeviceGetMaxClockInfo("type 99") = number_of[99, Fact];
        nvmlDeviceGetApplicationsClock("type 99") = number_of[99, Fact];
        nvmlDeviceGetClock("type 99") = number_of2[(99, 0), Fact];
        nvmlDeviceGetClock("id 99") = number_of2[(0, 99), Fact];
        nvmlDeviceGetTemperature("sensor 99") = number_of[99, Fact];
        nvmlDeviceGetTemperatureThreshold("type 99") = number_of[99, Fact];
        nvmlDeviceGetPcieThroughput("counter 99") = number_of[99, Fact];
        nvmlDeviceGetTotalEccErrors("severity 99") = number_of2[(99, 0), Fact];
        nvmlDeviceGetTotalEccErrors("life time 99") = number_of2[(0, 99), Fact];
        nvmlDeviceGetInforomVersion("object 99") = text_of[99, Fact];
        nvmlDeviceGetAPIRestriction("API 99") = number_of[99, Fact];
        nvmlDeviceGetCpuAffinityWithinScope("scope 99") = scoped_set[(16, 99), Fact];
        nvmlDeviceGetMemoryAffinity("scope 99") = scoped_set[(4, 99), Fact];
        nvmlDeviceGetNvLinkState("link 18") = number_of[18, Fact];
        nvmlDeviceGetNvLinkState("link 36") = number_of[36, Fact];
        nvmlDeviceGetNvLinkVersion("link 18") = number_of[18, Fact];
        nvmlDeviceGetNvLinkVersion("link 36") = number_of[36, Fact];
        nvmlDeviceGetNvLinkRemoteDeviceType("link 18") = number_of[18, Fact];
        nvmlDeviceGetNvLinkCapability("link 18") = number_of2[(18, 0), Fact];
        nvmlDeviceGetNvLinkCapability("capability 99") = number_of2[(0, 99), Fact];
        nvmlDeviceGetNvLinkErrorCounter("counter 99") = number_of2[(0, 99), Fact];
    ]
}

fn versions() -> Vec<Step<Gpu>> {
    steps![Gpu;
        nvmlDeviceGetMemoryInfo_v2("version 0") = structure[memory(0), nothing];
        nvmlDeviceGetMemoryInfo_v2("version 1") = structure[memory(memory_version(1)), nothing];
        nvmlDeviceGetMemoryInfo_v2("version 3") = structure[memory(memory_version(3)), nothing];
        nvmlDeviceGetTemperatureV("version 9") = structure[
            sys::nvmlTemperature_v1_t { version: version_of::<sys::nvmlTemperature_v1_t>(9), ..zeroed() },
            nothing
        ];
        nvmlDeviceGetPlatformInfo("version 9") = structure[
            sys::nvmlPlatformInfo_v2_t { version: version_of::<sys::nvmlPlatformInfo_v2_t>(9), ..zeroed() },
            nothing
        ];
        nvmlDeviceGetPciInfoExt("version 0") = structure[zeroed(), nothing::<sys::nvmlPciInfoExt_v1_t>];
        nvmlGpmQueryDeviceSupport("version 0") = structure[zeroed(), nothing::<sys::nvmlGpmSupport_t>];
    ]
}

fn memory_version(version: u32) -> u32 {
    version_of::<sys::nvmlMemory_v2_t>(version)
}

fn memory(version: u32) -> sys::nvmlMemory_v2_t {
    sys::nvmlMemory_v2_t { version, ..zeroed() }
}

fn nothing<T>(_: T) -> Vec<crate::answer::Field> {
    Vec::new()
}

/// Another way to write a name.
type Spelling = fn(&str) -> String;

/// The GPU by its own names, in other spellings too, and itself in the place of another GPU.
fn own_names() -> Vec<Step<Gpu>> {
    let mut steps = Vec::new();
    let spellings: [(&str, Spelling); 3] = [
        ("its own", str::to_owned),
        ("its own in capitals", str::to_uppercase),
        ("its own without 'GPU-'", |uuid| uuid.trim_start_matches("GPU-").to_owned()),
    ];
    for (label, spell) in spellings {
        steps.push(Step::new("nvmlDeviceGetHandleByUUID", label, move |on: &Gpu| {
            let functions = &on.library.functions;
            let uuid = raw::text1(&functions.nvmlDeviceGetUUID, on.device, 96);
            by_name(&functions.nvmlDeviceGetHandleByUUID, uuid, spell)
        }));
    }
    let spellings: [(&str, Spelling); 4] = [
        ("its own", str::to_owned),
        ("its own in small letters", str::to_lowercase),
        ("its own with four digits of domain", |address| address.get(4..).unwrap_or_default().to_owned()),
        ("its own without domain", |address| address.get(9..).unwrap_or_default().to_owned()),
    ];
    for (label, spell) in spellings {
        steps.push(Step::new("nvmlDeviceGetHandleByPciBusId_v2", label, move |on: &Gpu| {
            let functions = &on.library.functions;
            let info = raw::get1(&functions.nvmlDeviceGetPciInfo_v3, on.device, zeroed());
            let address = info.map(|info: sys::nvmlPciInfo_t| raw::until_nul(&info.busId));
            by_name(&functions.nvmlDeviceGetHandleByPciBusId_v2, address, spell)
        }));
    }
    steps.push(Step::new("nvmlDeviceGetHandleBySerial", "its own", |on: &Gpu| {
        let functions = &on.library.functions;
        let serial = raw::text1(&functions.nvmlDeviceGetSerial, on.device, 30);
        by_name(&functions.nvmlDeviceGetHandleBySerial, serial, str::to_owned)
    }));
    steps.push(Step::new("nvmlDeviceGetTopologyCommonAncestor", "itself", |on: &Gpu| {
        let function = &on.library.functions.nvmlDeviceGetTopologyCommonAncestor;
        Asked::on_success(raw::get2(function, (on.device, on.device), 0), |level: u32| {
            vec![crate::answer::fact("value", level)]
        })
    }));
    steps.push(Step::new("nvmlDeviceGetP2PStatus", "itself", |on: &Gpu| {
        let function = &on.library.functions.nvmlDeviceGetP2PStatus;
        Asked::on_success(raw::get3(function, (on.device, on.device, 0_u32), 0), |status: u32| {
            vec![crate::answer::fact("value", status)]
        })
    }));
    steps
}

fn by_name<E>(
    function: &Result<
        unsafe extern "C" fn(*const std::ffi::c_char, *mut sys::nvmlDevice_t) -> std::ffi::c_uint,
        E,
    >,
    name: raw::Got<String>,
    spell: Spelling,
) -> Asked {
    let raw::Got::Code(0, name) = name else {
        return Asked::on_success(name, |_| Vec::new());
    };
    // A text that NVML wrote holds no NUL.
    let name = std::ffi::CString::new(spell(&name)).unwrap_or_default();
    Asked::on_success(raw::device(function, name.as_c_str()), |_| Vec::new())
}
