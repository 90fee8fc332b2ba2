//! The model of a node: everything that the fake library shows, as plain data.
//!
//! A [`NodeState`] is made from a description, lives in the node's state file, and is changed there by
//! NVML's setters and by injected faults. It has no behaviour of its own beyond small look-ups.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The most GPUs that one node can have. NVIDIA's kernel driver knows minors 0 to 31.
pub const MAX_GPUS: usize = 32;

/// How many events the node remembers for event sets that have not read them yet.
const EVENT_HISTORY: usize = 256;

/// A node: its driver, its GPUs, and what is being done to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// How often the driver was loaded. A session that began in an earlier epoch is stale.
    pub epoch: u64,
    /// The kernel driver.
    pub driver: Driver,
    /// Abort the calling process on errors that only a defective client makes: a call after shutdown, a
    /// handle that was never given out.
    pub strict: bool,
    /// Cpu list of each NUMA node, in the kernel's form ("0-55,112-167").
    pub numa_cpus: Vec<String>,
    /// The GPUs in PCI order. The position is the GPU's *slot* and never changes.
    pub gpus: Vec<Gpu>,
    /// PCI addresses of the NVSwitches.
    pub nvswitches: Vec<PciAddress>,
    /// Faults that calls meet.
    pub faults: Vec<Fault>,
    /// Where the search for the next fault's number begins, so that a number comes back late: a call that hangs
    /// must not take another fault for its own.
    pub next_fault: u16,
    /// Events that happened.
    pub events: EventLog,
}

/// The kernel driver and what comes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// As NVML prints it, e.g. "550.163.01".
    pub version: String,
    /// The newest CUDA that this driver runs.
    pub cuda: CudaVersion,
    /// False while the kernel module is unloaded.
    pub loaded: bool,
}

impl Driver {
    /// The branch: 550 of "550.163.01". Zero if the version does not begin with a number.
    pub fn branch(&self) -> u16 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// A CUDA version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CudaVersion {
    /// 12 of 12.4.
    pub major: u8,
    /// 4 of 12.4.
    pub minor: u8,
}

/// A PCI address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    /// Domain (segment).
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    /// The kernel's form: "0000:1b:00.0".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl std::str::FromStr for PciAddress {
    type Err = String;

    /// Reads "0000:1b:00.0", NVML's "00000000:1B:00.0" and the short "1b:00.0".
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a PCI address like 0000:1b:00.0");
        let (rest, function) = text.rsplit_once('.').ok_or_else(wrong)?;
        let parts: Vec<&str> = rest.split(':').collect();
        let (domain, bus, device) = match parts.as_slice() {
            [domain, bus, device] => (*domain, *bus, *device),
            [bus, device] => ("0", *bus, *device),
            _ => return Err(wrong()),
        };
        let address = Self {
            domain: u32::from_str_radix(domain, 16).map_err(|_| wrong())?,
            bus: u8::from_str_radix(bus, 16).map_err(|_| wrong())?,
            device: u8::from_str_radix(device, 16).map_err(|_| wrong())?,
            function: u8::from_str_radix(function, 16).map_err(|_| wrong())?,
        };
        if address.device > 31 || address.function > 7 {
            return Err(wrong());
        }
        Ok(address)
    }
}

impl TryFrom<String> for PciAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// "GPU-" and a UUID.
    pub uuid: String,
    /// The board's serial number, 13 digits.
    pub serial: String,
    /// Where it sits.
    pub pci: PciAddress,
    /// N of `/dev/nvidia<N>`.
    pub minor: u32,
    /// NUMA node, or −1 where the firmware names none.
    pub numa: i32,
    /// The host bridge, e.g. "pci0000:15".
    pub pcie_root: String,
    /// PCI bridges from the host bridge down to the GPU.
    pub bridges: Vec<PciAddress>,
    /// Position on an HGX baseboard, 1 to 8.
    pub module_id: Option<u32>,
    /// PCI addresses of GPUs that a bridge connects directly, with the number of links to each.
    pub bridged_to: Vec<(PciAddress, u32)>,
    /// What all boards of its kind share.
    pub board: Board,
    /// What changes while it runs.
    pub live: Live,
}

impl Gpu {
    /// Whether a new NVML session would list it.
    pub fn enumerated(&self) -> bool {
        self.live.presence != Presence::Removed
    }

    /// Used framebuffer memory in bytes: what its processes hold.
    pub fn used_memory(&self) -> u64 {
        let held = self.live.processes.iter().map(|process| process.memory_mib.saturating_mul(1 << 20));
        held.fold(0, u64::saturating_add)
    }
}

/// Whether a text is "GPU-" and a UUID in lower case, as NVML prints it.
pub fn is_gpu_uuid(text: &str) -> bool {
    let hexadecimal = |group: &str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix("GPU-").is_some_and(|uuid| {
        uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && uuid.split('-').all(hexadecimal)
    })
}

/// The figures of one product. Sources: the tables in the project's notes on NVML and Hopper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// As `nvmlDeviceGetName` prints it.
    pub name: String,
    /// PCI device id, e.g. 0x2330.
    pub pci_device: u16,
    /// PCI subsystem id, e.g. 0x16c1.
    pub pci_subsystem: u16,
    /// e.g. "692-2G520-0200-000".
    pub part_number: String,
    /// e.g. "96.00.89.00.01".
    pub vbios: String,
    /// Framebuffer memory that NVML reports as total, in MiB.
    pub memory_mib: u64,
    /// Part of the total that the driver keeps, in MiB.
    pub reserved_mib: u64,
    /// BAR1 aperture in MiB.
    pub bar1_mib: u64,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Power limits.
    pub power: Power,
    /// Highest and idle clocks.
    pub clocks: Clocks,
    /// Temperatures at which the GPU acts, in °C.
    pub thresholds: Thresholds,
    /// Highest PCIe generation.
    pub pcie_generation: u32,
    /// PCIe lanes.
    pub pcie_width: u32,
    /// NVLink links, all of version 4.
    pub nvlinks: u32,
    /// Whether its NVLinks end in NVSwitches and it joins a fabric.
    pub fabric: bool,
    /// The most MIG devices.
    pub max_mig_devices: u32,
    /// Fans. None on passively cooled boards, which all of these are.
    pub fans: u32,
}

impl Board {
    /// CUDA cores: 128 per multiprocessor on Hopper.
    pub fn cores(&self) -> u32 {
        self.multiprocessors * 128
    }
}

/// Power limits in watts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Limit after power-on.
    pub default_w: u32,
    /// Lowest limit that can be set.
    pub min_w: u32,
    /// Highest limit that can be set.
    pub max_w: u32,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Highest graphics and SM clock.
    pub sm_max: u32,
    /// Highest memory clock.
    pub memory_max: u32,
    /// Highest video clock.
    pub video_max: u32,
    /// Graphics and SM clock at idle.
    pub sm_idle: u32,
    /// Memory clock at idle. HBM does not clock down on these boards.
    pub memory_idle: u32,
    /// Video clock at idle.
    pub video_idle: u32,
}

/// Temperatures in °C.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// The GPU switches itself off.
    pub shutdown: u32,
    /// The GPU slows down.
    pub slowdown: u32,
    /// Highest temperature in normal operation.
    pub max_operating: u32,
    /// Highest temperature of the memory.
    pub memory_max: u32,
}

/// What changes while a GPU runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Whether it answers.
    pub presence: Presence,
    /// Counts its returns: a handle from before is stale.
    pub generation: u32,
    /// Persistence mode.
    pub persistence: bool,
    /// `nvmlComputeMode_t`: 0 default, 2 prohibited, 3 exclusive process.
    pub compute_mode: u32,
    /// Time slice of the compute policy: 0 default, 1 short, 2 medium, 3 long.
    pub time_slice: u32,
    /// ECC mode now.
    pub ecc_enabled: bool,
    /// ECC mode after the next reset.
    pub ecc_pending: bool,
    /// ECC errors counted.
    pub ecc: EccCounts,
    /// Rows of memory that were remapped.
    pub remapped: RemappedRows,
    /// `nvmlDeviceGpuRecoveryAction_t`: 0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset.
    pub recovery_action: u32,
    /// GPU temperature in °C.
    pub temperature: u32,
    /// Memory temperature in °C.
    pub memory_temperature: u32,
    /// Power draw in mW.
    pub power_mw: u32,
    /// Power limit in W.
    pub power_limit_w: u32,
    /// Energy since the driver was loaded, in mJ.
    pub energy_mj: u64,
    /// Share of time in which a kernel ran, in percent.
    pub utilization_gpu: u32,
    /// Share of time in which memory was read or written, in percent.
    pub utilization_memory: u32,
    /// Bit mask of `nvmlClocksEventReasons`; 1 is "GPU idle".
    pub clock_event_reasons: u64,
    /// Programs on the GPU.
    pub processes: Vec<Process>,
    /// Registration with the fabric is finished from this moment on, in ns of the boot-time clock.
    pub fabric_complete_at_ns: u64,
    /// NVLinks that are down, as a bit mask.
    pub nvlinks_down: u32,
    /// Answer this as the name, bytes as they are: a library that lies.
    pub name_bytes: Option<Vec<u8>>,
}

impl Live {
    /// Forgets what a GPU forgets when it is reset or its driver loaded anew. Handles from before are stale.
    pub fn reset(&mut self) {
        self.generation += 1;
        self.compute_mode = 0;
        self.time_slice = 0;
        self.ecc.volatile_corrected = 0;
        self.ecc.volatile_uncorrected = 0;
        self.processes.clear();
    }
}

/// Whether a GPU answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It does.
    Present,
    /// It is listed, but every call says GPU_IS_LOST.
    Lost,
    /// Gone from the PCI bus: new sessions do not list it.
    Removed,
}

/// ECC errors by severity and life time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EccCounts {
    /// Corrected, since the driver was loaded.
    pub volatile_corrected: u64,
    /// Uncorrected, since the driver was loaded.
    pub volatile_uncorrected: u64,
    /// Corrected, in the board's life.
    pub aggregate_corrected: u64,
    /// Uncorrected, in the board's life.
    pub aggregate_uncorrected: u64,
}

/// `nvmlDeviceGetRemappedRows`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemappedRows {
    /// Because of corrected errors.
    pub corrected: u32,
    /// Because of uncorrected errors.
    pub uncorrected: u32,
    /// A remapping waits for a reset.
    pub pending: bool,
    /// A remapping failed.
    pub failure: bool,
}

/// A program that uses a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id, in the host's numbering.
    pub pid: u32,
    /// Program path.
    pub name: String,
    /// Framebuffer memory in MiB.
    pub memory_mib: u64,
    /// Graphics instead of compute.
    pub graphics: bool,
}

/// What a call meets instead of the plain answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number, for clearing. Its calls are counted in the counter of the same number.
    pub id: u16,
    /// Name of the NVML function, or "*" for all.
    pub call: String,
    /// Slot of the GPU, or none for any call, also those without a GPU.
    pub slot: Option<usize>,
    /// How many matching calls pass first.
    pub after: u64,
    /// How many calls meet it then, or none for all.
    pub times: Option<u64>,
    /// What happens.
    pub effect: Effect,
}

/// What a fault does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The call takes this many milliseconds longer.
    Delay(u64),
    /// The call returns only after the fault is cleared.
    Hang,
    /// The call does nothing and returns this code.
    Fail(u32),
    /// The calling process is killed before the call has any effect.
    KillBefore,
    /// The calling process is killed after the call had its effect.
    KillAfter,
}

/// Events in the order in which they happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventLog {
    /// Sequence number of the next event.
    pub next: u64,
    /// The latest events, oldest first.
    pub recent: VecDeque<Event>,
}

impl EventLog {
    /// Adds an event.
    pub fn push(&mut self, slot: usize, kind: u64, data: u64, instances: (u32, u32)) {
        let event = Event {
            sequence: self.next,
            slot,
            kind,
            data,
            gpu_instance: instances.0,
            compute_instance: instances.1,
        };
        self.next += 1;
        self.recent.push_back(event);
        while self.recent.len() > EVENT_HISTORY {
            self.recent.pop_front();
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of all events.
    pub sequence: u64,
    /// The GPU's slot.
    pub slot: usize,
    /// One bit of `nvmlEventType`.
    pub kind: u64,
    /// For XID events the XID.
    pub data: u64,
    /// GPU instance, or 0xFFFFFFFF.
    pub gpu_instance: u32,
    /// Compute instance, or 0xFFFFFFFF.
    pub compute_instance: u32,
}

/// The bits of `nvmlEventType` that Hopper boards know.
pub mod event {
    /// Single-bit ECC error.
    pub const SINGLE_BIT_ECC: u64 = 0x1;
    /// Double-bit ECC error.
    pub const DOUBLE_BIT_ECC: u64 = 0x2;
    /// Performance state changed.
    pub const PSTATE: u64 = 0x4;
    /// XID critical error.
    pub const XID: u64 = 0x8;
    /// Clock changed.
    pub const CLOCK: u64 = 0x10;
    /// The recovery action changed (NVML 12.9 and later).
    pub const RECOVERY_ACTION: u64 = 0x8000;
    /// The first driver branch with that event type.
    pub const RECOVERY_ACTION_SINCE: u16 = 575;
    /// No GPU or compute instance.
    pub const NO_INSTANCE: u32 = 0xFFFF_FFFF;
}
