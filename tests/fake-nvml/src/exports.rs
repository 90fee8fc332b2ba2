//! The table of all functions that the library exports.
//!
//! A row says what a function needs (`free`: nothing, `system`: a session, `lookup`: a session, and it finds a GPU's
//! handle, `device`: a session and a GPU, whose handle is its first argument), its other arguments, and who answers.
//! The macro writes the C ABI around it.
//! Behind the answered functions come those that only say NOT_SUPPORTED.

#![expect(unsafe_code, reason = "exports C symbols")]
#![allow(non_snake_case, reason = "NVML's names")]

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_ulonglong};

use fake_node::symbols::Function;

use crate::abi::{Handle, Out, SetHandle, Text, sys};
use crate::answers::{
    events, fields, identity, links, memory, modes, power, private, processes, system, topology,
};
use crate::call;

macro_rules! exports {
    ($($kind:ident $name:ident($($argument:ident: $type:ty),*) = $answer:path;)*) => {
        $(exports!(@ $kind $name($($argument: $type),*) = $answer);)*
    };
    (@ free $name:ident($($argument:ident: $type:ty),*) = $answer:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> sys::nvmlReturn_t {
            const FUNCTION: Function = Function::named(stringify!($name));
            call::free(FUNCTION, |node, state| $answer(node, state $(, $argument)*))
        }
    };
    (@ system $name:ident($($argument:ident: $type:ty),*) = $answer:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> sys::nvmlReturn_t {
            const FUNCTION: Function = Function::named(stringify!($name));
            call::system(FUNCTION, |call| $answer(call $(, $argument)*))
        }
    };
    (@ lookup $name:ident($argument:ident: $type:ty) = $answer:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($argument: $type, handle: Out<Handle>) -> sys::nvmlReturn_t {
            const FUNCTION: Function = Function::named(stringify!($name));
            call::lookup(FUNCTION, handle, |call| $answer(call, $argument))
        }
    };
    (@ device $name:ident($($argument:ident: $type:ty),*) = $answer:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name(device: Handle $(, $argument: $type)*) -> sys::nvmlReturn_t {
            const FUNCTION: Function = Function::named(stringify!($name));
            call::device(FUNCTION, device, |device| $answer(device $(, $argument)*))
        }
    };
}

macro_rules! stubs {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> sys::nvmlReturn_t {
                const FUNCTION: Function = Function::named(stringify!($name));
                call::stub(FUNCTION)
            }
        )*
    };
}

/// The flags change nothing here: no GPU is attached at the start, and a node without GPUs is no error.
#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> sys::nvmlReturn_t {
    const FUNCTION: Function = Function::named("nvmlInitWithFlags");
    call::free(FUNCTION, system::init)
}

/// Answers at any time, also with no driver at all.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: sys::nvmlReturn_t) -> *const c_char {
    call::error_string(result)
}

/// Answers before nvmlInit too: nvidia-smi asks in whichever order it likes.
#[unsafe(no_mangle)]
extern "C" fn nvmlInternalGetExportTable(
    table: Out<*const private::Table>,
    id: Out<[u8; 16]>,
) -> sys::nvmlReturn_t {
    const FUNCTION: Function = Function::named("nvmlInternalGetExportTable");
    call::free(FUNCTION, |_, _| private::export_table(table, id))
}

#[rustfmt::skip]
exports! {
    // Start, end, versions, handles.
    free nvmlInit() = system::init;
    free nvmlInit_v2() = system::init;
    free nvmlShutdown() = system::shutdown;
    free nvmlSystemGetNVMLVersion(version: Out<c_char>, length: c_uint) = system::nvml_version;
    system nvmlSystemGetDriverVersion(version: Out<c_char>, length: c_uint) = system::driver_version;
    system nvmlSystemGetCudaDriverVersion(version: Out<c_int>) = system::cuda_version;
    system nvmlSystemGetCudaDriverVersion_v2(version: Out<c_int>) = system::cuda_version;
    system nvmlSystemGetDriverBranch(info: Out<sys::nvmlSystemDriverBranchInfo_v1_t>, length: c_uint) = system::driver_branch;
    system nvmlSystemGetProcessName(pid: c_uint, name: Out<c_char>, length: c_uint) = system::process_name;
    system nvmlDeviceGetCount(count: Out<c_uint>) = system::count;
    system nvmlDeviceGetCount_v2(count: Out<c_uint>) = system::count;
    system nvmlGetExcludedDeviceCount(count: Out<c_uint>) = system::no_excluded_devices;
    system nvmlGetBlacklistDeviceCount(count: Out<c_uint>) = system::no_excluded_devices;
    system nvmlGetExcludedDeviceInfoByIndex(index: c_uint, info: Out<sys::nvmlExcludedDeviceInfo_t>) = system::excluded_device;
    system nvmlGetBlacklistDeviceInfoByIndex(index: c_uint, info: Out<sys::nvmlExcludedDeviceInfo_t>) = system::excluded_device;
    lookup nvmlDeviceGetHandleByIndex(index: c_uint) = system::by_index;
    lookup nvmlDeviceGetHandleByIndex_v2(index: c_uint) = system::by_index;
    lookup nvmlDeviceGetHandleByUUID(uuid: Text) = system::by_uuid;
    lookup nvmlDeviceGetHandleByUUIDV(uuid: Out<sys::nvmlUUID_v1_t>) = system::by_uuid_versioned;
    lookup nvmlDeviceGetHandleBySerial(serial: Text) = system::by_serial;
    lookup nvmlDeviceGetHandleByPciBusId(pci: Text) = system::by_pci;
    lookup nvmlDeviceGetHandleByPciBusId_v2(pci: Text) = system::by_pci;
    // Identity.
    device nvmlDeviceGetName(name: Out<c_char>, length: c_uint) = identity::name;
    device nvmlDeviceGetUUID(uuid: Out<c_char>, length: c_uint) = identity::uuid;
    device nvmlDeviceGetSerial(serial: Out<c_char>, length: c_uint) = identity::serial;
    device nvmlDeviceGetBoardPartNumber(number: Out<c_char>, length: c_uint) = identity::board_part_number;
    device nvmlDeviceGetVbiosVersion(version: Out<c_char>, length: c_uint) = identity::vbios;
    device nvmlDeviceGetIndex(index: Out<c_uint>) = identity::index;
    device nvmlDeviceGetMinorNumber(minor: Out<c_uint>) = identity::minor;
    device nvmlDeviceGetModuleId(id: Out<c_uint>) = identity::module_id;
    device nvmlDeviceGetBoardId(id: Out<c_uint>) = identity::board_id;
    device nvmlDeviceGetBrand(brand: Out<sys::nvmlBrandType_t>) = identity::brand;
    device nvmlDeviceGetArchitecture(architecture: Out<sys::nvmlDeviceArchitecture_t>) = identity::architecture;
    device nvmlDeviceGetCudaComputeCapability(major: Out<c_int>, minor: Out<c_int>) = identity::compute_capability;
    device nvmlDeviceGetNumGpuCores(cores: Out<c_uint>) = identity::cores;
    device nvmlDeviceGetBusType(kind: Out<sys::nvmlBusType_t>) = identity::bus_type;
    device nvmlDeviceGetMultiGpuBoard(multi: Out<c_uint>) = identity::multi_gpu_board;
    device nvmlDeviceGetVirtualizationMode(mode: Out<sys::nvmlGpuVirtualizationMode_t>) = identity::virtualization_mode;
    device nvmlDeviceGetAddressingMode(mode: Out<sys::nvmlDeviceAddressingMode_v1_t>) = identity::addressing_mode;
    device nvmlDeviceGetGspFirmwareVersion(version: Out<c_char>) = identity::gsp_version;
    device nvmlDeviceGetGspFirmwareMode(enabled: Out<c_uint>, default: Out<c_uint>) = identity::gsp_mode;
    device nvmlDeviceGetInforomImageVersion(version: Out<c_char>, length: c_uint) = identity::inforom_image;
    device nvmlDeviceGetInforomVersion(object: sys::nvmlInforomObject_t, version: Out<c_char>, length: c_uint) = identity::inforom_object;
    device nvmlDeviceValidateInforom() = identity::validate_inforom;
    device nvmlDeviceGetDisplayMode(mode: Out<sys::nvmlEnableState_t>) = identity::display;
    device nvmlDeviceGetDisplayActive(active: Out<sys::nvmlEnableState_t>) = identity::display;
    device nvmlDeviceGetIrqNum(irq: Out<c_uint>) = identity::irq;
    device nvmlDeviceGetPciInfo(info: Out<identity::PciInfoV2>) = identity::pci_legacy;
    device nvmlDeviceGetPciInfo_v2(info: Out<identity::PciInfoV2>) = identity::pci_legacy;
    device nvmlDeviceGetPciInfo_v3(info: Out<sys::nvmlPciInfo_t>) = identity::pci;
    device nvmlDeviceGetPciInfoExt(info: Out<sys::nvmlPciInfoExt_v1_t>) = identity::pci_extended;
    // Memory and its errors.
    device nvmlDeviceGetMemoryInfo(memory: Out<sys::nvmlMemory_t>) = memory::info;
    device nvmlDeviceGetMemoryInfo_v2(memory: Out<sys::nvmlMemory_v2_t>) = memory::info_v2;
    device nvmlDeviceGetBAR1MemoryInfo(memory: Out<sys::nvmlBAR1Memory_t>) = memory::bar1;
    device nvmlDeviceGetMemoryBusWidth(bits: Out<c_uint>) = memory::bus_width;
    device nvmlDeviceGetEccMode(current: Out<c_uint>, pending: Out<c_uint>) = memory::ecc_mode;
    device nvmlDeviceGetDefaultEccMode(mode: Out<c_uint>) = memory::ecc_default;
    device nvmlDeviceSetEccMode(mode: c_uint) = memory::set_ecc_mode;
    device nvmlDeviceGetTotalEccErrors(severity: c_uint, lifetime: c_uint, errors: Out<c_ulonglong>) = memory::total_ecc_errors;
    device nvmlDeviceGetMemoryErrorCounter(severity: c_uint, lifetime: c_uint, place: c_uint, errors: Out<c_ulonglong>) = memory::memory_error_counter;
    device nvmlDeviceGetSramEccErrorStatus(status: Out<sys::nvmlEccSramErrorStatus_v1_t>) = memory::sram_ecc;
    device nvmlDeviceClearEccErrorCounts(lifetime: c_uint) = memory::clear_ecc_errors;
    device nvmlDeviceGetRemappedRows(corrected: Out<c_uint>, uncorrected: Out<c_uint>, pending: Out<c_uint>, failure: Out<c_uint>) = memory::remapped_rows;
    device nvmlDeviceGetRowRemapperHistogram(banks: Out<sys::nvmlRowRemapperHistogramValues_t>) = memory::row_remapper_histogram;
    device nvmlDeviceGetRepairStatus(status: Out<sys::nvmlRepairStatus_v1_t>) = memory::repair_status;
    // Power, temperature, clocks, utilisation.
    device nvmlDeviceGetPowerUsage(milliwatts: Out<c_uint>) = power::usage;
    device nvmlDeviceGetPowerManagementLimit(milliwatts: Out<c_uint>) = power::limit;
    device nvmlDeviceGetEnforcedPowerLimit(milliwatts: Out<c_uint>) = power::limit;
    device nvmlDeviceGetPowerManagementDefaultLimit(milliwatts: Out<c_uint>) = power::default_limit;
    device nvmlDeviceGetPowerManagementLimitConstraints(min: Out<c_uint>, max: Out<c_uint>) = power::limits;
    device nvmlDeviceSetPowerManagementLimit(milliwatts: c_uint) = power::set_limit;
    device nvmlDeviceGetPowerManagementMode(mode: Out<c_uint>) = power::management_mode;
    device nvmlDeviceGetPowerSource(source: Out<sys::nvmlPowerSource_t>) = power::source;
    device nvmlDeviceGetTotalEnergyConsumption(millijoules: Out<c_ulonglong>) = power::energy;
    device nvmlDeviceGetTemperature(sensor: c_uint, celsius: Out<c_uint>) = power::temperature;
    device nvmlDeviceGetTemperatureV(answer: Out<sys::nvmlTemperature_v1_t>) = power::temperature_versioned;
    device nvmlDeviceGetMarginTemperature(answer: Out<sys::nvmlMarginTemperature_v1_t>) = power::margin_temperature;
    device nvmlDeviceGetTemperatureThreshold(kind: c_uint, celsius: Out<c_uint>) = power::threshold;
    device nvmlDeviceGetClockInfo(kind: c_uint, mhz: Out<c_uint>) = power::clock;
    device nvmlDeviceGetMaxClockInfo(kind: c_uint, mhz: Out<c_uint>) = power::max_clock;
    device nvmlDeviceGetClock(kind: c_uint, id: c_uint, mhz: Out<c_uint>) = power::clock_by_id;
    device nvmlDeviceGetApplicationsClock(kind: c_uint, mhz: Out<c_uint>) = power::application_clock;
    device nvmlDeviceGetDefaultApplicationsClock(kind: c_uint, mhz: Out<c_uint>) = power::application_clock;
    device nvmlDeviceGetMaxCustomerBoostClock(kind: c_uint, mhz: Out<c_uint>) = power::application_clock;
    device nvmlDeviceGetSupportedMemoryClocks(count: Out<c_uint>, mhz: Out<c_uint>) = power::memory_clocks;
    device nvmlDeviceGetSupportedGraphicsClocks(memory: c_uint, count: Out<c_uint>, mhz: Out<c_uint>) = power::graphics_clocks;
    device nvmlDeviceGetCurrentClocksEventReasons(reasons: Out<c_ulonglong>) = power::event_reasons;
    device nvmlDeviceGetCurrentClocksThrottleReasons(reasons: Out<c_ulonglong>) = power::event_reasons;
    device nvmlDeviceGetSupportedClocksEventReasons(reasons: Out<c_ulonglong>) = power::known_event_reasons;
    device nvmlDeviceGetSupportedClocksThrottleReasons(reasons: Out<c_ulonglong>) = power::known_event_reasons;
    device nvmlDeviceGetPerformanceState(state: Out<sys::nvmlPstates_t>) = power::performance_state;
    device nvmlDeviceGetPowerState(state: Out<sys::nvmlPstates_t>) = power::performance_state;
    device nvmlDeviceGetUtilizationRates(rates: Out<sys::nvmlUtilization_t>) = power::utilization;
    device nvmlDeviceGetEncoderUtilization(percent: Out<c_uint>, period: Out<c_uint>) = power::engine_idle;
    device nvmlDeviceGetDecoderUtilization(percent: Out<c_uint>, period: Out<c_uint>) = power::engine_idle;
    device nvmlDeviceGetJpgUtilization(percent: Out<c_uint>, period: Out<c_uint>) = power::engine_idle;
    device nvmlDeviceGetOfaUtilization(percent: Out<c_uint>, period: Out<c_uint>) = power::engine_idle;
    device nvmlDeviceGetViolationStatus(kind: c_uint, time: Out<sys::nvmlViolationTime_t>) = power::violation;
    // PCIe, NVLink, fabric.
    device nvmlDeviceGetCurrPcieLinkGeneration(generation: Out<c_uint>) = links::pcie_generation;
    device nvmlDeviceGetMaxPcieLinkGeneration(generation: Out<c_uint>) = links::pcie_generation;
    device nvmlDeviceGetGpuMaxPcieLinkGeneration(generation: Out<c_uint>) = links::pcie_generation;
    device nvmlDeviceGetCurrPcieLinkWidth(width: Out<c_uint>) = links::pcie_width;
    device nvmlDeviceGetMaxPcieLinkWidth(width: Out<c_uint>) = links::pcie_width;
    device nvmlDeviceGetPcieSpeed(speed: Out<c_uint>) = links::pcie_speed;
    device nvmlDeviceGetPcieLinkMaxSpeed(speed: Out<c_uint>) = links::pcie_max_speed;
    device nvmlDeviceGetPcieReplayCounter(count: Out<c_uint>) = links::pcie_replays;
    device nvmlDeviceGetPcieThroughput(counter: c_uint, rate: Out<c_uint>) = links::pcie_throughput;
    device nvmlDeviceGetNvLinkState(link: c_uint, active: Out<c_uint>) = links::nvlink_state;
    device nvmlDeviceGetNvLinkVersion(link: c_uint, version: Out<c_uint>) = links::nvlink_version;
    device nvmlDeviceGetNvLinkCapability(link: c_uint, capability: c_uint, answer: Out<c_uint>) = links::nvlink_capability;
    device nvmlDeviceGetNvLinkRemoteDeviceType(link: c_uint, kind: Out<c_uint>) = links::nvlink_remote_type;
    device nvmlDeviceGetNvLinkRemotePciInfo(link: c_uint, info: Out<sys::nvmlPciInfo_t>) = links::nvlink_remote_pci;
    device nvmlDeviceGetNvLinkRemotePciInfo_v2(link: c_uint, info: Out<sys::nvmlPciInfo_t>) = links::nvlink_remote_pci;
    device nvmlDeviceGetNvLinkErrorCounter(link: c_uint, counter: c_uint, count: Out<c_ulonglong>) = links::nvlink_errors;
    device nvmlDeviceGetGpuFabricInfo(info: Out<sys::nvmlGpuFabricInfo_t>) = links::fabric_info;
    device nvmlDeviceGetGpuFabricInfoV(info: Out<sys::nvmlGpuFabricInfo_v2_t>) = links::fabric_info_versioned;
    device nvmlDeviceGetC2cModeInfoV(info: Out<sys::nvmlC2cModeInfo_v1_t>) = links::c2c;
    device nvmlDeviceGetPlatformInfo(info: Out<sys::nvmlPlatformInfo_v2_t>) = links::platform_info;
    // Topology.
    device nvmlDeviceGetTopologyCommonAncestor(other: Handle, level: Out<c_uint>) = topology::common_ancestor;
    device nvmlDeviceGetTopologyNearestGpus(level: c_uint, count: Out<c_uint>, gpus: Out<Handle>) = topology::nearest;
    device nvmlDeviceOnSameBoard(other: Handle, answer: Out<c_int>) = topology::on_same_board;
    device nvmlDeviceGetP2PStatus(other: Handle, capability: c_uint, status: Out<c_uint>) = topology::p2p;
    device nvmlDeviceGetCpuAffinity(words: c_uint, set: Out<c_ulong>) = topology::cpu_affinity;
    device nvmlDeviceGetCpuAffinityWithinScope(words: c_uint, set: Out<c_ulong>, scope: c_uint) = topology::cpu_affinity_scoped;
    device nvmlDeviceGetMemoryAffinity(words: c_uint, set: Out<c_ulong>, scope: c_uint) = topology::memory_affinity;
    system nvmlSystemGetTopologyGpuSet(cpu: c_uint, count: Out<c_uint>, gpus: Out<Handle>) = topology::of_cpu;
    // Modes.
    device nvmlDeviceGetPersistenceMode(mode: Out<c_uint>) = modes::persistence;
    device nvmlDeviceSetPersistenceMode(mode: c_uint) = modes::set_persistence;
    device nvmlDeviceGetComputeMode(mode: Out<sys::nvmlComputeMode_t>) = modes::compute;
    device nvmlDeviceSetComputeMode(mode: sys::nvmlComputeMode_t) = modes::set_compute;
    device nvmlDeviceGetMigMode(current: Out<c_uint>, pending: Out<c_uint>) = modes::mig;
    device nvmlDeviceGetMaxMigDeviceCount(count: Out<c_uint>) = modes::max_mig_devices;
    device nvmlDeviceIsMigDeviceHandle(answer: Out<c_uint>) = modes::is_mig;
    device nvmlDeviceGetAPIRestriction(kind: c_uint, restricted: Out<c_uint>) = modes::api_restriction;
    device nvmlDeviceGetAccountingMode(mode: Out<c_uint>) = modes::accounting;
    device nvmlDeviceGetAccountingBufferSize(size: Out<c_uint>) = modes::accounting_buffer;
    // Processes and field values.
    device nvmlDeviceGetComputeRunningProcesses(count: Out<c_uint>, infos: Out<processes::ProcessV1>) = processes::compute_v1;
    device nvmlDeviceGetComputeRunningProcesses_v2(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::compute;
    device nvmlDeviceGetComputeRunningProcesses_v3(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::compute;
    device nvmlDeviceGetGraphicsRunningProcesses(count: Out<c_uint>, infos: Out<processes::ProcessV1>) = processes::graphics_v1;
    device nvmlDeviceGetGraphicsRunningProcesses_v2(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::graphics;
    device nvmlDeviceGetGraphicsRunningProcesses_v3(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::graphics;
    device nvmlDeviceGetMPSComputeRunningProcesses(count: Out<c_uint>, infos: Out<processes::ProcessV1>) = processes::none_v1;
    device nvmlDeviceGetMPSComputeRunningProcesses_v2(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::none;
    device nvmlDeviceGetMPSComputeRunningProcesses_v3(count: Out<c_uint>, infos: Out<sys::nvmlProcessInfo_v2_t>) = processes::none;
    device nvmlDeviceGetFieldValues(count: c_int, values: Out<sys::nvmlFieldValue_t>) = fields::values;
    // Events.
    device nvmlDeviceGetSupportedEventTypes(types: Out<c_ulonglong>) = events::supported_types;
    device nvmlDeviceRegisterEvents(mask: c_ulonglong, set: SetHandle) = events::register;
    system nvmlEventSetCreate(set: Out<SetHandle>) = events::create;
    system nvmlEventSetFree(set: SetHandle) = events::free;
    system nvmlEventSetWait(set: SetHandle, data: Out<events::EventDataV1>, timeout: c_uint) = events::wait_v1;
    system nvmlEventSetWait_v2(set: SetHandle, data: Out<sys::nvmlEventData_t>, timeout: c_uint) = events::wait;
}

#[rustfmt::skip]
stubs! {
    nvmlComputeInstanceDestroy
    nvmlComputeInstanceGetInfo
    nvmlComputeInstanceGetInfo_v2
    nvmlDeviceClearAccountingPids
    nvmlDeviceClearCpuAffinity
    nvmlDeviceClearFieldValues
    nvmlDeviceCreateGpuInstance
    nvmlDeviceCreateGpuInstanceWithPlacement
    nvmlDeviceDiscoverGpus
    nvmlDeviceFreezeNvLinkUtilizationCounter
    nvmlDeviceGetAccountingPids
    nvmlDeviceGetAccountingStats
    nvmlDeviceGetAccountingStats_v2
    nvmlDeviceGetActiveVgpus
    nvmlDeviceGetAdaptiveClockInfoStatus
    nvmlDeviceGetAdaptiveTgpModeInfo_v1
    nvmlDeviceGetAttributes
    nvmlDeviceGetAttributes_v2
    nvmlDeviceGetAutoBoostedClocksEnabled
    nvmlDeviceGetBBXTimeData_v1
    nvmlDeviceGetBankRemapperStatus_v1
    nvmlDeviceGetBridgeChipInfo
    nvmlDeviceGetCapabilities
    nvmlDeviceGetClkMonStatus
    nvmlDeviceGetClockOffsets
    nvmlDeviceGetComputeInstanceId
    nvmlDeviceGetConfComputeGpuAttestationReport
    nvmlDeviceGetConfComputeGpuCertificate
    nvmlDeviceGetConfComputeMemSizeInfo
    nvmlDeviceGetConfComputeProtectedMemoryUsage
    nvmlDeviceGetCoolerInfo
    nvmlDeviceGetCreatableVgpus
    nvmlDeviceGetCurrentClockFreqs
    nvmlDeviceGetDetailedEccErrors
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle
    nvmlDeviceGetDramEncryptionMode
    nvmlDeviceGetDriverModel
    nvmlDeviceGetDriverModel_v2
    nvmlDeviceGetDynamicPstatesInfo
    nvmlDeviceGetEncoderCapacity
    nvmlDeviceGetEncoderSessions
    nvmlDeviceGetEncoderStats
    nvmlDeviceGetFBCSessions
    nvmlDeviceGetFBCStats
    nvmlDeviceGetFanControlPolicy_v2
    nvmlDeviceGetFanSpeed
    nvmlDeviceGetFanSpeedRPM
    nvmlDeviceGetFanSpeed_v2
    nvmlDeviceGetGpcClkMinMaxVfOffset
    nvmlDeviceGetGpcClkVfOffset
    nvmlDeviceGetGpuFabricInfo_v4
    nvmlDeviceGetGpuInstanceById
    nvmlDeviceGetGpuInstanceId
    nvmlDeviceGetGpuInstancePossiblePlacements
    nvmlDeviceGetGpuInstancePossiblePlacements_v2
    nvmlDeviceGetGpuInstanceProfileInfo
    nvmlDeviceGetGpuInstanceProfileInfoByIdV
    nvmlDeviceGetGpuInstanceProfileInfoV
    nvmlDeviceGetGpuInstanceRemainingCapacity
    nvmlDeviceGetGpuInstances
    nvmlDeviceGetGpuOperationMode
    nvmlDeviceGetGridLicensableFeatures
    nvmlDeviceGetGridLicensableFeatures_v2
    nvmlDeviceGetGridLicensableFeatures_v3
    nvmlDeviceGetGridLicensableFeatures_v4
    nvmlDeviceGetHostVgpuMode
    nvmlDeviceGetHostname_v1
    nvmlDeviceGetInforomConfigurationChecksum
    nvmlDeviceGetLastBBXFlushTime
    nvmlDeviceGetMemClkMinMaxVfOffset
    nvmlDeviceGetMemClkVfOffset
    nvmlDeviceGetMemoryLimits_v1
    nvmlDeviceGetMigDeviceHandleByIndex
    nvmlDeviceGetMinMaxClockOfPState
    nvmlDeviceGetMinMaxFanSpeed
    nvmlDeviceGetNumFans
    nvmlDeviceGetNumaNodeId
    nvmlDeviceGetNvLinkInfo
    nvmlDeviceGetNvLinkTelemetrySamples_v1
    nvmlDeviceGetNvLinkUtilizationControl
    nvmlDeviceGetNvLinkUtilizationCounter
    nvmlDeviceGetNvlinkBwMode
    nvmlDeviceGetNvlinkSupportedBwModes
    nvmlDeviceGetPdi
    nvmlDeviceGetPerformanceModes
    nvmlDeviceGetPgpuMetadataString
    nvmlDeviceGetPowerMizerMode_v1
    nvmlDeviceGetProcessUtilization
    nvmlDeviceGetProcessesUtilizationInfo
    nvmlDeviceGetRemappedRows_v2
    nvmlDeviceGetRetiredPages
    nvmlDeviceGetRetiredPagesPendingStatus
    nvmlDeviceGetRetiredPages_v2
    nvmlDeviceGetRunningProcessDetailList
    nvmlDeviceGetSamples
    nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts
    nvmlDeviceGetSupportedPerformanceStates
    nvmlDeviceGetSupportedVgpus
    nvmlDeviceGetTargetFanSpeed
    nvmlDeviceGetThermalSettings
    nvmlDeviceGetUnrepairableMemoryFlag_v1
    nvmlDeviceGetVgpuCapabilities
    nvmlDeviceGetVgpuHeterogeneousMode
    nvmlDeviceGetVgpuInstancesUtilizationInfo
    nvmlDeviceGetVgpuMetadata
    nvmlDeviceGetVgpuProcessUtilization
    nvmlDeviceGetVgpuProcessesUtilizationInfo
    nvmlDeviceGetVgpuSchedulerCapabilities
    nvmlDeviceGetVgpuSchedulerLog
    nvmlDeviceGetVgpuSchedulerLog_v2
    nvmlDeviceGetVgpuSchedulerState
    nvmlDeviceGetVgpuSchedulerState_v2
    nvmlDeviceGetVgpuTypeCreatablePlacements
    nvmlDeviceGetVgpuTypeSupportedPlacements
    nvmlDeviceGetVgpuUtilization
    nvmlDeviceModifyDrainState
    nvmlDevicePerfMetricsGetSamples_v1
    nvmlDevicePowerSmoothingActivatePresetProfile
    nvmlDevicePowerSmoothingSetState
    nvmlDevicePowerSmoothingUpdatePresetProfileParam
    nvmlDeviceQueryDrainState
    nvmlDeviceReadPRMCounters_v1
    nvmlDeviceReadWritePRM_v1
    nvmlDeviceRemoveGpu
    nvmlDeviceRemoveGpu_v2
    nvmlDeviceResetApplicationsClocks
    nvmlDeviceResetGpuLockedClocks
    nvmlDeviceResetMemoryLockedClocks
    nvmlDeviceResetNvLinkErrorCounters
    nvmlDeviceResetNvLinkUtilizationCounter
    nvmlDeviceSetAPIRestriction
    nvmlDeviceSetAccountingMode
    nvmlDeviceSetAdaptiveTgpMode_v1
    nvmlDeviceSetApplicationsClocks
    nvmlDeviceSetAutoBoostedClocksEnabled
    nvmlDeviceSetClockOffsets
    nvmlDeviceSetConfComputeUnprotectedMemSize
    nvmlDeviceSetCpuAffinity
    nvmlDeviceSetDefaultAutoBoostedClocksEnabled
    nvmlDeviceSetDefaultFanSpeed_v2
    nvmlDeviceSetDramEncryptionMode
    nvmlDeviceSetDriverModel
    nvmlDeviceSetFanControlPolicy
    nvmlDeviceSetFanSpeed_v2
    nvmlDeviceSetGpcClkVfOffset
    nvmlDeviceSetGpuLockedClocks
    nvmlDeviceSetGpuOperationMode
    nvmlDeviceSetHostname_v1
    nvmlDeviceSetMemClkVfOffset
    nvmlDeviceSetMemoryLimits_v1
    nvmlDeviceSetMemoryLockedClocks
    nvmlDeviceSetMigMode
    nvmlDeviceSetNvLinkDeviceLowPowerThreshold
    nvmlDeviceSetNvLinkUtilizationControl
    nvmlDeviceSetNvlinkBwMode
    nvmlDeviceSetNvlinkBwModeAsync_v1
    nvmlDeviceSetPowerManagementLimit_v2
    nvmlDeviceSetPowerMizerMode_v1
    nvmlDeviceSetRusdSettings_v1
    nvmlDeviceSetTemperatureThreshold
    nvmlDeviceSetVgpuCapabilities
    nvmlDeviceSetVgpuHeterogeneousMode
    nvmlDeviceSetVgpuSchedulerState
    nvmlDeviceSetVgpuSchedulerState_v2
    nvmlDeviceSetVirtualizationMode
    nvmlDeviceVgpuForceGspUnload
    nvmlDeviceWorkloadPowerProfileClearRequestedProfiles
    nvmlDeviceWorkloadPowerProfileGetCurrentProfiles
    nvmlDeviceWorkloadPowerProfileGetProfilesInfo
    nvmlDeviceWorkloadPowerProfileSetRequestedProfiles
    nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1
    nvmlEventSetGetContextCount_v1
    nvmlEventSetGetContextData_v1
    nvmlEventSetGetContextInfo_v1
    nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1
    nvmlEventSetRegisterGpuOperationalEvents_v1
    nvmlEventSetWait_v3
    nvmlGetVgpuCompatibility
    nvmlGetVgpuDriverCapabilities
    nvmlGetVgpuVersion
    nvmlGpmMetricsGet
    nvmlGpmMigSampleGet
    nvmlGpmQueryDeviceSupport
    nvmlGpmQueryIfStreamingEnabled
    nvmlGpmSampleAlloc
    nvmlGpmSampleFree
    nvmlGpmSampleGet
    nvmlGpmSetStreamingEnabled
    nvmlGpuInstanceCreateComputeInstance
    nvmlGpuInstanceCreateComputeInstanceWithPlacement
    nvmlGpuInstanceDestroy
    nvmlGpuInstanceGetActiveVgpus
    nvmlGpuInstanceGetComputeInstanceById
    nvmlGpuInstanceGetComputeInstancePossiblePlacements
    nvmlGpuInstanceGetComputeInstanceProfileInfo
    nvmlGpuInstanceGetComputeInstanceProfileInfoV
    nvmlGpuInstanceGetComputeInstanceRemainingCapacity
    nvmlGpuInstanceGetComputeInstances
    nvmlGpuInstanceGetCreatableVgpus
    nvmlGpuInstanceGetInfo
    nvmlGpuInstanceGetVgpuHeterogeneousMode
    nvmlGpuInstanceGetVgpuSchedulerLog
    nvmlGpuInstanceGetVgpuSchedulerLog_v2
    nvmlGpuInstanceGetVgpuSchedulerState
    nvmlGpuInstanceGetVgpuSchedulerState_v2
    nvmlGpuInstanceGetVgpuTypeCreatablePlacements
    nvmlGpuInstanceSetVgpuHeterogeneousMode
    nvmlGpuInstanceSetVgpuSchedulerState
    nvmlGpuInstanceSetVgpuSchedulerState_v2
    nvmlSetVgpuVersion
    nvmlSystemEventSetCreate
    nvmlSystemEventSetFree
    nvmlSystemEventSetWait
    nvmlSystemGetCPER_v1
    nvmlSystemGetConfComputeCapabilities
    nvmlSystemGetConfComputeGpusReadyState
    nvmlSystemGetConfComputeKeyRotationThresholdInfo
    nvmlSystemGetConfComputeSettings
    nvmlSystemGetConfComputeState
    nvmlSystemGetHicVersion
    nvmlSystemGetNvlinkBwMode
    nvmlSystemRegisterEvents
    nvmlSystemSetConfComputeGpusReadyState
    nvmlSystemSetConfComputeKeyRotationThresholdInfo
    nvmlSystemSetNvlinkBwMode
    nvmlUnitGetCount
    nvmlUnitGetDevices
    nvmlUnitGetFanSpeedInfo
    nvmlUnitGetHandleByIndex
    nvmlUnitGetLedState
    nvmlUnitGetPsuInfo
    nvmlUnitGetTemperature
    nvmlUnitGetUnitInfo
    nvmlUnitSetLedState
    nvmlVgpuInstanceClearAccountingPids
    nvmlVgpuInstanceGetAccountingMode
    nvmlVgpuInstanceGetAccountingPids
    nvmlVgpuInstanceGetAccountingStats
    nvmlVgpuInstanceGetEccMode
    nvmlVgpuInstanceGetEncoderCapacity
    nvmlVgpuInstanceGetEncoderSessions
    nvmlVgpuInstanceGetEncoderStats
    nvmlVgpuInstanceGetFBCSessions
    nvmlVgpuInstanceGetFBCStats
    nvmlVgpuInstanceGetFbUsage
    nvmlVgpuInstanceGetFrameRateLimit
    nvmlVgpuInstanceGetGpuInstanceId
    nvmlVgpuInstanceGetGpuPciId
    nvmlVgpuInstanceGetLicenseInfo
    nvmlVgpuInstanceGetLicenseInfo_v2
    nvmlVgpuInstanceGetLicenseStatus
    nvmlVgpuInstanceGetMdevUUID
    nvmlVgpuInstanceGetMetadata
    nvmlVgpuInstanceGetPlacementId
    nvmlVgpuInstanceGetRuntimeStateSize
    nvmlVgpuInstanceGetType
    nvmlVgpuInstanceGetUUID
    nvmlVgpuInstanceGetVmDriverVersion
    nvmlVgpuInstanceGetVmID
    nvmlVgpuInstanceSetEncoderCapacity
    nvmlVgpuTypeGetBAR1Info
    nvmlVgpuTypeGetCapabilities
    nvmlVgpuTypeGetClass
    nvmlVgpuTypeGetDeviceID
    nvmlVgpuTypeGetFbReservation
    nvmlVgpuTypeGetFrameRateLimit
    nvmlVgpuTypeGetFramebufferSize
    nvmlVgpuTypeGetGpuInstanceProfileId
    nvmlVgpuTypeGetGspHeapSize
    nvmlVgpuTypeGetLicense
    nvmlVgpuTypeGetMaxInstances
    nvmlVgpuTypeGetMaxInstancesPerGpuInstance
    nvmlVgpuTypeGetMaxInstancesPerVm
    nvmlVgpuTypeGetName
    nvmlVgpuTypeGetNumDisplayHeads
    nvmlVgpuTypeGetResolution
}
