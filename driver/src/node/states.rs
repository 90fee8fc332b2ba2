//! In what state each of a node's GPUs is: so many of each add up to what the node should have.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::inventory::PciAddress;

/// In what state a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It can be given to a pod.
    Usable,
    /// It has a fault.
    Faulty,
    /// NVML lists it, but does not say enough of it, something is wrong with it that is no fault of the GPU, or the
    /// driver was asked to keep away from it.
    Unusable,
    /// The PCI bus has it, and NVML does not list it.
    Unlisted,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Usable, Self::Faulty, Self::Unusable, Self::Unlisted];

    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Faulty => "faulty",
            Self::Unusable => "unusable",
            Self::Unlisted => "unlisted",
        }
    }
}

/// How many GPUs are in each state. Each GPU is in one.
#[must_use]
pub fn states(view: &View) -> BTreeMap<State, usize> {
    let mut counts = State::ALL.map(|state| (state, 0)).into_iter().collect::<BTreeMap<_, usize>>();
    let mut listed = BTreeSet::<PciAddress>::new();
    let mut nameless = 0;
    for gpu in &view.inventory.gpus {
        match gpu.pci.address {
            Some(address) => drop(listed.insert(address)),
            None => nameless += 1,
        }
        let faulty = gpu.name.as_deref().is_some_and(|name| !view.faults_of(name).is_empty());
        let state = match (faulty, gpu.usable) {
            (true, _) => State::Faulty,
            (false, true) if view.yielding.is_none() => State::Usable,
            (false, _) => State::Unusable,
        };
        *counts.entry(state).or_default() += 1;
    }
    let unlisted = view.on_bus.iter().filter(|address| !listed.contains(address)).count();
    // A GPU that does not say where it sits is one of those that seem to be missing.
    counts.insert(State::Unlisted, unlisted.saturating_sub(nameless));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Class, Fault};
    use crate::inventory::Gpu;

    fn address(bus: u8) -> PciAddress {
        PciAddress { domain: 0, bus, device: 0, function: 0 }
    }

    fn gpu(bus: u8, usable: bool) -> Gpu {
        let mut gpu = Gpu { name: Some(address(bus).gpu_name()), usable, ..Gpu::default() };
        gpu.pci.address = Some(address(bus));
        gpu
    }

    fn view(gpus: Vec<Gpu>, on_bus: &[u8], sick: &[u8]) -> View {
        let fault = || Fault {
            class: Class::Reset,
            cause: "xid-95".into(),
            message: String::new(),
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut view = View { on_bus: on_bus.iter().map(|bus| address(*bus)).collect(), ..View::default() };
        view.inventory.gpus = gpus;
        view.faults = sick.iter().map(|bus| (address(*bus).gpu_name(), vec![fault()])).collect();
        view
    }

    #[test]
    fn each_gpu_is_in_one_state() {
        let nameless = || Gpu { index: 1, ..Gpu::default() };
        let cases = [
            ("no GPU at all", view(vec![], &[], &[]), [0, 0, 0, 0]),
            ("all well", view(vec![gpu(1, true), gpu(2, true)], &[1, 2], &[]), [2, 0, 0, 0]),
            ("a fault", view(vec![gpu(1, true), gpu(2, true)], &[1, 2], &[2]), [1, 1, 0, 0]),
            ("a fault, and unusable too", view(vec![gpu(1, false)], &[1], &[1]), [0, 1, 0, 0]),
            ("unusable", view(vec![gpu(1, false)], &[1], &[]), [0, 0, 1, 0]),
            ("no NVML", view(vec![], &[1, 2, 3], &[]), [0, 0, 0, 3]),
            ("NVML lists fewer", view(vec![gpu(1, true)], &[1, 2], &[]), [1, 0, 0, 1]),
            (
                "one does not say where it sits",
                view(vec![gpu(1, true), nameless()], &[1, 2], &[]),
                [1, 0, 1, 0],
            ),
            (
                "off the bus, and known before",
                view(vec![gpu(1, true), gpu(2, true)], &[1], &[2]),
                [1, 1, 0, 0],
            ),
            ("the bus cannot be listed", view(vec![gpu(1, true)], &[], &[]), [1, 0, 0, 0]),
        ];
        for (what, view, wanted) in cases {
            let wanted: BTreeMap<State, usize> = State::ALL.into_iter().zip(wanted).collect();
            assert_eq!(states(&view), wanted, "{what}");
        }
    }
}
