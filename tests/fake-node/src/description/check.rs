//! From what stands in the YAML to a node: every value is looked at before it counts.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use serde_saphyr::{Location, Spanned};

use super::error::{DescriptionError, Mistake};
use super::shape;
use crate::model::{Board, EventLog, Gpu, Live, MAX_GPUS, NodeState, PciAddress, Presence, is_gpu_uuid};

/// More CPUs than any machine that takes these boards has.
const MAX_CPUS: u32 = 8192;
/// The most NVSwitches: sixteen minors below two root ports of eight functions.
const MAX_NVSWITCHES: usize = 16;
/// HGX baseboards number their modules from 1 to this.
const MAX_MODULE: u64 = 8;

/// Makes the node.
pub(super) fn node(shape: shape::Node, origin: &str) -> Result<NodeState, DescriptionError> {
    Checker { origin }.node(shape)
}

/// Where every identity was seen first, so that the second one can point to it.
#[derive(Default)]
struct Seen {
    addresses: Unique<PciAddress>,
    uuids: Unique<String>,
    serials: Unique<String>,
    modules: Unique<u64>,
}

/// Values that may occur once, with the line of the first occurrence.
struct Unique<T>(HashMap<T, u64>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Makes errors for one file.
struct Checker<'a> {
    origin: &'a str,
}

type Checked<T> = Result<T, DescriptionError>;

impl Checker<'_> {
    fn node(&self, shape: shape::Node) -> Checked<NodeState> {
        let driver = super::driver(&shape.driver.value)
            .map_err(|error| self.mistake(&shape.driver, "driver", error.what(), error.remedy()))?;
        let mut cpus = Unique::default();
        for (index, list) in shape.numa_nodes.iter().enumerate() {
            self.cpu_list(list, &format!("numa_nodes[{index}]"), &mut cpus)?;
        }

        let mut seen = Seen::default();
        let nvswitches = self.nvswitches(&shape.nvswitches, &mut seen)?;
        if shape.gpus.value.len() > MAX_GPUS {
            let what = format!("{} GPUs are too many", shape.gpus.value.len());
            let remedy = format!("NVIDIA's driver takes at most {MAX_GPUS}");
            return Err(self.mistake(&shape.gpus, "gpus", what, remedy));
        }
        let mut gpus = Vec::new();
        for (index, gpu) in shape.gpus.value.iter().enumerate() {
            gpus.push(self.gpu(gpu, &format!("gpus[{index}]"), shape.numa_nodes.len(), &mut seen)?);
        }
        self.bridges_are_mutual(&shape.gpus.value, &gpus)?;

        gpus.sort_by_key(|gpu| gpu.pci);
        for (minor, gpu) in (0..).zip(&mut gpus) {
            gpu.minor = minor;
            gpu.live = idle(&gpu.board, minor);
        }
        Ok(NodeState {
            epoch: 0,
            driver,
            strict: false,
            numa_cpus: shape.numa_nodes.into_iter().map(|list| list.value).collect(),
            gpus,
            nvswitches,
            faults: Vec::new(),
            next_fault: 0,
            events: EventLog::default(),
        })
    }

    fn nvswitches(&self, given: &[Spanned<String>], seen: &mut Seen) -> Checked<Vec<PciAddress>> {
        if let Some(excess) = given.get(MAX_NVSWITCHES) {
            let what = format!("{} NVSwitches are too many", given.len());
            let remedy = format!("list at most {MAX_NVSWITCHES}");
            return Err(self.mistake(excess, "nvswitches", what, remedy));
        }
        let mut addresses = Vec::new();
        for (index, address) in given.iter().enumerate() {
            let field = format!("nvswitches[{index}]");
            let pci = self.pci(address, &field)?;
            self.once(&mut seen.addresses, address, pci, &field, "PCI address")?;
            addresses.push(pci);
        }
        Ok(addresses)
    }

    fn gpu(&self, shape: &shape::Gpu, path: &str, numa_nodes: usize, seen: &mut Seen) -> Checked<Gpu> {
        let board = self.board(shape, path)?;

        let field = format!("{path}.pci");
        let pci = self.pci(&shape.pci, &field)?;
        self.once(&mut seen.addresses, &shape.pci, pci, &field, "PCI address")?;

        let field = format!("{path}.uuid");
        let uuid = self.uuid(&shape.uuid, &field)?;
        self.once(&mut seen.uuids, &shape.uuid, uuid.clone(), &field, "UUID")?;

        let field = format!("{path}.serial");
        let serial = self.serial(&shape.serial, &field)?;
        self.once(&mut seen.serials, &shape.serial, serial.clone(), &field, "serial number")?;

        let mut module_id = None;
        if let Some(given) = &shape.module_id {
            let field = format!("{path}.module_id");
            if !(1..=MAX_MODULE).contains(&given.value) {
                let what = format!("there is no module {}", given.value);
                let remedy = format!("a baseboard's modules are 1 to {MAX_MODULE}");
                return Err(self.mistake(given, field, what, remedy));
            }
            self.once(&mut seen.modules, given, given.value, &field, "module")?;
            module_id = u32::try_from(given.value).ok();
        }

        let mut bridges = Vec::new();
        for (index, bridge) in shape.bridges.iter().enumerate() {
            bridges.push(self.pci(bridge, &format!("{path}.bridges[{index}]"))?);
        }
        self.pcie_root(&shape.pcie_root, bridges.first().unwrap_or(&pci), path)?;

        let live = idle(&board, 0);
        Ok(Gpu {
            uuid,
            serial,
            pci,
            minor: 0,
            numa: self.numa(&shape.numa, path, numa_nodes)?,
            pcie_root: shape.pcie_root.value.clone(),
            bridges,
            module_id,
            bridged_to: self.bridged_to(shape, path, &board)?,
            board,
            live,
        })
    }

    fn board(&self, gpu: &shape::Gpu, path: &str) -> Checked<Board> {
        let mut board = super::board(&gpu.board.value).unwrap_or_else(|| {
            let what = format!("there is no board '{}'", gpu.board.value);
            let remedy = format!("the boards are {}", super::board_names());
            Err(self.mistake(&gpu.board, format!("{path}.board"), what, remedy))
        })?;

        let overrides = &gpu.overrides;
        let path = format!("{path}.overrides");
        // NVML's buffers are 64 and 32 bytes long, with the closing zero.
        for (given, place, field, most) in [
            (&overrides.name, &mut board.name, "name", 63),
            (&overrides.vbios, &mut board.vbios, "vbios", 31),
        ] {
            if let Some(given) = given {
                if given.value.is_empty() || given.value.len() > most {
                    let what = format!("{} bytes of text", given.value.len());
                    let remedy = format!("give it 1 to {most} bytes");
                    return Err(self.mistake(given, format!("{path}.{field}"), what, remedy));
                }
                place.clone_from(&given.value);
            }
        }
        for (given, place, field) in [
            (&overrides.memory_mib, &mut board.memory_mib, "memory_mib"),
            (&overrides.bar1_mib, &mut board.bar1_mib, "bar1_mib"),
            (&overrides.reserved_mib, &mut board.reserved_mib, "reserved_mib"),
        ] {
            if let Some(given) = given {
                let reserved = field == "reserved_mib";
                if (given.value == 0 && !reserved) || given.value > 1 << 30 {
                    let what = format!("{} MiB is impossible", given.value);
                    let remedy = "give the size in MiB, at most 2^30";
                    return Err(self.mistake(given, format!("{path}.{field}"), what, remedy));
                }
                *place = given.value;
            }
        }
        if board.reserved_mib > board.memory_mib {
            let what = format!("{} MiB are reserved of {} MiB", board.reserved_mib, board.memory_mib);
            let (given, field) = match (&overrides.reserved_mib, &overrides.memory_mib) {
                (Some(given), _) => (given, "reserved_mib"),
                (None, Some(given)) => (given, "memory_mib"),
                (None, None) => return Ok(board),
            };
            let remedy = "reserve less than all";
            return Err(self.mistake(given, format!("{path}.{field}"), what, remedy));
        }
        if let Some(given) = &overrides.power {
            let power = given.value;
            if power.min_w > power.default_w || power.default_w > power.max_w || power.max_w > 10_000 {
                let what = format!(
                    "limits of min {} W, default {} W, max {} W are impossible",
                    power.min_w, power.default_w, power.max_w
                );
                let remedy = "min_w <= default_w <= max_w <= 10000 must hold";
                return Err(self.mistake(given, format!("{path}.power"), what, remedy));
            }
            board.power = power;
        }
        Ok(board)
    }

    fn pci(&self, given: &Spanned<String>, field: &str) -> Checked<PciAddress> {
        given
            .value
            .parse()
            .map_err(|what: String| self.mistake(given, field, what, "write domain:bus:device.function"))
    }

    fn uuid(&self, given: &Spanned<String>, field: &str) -> Checked<String> {
        if !is_gpu_uuid(&given.value) {
            let what = format!("'{}' is not the UUID of a GPU", given.value);
            let remedy = "write GPU- and a UUID in lower case, like GPU-5a1f7e1c-30c4-4b60-a0d5-3c1be29b1f4e";
            return Err(self.mistake(given, field, what, remedy));
        }
        Ok(given.value.clone())
    }

    fn serial(&self, given: &Spanned<String>, field: &str) -> Checked<String> {
        if given.value.len() != 13 || !given.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let what = format!("'{}' is not a serial number", given.value);
            return Err(self.mistake(given, field, what, "write 13 digits in quotes"));
        }
        Ok(given.value.clone())
    }

    fn numa(&self, given: &Spanned<i64>, path: &str, nodes: usize) -> Checked<i32> {
        let known = i32::try_from(given.value)
            .ok()
            .filter(|numa| *numa == -1 || usize::try_from(*numa).is_ok_and(|index| index < nodes));
        known.ok_or_else(|| {
            let what = format!("there is no NUMA node {}", given.value);
            let remedy =
                format!("numa_nodes lists {nodes}, counted from 0; -1 means that the firmware names none");
            self.mistake(given, format!("{path}.numa"), what, remedy)
        })
    }

    /// The first device below a host bridge is on the bus that the host bridge is named after.
    fn pcie_root(&self, given: &Spanned<String>, first: &PciAddress, path: &str) -> Checked<()> {
        let expected = format!("pci{:04x}:{:02x}", first.domain, first.bus);
        if given.value != expected {
            let what = format!("'{}' is not the host bridge of {first}", given.value);
            let remedy = format!("write {expected}, or correct bridges");
            return Err(self.mistake(given, format!("{path}.pcie_root"), what, remedy));
        }
        Ok(())
    }

    fn bridged_to(&self, gpu: &shape::Gpu, path: &str, board: &Board) -> Checked<Vec<(PciAddress, u32)>> {
        let mut peers = Vec::new();
        let mut left = u64::from(board.nvlinks);
        for (index, bridge) in gpu.bridged_to.iter().enumerate() {
            let path = format!("{path}.bridged_to[{index}]");
            let links = bridge.links.value;
            let Some(rest) = left.checked_sub(links).filter(|_| links > 0) else {
                let what = format!("{links} links are impossible");
                let remedy = format!("the board has {} links for all its bridges", board.nvlinks);
                return Err(self.mistake(&bridge.links, format!("{path}.links"), what, remedy));
            };
            left = rest;
            // At most the board's links, which fit.
            let links = u32::try_from(links).unwrap_or(u32::MAX);
            peers.push((self.pci(&bridge.pci, &format!("{path}.pci"))?, links));
        }
        Ok(peers)
    }

    fn bridges_are_mutual(&self, shapes: &[shape::Gpu], gpus: &[Gpu]) -> Checked<()> {
        for (index, (shape, gpu)) in shapes.iter().zip(gpus).enumerate() {
            for (at, (given, (peer, links))) in shape.bridged_to.iter().zip(&gpu.bridged_to).enumerate() {
                let field = format!("gpus[{index}].bridged_to[{at}].pci");
                let Some(other) = gpus.iter().find(|other| other.pci == *peer && *peer != gpu.pci) else {
                    let what = format!("there is no other GPU at {peer}");
                    return Err(self.mistake(&given.pci, field, what, "name a GPU of this node"));
                };
                if !other.bridged_to.contains(&(gpu.pci, *links)) {
                    let what = format!("the GPU at {peer} has no bridge of {links} links back");
                    let remedy = format!("give it bridged_to: [{{ pci: \"{}\", links: {links} }}]", gpu.pci);
                    return Err(self.mistake(&given.pci, field, what, remedy));
                }
            }
        }
        Ok(())
    }

    fn cpu_list(&self, list: &Spanned<String>, field: &str, seen: &mut Unique<u32>) -> Checked<()> {
        let ranges = crate::layout::cpu_ranges(&list.value).filter(|ranges| {
            let mut least = 0;
            ranges.iter().all(|(first, last)| {
                let ascending = least <= *first && first <= last && *last < MAX_CPUS;
                least = last.saturating_add(1);
                ascending
            })
        });
        let Some(ranges) = ranges else {
            let what = format!("'{}' is not a list of CPUs", list.value);
            let remedy = format!("write ascending ranges like 0-55,112-167, below {MAX_CPUS}");
            return Err(self.mistake(list, field, what, remedy));
        };
        for cpu in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            self.once(seen, list, cpu, field, "CPU")?;
        }
        Ok(())
    }

    fn once<T: Eq + Hash + Display, V>(
        &self,
        seen: &mut Unique<T>,
        given: &Spanned<V>,
        value: T,
        field: &str,
        kind: &str,
    ) -> Checked<()> {
        if let Some(line) = seen.0.get(&value) {
            let what = format!("the {kind} {value} stands already in line {line}");
            return Err(self.mistake(given, field, what, "give each its own"));
        }
        seen.0.insert(value, given.referenced.line());
        Ok(())
    }

    fn mistake<T>(
        &self,
        given: &Spanned<T>,
        field: impl Into<String>,
        what: impl Display,
        remedy: impl Into<String>,
    ) -> DescriptionError {
        let known = given.referenced != Location::UNKNOWN;
        DescriptionError::Mistake(Box::new(Mistake {
            file: self.origin.to_owned(),
            line: known.then(|| given.referenced.line()),
            column: known.then(|| given.referenced.column()),
            field: field.into(),
            what: what.to_string(),
            remedy: remedy.into(),
        }))
    }
}

/// A GPU that was just switched on and does nothing. Neighbours differ by a few degrees.
fn idle(board: &Board, minor: u32) -> Live {
    let temperature = 29 + minor % 4;
    // 70 W of an SXM board's 700, 45 W of a PCIe card's 350.
    let power_mw = (20 + board.power.default_w / 14) * 1000 + minor * 137;
    Live {
        presence: Presence::Present,
        generation: 0,
        persistence: true,
        compute_mode: 0,
        time_slice: 0,
        ecc_enabled: true,
        ecc_pending: true,
        ecc: crate::model::EccCounts::default(),
        remapped: crate::model::RemappedRows::default(),
        recovery_action: 0,
        temperature,
        memory_temperature: temperature + 9,
        power_mw,
        power_limit_w: board.power.default_w,
        energy_mj: u64::from(power_mw) * 3600,
        utilization_gpu: 0,
        utilization_memory: 0,
        clock_event_reasons: 1,
        processes: Vec::new(),
        fabric_complete_at_ns: 0,
        nvlinks_down: 0,
        name_bytes: None,
    }
}
