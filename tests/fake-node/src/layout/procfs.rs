//! `/proc/driver/nvidia*` as the kernel module writes it.

use std::fmt::Write as _;

use super::tree::Tree;
use crate::model::{Driver, Gpu, MAX_GPUS};

/// GPU instances that have a capability, per GPU.
const GPU_INSTANCES: u32 = 15;
/// Compute instances that have a capability, per GPU instance.
const COMPUTE_INSTANCES: u32 = 8;
/// Minors of a GPU: each GPU instance's own and its compute instances'.
const MINORS_PER_GPU: u32 = GPU_INSTANCES * (1 + COMPUTE_INSTANCES);
/// Minors of the capabilities to configure and to watch MIG.
const MINOR_CONFIG: u32 = 1;
const MINOR_MONITOR: u32 = 2;
const FIRST_GPU_MINOR: u32 = 3;

/// Minor of the capability device of a GPU instance, N of `/dev/nvidia-caps/nvidia-cap<N>`.
pub fn gpu_instance_capability(gpu_minor: u32, gpu_instance: u32) -> u32 {
    FIRST_GPU_MINOR + MINORS_PER_GPU * gpu_minor + (1 + COMPUTE_INSTANCES) * gpu_instance
}

/// Minor of the capability device of a compute instance.
pub fn compute_instance_capability(gpu_minor: u32, gpu_instance: u32, compute_instance: u32) -> u32 {
    gpu_instance_capability(gpu_minor, gpu_instance) + 1 + compute_instance
}

/// Files that tell the driver's version, below `proc`.
pub(super) fn versioned(driver: &Driver) -> Tree {
    let mut tree = Tree::default();
    tree.file_with_mode(
        "driver/nvidia/version",
        format!(
            "NVRM version: NVIDIA UNIX {} Kernel Module  {}  Tue Apr  8 12:41:17 UTC 2025\n\
             GCC version:  gcc version 12.2.0 (Debian 12.2.0-14) \n",
            std::env::consts::ARCH,
            driver.version
        ),
        0o444,
    );
    tree
}

/// `/proc/devices`, below `proc`.
pub(super) fn devices(driver: &Driver) -> Tree {
    let mut tree = Tree::default();
    tree.file_with_mode("devices", super::devices::proc_devices(driver.branch()), 0o444);
    tree
}

/// Files of the kernel module, below `proc`.
pub(super) fn module() -> Tree {
    let mut tree = Tree::default();
    tree.file_with_mode("driver/nvidia/params", PARAMS, 0o444);
    tree.file_with_mode("driver/nvidia/registry", "Binary: \"\"\n", 0o644);
    tree.dir("driver/nvidia/gpus");

    let capabilities = "driver/nvidia/capabilities";
    // The last minor after those of all GPUs.
    let fabric = gpu_instance_capability(32, 0);
    for (name, minor, mode) in [
        ("mig/config", MINOR_CONFIG, 0o400),
        ("mig/monitor", MINOR_MONITOR, 0o444),
        ("fabric-imex-mgmt", fabric, 0o400),
    ] {
        tree.file_with_mode(format!("{capabilities}/{name}"), capability(minor, mode), 0o444);
    }
    tree.file_with_mode("driver/nvidia-caps/mig-minors", mig_minors(), 0o444);
    tree
}

/// Files of one GPU, below `proc`.
pub(super) fn gpu(gpu: &Gpu, driver: &Driver) -> Tree {
    let mut tree = Tree::default();
    let folder = format!("driver/nvidia/gpus/{}", gpu.pci);
    tree.dir(folder.clone());
    let information = [
        ("Model: \t", gpu.board.name.clone()),
        ("IRQ:   \t", (64 + gpu.minor).to_string()),
        ("GPU UUID: ", gpu.uuid.clone()),
        ("Video BIOS: ", gpu.board.vbios.clone()),
        ("Bus Type: ", "PCIe".to_owned()),
        ("DMA Size: ", "52 bits".to_owned()),
        ("DMA Mask: ", "0xfffffffffffff".to_owned()),
        ("Bus Location: ", gpu.pci.to_string()),
        ("Device Minor: ", gpu.minor.to_string()),
        ("GPU Firmware: ", driver.version.clone()),
        ("GPU Excluded:", "No".to_owned()),
    ]
    .map(|(key, value)| format!("{key}\t {value}\n"))
    .concat();
    tree.file_with_mode(format!("{folder}/information"), information, 0o444);
    tree.file_with_mode(format!("{folder}/registry"), "Binary: \"\"\n", 0o644);
    let capabilities = format!("driver/nvidia/capabilities/gpu{}", gpu.minor);
    tree.dir(format!("{capabilities}/mig"));
    tree.dir(capabilities);
    tree
}

/// The content of a capability's file.
fn capability(minor: u32, mode: u32) -> String {
    format!("DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n")
}

/// The table of all capabilities' minors, whether there is such a GPU or not.
fn mig_minors() -> String {
    let mut table = format!("config {MINOR_CONFIG}\nmonitor {MINOR_MONITOR}\n");
    for gpu in (0..MAX_GPUS).filter_map(|gpu| u32::try_from(gpu).ok()) {
        for instance in 0..GPU_INSTANCES {
            // Writing to a string does not fail.
            let minor = gpu_instance_capability(gpu, instance);
            let _ = writeln!(table, "gpu{gpu}/gi{instance}/access {minor}");
            for compute in 0..COMPUTE_INSTANCES {
                let minor = compute_instance_capability(gpu, instance, compute);
                let _ = writeln!(table, "gpu{gpu}/gi{instance}/ci{compute}/access {minor}");
            }
        }
    }
    table
}

/// The module's parameters at their defaults.
const PARAMS: &str = r#"ResmanDebugLevel: 4294967295
RmLogonRC: 1
ModifyDeviceFiles: 1
DeviceFileUID: 0
DeviceFileGID: 0
DeviceFileMode: 438
InitializeSystemMemoryAllocations: 1
UsePageAttributeTable: 4294967295
EnableMSI: 1
EnablePCIeGen3: 0
MemoryPoolSize: 0
KMallocHeapMaxSize: 0
VMallocHeapMaxSize: 0
IgnoreMMIOCheck: 0
EnableStreamMemOPs: 0
EnableUserNUMAManagement: 1
NvLinkDisable: 0
RmProfilingAdminOnly: 1
PreserveVideoMemoryAllocations: 0
EnableS0ixPowerManagement: 0
S0ixPowerManagementVideoMemoryThreshold: 256
DynamicPowerManagement: 3
DynamicPowerManagementVideoMemoryThreshold: 200
RegisterPCIDriver: 1
EnablePCIERelaxedOrderingMode: 0
EnableResizableBar: 0
EnableGpuFirmware: 18
EnableGpuFirmwareLogs: 2
EnableDbgBreakpoint: 0
OpenRmEnableUnsupportedGpus: 1
DmaRemapPeerMmio: 1
RegistryDwords: ""
RegistryDwordsPerDevice: ""
RmMsg: ""
GpuBlacklist: ""
TemporaryFilePath: ""
ExcludedGpus: ""
"#;
