//! From facts to a [`Gpu`]: pure.

use std::collections::BTreeMap;

use super::codes::{HOPPER, architecture, brand, compute_mode, via};
use super::sysfs::SysfsFacts;
use super::{
    Cause, Clocks, Ecc, Fabric, FabricState, Gpu, Memory, Mig, Neighbour, NvLink, NvLinkRemote,
    NvLinkRemoteKind, Pci, PciAddress, Power, Problem, Severity, Unread, Version, Versions,
};
use crate::nvml::facts::{GpuFacts, NodeFacts, NvLinkFacts};
use crate::nvml::reading::Reading;
use crate::nvml::{FabricInfo, PciInfo, Text};

/// CUDA cores of a multiprocessor of compute capability 9.0.
const HOPPER_CORES: u32 = 128;
/// Hopper's NVLinks are of the fourth generation.
const HOPPER_NVLINK: u32 = 4;

/// What is known of one GPU.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// NVML's number for it.
    pub(super) index: u32,
    /// NVML's answers.
    pub(super) facts: &'a GpuFacts,
    /// Why there are no more answers.
    pub(super) silence: Option<&'a str>,
    /// Where it sits, if NVML does not say and only one place is left.
    pub(super) only_place_left: Option<PciAddress>,
    /// The kernel's answers.
    pub(super) sysfs: &'a SysfsFacts,
}

/// Where NVML says that the GPU sits.
pub(super) fn address(facts: &GpuFacts) -> Option<PciAddress> {
    facts.pci.value()?.bus_id.text.parse().ok()
}

/// The versions, and what is wrong with them.
pub(super) fn versions(facts: &NodeFacts) -> (Versions, Vec<Problem>) {
    let mut notes = Notes::default();
    let versions = Versions {
        driver: notes.version("driverVersion", &facts.driver_version),
        nvml: notes.version("nvmlVersion", &facts.nvml_version),
        cuda: notes.parsed(
            "cudaDriverVersion",
            &facts.cuda_version,
            |number| Version::of_cuda(*number),
            |number| format!("NVML's answer {number} is no CUDA version"),
        ),
    };
    let problems = notes.problems("node", |_| Severity::Warning);
    (versions, problems)
}

/// A GPU, and what is wrong with it.
pub(super) fn gpu(known: &Known<'_>) -> (Gpu, Vec<Problem>) {
    let facts = known.facts;
    let mut notes = Notes { silence: known.silence.unwrap_or_default().to_owned(), ..Notes::default() };
    let pci = pci(&mut notes, known);
    let mut gpu = Gpu {
        name: pci.address.map(PciAddress::gpu_name),
        usable: false,
        uuid: notes.text("uuid", &facts.uuid),
        product_name: notes.text("productName", &facts.name),
        brand: notes.take("brand", &facts.brand).map(brand),
        architecture: notes.take("architecture", &facts.architecture).map(architecture),
        cuda_compute_capability: notes.parsed(
            "cudaComputeCapability",
            &facts.compute_capability,
            |&(major, minor)| Some(Version::of_two(u64::try_from(major).ok()?, u64::try_from(minor).ok()?)),
            |(major, minor)| format!("NVML's answer {major}.{minor} is no version"),
        ),
        serial: notes.text("serial", &facts.serial),
        board_part_number: notes.text("boardPartNumber", &facts.board_part_number),
        module_id: notes.take("moduleId", &facts.module_id),
        minor: notes.take("minor", &facts.minor),
        index: known.index,
        pci,
        memory: notes
            .take("memory", &facts.memory)
            .map(|(total_bytes, reserved_bytes)| Memory { total_bytes, reserved_bytes }),
        bar1_bytes: notes.take("bar1Bytes", &facts.bar1),
        cores: notes.take("cores", &facts.cores),
        multiprocessors: multiprocessors(facts),
        vbios_version: notes.text("vbiosVersion", &facts.vbios),
        gsp_firmware_version: notes.text("gspFirmwareVersion", &facts.gsp_firmware),
        ecc: notes.take("ecc", &facts.ecc).map(|(enabled, pending)| Ecc { enabled, pending }),
        persistence_mode: notes.take("persistenceMode", &facts.persistence),
        compute_mode: notes.parsed(
            "computeMode",
            &facts.compute_mode,
            |mode| compute_mode(*mode),
            |mode| format!("NVML's answer {mode} is no compute mode that this program knows"),
        ),
        power: power(&mut notes, facts),
        clocks: Clocks {
            sm_max_megahertz: notes.take("clocks.smMaxMegahertz", &facts.clock_sm),
            memory_max_megahertz: notes.take("clocks.memoryMaxMegahertz", &facts.clock_memory),
        },
        nvlink: notes
            .take("nvlink", &facts.nvlinks)
            .filter(|links| !links.is_empty())
            .map(|links| nvlink(&links, facts.architecture.value().copied())),
        fabric: notes.take("fabric", &facts.fabric).and_then(fabric),
        topology: Vec::new(),
        numa_node: None,
        local_cpus: notes.kernel("localCpus", &known.sysfs.local_cpus),
        mig: mig(&mut notes, facts),
        unread: Vec::new(),
    };
    // A negative node is the kernel's way of saying that the firmware names none.
    gpu.numa_node =
        notes.kernel("numaNode", &known.sysfs.numa_node).and_then(|node| u32::try_from(node).ok());

    let subject = subject(&gpu);
    let mut problems = Vec::new();
    if let Some(silence) = known.silence {
        problems.push(unusable(&subject, silence));
    }
    problems.extend(wrong_values(&subject, &gpu));
    let lost = is_lost(facts);
    problems.extend(notes.problems(&subject, |fields| {
        let vital = ["uuid", "pci.address", "memory"];
        if lost || fields.iter().any(|field| vital.contains(field)) {
            Severity::Unusable
        } else {
            Severity::Warning
        }
    }));
    gpu.unread = notes.unread;
    gpu.usable = gpu.uuid.is_some()
        && gpu.name.is_some()
        && gpu.memory.is_some()
        && !problems.iter().any(|problem| problem.severity == Severity::Unusable);
    (gpu, problems)
}

/// What to call a GPU in a problem.
pub(super) fn subject(gpu: &Gpu) -> String {
    gpu.name.clone().unwrap_or_else(|| format!("GPU with NVML index {}", gpu.index))
}

/// Enters how two GPUs are connected, in both. Where NVML does not say, both have it in `unread`.
pub(super) fn connect(gpus: &mut [Gpu], one: usize, other: usize, level: &Reading<u32>) {
    let mut notes = Notes { silence: "NVML did not answer in time".to_owned(), ..Notes::default() };
    let via = notes.parsed(
        "topology",
        level,
        |level| via(*level),
        |level| format!("NVML's answer {level} is no topology level"),
    );
    for (from, to) in [(one, other), (other, one)] {
        let Some(address) = gpus.get(to).and_then(|gpu| gpu.pci.address) else {
            continue;
        };
        let Some(gpu) = gpus.get_mut(from) else { continue };
        gpu.topology.extend(via.map(|via| Neighbour { address, via }));
        gpu.unread.extend(
            notes.unread.iter().map(|unread| Unread {
                reason: format!("to {address}: {}", unread.reason),
                ..unread.clone()
            }),
        );
    }
}

/// Two GPUs with the same identity: neither can be told from the other.
pub(super) fn refuse_doubles(gpus: &mut [Gpu]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, gpu) in gpus.iter().enumerate() {
        let address = gpu.pci.address.map(|address| format!("PCI address {address}"));
        let uuid = gpu.uuid.as_ref().map(|uuid| format!("UUID {uuid}"));
        for identity in [address, uuid].into_iter().flatten() {
            seen.entry(identity).or_default().push(position);
        }
    }
    for (identity, positions) in seen.into_iter().filter(|(_, positions)| positions.len() > 1) {
        for position in positions {
            if let Some(gpu) = gpus.get_mut(position) {
                gpu.usable = false;
                problems.push(unusable(
                    &subject(gpu),
                    &format!("NVML reports {identity} for more than one GPU; restart the node"),
                ));
            }
        }
    }
    problems
}

pub(super) fn unusable(subject: &str, message: &str) -> Problem {
    Problem { subject: subject.to_owned(), severity: Severity::Unusable, message: message.to_owned() }
}

/// What was noticed while values were taken.
#[derive(Debug, Default)]
struct Notes {
    /// Why nothing more was read.
    silence: String,
    unread: Vec<Unread>,
    not_utf8: Vec<&'static str>,
}

impl Notes {
    fn take<T: Clone>(&mut self, field: &'static str, reading: &Reading<T>) -> Option<T> {
        let (cause, reason) = match reading {
            Reading::Value(value) => return Some(value.clone()),
            Reading::NotSupported => (Cause::NotSupported, "not supported by this board".to_owned()),
            Reading::NoSymbol => (Cause::OldDriver, "this driver is too old to tell".to_owned()),
            Reading::NotRead => (Cause::Failed, self.silence.clone()),
            Reading::Failed(error) => (Cause::Failed, error.to_string()),
        };
        self.missing(field, cause, reason);
        None
    }

    fn text(&mut self, field: &'static str, reading: &Reading<Text>) -> Option<String> {
        let text = self.take(field, reading)?;
        if !text.valid {
            self.not_utf8.push(field);
        }
        if text.text.is_empty() {
            self.missing(field, Cause::Failed, "NVML answered with an empty text".into());
            return None;
        }
        Some(text.text)
    }

    fn parsed<T: Clone, U>(
        &mut self,
        field: &'static str,
        reading: &Reading<T>,
        parse: impl FnOnce(&T) -> Option<U>,
        complaint: impl FnOnce(&T) -> String,
    ) -> Option<U> {
        let value = self.take(field, reading)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.missing(field, Cause::Failed, complaint(&value));
        }
        parsed
    }

    fn version(&mut self, field: &'static str, reading: &Reading<Text>) -> Option<Version> {
        self.parsed(
            field,
            reading,
            |text| Version::of_text(&text.text),
            |text| format!("NVML's answer '{}' is no version of numbers and dots", text.text),
        )
    }

    fn kernel<T: Clone>(&mut self, field: &'static str, answer: &Result<T, String>) -> Option<T> {
        match answer {
            Ok(value) => Some(value.clone()),
            Err(reason) => {
                self.missing(field, Cause::Failed, reason.clone());
                None
            }
        }
    }

    fn missing(&mut self, field: &'static str, cause: Cause, reason: String) {
        self.unread.push(Unread { field, cause, reason });
    }

    /// One problem for each reason why values are missing. Those that are missing because of the silence have
    /// a problem already.
    fn problems(&self, subject: &str, severity: impl Fn(&[&str]) -> Severity) -> Vec<Problem> {
        let mut reasons: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
        for unread in &self.unread {
            if unread.cause == Cause::Failed && unread.reason != self.silence {
                reasons.entry(&unread.reason).or_default().push(unread.field);
            }
        }
        let failed = reasons.into_iter().map(|(reason, fields)| Problem {
            subject: subject.to_owned(),
            severity: severity(&fields),
            message: format!("cannot read {}: {reason}", fields.join(", ")),
        });
        let garbled = self.not_utf8.iter().map(|field| Problem {
            subject: subject.to_owned(),
            severity: Severity::Warning,
            message: format!("{field} is not UTF-8; the bytes that are none are shown as \u{fffd}"),
        });
        failed.chain(garbled).collect()
    }
}

/// Values that NVML gave and that cannot be right, or say that something is wrong.
fn wrong_values(subject: &str, gpu: &Gpu) -> Vec<Problem> {
    let mut problems = Vec::new();
    if gpu.memory.is_some_and(|memory| memory.total_bytes == 0) {
        problems.push(unusable(
            subject,
            "NVML reports 0 bytes of memory: the GPU did not start properly; reset it, and see the kernel log \
             for 'NVRM'",
        ));
    }
    let fabric = match gpu.fabric.as_ref().map(|fabric| fabric.state) {
        None | Some(FabricState::Completed) => None,
        Some(FabricState::NotStarted) => Some("has not begun"),
        Some(FabricState::InProgress) => Some("is in progress"),
        Some(FabricState::Failed) => Some("failed"),
        Some(FabricState::Unknown) => Some("is in a state that this program does not know"),
    };
    if let Some(state) = fabric {
        problems.push(Problem {
            subject: subject.to_owned(),
            severity: Severity::Warning,
            message: format!(
                "registration with the NVLink fabric {state}; CUDA does not start before it is completed: see \
                 the service nvidia-fabricmanager"
            ),
        });
    }
    problems
}

fn is_lost(facts: &GpuFacts) -> bool {
    fn lost<T>(reading: &Reading<T>) -> bool {
        matches!(reading, Reading::Failed(error) if error.is_gpu_lost())
    }
    lost(&facts.pci) || lost(&facts.uuid) || lost(&facts.memory)
}

fn pci(notes: &mut Notes, known: &Known<'_>) -> Pci {
    let facts = known.facts;
    let id = |id: u32| format!("{:04x}:{:04x}", id >> 16, id & 0xffff);
    let info: Option<&PciInfo> = facts.pci.value();
    let address = match known.only_place_left {
        Some(address) => Some(address),
        None => notes.parsed(
            "pci.address",
            &facts.pci,
            |info| info.bus_id.text.parse().ok(),
            |info| format!("NVML's answer '{}' is no PCI address", info.bus_id.text),
        ),
    };
    Pci {
        address,
        root: notes.kernel("pci.root", &known.sysfs.pcie_root),
        device_id: info.map(|info| id(info.device)),
        subsystem_id: info.map(|info| id(info.subsystem)),
        max_generation: notes.take("pci.maxGeneration", &facts.pcie_generation),
        max_width: notes.take("pci.maxWidth", &facts.pcie_width),
    }
}

fn multiprocessors(facts: &GpuFacts) -> Option<u32> {
    let hopper = facts.architecture.value() == Some(&HOPPER);
    let cores = facts.cores.value().filter(|_| hopper)?;
    (cores % HOPPER_CORES == 0).then_some(cores / HOPPER_CORES)
}

fn power(notes: &mut Notes, facts: &GpuFacts) -> Power {
    let range = notes.take("power.range", &facts.power_range);
    Power {
        limit_milliwatts: notes.take("power.limitMilliwatts", &facts.power_limit),
        default_milliwatts: notes.take("power.defaultMilliwatts", &facts.power_default),
        min_milliwatts: range.map(|(min, _)| min),
        max_milliwatts: range.map(|(_, max)| max),
    }
}

fn mig(notes: &mut Notes, facts: &GpuFacts) -> Mig {
    let mode = notes.take("mig", &facts.mig);
    Mig {
        capable: mode.is_some(),
        enabled: mode.is_some_and(|(current, _)| current == 1),
        pending: mode.is_some_and(|(_, pending)| pending == 1),
        // A board without MIG answers 0 or nothing.
        most_devices: mode.and(facts.mig_most.value().copied()),
    }
}

fn nvlink(links: &[NvLinkFacts], architecture: Option<u32>) -> NvLink {
    let up: Vec<&NvLinkFacts> = links.iter().filter(|link| link.active).collect();
    let mut codes: Vec<u32> = up.iter().filter_map(|link| link.version.value().copied()).collect();
    codes.dedup();
    let mut remotes: BTreeMap<(NvLinkRemoteKind, Option<PciAddress>), u32> = BTreeMap::new();
    for link in &up {
        // nvmlIntNvLinkDeviceType_t of nvml.h.
        let kind = match link.remote_type.value() {
            Some(0) => NvLinkRemoteKind::Gpu,
            Some(1) => NvLinkRemoteKind::Processor,
            Some(2) => NvLinkRemoteKind::Switch,
            _ => NvLinkRemoteKind::Unknown,
        };
        let address = link.remote.value().and_then(|remote| remote.bus_id.text.parse().ok());
        *remotes.entry((kind, address)).or_default() += 1;
    }
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    NvLink {
        links: count(links.len()),
        active: count(up.len()),
        generation: (architecture == Some(HOPPER)).then_some(HOPPER_NVLINK),
        version_code: codes.first().copied().filter(|_| codes.len() == 1),
        remotes: remotes
            .into_iter()
            .map(|((kind, address), links)| NvLinkRemote { kind, address, links })
            .collect(),
    }
}

/// `NVML_GPU_FABRIC_STATE_*` of nvml.h. None where the GPU joins no fabric.
fn fabric(info: FabricInfo) -> Option<Fabric> {
    let state = match info.state {
        0 => return None,
        1 => FabricState::NotStarted,
        2 => FabricState::InProgress,
        3 if info.status == 0 => FabricState::Completed,
        3 => FabricState::Failed,
        _ => FabricState::Unknown,
    };
    Some(Fabric {
        state,
        clique_id: info.clique_id,
        cluster_uuid: (info.cluster_uuid != [0; 16]).then(|| uuid(&info.cluster_uuid)),
    })
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests;
