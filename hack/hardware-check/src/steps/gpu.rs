//! What a GPU says about itself.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings as sys;

use super::shapes::{
    length, number, number_of, number_of2, number_of3, numbers, only_code, scoped_set, set, structure, text,
    text_of, two, unbounded_text,
};
use super::{Gpu, Step, steps};
use crate::answer::Class::{Fact, Identity, Volatile};
use crate::answer::{Asked, Field, fact, identity as of_machine, volatile};
use crate::raw::{self, version_of, zeroed};

/// Who it is.
pub(crate) fn identity() -> Vec<Step<Gpu>> {
    steps![Gpu;
        nvmlDeviceGetName = text[96, Fact];
        nvmlDeviceGetUUID = text[96, Identity];
        nvmlDeviceGetSerial = text[30, Identity];
        nvmlDeviceGetBoardPartNumber = text[80, Identity];
        nvmlDeviceGetVbiosVersion = text[32, Identity];
        nvmlDeviceGetInforomImageVersion = text[16, Identity];
        nvmlDeviceGetInforomVersion("OEM") = text_of[0, Identity];
        nvmlDeviceGetInforomVersion("ECC") = text_of[1, Identity];
        nvmlDeviceGetInforomVersion("POWER") = text_of[2, Identity];
        nvmlDeviceValidateInforom = only_code;
        nvmlDeviceGetIndex = number[Fact];
        nvmlDeviceGetMinorNumber = number[Identity];
        nvmlDeviceGetModuleId = number[Identity];
        nvmlDeviceGetBoardId = number[Identity];
        nvmlDeviceGetMultiGpuBoard = number[Fact];
        nvmlDeviceGetIrqNum = number[Identity];
        nvmlDeviceGetPciInfo_v3 = structure[zeroed(), pci];
        nvmlDeviceGetPciInfoExt = structure[
            sys::nvmlPciInfoExt_v1_t { version: version_of::<sys::nvmlPciInfoExt_v1_t>(1), ..zeroed() },
            pci_extended
        ];
        nvmlDeviceGetBrand = number[Fact];
        nvmlDeviceGetArchitecture = number[Fact];
        nvmlDeviceGetCudaComputeCapability = two[Fact, ["major", "minor"]];
        nvmlDeviceGetNumGpuCores = number[Fact];
        nvmlDeviceGetBusType = number[Fact];
        nvmlDeviceGetVirtualizationMode = number[Fact];
        nvmlDeviceGetGspFirmwareVersion = unbounded_text[Fact];
        nvmlDeviceGetGspFirmwareMode = two[Fact, ["enabled", "default"]];
        nvmlDeviceGetPlatformInfo = structure[
            sys::nvmlPlatformInfo_v2_t { version: version_of::<sys::nvmlPlatformInfo_v2_t>(2), ..zeroed() },
            platform
        ];
    ]
}

/// Memory and its errors.
pub(crate) fn memory() -> Vec<Step<Gpu>> {
    let mut steps = steps![Gpu;
        nvmlDeviceGetMemoryInfo = structure[zeroed(), |memory: sys::nvmlMemory_t| vec![
            fact("total", memory.total), volatile("free", memory.free), volatile("used", memory.used),
        ]];
        nvmlDeviceGetMemoryInfo_v2 = structure[
            sys::nvmlMemory_v2_t { version: version_of::<sys::nvmlMemory_v2_t>(2), ..zeroed() },
            |memory: sys::nvmlMemory_v2_t| vec![
                fact("total", memory.total), fact("reserved", memory.reserved),
                volatile("free", memory.free), volatile("used", memory.used),
            ]
        ];
        nvmlDeviceGetBAR1MemoryInfo = structure[zeroed(), |memory: sys::nvmlBAR1Memory_t| vec![
            fact("total", memory.bar1Total), volatile("free", memory.bar1Free),
            volatile("used", memory.bar1Used),
        ]];
        nvmlDeviceGetMemoryBusWidth = number[Fact];
        nvmlDeviceGetEccMode = two[Volatile, ["current", "pending"]];
        nvmlDeviceGetDefaultEccMode = number[Fact];
        nvmlDeviceGetRowRemapperHistogram = structure[
            zeroed(),
            |banks: sys::nvmlRowRemapperHistogramValues_t| vec![
                fact("banks", banks.max + banks.high + banks.partial + banks.low + banks.none),
                volatile("max", banks.max), volatile("high", banks.high), volatile("partial", banks.partial),
                volatile("low", banks.low), volatile("none", banks.none),
            ]
        ];
        nvmlDeviceGetRepairStatus = structure[
            sys::nvmlRepairStatus_v1_t { version: version_of::<sys::nvmlRepairStatus_v1_t>(1), ..zeroed() },
            |status: sys::nvmlRepairStatus_v1_t| vec![
                volatile("channelRepairPending", status.bChannelRepairPending),
                volatile("tpcRepairPending", status.bTpcRepairPending),
            ]
        ];
        nvmlDeviceGetSramEccErrorStatus = structure[
            sys::nvmlEccSramErrorStatus_v1_t {
                version: version_of::<sys::nvmlEccSramErrorStatus_v1_t>(1), ..zeroed()
            },
            |status: sys::nvmlEccSramErrorStatus_v1_t| vec![
                volatile("aggregateCorrected", status.aggregateCor),
                volatile("aggregateParity", status.aggregateUncParity),
                volatile("thresholdExceeded", status.bThresholdExceeded),
            ]
        ];
        nvmlDeviceGetRetiredPagesPendingStatus = number[Volatile];
    ];
    steps.push(Step::new("nvmlDeviceGetRemappedRows", "", |on: &Gpu| {
        let got = raw::four(&on.library.functions.nvmlDeviceGetRemappedRows, on.device);
        Asked::on_success(got, |[corrected, uncorrected, pending, failure]| {
            vec![
                volatile("corrected", corrected),
                volatile("uncorrected", uncorrected),
                volatile("pending", pending),
                volatile("failure", failure),
            ]
        })
    }));
    // Severities, life times and places of nvmlMemoryErrorType_t, nvmlEccCounterType_t, nvmlMemoryLocation_t.
    for (severity, severe) in (0..).zip(["corrected", "uncorrected"]) {
        for (lifetime, lives) in (0..).zip(["volatile", "aggregate"]) {
            let label = format!("{severe}, {lives}");
            steps.push(Step::new("nvmlDeviceGetTotalEccErrors", &label, move |on: &Gpu| {
                let function = &on.library.functions.nvmlDeviceGetTotalEccErrors;
                number_of2(function, on, (severity, lifetime), Volatile)
            }));
            for (place, stored) in (0..).zip(["L1", "L2", "DRAM", "registers", "texture", "", "CBU", "SRAM"])
            {
                if stored.is_empty() {
                    continue;
                }
                let label = format!("{severe}, {lives}, {stored}");
                steps.push(Step::new("nvmlDeviceGetMemoryErrorCounter", &label, move |on: &Gpu| {
                    let function = &on.library.functions.nvmlDeviceGetMemoryErrorCounter;
                    number_of3(function, on, (severity, lifetime, place), Volatile)
                }));
            }
        }
    }
    steps
}

/// Power and temperature.
pub(crate) fn power() -> Vec<Step<Gpu>> {
    let mut steps = steps![Gpu;
        nvmlDeviceGetPowerUsage = number[Volatile];
        nvmlDeviceGetTotalEnergyConsumption = number[Volatile];
        nvmlDeviceGetPowerManagementMode = number[Fact];
        nvmlDeviceGetPowerManagementLimit = number[Volatile];
        nvmlDeviceGetEnforcedPowerLimit = number[Volatile];
        nvmlDeviceGetPowerManagementDefaultLimit = number[Fact];
        nvmlDeviceGetPowerManagementLimitConstraints = two[Fact, ["min", "max"]];
        nvmlDeviceGetPowerSource = number[Fact];
        nvmlDeviceGetTemperature("GPU") = number_of[0, Volatile];
        nvmlDeviceGetTemperatureV("GPU") = structure[
            sys::nvmlTemperature_v1_t { version: version_of::<sys::nvmlTemperature_v1_t>(1), ..zeroed() },
            |answer: sys::nvmlTemperature_v1_t| vec![volatile("value", answer.temperature)]
        ];
        nvmlDeviceGetMarginTemperature = structure[
            sys::nvmlMarginTemperature_v1_t {
                version: version_of::<sys::nvmlMarginTemperature_v1_t>(1), ..zeroed()
            },
            |answer: sys::nvmlMarginTemperature_v1_t| vec![volatile("value", answer.marginTemperature)]
        ];
        nvmlDeviceGetNumFans = number[Fact];
        nvmlDeviceGetFanSpeed = number[Volatile];
    ];
    let thresholds = [
        "SHUTDOWN",
        "SLOWDOWN",
        "MEM_MAX",
        "GPU_MAX",
        "ACOUSTIC_MIN",
        "ACOUSTIC_CURR",
        "ACOUSTIC_MAX",
        "GPS_CURR",
    ];
    for (kind, label) in (0..).zip(thresholds) {
        steps.push(Step::new("nvmlDeviceGetTemperatureThreshold", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetTemperatureThreshold, on, kind, Fact)
        }));
    }
    let policies = [
        (0_u32, "POWER"),
        (1, "THERMAL"),
        (2, "SYNC_BOOST"),
        (3, "BOARD_LIMIT"),
        (4, "LOW_UTILIZATION"),
        (5, "RELIABILITY"),
        (10, "TOTAL_APP_CLOCKS"),
        (11, "TOTAL_BASE_CLOCKS"),
    ];
    for (policy, label) in policies {
        steps.push(Step::new("nvmlDeviceGetViolationStatus", label, move |on: &Gpu| {
            let function = &on.library.functions.nvmlDeviceGetViolationStatus;
            let got = raw::get2(function, (on.device, policy), zeroed());
            Asked::on_success(got, |time: sys::nvmlViolationTime_t| {
                vec![
                    volatile("referenceTime", time.referenceTime),
                    volatile("violationTime", time.violationTime),
                ]
            })
        }));
    }
    steps
}

/// Clocks and utilisation.
pub(crate) fn clocks() -> Vec<Step<Gpu>> {
    let mut steps = Vec::new();
    for (kind, label) in (0..).zip(["GRAPHICS", "SM", "MEM", "VIDEO"]) {
        steps.push(Step::new("nvmlDeviceGetMaxClockInfo", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetMaxClockInfo, on, kind, Fact)
        }));
        steps.push(Step::new("nvmlDeviceGetClockInfo", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetClockInfo, on, kind, Volatile)
        }));
        steps.push(Step::new("nvmlDeviceGetApplicationsClock", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetApplicationsClock, on, kind, Volatile)
        }));
        steps.push(Step::new("nvmlDeviceGetDefaultApplicationsClock", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetDefaultApplicationsClock, on, kind, Fact)
        }));
        steps.push(Step::new("nvmlDeviceGetMaxCustomerBoostClock", label, move |on: &Gpu| {
            number_of(&on.library.functions.nvmlDeviceGetMaxCustomerBoostClock, on, kind, Fact)
        }));
        for (id, of) in (0..).zip(["CURRENT", "APP_CLOCK_TARGET", "APP_CLOCK_DEFAULT", "CUSTOMER_BOOST_MAX"])
        {
            let label = format!("{label}, {of}");
            steps.push(Step::new("nvmlDeviceGetClock", &label, move |on: &Gpu| {
                number_of2(&on.library.functions.nvmlDeviceGetClock, on, (kind, id), Volatile)
            }));
        }
    }
    steps.push(Step::new("nvmlDeviceGetSupportedGraphicsClocks", "at the first memory clock", |on: &Gpu| {
        let functions = &on.library.functions;
        let memory = raw::list1(&functions.nvmlDeviceGetSupportedMemoryClocks, on.device, 64);
        let raw::Got::Code(0, (_, memory)) = memory else {
            return Asked::on_success(memory, |_| Vec::new());
        };
        let first: u32 = memory.first().copied().unwrap_or(0);
        let clocks = raw::list2(&functions.nvmlDeviceGetSupportedGraphicsClocks, (on.device, first), 512);
        Asked::on_success(clocks, |(count, clocks): raw::List<u32>| {
            vec![
                fact("count", count),
                fact("highest", clocks.iter().max().copied()),
                fact("lowest", clocks.iter().min().copied()),
                fact("first", clocks.first().copied()),
            ]
        })
    }));
    steps.extend(steps![Gpu;
        nvmlDeviceGetSupportedMemoryClocks = numbers[64, Fact];
        nvmlDeviceGetCurrentClocksEventReasons = number[Volatile];
        nvmlDeviceGetCurrentClocksThrottleReasons = number[Volatile];
        nvmlDeviceGetSupportedClocksEventReasons = number[Fact];
        nvmlDeviceGetSupportedClocksThrottleReasons = number[Fact];
        nvmlDeviceGetPerformanceState = number[Volatile];
        nvmlDeviceGetPowerState = number[Volatile];
        nvmlDeviceGetAdaptiveClockInfoStatus = number[Fact];
        nvmlDeviceGetUtilizationRates = structure[zeroed(), |rates: sys::nvmlUtilization_t| vec![
            volatile("gpu", rates.gpu), volatile("memory", rates.memory),
        ]];
        nvmlDeviceGetEncoderUtilization = two[Volatile, ["percent", "periodUs"]];
        nvmlDeviceGetDecoderUtilization = two[Volatile, ["percent", "periodUs"]];
        nvmlDeviceGetJpgUtilization = two[Volatile, ["percent", "periodUs"]];
        nvmlDeviceGetOfaUtilization = two[Volatile, ["percent", "periodUs"]];
    ]);
    steps
}

/// What an administrator can set. The settings themselves are volatile: only that they can be read is a fact.
pub(crate) fn modes() -> Vec<Step<Gpu>> {
    steps![Gpu;
        nvmlDeviceGetPersistenceMode = number[Volatile];
        nvmlDeviceGetComputeMode = number[Volatile];
        nvmlDeviceGetAPIRestriction("SET_APPLICATION_CLOCKS") = number_of[0, Volatile];
        nvmlDeviceGetAPIRestriction("SET_AUTO_BOOSTED_CLOCKS") = number_of[1, Volatile];
        nvmlDeviceGetAutoBoostedClocksEnabled = two[Volatile, ["enabled", "default"]];
        nvmlDeviceGetAccountingMode = number[Volatile];
        nvmlDeviceGetAccountingBufferSize = number[Fact];
        nvmlDeviceGetDisplayMode = number[Volatile];
        nvmlDeviceGetDisplayActive = number[Volatile];
        nvmlDeviceGetDriverModel_v2 = two[Fact, ["current", "pending"]];
        nvmlDeviceGetGpuOperationMode = two[Fact, ["current", "pending"]];
        nvmlDeviceGetHostVgpuMode = number[Fact];
        nvmlDeviceGetAddressingMode = structure[
            sys::nvmlDeviceAddressingMode_v1_t {
                version: version_of::<sys::nvmlDeviceAddressingMode_v1_t>(1), ..zeroed()
            },
            |mode: sys::nvmlDeviceAddressingMode_v1_t| vec![fact("value", mode.value)]
        ];
        nvmlDeviceGetC2cModeInfoV = structure[zeroed(), |info: sys::nvmlC2cModeInfo_v1_t| vec![
            fact("enabled", info.isC2cEnabled),
        ]];
    ]
}

/// Programs, affinity, and the rest.
pub(crate) fn other() -> Vec<Step<Gpu>> {
    steps![Gpu;
        nvmlDeviceGetComputeRunningProcesses_v3 = length[1024, Volatile];
        nvmlDeviceGetGraphicsRunningProcesses_v3 = length[1024, Volatile];
        nvmlDeviceGetMPSComputeRunningProcesses_v3 = length[1024, Volatile];
        nvmlDeviceGetCpuAffinity("16 words") = set[16, Identity];
        nvmlDeviceGetCpuAffinityWithinScope("16 words, NODE") = scoped_set[(16, 0), Identity];
        nvmlDeviceGetCpuAffinityWithinScope("16 words, SOCKET") = scoped_set[(16, 1), Identity];
        nvmlDeviceGetMemoryAffinity("4 words, NODE") = scoped_set[(4, 0), Identity];
        nvmlDeviceGetMemoryAffinity("4 words, SOCKET") = scoped_set[(4, 1), Identity];
        nvmlDeviceGetNumaNodeId = number[Identity];
        nvmlDeviceGetSupportedEventTypes = number[Fact];
        nvmlGpmQueryDeviceSupport = structure[
            sys::nvmlGpmSupport_t { version: 1, ..zeroed() },
            |support: sys::nvmlGpmSupport_t| vec![fact("supported", support.isSupportedDevice)]
        ];
        nvmlDeviceGetEncoderCapacity("H264") = number_of[0, Fact];
        nvmlDeviceGetGpcClkVfOffset = offset;
        nvmlDeviceGetMemClkVfOffset = offset;
    ]
}

fn pci(info: sys::nvmlPciInfo_t) -> Vec<Field> {
    vec![
        fact("deviceId", info.pciDeviceId),
        fact("subsystemId", info.pciSubSystemId),
        of_machine("busId", raw::until_nul(&info.busId)),
        of_machine("busIdLegacy", raw::until_nul(&info.busIdLegacy)),
        of_machine("domain", info.domain),
        of_machine("bus", info.bus),
        of_machine("device", info.device),
    ]
}

fn pci_extended(info: sys::nvmlPciInfoExt_v1_t) -> Vec<Field> {
    vec![
        fact("deviceId", info.pciDeviceId),
        fact("subsystemId", info.pciSubSystemId),
        fact("baseClass", info.baseClass),
        fact("subClass", info.subClass),
        of_machine("busId", raw::until_nul(&info.busId)),
    ]
}

fn platform(info: sys::nvmlPlatformInfo_v2_t) -> Vec<Field> {
    vec![
        of_machine("ibGuid", hex(&info.ibGuid)),
        of_machine("chassisSerialNumber", hex(&info.chassisSerialNumber)),
        of_machine("slotNumber", info.slotNumber),
        of_machine("trayIndex", info.trayIndex),
        of_machine("hostId", info.hostId),
        of_machine("moduleId", info.moduleId),
        fact("peerType", info.peerType),
    ]
}

/// Bytes as one hexadecimal number.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offset<E>(
    function: &Result<unsafe extern "C" fn(sys::nvmlDevice_t, *mut c_int) -> c_uint, E>,
    on: &Gpu,
) -> Asked {
    number(function, on, Volatile)
}
