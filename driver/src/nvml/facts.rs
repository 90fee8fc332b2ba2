//! Everything that the inventory asks NVML, as NVML answers it: plain data with a [`Reading`] for each value.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;

use super::raw::{self, FabricInfo, PciInfo, RawGpu, Text};
use super::reading::{Reading, code};
use super::session::{GpuContext, GpuHandle, NodeContext};

/// What NVML says about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Version of the kernel driver.
    pub driver_version: Reading<Text>,
    /// Version of the library.
    pub nvml_version: Reading<Text>,
    /// The newest CUDA that the driver runs: 1000 × major + 10 × minor.
    pub cuda_version: Reading<i32>,
}

/// What NVML says about one GPU. The units are NVML's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuFacts {
    /// "GPU-" and a UUID.
    pub uuid: Reading<Text>,
    /// Where it sits.
    pub pci: Reading<PciInfo>,
    /// N of `/dev/nvidia<N>`.
    pub minor: Reading<u32>,
    /// Product name.
    pub name: Reading<Text>,
    /// Serial number of the board.
    pub serial: Reading<Text>,
    /// `nvmlBrandType_t`.
    pub brand: Reading<u32>,
    /// `NVML_DEVICE_ARCH_*`.
    pub architecture: Reading<u32>,
    /// CUDA compute capability, major and minor.
    pub compute_capability: Reading<(i32, i32)>,
    /// Framebuffer memory, total and reserved by the driver, in bytes.
    pub memory: Reading<(u64, u64)>,
    /// BAR1 aperture in bytes.
    pub bar1: Reading<u64>,
    /// CUDA cores.
    pub cores: Reading<u32>,
    /// Version of the video BIOS.
    pub vbios: Reading<Text>,
    /// Version of the GSP firmware.
    pub gsp_firmware: Reading<Text>,
    /// Part number of the board.
    pub board_part_number: Reading<Text>,
    /// ECC now and after the next reset.
    pub ecc: Reading<(bool, bool)>,
    /// Persistence mode.
    pub persistence: Reading<bool>,
    /// `nvmlComputeMode_t`.
    pub compute_mode: Reading<u32>,
    /// Power limit that is enforced, in mW.
    pub power_limit: Reading<u32>,
    /// Power limit after power-on, in mW.
    pub power_default: Reading<u32>,
    /// Lowest and highest power limit that can be set, in mW.
    pub power_range: Reading<(u32, u32)>,
    /// Highest SM clock in MHz.
    pub clock_sm: Reading<u32>,
    /// Highest memory clock in MHz.
    pub clock_memory: Reading<u32>,
    /// Highest PCIe generation that GPU and slot allow.
    pub pcie_generation: Reading<u32>,
    /// Most PCIe lanes that GPU and slot allow.
    pub pcie_width: Reading<u32>,
    /// MIG mode now and after the next reset.
    pub mig: Reading<(u32, u32)>,
    /// The most MIG devices.
    pub mig_most: Reading<u32>,
    /// Position on an HGX baseboard.
    pub module_id: Reading<u32>,
    /// NVLink fabric.
    pub fabric: Reading<FabricInfo>,
    /// The NVLinks in order.
    pub nvlinks: Reading<Vec<NvLinkFacts>>,
}

/// One NVLink of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NvLinkFacts {
    /// Whether it is up.
    pub active: bool,
    /// `NVML_NVLINK_VERSION_*`. Asked only of links that are up, as the following.
    pub version: Reading<u32>,
    /// `nvmlIntNvLinkDeviceType_t` of what it ends in.
    pub remote_type: Reading<u32>,
    /// What it ends in.
    pub remote: Reading<PciInfo>,
}

/// `NVML_NVLINK_MAX_LINKS` of NVML 13. Hopper boards have 18.
const MOST_NVLINKS: u32 = 36;

/// Facts that are being read. A reader that is stuck leaves what it has read so far, and the name of what it
/// is stuck at.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    state: Arc<Mutex<(GpuFacts, Option<&'static str>)>>,
}

impl Progress {
    /// What was read so far, and what is being read.
    pub fn so_far(&self) -> (GpuFacts, Option<&'static str>) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (GpuFacts, Option<&'static str>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step<T>(
        &self,
        what: &'static str,
        read: impl FnOnce() -> Reading<T>,
        keep: impl FnOnce(&mut GpuFacts, Reading<T>),
    ) {
        self.lock().1 = Some(what);
        let reading = read();
        let mut state = self.lock();
        keep(&mut state.0, reading);
        state.1 = None;
    }
}

impl NodeContext {
    /// Asks for the versions.
    pub fn facts(&self) -> NodeFacts {
        NodeFacts {
            driver_version: raw::driver_version(self.nvml()),
            nvml_version: raw::nvml_version(self.nvml()),
            cuda_version: raw::cuda_driver_version(self.nvml()).into(),
        }
    }
}

impl GpuContext {
    /// Asks for all facts, noting each as it comes. What identifies the GPU is asked for first.
    ///
    /// # Errors
    /// The GPU cannot even be named.
    pub fn read_facts(&self, progress: &Progress) -> Result<GpuHandle, NvmlError> {
        // The first look-up of a handle wakes the GPU up: the call that most likely hangs on a sick one.
        progress.lock().1 = Some("handle");
        let named = self.raw().and_then(|raw| Ok((raw, self.device()?, self.share()?)));
        progress.lock().1 = None;
        let (raw, device, handle) = named?;
        identity(progress, raw, &device);
        properties(progress, raw, &device);
        settings(progress, raw, &device);
        links(progress, raw, &device);
        Ok(handle)
    }

    /// For each of the other GPUs, `nvmlGpuTopologyLevel_t` of the nearest thing that both hang on.
    pub fn read_topology(&self, others: &[GpuHandle]) -> Vec<Reading<u32>> {
        others
            .iter()
            .map(|other| match self.raw().and_then(|raw| Ok((raw, self.other(*other)?))) {
                Ok((raw, other)) => raw.common_ancestor(other),
                Err(error) => Err(error).into(),
            })
            .collect()
    }
}

fn identity(to: &Progress, raw: RawGpu<'_>, device: &Device<'_>) {
    to.step("pci", || raw.pci(), |facts, pci| facts.pci = pci);
    to.step("uuid", || raw.uuid(), |facts, uuid| facts.uuid = uuid);
    to.step("minor", || device.minor_number().into(), |facts, minor| facts.minor = minor);
    to.step("productName", || raw.name(), |facts, name| facts.name = name);
    to.step("serial", || raw.serial(), |facts, serial| facts.serial = serial);
    to.step("moduleId", || raw.module_id(), |facts, id| facts.module_id = id);
}

fn properties(to: &Progress, raw: RawGpu<'_>, device: &Device<'_>) {
    to.step("brand", || raw.brand(), |facts, brand| facts.brand = brand);
    to.step("architecture", || raw.architecture(), |facts, architecture| facts.architecture = architecture);
    to.step(
        "cudaComputeCapability",
        || Reading::from(device.cuda_compute_capability()).map(|version| (version.major, version.minor)),
        |facts, version| facts.compute_capability = version,
    );
    to.step(
        "memory",
        || Reading::from(device.memory_info()).map(|memory| (memory.total, memory.reserved)),
        |facts, memory| facts.memory = memory,
    );
    to.step(
        "bar1",
        || Reading::from(device.bar1_memory_info()).map(|bar1| bar1.total),
        |facts, bar1| facts.bar1 = bar1,
    );
    to.step("cores", || device.num_cores().into(), |facts, cores| facts.cores = cores);
    to.step("vbiosVersion", || raw.vbios_version(), |facts, version| facts.vbios = version);
    to.step(
        "gspFirmwareVersion",
        || raw.gsp_firmware_version(),
        |facts, version| facts.gsp_firmware = version,
    );
    to.step("boardPartNumber", || raw.board_part_number(), |facts, number| facts.board_part_number = number);
    to.step("clockSm", || device.max_clock_info(Clock::SM).into(), |facts, clock| facts.clock_sm = clock);
    to.step(
        "clockMemory",
        || device.max_clock_info(Clock::Memory).into(),
        |facts, clock| facts.clock_memory = clock,
    );
    to.step(
        "pcieGeneration",
        || device.max_pcie_link_gen().into(),
        |facts, generation| facts.pcie_generation = generation,
    );
    to.step("pcieWidth", || device.max_pcie_link_width().into(), |facts, width| facts.pcie_width = width);
}

fn settings(to: &Progress, raw: RawGpu<'_>, device: &Device<'_>) {
    to.step(
        "ecc",
        || Reading::from(device.is_ecc_enabled()).map(|ecc| (ecc.currently_enabled, ecc.pending_enabled)),
        |facts, ecc| facts.ecc = ecc,
    );
    to.step(
        "persistence",
        || device.is_in_persistent_mode().into(),
        |facts, persistence| facts.persistence = persistence,
    );
    to.step("computeMode", || raw.compute_mode(), |facts, mode| facts.compute_mode = mode);
    to.step("powerLimit", || device.enforced_power_limit().into(), |facts, limit| facts.power_limit = limit);
    to.step(
        "powerDefault",
        || device.power_management_limit_default().into(),
        |facts, limit| facts.power_default = limit,
    );
    to.step(
        "powerRange",
        || {
            Reading::from(device.power_management_limit_constraints())
                .map(|range| (range.min_limit, range.max_limit))
        },
        |facts, range| facts.power_range = range,
    );
    to.step(
        "mig",
        || Reading::from(device.mig_mode()).map(|mode| (mode.current, mode.pending)),
        |facts, mode| facts.mig = mode,
    );
    to.step("migMost", || device.mig_device_count().into(), |facts, count| facts.mig_most = count);
}

fn links(to: &Progress, raw: RawGpu<'_>, device: &Device<'_>) {
    to.step("fabric", || raw.fabric(), |facts, fabric| facts.fabric = fabric);
    to.step("nvlink", || nvlinks(raw, device), |facts, links| facts.nvlinks = links);
}

/// NVML does not say how many links there are: the first that it does not know ends the list.
fn nvlinks(raw: RawGpu<'_>, device: &Device<'_>) -> Reading<Vec<NvLinkFacts>> {
    let mut links = Vec::new();
    for link in 0..MOST_NVLINKS {
        let wrapped = device.link_wrapper_for(link);
        let active = match Reading::from(wrapped.is_active()) {
            Reading::Value(active) => active,
            Reading::Failed(error) if error.code == Some(code::INVALID_ARGUMENT) => break,
            Reading::NotSupported if link > 0 => break,
            other => return other.map(|_| Vec::new()),
        };
        links.push(if active {
            NvLinkFacts {
                active,
                version: wrapped.version().into(),
                remote_type: raw.nvlink_remote_type(link),
                remote: raw.nvlink_remote_pci(link),
            }
        } else {
            NvLinkFacts::default()
        });
    }
    Reading::Value(links)
}
