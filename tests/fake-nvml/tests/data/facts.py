"""Prints what NVIDIA's Python binding learns of a node, as JSON."""

import json

import pynvml


def supported(function, *arguments):
    """The answer, or the name of the error."""
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        return type(error).__name__


def gpu(index):
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    uuid = pynvml.nvmlDeviceGetUUID(device)
    pci = pynvml.nvmlDeviceGetPciInfo(device)
    again = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    memory_v2 = pynvml.nvmlDeviceGetMemoryInfo(device, version=pynvml.nvmlMemory_v2)
    links = range(pynvml.NVML_NVLINK_MAX_LINKS)
    active = [supported(pynvml.nvmlDeviceGetNvLinkState, device, link) == 1 for link in links]
    fabric = pynvml.c_nvmlGpuFabricInfo_t()
    fabric_state = supported(pynvml.nvmlDeviceGetGpuFabricInfo, device, pynvml.byref(fabric))
    return {
        "name": pynvml.nvmlDeviceGetName(device),
        "uuid": uuid,
        "serial": pynvml.nvmlDeviceGetSerial(device),
        "index by uuid": pynvml.nvmlDeviceGetIndex(again),
        "minor": pynvml.nvmlDeviceGetMinorNumber(device),
        "module": supported(pynvml.nvmlDeviceGetModuleId, device),
        "bus id": pci.busId,
        "device id": hex(pci.pciDeviceId),
        "subsystem id": hex(pci.pciSubSystemId),
        "brand": pynvml.nvmlDeviceGetBrand(device),
        "architecture": pynvml.nvmlDeviceGetArchitecture(device),
        "compute capability": pynvml.nvmlDeviceGetCudaComputeCapability(device),
        "cores": pynvml.nvmlDeviceGetNumGpuCores(device),
        "total MiB": memory.total / 2**20,
        "used and reserved MiB": memory.used / 2**20,
        "reserved MiB": memory_v2.reserved / 2**20,
        "used MiB": memory_v2.used / 2**20,
        "bar1 MiB": pynvml.nvmlDeviceGetBAR1MemoryInfo(device).bar1Total / 2**20,
        "sm MHz": pynvml.nvmlDeviceGetMaxClockInfo(device, pynvml.NVML_CLOCK_SM),
        "memory MHz": pynvml.nvmlDeviceGetMaxClockInfo(device, pynvml.NVML_CLOCK_MEM),
        "power limits mW": pynvml.nvmlDeviceGetPowerManagementLimitConstraints(device),
        "power limit mW": pynvml.nvmlDeviceGetPowerManagementLimit(device),
        "ecc": pynvml.nvmlDeviceGetEccMode(device),
        "remapped rows": pynvml.nvmlDeviceGetRemappedRows(device),
        "compute mode": pynvml.nvmlDeviceGetComputeMode(device),
        "persistence mode": pynvml.nvmlDeviceGetPersistenceMode(device),
        "mig": pynvml.nvmlDeviceGetMigMode(device),
        "most mig devices": pynvml.nvmlDeviceGetMaxMigDeviceCount(device),
        "utilization": supported(lambda: pynvml.nvmlDeviceGetUtilizationRates(device).gpu),
        "processes": len(pynvml.nvmlDeviceGetComputeRunningProcesses(device)),
        "active links": sum(active),
        "fabric state": fabric.state if fabric_state == pynvml.NVML_SUCCESS else fabric_state,
        "event types": pynvml.nvmlDeviceGetSupportedEventTypes(device),
        "fan": supported(pynvml.nvmlDeviceGetFanSpeed, device),
    }


pynvml.nvmlInit()
count = pynvml.nvmlDeviceGetCount()
first, second = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in (0, 1))
print(
    json.dumps(
        {
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "nvml": pynvml.nvmlSystemGetNVMLVersion(),
            "cuda": pynvml.nvmlSystemGetCudaDriverVersion(),
            "first and second": {
                "ancestor": pynvml.nvmlDeviceGetTopologyCommonAncestor(first, second),
                "nvlink": pynvml.nvmlDeviceGetP2PStatus(first, second, pynvml.NVML_P2P_CAPS_INDEX_NVLINK),
            },
            "cpus of the last": list(
                pynvml.nvmlDeviceGetCpuAffinity(pynvml.nvmlDeviceGetHandleByIndex(count - 1), 4)
            ),
            "gpus": [gpu(index) for index in range(count)],
        }
    )
)
pynvml.nvmlShutdown()
