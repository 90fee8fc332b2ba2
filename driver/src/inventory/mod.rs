//! What a node has: plain data, made from NVML's and the kernel's answers.
//!
//! ```text
//! NVML  ──▶ facts ──┐
//!                   ├──▶ assemble (pure) ──▶ Inventory
//! sysfs ──▶ facts ──┘
//! ```
//!
//! A value that could not be had is absent, and [`Gpu::unread`] says why. It never hides the GPU, and one GPU
//! never hides another.

mod assemble;
mod codes;
mod discover;
pub mod pci;
pub mod procfs;
pub mod sysfs;
pub mod version;

use serde::Serialize;

use crate::nvml::library::Search;
pub use discover::{Roots, discover, discover_node, gpus_on_bus, open};
pub use pci::PciAddress;
pub use version::Version;

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Where NVIDIA's library was looked for and found.
    pub library: Search,
    /// Versions of what is installed.
    pub versions: Versions,
    /// The GPUs, ordered by PCI address.
    pub gpus: Vec<Gpu>,
    /// What is wrong, on the node and on its GPUs.
    pub problems: Vec<Problem>,
}

/// Versions of the driver's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// The kernel driver.
    pub driver: Option<Version>,
    /// The management library.
    pub nvml: Option<Version>,
    /// The newest CUDA that the driver runs.
    pub cuda: Option<Version>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it concerns: a GPU's name, or "node".
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, and what to do.
    pub message: String,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The subject cannot be used.
    Unusable,
    /// The subject can be used.
    Warning,
}

/// One GPU. Where a value is absent, `unread` has the reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// The device's name, from the PCI address: "gpu-0000-1b-00-0". Absent only if the address is.
    pub name: Option<String>,
    /// Whether enough is known of it, and nothing wrong, so that it can be given to a pod.
    pub usable: bool,
    /// "GPU-" and a UUID.
    pub uuid: Option<String>,
    /// Product name, such as "NVIDIA H100 80GB HBM3".
    pub product_name: Option<String>,
    /// Brand, such as "Nvidia".
    pub brand: Option<String>,
    /// Architecture, such as "Hopper".
    pub architecture: Option<String>,
    /// CUDA compute capability, such as 9.0.0.
    pub cuda_compute_capability: Option<Version>,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// Part number of the board.
    pub board_part_number: Option<String>,
    /// Position on an HGX baseboard, from 1.
    pub module_id: Option<u32>,
    /// N of `/dev/nvidia<N>`. May change with every driver reload.
    pub minor: Option<u32>,
    /// NVML's number for it in this session. May change with every session.
    pub index: u32,
    /// Where it sits on the PCI bus.
    pub pci: Pci,
    /// Framebuffer memory.
    pub memory: Option<Memory>,
    /// BAR1 aperture in bytes.
    pub bar1_bytes: Option<u64>,
    /// CUDA cores.
    pub cores: Option<u32>,
    /// Streaming multiprocessors. NVML does not say; known for Hopper, 128 cores each.
    pub multiprocessors: Option<u32>,
    /// Version of the video BIOS.
    pub vbios_version: Option<String>,
    /// Version of the GSP firmware.
    pub gsp_firmware_version: Option<String>,
    /// ECC.
    pub ecc: Option<Ecc>,
    /// Persistence mode.
    pub persistence_mode: Option<bool>,
    /// Compute mode.
    pub compute_mode: Option<ComputeMode>,
    /// Power limits.
    pub power: Power,
    /// Highest clocks.
    pub clocks: Clocks,
    /// NVLinks. Absent on boards without.
    pub nvlink: Option<NvLink>,
    /// NVLink fabric. Absent on boards that join none.
    pub fabric: Option<Fabric>,
    /// The nearest thing that it and each other GPU hang on.
    pub topology: Vec<Neighbour>,
    /// NUMA node. Absent also where the firmware names none.
    pub numa_node: Option<u32>,
    /// CPUs near to it, in the kernel's form: "0-55,112-167".
    pub local_cpus: Option<String>,
    /// MIG.
    pub mig: Mig,
    /// Values that could not be had, and why.
    pub unread: Vec<Unread>,
}

/// A value that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The field.
    pub field: &'static str,
    /// Whether it is expected that it is absent.
    pub cause: Cause,
    /// Why.
    pub reason: String,
}

/// What kind of reason there is for a value's absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The board has no such thing.
    NotSupported,
    /// The driver is too old to tell.
    OldDriver,
    /// Asking for it failed.
    Failed,
}

/// Where a GPU sits on the PCI bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pci {
    /// Its address: "0000:1b:00.0".
    pub address: Option<PciAddress>,
    /// The host bridge above it: "pci0000:15".
    pub root: Option<String>,
    /// Device and vendor id: "2330:10de".
    pub device_id: Option<String>,
    /// Device and vendor id of the subsystem: "16c1:10de".
    pub subsystem_id: Option<String>,
    /// Highest PCIe generation that GPU and slot allow.
    pub max_generation: Option<u32>,
    /// Most lanes that GPU and slot allow.
    pub max_width: Option<u32>,
}

/// Framebuffer memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What the driver keeps.
    pub reserved_bytes: u64,
}

/// ECC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ecc {
    /// Now.
    pub enabled: bool,
    /// After the next reset.
    pub pending: bool,
}

/// Who may compute on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ComputeMode {
    /// Any number of processes.
    Default,
    /// One thread. Gone since CUDA 8.
    ExclusiveThread,
    /// Nobody.
    Prohibited,
    /// One process.
    ExclusiveProcess,
}

/// Power limits in milliwatts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Power {
    /// The limit that holds now.
    pub limit_milliwatts: Option<u32>,
    /// The limit after power-on.
    pub default_milliwatts: Option<u32>,
    /// The lowest limit that can be set.
    pub min_milliwatts: Option<u32>,
    /// The highest limit that can be set.
    pub max_milliwatts: Option<u32>,
}

/// Highest clocks in MHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clocks {
    /// Of the multiprocessors.
    pub sm_max_megahertz: Option<u32>,
    /// Of the memory.
    pub memory_max_megahertz: Option<u32>,
}

/// A GPU's NVLinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NvLink {
    /// How many links it has.
    pub links: u32,
    /// How many of them are up.
    pub active: u32,
    /// NVLink's generation, known from the architecture.
    pub generation: Option<u32>,
    /// What `nvmlDeviceGetNvLinkVersion` says, if all links agree. It is no generation: nvml.h has 6 for
    /// NVLink 4, and H100 boards were seen to answer 7, which is the kernel driver's number for it.
    pub version_code: Option<u32>,
    /// What the links that are up end in.
    pub remotes: Vec<NvLinkRemote>,
}

/// What some NVLinks of a GPU end in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NvLinkRemote {
    /// What it is.
    pub kind: NvLinkRemoteKind,
    /// Where it sits, if NVML says.
    pub address: Option<PciAddress>,
    /// How many links lead there.
    pub links: u32,
}

/// What an NVLink ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NvLinkRemoteKind {
    /// Another GPU, over a bridge.
    Gpu,
    /// An NVSwitch.
    Switch,
    /// A processor.
    Processor,
    /// NVML does not know.
    Unknown,
}

/// A GPU in the NVLink fabric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fabric {
    /// How far its registration is.
    pub state: FabricState,
    /// The GPU's clique in its cluster.
    pub clique_id: u32,
    /// The cluster. Absent on a single node's fabric.
    pub cluster_uuid: Option<String>,
}

/// How far a GPU's registration with the fabric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FabricState {
    /// It has not begun.
    NotStarted,
    /// It has begun.
    InProgress,
    /// It is over and succeeded.
    Completed,
    /// It is over and failed.
    Failed,
    /// A state that this program does not know.
    Unknown,
}

/// The nearest thing that two GPUs hang on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// The other GPU's address.
    pub address: PciAddress,
    /// The thing.
    pub via: Via,
}

/// What lies between two GPUs, from near to far. In brackets the abbreviations of `nvidia-smi topo -m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Via {
    /// They are on one board.
    Board,
    /// One PCIe switch (PIX).
    Switch,
    /// Several PCIe switches (PXB).
    Switches,
    /// A PCIe host bridge (PHB).
    HostBridge,
    /// A NUMA node (NODE).
    NumaNode,
    /// The link between NUMA nodes (SYS).
    System,
}

/// MIG on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mig {
    /// Whether it can be partitioned.
    pub capable: bool,
    /// Whether MIG mode is on.
    pub enabled: bool,
    /// Whether MIG mode is on after the next reset.
    pub pending: bool,
    /// The most partitions.
    pub most_devices: Option<u32>,
}
