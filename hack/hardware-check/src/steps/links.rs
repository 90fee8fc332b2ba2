//! PCIe, NVLink, the fabric, and how GPUs are connected.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings as sys;
use serde_json::Value;

use super::gpu::hex;
use super::shapes::{number, number_of, structure};
use super::{Gpu, Step, steps};
use crate::answer::Class::{Fact, Identity, Volatile};
use crate::answer::{Asked, Class, code_name, fact, identity, valued, volatile};
use crate::raw::{self, Got, version_of, zeroed};

/// NVLinks that are asked for: `NVML_NVLINK_MAX_LINKS` of NVML 12, which is also how many Hopper has.
const LINKS: u32 = 18;
/// Levels of `nvmlGpuTopologyLevel_t`.
const LEVELS: [(u32, &str); 6] =
    [(0, "INTERNAL"), (10, "SINGLE"), (20, "MULTIPLE"), (30, "HOSTBRIDGE"), (40, "NODE"), (50, "SYSTEM")];
/// Kinds of `nvmlGpuP2PCapsIndex_t`.
const PEER_ACCESS: [&str; 5] = ["READ", "WRITE", "NVLINK", "ATOMICS", "PCI"];

/// The steps for one GPU.
pub(crate) fn steps() -> Vec<Step<Gpu>> {
    let mut steps = steps![Gpu;
        nvmlDeviceGetMaxPcieLinkGeneration = number[Fact];
        nvmlDeviceGetGpuMaxPcieLinkGeneration = number[Fact];
        nvmlDeviceGetMaxPcieLinkWidth = number[Fact];
        nvmlDeviceGetPcieLinkMaxSpeed = number[Fact];
        nvmlDeviceGetCurrPcieLinkGeneration = number[Volatile];
        nvmlDeviceGetCurrPcieLinkWidth = number[Volatile];
        nvmlDeviceGetPcieSpeed = number[Volatile];
        nvmlDeviceGetPcieReplayCounter = number[Volatile];
        nvmlDeviceGetPcieThroughput("TX") = number_of[0, Volatile];
        nvmlDeviceGetPcieThroughput("RX") = number_of[1, Volatile];
        nvmlDeviceGetGpuFabricInfo = structure[zeroed(), |info: sys::nvmlGpuFabricInfo_t| vec![
            fact("state", info.state), fact("status", info.status),
            identity("cliqueId", info.cliqueId), identity("clusterUuid", hex(&info.clusterUuid)),
        ]];
        nvmlDeviceGetGpuFabricInfoV("version 2") = structure[
            fabric(version_of::<sys::nvmlGpuFabricInfo_v2_t>(2)),
            |info: sys::nvmlGpuFabricInfo_v3_t| vec![
                fact("state", info.state), fact("status", info.status), fact("healthMask", info.healthMask),
                identity("cliqueId", info.cliqueId), identity("clusterUuid", hex(&info.clusterUuid)),
            ]
        ];
        nvmlDeviceGetGpuFabricInfoV("version 3") = structure[
            fabric(version_of::<sys::nvmlGpuFabricInfo_v3_t>(3)),
            |info: sys::nvmlGpuFabricInfo_v3_t| vec![
                fact("state", info.state), fact("status", info.status), fact("healthMask", info.healthMask),
                fact("healthSummary", info.healthSummary),
                identity("cliqueId", info.cliqueId), identity("clusterUuid", hex(&info.clusterUuid)),
            ]
        ];
        nvmlDeviceGetGpuFabricInfoV("version 9") = structure[
            fabric(version_of::<sys::nvmlGpuFabricInfo_v3_t>(9)), |_: sys::nvmlGpuFabricInfo_v3_t| Vec::new()
        ];
    ];
    steps.push(Step::new("nvmlDeviceGetNvLinkState", "0-17", |on: &Gpu| {
        of_links(Fact, |link| raw::get2(&on.library.functions.nvmlDeviceGetNvLinkState, (on.device, link), 0))
    }));
    steps.push(Step::new("nvmlDeviceGetNvLinkVersion", "0-17", |on: &Gpu| {
        of_links(Fact, |link| {
            raw::get2(&on.library.functions.nvmlDeviceGetNvLinkVersion, (on.device, link), 0)
        })
    }));
    steps.push(Step::new("nvmlDeviceGetNvLinkRemoteDeviceType", "0-17", |on: &Gpu| {
        let function = &on.library.functions.nvmlDeviceGetNvLinkRemoteDeviceType;
        of_links(Fact, |link| raw::get2(function, (on.device, link), 0))
    }));
    steps.push(Step::new("nvmlDeviceGetNvLinkRemotePciInfo_v2", "0-17: device", |on: &Gpu| {
        of_links(Fact, |link| remote(on, link).map(|info| info.pciDeviceId))
    }));
    steps.push(Step::new("nvmlDeviceGetNvLinkRemotePciInfo_v2", "0-17: address", |on: &Gpu| {
        of_links(Identity, |link| remote(on, link).map(|info| raw::until_nul(&info.busId)))
    }));
    for (capability, label) in (0_u32..).zip([
        "P2P_SUPPORTED",
        "SYSMEM_ACCESS",
        "P2P_ATOMICS",
        "SYSMEM_ATOMICS",
        "SLI_BRIDGE",
        "VALID",
    ]) {
        let label = format!("0-17, {label}");
        steps.push(Step::new("nvmlDeviceGetNvLinkCapability", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetNvLinkCapability;
            of_links(Fact, |link| raw::get3(function, (on.device, link, capability), 0))
        }));
    }
    for (counter, label) in
        (0_u32..).zip(["DL_REPLAY", "DL_RECOVERY", "DL_CRC_FLIT", "DL_CRC_DATA", "DL_ECC_DATA"])
    {
        let label = format!("0-17, {label}");
        steps.push(Step::new("nvmlDeviceGetNvLinkErrorCounter", &label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetNvLinkErrorCounter;
            of_links(Volatile, |link| raw::get3(function, (on.device, link, counter), 0_u64))
        }));
    }
    for (level, label) in LEVELS {
        steps.push(Step::new("nvmlDeviceGetTopologyNearestGpus", label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetTopologyNearestGpus;
            let got = raw::list2(function, (on.device, level), 64);
            Asked::on_success(got, |(count, _): raw::List<sys::nvmlDevice_t>| vec![identity("count", count)])
        }));
    }
    steps
}

/// How a GPU is connected to another one, given by its index.
pub(crate) fn pair(other: u32) -> Vec<Step<Gpu>> {
    let mut steps = Vec::new();
    steps.push(Step::new("nvmlDeviceGetTopologyCommonAncestor", &format!("GPU {other}"), move |on: &Gpu| {
        with(on, other, |other| {
            let function = &on.library.functions.nvmlDeviceGetTopologyCommonAncestor;
            Asked::on_success(raw::get2(function, (on.device, other), 0), |level: c_uint| {
                vec![identity("value", level)]
            })
        })
    }));
    steps.push(Step::new("nvmlDeviceOnSameBoard", &format!("GPU {other}"), move |on: &Gpu| {
        with(on, other, |other| {
            let function = &on.library.functions.nvmlDeviceOnSameBoard;
            Asked::on_success(raw::get2(function, (on.device, other), 0), |same: c_int| {
                vec![fact("value", same)]
            })
        })
    }));
    for (kind, label) in (0_u32..).zip(PEER_ACCESS) {
        steps.push(Step::new("nvmlDeviceGetP2PStatus", &format!("GPU {other}, {label}"), move |on: &Gpu| {
            with(on, other, |other| {
                let function = &on.library.functions.nvmlDeviceGetP2PStatus;
                Asked::on_success(raw::get3(function, (on.device, other, kind), 0), |status: c_uint| {
                    vec![fact("value", status)]
                })
            })
        }));
    }
    steps
}

/// Asks with another GPU's handle; its own code is the answer if there is none.
fn with(on: &Gpu, index: u32, ask: impl FnOnce(raw::Device) -> Asked) -> Asked {
    match raw::device(&on.library.functions.nvmlDeviceGetHandleByIndex_v2, index) {
        Got::Code(0, other) => ask(other),
        failed => Asked::on_success(failed, |_| vec![volatile("failed", "no handle for the other GPU")]),
    }
}

fn fabric(version: u32) -> sys::nvmlGpuFabricInfo_v3_t {
    sys::nvmlGpuFabricInfo_v3_t { version, ..zeroed() }
}

fn remote(on: &Gpu, link: u32) -> Got<sys::nvmlPciInfo_t> {
    raw::get2(&on.library.functions.nvmlDeviceGetNvLinkRemotePciInfo_v2, (on.device, link), zeroed())
}

/// Asks for each link. The first link's code is the entry's; the answers are a list, with a code's name where
/// a link has none.
fn of_links<T: Into<Value>>(class: Class, ask: impl Fn(u32) -> Got<T>) -> Asked {
    let mut first = None;
    let mut answers: Vec<Value> = Vec::new();
    for link in 0..LINKS {
        let got = ask(link);
        if link == 0 {
            first = got.code();
        }
        match got {
            Got::NoSymbol => return Asked { code: None, fields: Vec::new() },
            Got::Code(0, value) => answers.push(value.into()),
            Got::Code(code, _) => answers.push(code_name(code).into()),
        }
    }
    Asked { code: first, fields: vec![valued(class, "links", answers)] }
}
