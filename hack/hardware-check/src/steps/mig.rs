//! What NVML says about MIG. Nothing is switched on: a driver may refuse to tell profiles while MIG is off, and
//! then that is what is recorded.

use nvml_wrapper_sys::bindings as sys;

use super::shapes::{number, structure, two};
use super::{Gpu, Step, steps};
use crate::answer::Class::{Fact, Volatile};
use crate::answer::{Asked, Field, fact, identity, volatile};
use crate::raw::{self, version_of, zeroed};

/// Profiles are numbered from 0 until NVML says INVALID_ARGUMENT: 0x12 of them in NVML 13, and two behind.
const PROFILES: std::ops::Range<u32> = 0..0x14;
/// Ids of Hopper's profiles, as `nvidia-smi mig -lgip` prints them, and one that is none.
const PROFILE_IDS: [u32; 8] = [19, 20, 15, 14, 9, 5, 0, 4000];

/// The steps.
pub(crate) fn steps() -> Vec<Step<Gpu>> {
    let mut steps = steps![Gpu;
        nvmlDeviceGetMigMode = two[Volatile, ["current", "pending"]];
        nvmlDeviceGetMaxMigDeviceCount = number[Fact];
        nvmlDeviceIsMigDeviceHandle = number[Fact];
        nvmlDeviceGetGpuInstanceId = number[Fact];
        nvmlDeviceGetComputeInstanceId = number[Fact];
        nvmlDeviceGetAttributes_v2 = structure[zeroed(), |attributes: sys::nvmlDeviceAttributes_t| vec![
            fact("multiprocessorCount", attributes.multiprocessorCount),
            fact("memorySizeMB", attributes.memorySizeMB),
        ]];
    ];
    steps.push(Step::new("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", "of a whole GPU", |on: &Gpu| {
        let function = &on.library.functions.nvmlDeviceGetDeviceHandleFromMigDeviceHandle;
        Asked::on_success(raw::device(function, on.device), |_| Vec::new())
    }));
    for index in [0_u32, 64] {
        let label = index.to_string();
        steps.push(Step::new("nvmlDeviceGetMigDeviceHandleByIndex", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetMigDeviceHandleByIndex;
            Asked::on_success(raw::get2(function, (on.device, index), std::ptr::null_mut()), |_| Vec::new())
        }));
    }
    for profile in PROFILES {
        let label = format!("profile {profile:#x}");
        steps.push(Step::new("nvmlDeviceGetGpuInstanceProfileInfo", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetGpuInstanceProfileInfo;
            Asked::on_success(raw::get2(function, (on.device, profile), zeroed()), |info| {
                let info: sys::nvmlGpuInstanceProfileInfo_t = info;
                vec![fact("id", info.id), fact("memorySizeMB", info.memorySizeMB)]
            })
        }));
        steps.push(Step::new("nvmlDeviceGetGpuInstanceProfileInfoV", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetGpuInstanceProfileInfoV;
            let initial = sys::nvmlGpuInstanceProfileInfo_v2_t {
                version: version_of::<sys::nvmlGpuInstanceProfileInfo_v2_t>(2),
                ..zeroed()
            };
            Asked::on_success(raw::get2(function, (on.device, profile), initial), profile_info)
        }));
    }
    for id in PROFILE_IDS {
        let label = format!("profile id {id}");
        steps.push(Step::new("nvmlDeviceGetGpuInstancePossiblePlacements_v2", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetGpuInstancePossiblePlacements_v2;
            let got = raw::list2_counted_last(function, (on.device, id), 64);
            Asked::on_success(got, |(count, placements): raw::List<sys::nvmlGpuInstancePlacement_t>| {
                let placements: Vec<_> =
                    placements.iter().map(|place| format!("{}:{}", place.start, place.size)).collect();
                vec![fact("count", count), fact("placements", placements)]
            })
        }));
        steps.push(Step::new("nvmlDeviceGetGpuInstanceRemainingCapacity", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetGpuInstanceRemainingCapacity;
            Asked::on_success(raw::get2(function, (on.device, id), 0), |count: u32| {
                vec![volatile("count", count)]
            })
        }));
        steps.push(Step::new("nvmlDeviceGetGpuInstances", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetGpuInstances;
            let got = raw::list2_counted_last(function, (on.device, id), 64);
            Asked::on_success(got, |(count, _): raw::List<sys::nvmlGpuInstance_t>| {
                vec![identity("count", count)]
            })
        }));
    }
    steps
}

fn profile_info(info: sys::nvmlGpuInstanceProfileInfo_v2_t) -> Vec<Field> {
    vec![
        fact("id", info.id),
        fact("name", raw::until_nul(&info.name)),
        fact("isP2pSupported", info.isP2pSupported),
        fact("sliceCount", info.sliceCount),
        fact("instanceCount", info.instanceCount),
        fact("multiprocessorCount", info.multiprocessorCount),
        fact("copyEngineCount", info.copyEngineCount),
        fact("decoderCount", info.decoderCount),
        fact("encoderCount", info.encoderCount),
        fact("jpegCount", info.jpegCount),
        fact("ofaCount", info.ofaCount),
        fact("memorySizeMB", info.memorySizeMB),
    ]
}
