//! Calls without a GPU: before nvmlInit, within a session, after nvmlShutdown.

use std::ffi::{CStr, c_char, c_uint};

use nvml_wrapper_sys::bindings as sys;

use super::shapes::{system_number, system_text};
use super::{Gpu, Step, System, gpu, steps};
use crate::answer::{Asked, Class, code_value, fact, identity, volatile};
use crate::raw::{self, Device, Got};

/// The codes whose texts are asked for: all that nvml.h knows, those behind them, and "unknown".
const ERROR_CODES: std::ops::RangeInclusive<u32> = 0..=32;
const UNKNOWN: u32 = 999;

/// What the library answers before it is initialised: nothing here reaches the driver.
pub(crate) fn before() -> Vec<Step<System>> {
    let mut steps = steps![System;
        nvmlSystemGetNVMLVersion = system_text[80, Class::Fact];
        nvmlSystemGetNVMLVersion("length 1") = system_text[1, Class::Fact];
        nvmlSystemGetDriverVersion = system_text[80, Class::Fact];
        nvmlSystemGetCudaDriverVersion = system_number[Class::Fact];
        nvmlSystemGetCudaDriverVersion_v2 = system_number[Class::Fact];
        nvmlSystemGetDriverBranch = branch[1];
        nvmlSystemGetProcessName("pid 4294967295") = process_name[u32::MAX];
        nvmlDeviceGetCount_v2 = system_number[Class::Fact];
        nvmlDeviceGetHandleByIndex_v2("0") = handle[0_u32];
        nvmlDeviceGetHandleByUUID("no such") = handle[NO_UUID];
        nvmlGetExcludedDeviceCount = system_number[Class::Fact];
        nvmlUnitGetCount = system_number[Class::Fact];
    ];
    steps.extend(without_handle(super::of_gpu()));
    steps.push(Step::once(&["nvmlEventSetCreate"], "nvmlEventSetCreate", |on: &System| {
        Asked::on_success(raw::event_set(on.library), |_| Vec::new())
    }));
    steps.push(Step::once(&["nvmlShutdown"], "nvmlShutdown", shutdown));
    for code in ERROR_CODES.chain([UNKNOWN, u32::MAX]) {
        steps.push(Step::new("nvmlErrorString", &code.to_string(), move |on: &System| {
            let text = raw::error_string(on.library, code);
            let code = on.library.functions.nvmlErrorString.is_ok().then_some(0);
            Asked { code, fields: vec![fact("value", text)] }
        }));
    }
    steps
}

/// Calls for a GPU, with the handle NULL.
fn without_handle(of_gpu: Vec<Step<Gpu>>) -> Vec<Step<System>> {
    of_gpu
        .into_iter()
        .map(|step| {
            let ask = move |on: &System| {
                let asked = (step.ask)(&Gpu { library: on.library, device: Device::NULL, index: 0 });
                // Whatever there is to say without a GPU is not the GPU's.
                Asked { code: asked.code, fields: Vec::new() }
            };
            Step {
                functions: step.functions,
                call: format!("{} of NULL", step.call),
                repeatable: false,
                ask: Box::new(ask),
            }
        })
        .collect()
}

/// The first call of a session.
pub(crate) fn init() -> Step<System> {
    Step::once(&["nvmlInit_v2"], "nvmlInit_v2", |on: &System| {
        Asked::on_success(raw::call0(&on.library.functions.nvmlInit_v2), |()| Vec::new())
    })
}

/// Calls within a session.
pub(crate) fn steps() -> Vec<Step<System>> {
    let mut steps = steps![System;
        nvmlSystemGetDriverVersion = system_text[80, Class::Fact];
        nvmlSystemGetNVMLVersion = system_text[80, Class::Fact];
        nvmlSystemGetCudaDriverVersion = system_number[Class::Fact];
        nvmlSystemGetCudaDriverVersion_v2 = system_number[Class::Fact];
        nvmlSystemGetDriverBranch = branch[1];
        nvmlDeviceGetCount_v2 = system_number[Class::Fact];
        nvmlGetExcludedDeviceCount = system_number[Class::Identity];
        nvmlGetExcludedDeviceInfoByIndex("4294967295") = excluded;
        nvmlUnitGetCount = system_number[Class::Fact];
        nvmlSystemGetTopologyGpuSet("CPU 0") = gpus_of_cpu;
        nvmlSystemGetConfComputeState = conf_compute;
        nvmlSystemGetConfComputeGpusReadyState = system_number[Class::Volatile];
        nvmlSystemGetNvlinkBwMode = system_number[Class::Volatile];
        // Bad arguments.
        nvmlSystemGetDriverVersion("length 1") = system_text[1, Class::Fact];
        nvmlSystemGetDriverVersion("length 0") = system_text[0, Class::Fact];
        nvmlSystemGetNVMLVersion("length 1") = system_text[1, Class::Fact];
        nvmlSystemGetDriverBranch("version 9") = branch[9];
        nvmlSystemGetProcessName("pid 4294967295") = process_name[u32::MAX];
        nvmlDeviceGetHandleByIndex_v2("4294967295") = handle[u32::MAX];
        nvmlDeviceGetHandleByIndex_v2("64") = handle[64_u32];
        nvmlDeviceGetHandleByUUID("no such") = handle[NO_UUID];
        nvmlDeviceGetHandleByUUID("no UUID") = handle[c"nonsense"];
        nvmlDeviceGetHandleByUUID("empty") = handle[c""];
        nvmlDeviceGetHandleBySerial("no such") = handle[c"0000000000001"];
        nvmlDeviceGetHandleByPciBusId_v2("no such") = handle[c"00000000:FF:1F.7"];
        nvmlDeviceGetHandleByPciBusId_v2("no address") = handle[c"nonsense"];
        nvmlDeviceGetHandleByPciBusId_v2("empty") = handle[c""];
    ];
    steps.extend(without_handle(gpu::identity()));
    steps.push(Step::once(
        &["nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetCount_v2"],
        "nvmlInit_v2, nvmlShutdown, nvmlDeviceGetCount_v2 (the session is counted)",
        |on: &System| {
            let functions = &on.library.functions;
            let again = raw::call0(&functions.nvmlInit_v2);
            let once = if again.code() == Some(0) { raw::call0(&functions.nvmlShutdown) } else { again };
            let count: Got<u32> = raw::get(&functions.nvmlDeviceGetCount_v2, 0);
            Asked {
                code: count.code(),
                fields: vec![
                    fact("nvmlInit_v2", code_value(again.code())),
                    fact("nvmlShutdown", code_value(once.code())),
                ],
            }
        },
    ));
    steps
}

/// The end of the session, and calls after it. A handle of the session is of no use then: NULL stands for it.
pub(crate) fn after() -> Vec<Step<System>> {
    let mut steps = vec![Step::once(&["nvmlShutdown"], "nvmlShutdown", shutdown)];
    steps.extend(steps![System;
        nvmlDeviceGetCount_v2 = system_number[Class::Fact];
        nvmlSystemGetDriverVersion = system_text[80, Class::Fact];
        nvmlSystemGetNVMLVersion = system_text[80, Class::Fact];
        nvmlDeviceGetHandleByIndex_v2("0") = handle[0_u32];
    ]);
    steps.extend(without_handle(super::of_gpu()));
    steps.push(Step::once(&["nvmlShutdown"], "nvmlShutdown(again)", shutdown));
    steps
}

/// A UUID that no GPU has.
const NO_UUID: &CStr = c"GPU-00000000-0000-0000-0000-000000000000";

fn shutdown(on: &System) -> Asked {
    Asked::on_success(raw::call0(&on.library.functions.nvmlShutdown), |()| Vec::new())
}

fn handle<A: raw::Argument, E>(
    function: &Result<unsafe extern "C" fn(A::C, *mut sys::nvmlDevice_t) -> c_uint, E>,
    _: &System,
    of: A,
) -> Asked {
    Asked::on_success(raw::device(function, of), |_| Vec::new())
}

fn process_name<E>(
    function: &Result<unsafe extern "C" fn(c_uint, *mut c_char, c_uint) -> c_uint, E>,
    _: &System,
    pid: u32,
) -> Asked {
    Asked::on_success(raw::text1(function, pid, 96), |_| Vec::new())
}

fn branch<E>(
    function: &Result<unsafe extern "C" fn(*mut sys::nvmlSystemDriverBranchInfo_v1_t, c_uint) -> c_uint, E>,
    _: &System,
    version: u32,
) -> Asked {
    let mut initial: sys::nvmlSystemDriverBranchInfo_v1_t = raw::zeroed();
    initial.version = raw::version_of::<sys::nvmlSystemDriverBranchInfo_v1_t>(version);
    let got = raw::get_then(function, initial, 80_u32);
    Asked::on_success(got, |info| vec![fact("value", raw::until_nul(&info.branch))])
}

fn excluded<E>(
    function: &Result<unsafe extern "C" fn(c_uint, *mut sys::nvmlExcludedDeviceInfo_t) -> c_uint, E>,
    _: &System,
) -> Asked {
    Asked::on_success(raw::get1(function, u32::MAX, raw::zeroed()), |_| Vec::new())
}

fn gpus_of_cpu<E>(
    function: &Result<unsafe extern "C" fn(c_uint, *mut c_uint, *mut sys::nvmlDevice_t) -> c_uint, E>,
    _: &System,
) -> Asked {
    Asked::on_success(raw::list1(function, 0_u32, 64), |(count, _)| vec![identity("count", count)])
}

fn conf_compute<E>(
    function: &Result<unsafe extern "C" fn(*mut sys::nvmlConfComputeSystemState_t) -> c_uint, E>,
    _: &System,
) -> Asked {
    Asked::on_success(raw::get(function, raw::zeroed()), |state| {
        vec![
            volatile("environment", state.environment),
            volatile("ccFeature", state.ccFeature),
            volatile("devToolsMode", state.devToolsMode),
        ]
    })
}
