//! Asks NVML and the kernel, and hands the answers to [`assemble`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assemble::{self, Known};
use super::procfs;
use super::sysfs::{self, OnBus, SysfsFacts};
use super::{Gpu, Inventory, PciAddress, Problem, Severity};
use crate::nvml::facts::{GpuFacts, Progress};
use crate::nvml::library::{self, LIBRARY, Search};
use crate::nvml::reading::{CallError, Reading};
use crate::nvml::session::{GpuHandle, Session};

/// Where the node's files are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// What the driver's files lie under.
    pub driver: PathBuf,
    /// What the kernel shows as `/sys`.
    pub sysfs: PathBuf,
    /// What the kernel shows as `/proc`.
    pub procfs: PathBuf,
}

/// Finds the library, opens a session, makes the inventory, closes the session. What does not succeed is among
/// the inventory's problems. Takes at most a few times `within`, which each GPU has for its answers.
pub fn discover_node(roots: &Roots, within: Duration) -> Inventory {
    let (session, search) = match open(roots, within) {
        Ok(opened) => opened,
        Err(inventory) => return *inventory,
    };
    let inventory = discover(&session, search, &roots.sysfs, within);
    if let Err(error) = session.close(within) {
        // A GPU that does not answer is among the problems already.
        tracing::debug!(%error, "NVML session not closed");
    }
    inventory
}

/// Finds the library and opens a session.
///
/// # Errors
/// The inventory of a node without NVML. The first of its problems says why.
pub fn open(roots: &Roots, within: Duration) -> Result<(Session, Search), Box<Inventory>> {
    let search = library::find(&roots.driver);
    let problem = match &search.found {
        None => no_library(&search, procfs::loaded_module(&roots.procfs).as_deref()),
        Some(path) => match Session::open(path, within) {
            Ok(session) => return Ok((session, search)),
            Err(error) => node_problem(error.to_string()),
        },
    };
    Err(Box::new(without_nvml(search, problem, &roots.sysfs)))
}

/// Makes the inventory. All GPUs are asked at once; each has `within` to answer, twice: for itself, and for
/// how it is connected.
pub fn discover(session: &Session, library: Search, sysfs: &Path, within: Duration) -> Inventory {
    let mut problems = Vec::new();
    let versions = match session.node().read("read the versions", within, |node| node.facts()) {
        Ok(facts) => {
            let (versions, wrong) = assemble::versions(&facts);
            problems.extend(wrong);
            versions
        }
        Err(error) => {
            problems.push(node_problem(format!("cannot read the versions: {error}")));
            super::Versions::default()
        }
    };

    let answers = ask(session, within);
    let mut left = gpus_on_bus(sysfs);
    left.retain(|gpu| !answers.iter().any(|answer| assemble::address(&answer.facts) == Some(gpu.address)));
    let without_place = answers.iter().filter(|answer| assemble::address(&answer.facts).is_none()).count();
    // A GPU that does not say where it sits is told by elimination.
    let only_place = match left.as_slice() {
        [only] if without_place == 1 => Some(only.address),
        _ => None,
    };
    left.retain(|gpu| Some(gpu.address) != only_place);

    let mut gpus = Vec::new();
    for (index, answer) in (0..).zip(&answers) {
        let said = assemble::address(&answer.facts);
        let place = said.or(only_place);
        let facts_of_kernel = place.map_or_else(
            || SysfsFacts::none("NVML does not say where the GPU sits"),
            |address| SysfsFacts::read(sysfs, address),
        );
        let (gpu, wrong) = assemble::gpu(&Known {
            index,
            facts: &answer.facts,
            silence: answer.silence.as_deref(),
            only_place_left: only_place.filter(|_| said.is_none()),
            sysfs: &facts_of_kernel,
        });
        gpus.push(gpu);
        problems.extend(wrong);
    }
    connect(session, &answers, &mut gpus, within);
    problems.extend(assemble::refuse_doubles(&mut gpus));
    problems.extend(left.iter().map(|gpu| unlisted(gpu, without_place)));
    gpus.sort_by_key(|gpu| (gpu.pci.address.is_none(), gpu.pci.address, gpu.index));
    Inventory { library, versions, gpus, problems }
}

/// What one GPU answered.
struct Answer {
    facts: GpuFacts,
    /// Why it said no more, for people.
    silence: Option<String>,
    handle: Option<GpuHandle>,
}

fn ask(session: &Session, within: Duration) -> Vec<Answer> {
    let asked: Vec<_> = session
        .gpus()
        .iter()
        .map(|lane| {
            let progress = Progress::default();
            let of_lane = progress.clone();
            let pending = lane.submit_read("read the inventory", within, move |gpu| gpu.read_facts(&of_lane));
            (pending, progress)
        })
        .collect();
    asked
        .into_iter()
        .map(|(pending, progress)| {
            let outcome = pending.and_then(|pending| pending.wait());
            let (facts, stuck_at) = progress.so_far();
            let (handle, silence) = match outcome {
                Ok(Ok(handle)) => (Some(handle), None),
                Ok(Err(error)) => {
                    (None, Some(format!("NVML gives no handle for it: {}", CallError::from(error))))
                }
                Err(error) => {
                    let at = stuck_at.map_or_else(String::new, |what| format!(" (reading {what})"));
                    (
                        None,
                        Some(format!(
                            "NVML does not answer{at}: {error}; see the kernel log for 'NVRM' and 'Xid'"
                        )),
                    )
                }
            };
            Answer { facts, silence, handle }
        })
        .collect()
}

/// Asks how those GPUs are connected that answered: each for those after it.
fn connect(session: &Session, answers: &[Answer], gpus: &mut [Gpu], within: Duration) {
    let alive: Vec<(usize, GpuHandle)> = answers
        .iter()
        .enumerate()
        .filter_map(|(position, answer)| Some((position, answer.handle?)))
        .collect();
    let mut asked = Vec::new();
    for (lane, (number, (position, _))) in alive
        .iter()
        .enumerate()
        .filter_map(|(number, alive)| Some((session.gpus().get(alive.0)?, (number, alive))))
    {
        let others = &alive[number + 1..];
        let handles: Vec<GpuHandle> = others.iter().map(|(_, handle)| *handle).collect();
        let pending = lane.submit_read("read the topology", within, move |gpu| gpu.read_topology(&handles));
        asked.push((*position, others, pending));
    }
    for (position, others, pending) in asked {
        let levels = pending.and_then(|pending| pending.wait()).unwrap_or_default();
        for (number, (other, _)) in others.iter().enumerate() {
            let level = levels.get(number).unwrap_or(&Reading::NotRead);
            assemble::connect(gpus, position, *other, level);
        }
    }
}

fn without_nvml(library: Search, problem: Problem, sysfs: &Path) -> Inventory {
    let mut problems = vec![problem];
    let on_bus = gpus_on_bus(sysfs);
    if !on_bus.is_empty() {
        let addresses: Vec<String> = on_bus.iter().map(|gpu| gpu.address.to_string()).collect();
        problems.push(node_problem(format!(
            "NVIDIA GPUs are on the PCI bus at {}, and cannot be used without NVML",
            addresses.join(", ")
        )));
    }
    Inventory { library, problems, ..Inventory::default() }
}

/// The GPUs that this node's driver could have: not those that were given to virtual machines. None if the bus
/// cannot be listed: it is only a second opinion.
pub fn gpus_on_bus(sysfs: &Path) -> Vec<OnBus> {
    let mut gpus = sysfs::gpus_on_bus(sysfs).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the PCI bus");
        Vec::new()
    });
    gpus.retain(|gpu| gpu.driver.as_deref().is_none_or(|driver| driver == "nvidia"));
    gpus
}

fn unlisted(gpu: &OnBus, silent: usize) -> Problem {
    let address: PciAddress = gpu.address;
    let message = if silent > 0 {
        format!(
            "on the PCI bus at {address}, but no GPU that answers sits there: it is one of those that do not"
        )
    } else {
        let driver = gpu.driver.as_deref().map_or_else(
            || "no kernel driver is bound to it".to_owned(),
            |driver| format!("bound to the kernel driver {driver}"),
        );
        format!(
            "on the PCI bus at {address} ({driver}), but NVML does not list it; see the kernel log for 'NVRM'"
        )
    };
    assemble::unusable(&address.gpu_name(), &message)
}

fn no_library(search: &Search, loaded: Option<&str>) -> Problem {
    let refused: Vec<String> =
        search.refused().map(|(path, reason)| format!("{}: {reason}", path.display())).collect();
    let root = search.driver_root.display();
    node_problem(match loaded {
        _ if !refused.is_empty() => format!("no usable {LIBRARY} under {root}; {}", refused.join("; ")),
        Some(version) => format!(
            "no {LIBRARY} under {root}, but the kernel module {version} is loaded: the driver is installed \
             elsewhere; name that folder as driver root"
        ),
        None => format!(
            "no {LIBRARY} under {root}; install NVIDIA's driver, or name the folder that it is installed in as \
             driver root"
        ),
    })
}

fn node_problem(message: String) -> Problem {
    Problem { subject: "node".to_owned(), severity: Severity::Unusable, message }
}
