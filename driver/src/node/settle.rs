//! A GPU that stops answering is not forgotten: its device stays, so that it can be tainted.

use std::collections::BTreeSet;

use crate::inventory::{Gpu, Inventory, PciAddress, Problem, Severity};

/// A fresh inventory, with what it lacks filled in from the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// The inventory.
    pub inventory: Inventory,
    /// The devices of which the inventory has what was known before.
    pub as_before: BTreeSet<String>,
    /// Those of them that are in it only because they were in the one before: NVML does not list them any more.
    pub unlisted: BTreeSet<String>,
    /// The devices whose slot holds another GPU now.
    pub replaced: BTreeSet<String>,
}

/// Fills a fresh inventory up from the one before.
///
/// - A GPU that says less than before, and of which nothing says that it is another one, is as it was.
/// - A GPU that is gone is as it was, unless it sits at one of `elsewhere`: addresses of GPUs that were given to
///   another kernel driver.
/// - What was wrong with such a GPU is told in the words of the first time: they name times that change.
#[must_use]
pub fn settle(before: &Inventory, fresh: Inventory, elsewhere: &[PciAddress]) -> Settled {
    let mut settled = Settled { inventory: fresh, ..Settled::default() };
    let inventory = &mut settled.inventory;
    for gpu in &mut inventory.gpus {
        let Some(known) = gpu.name.as_deref().and_then(|name| named(before, name)) else { continue };
        if gpu.uuid.is_some() && known.uuid.is_some() && gpu.uuid != known.uuid {
            settled.replaced.extend(gpu.name.clone());
        } else if !gpu.usable && says_less(gpu, known) {
            *gpu = Gpu { index: gpu.index, ..known.clone() };
            settled.as_before.extend(gpu.name.clone());
        }
    }
    let gone: Vec<&Gpu> = before
        .gpus
        .iter()
        .filter(|known| {
            let name = known.name.as_deref();
            name.is_some_and(|name| named(inventory, name).is_none())
                && !known.pci.address.is_some_and(|address| elsewhere.contains(&address))
        })
        .collect();
    // Of GPUs that do not even say where they sit there are as many as are gone: they are the same.
    let nameless: Vec<u32> = unnamed(inventory).collect();
    match (&gone[..], &nameless[..]) {
        ([one], [index]) => {
            inventory.gpus.retain(|gpu| gpu.name.is_some());
            inventory.gpus.push(Gpu { index: *index, ..(*one).clone() });
            settled.as_before.extend(one.name.clone());
        }
        _ => {
            if nameless.len() <= gone.len() {
                inventory.gpus.retain(|gpu| gpu.name.is_some());
            }
            for known in gone {
                settled.as_before.extend(known.name.clone());
                settled.unlisted.extend(known.name.clone());
                inventory.gpus.push(known.clone());
            }
        }
    }
    inventory.gpus.sort_by_key(|gpu| (gpu.pci.address.is_none(), gpu.pci.address, gpu.index));
    keep_words(before, inventory);
    settled
}

fn named<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a Gpu> {
    inventory.gpus.iter().find(|gpu| gpu.name.as_deref() == Some(name))
}

fn unnamed(inventory: &Inventory) -> impl Iterator<Item = u32> {
    inventory.gpus.iter().filter(|gpu| gpu.name.is_none()).map(|gpu| gpu.index)
}

/// Whether a GPU answered fewer questions than before. What the kernel says of it does not count.
fn says_less(gpu: &Gpu, known: &Gpu) -> bool {
    (known.uuid.is_some() && gpu.uuid.is_none())
        || (known.memory.is_some() && gpu.memory.is_none())
        || (known.product_name.is_some() && gpu.product_name.is_none())
        || gpu.unread.len() > known.unread.len()
}

/// Replaces what is said of subjects that cannot be used, and could not before, by what was said before.
fn keep_words(before: &Inventory, inventory: &mut Inventory) {
    let unusable = |problem: &&Problem| problem.severity == Severity::Unusable && problem.subject != "node";
    for problem in &mut inventory.problems {
        let Some(known) = before
            .problems
            .iter()
            .filter(unusable)
            .find(|known| known.subject == problem.subject && problem.severity == known.severity)
        else {
            continue;
        };
        problem.message.clone_from(&known.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Memory;

    const BUSES: [u8; 3] = [0x1b, 0x43, 0x52];

    fn address(bus: u8) -> PciAddress {
        PciAddress { domain: 0, bus, device: 0, function: 0 }
    }

    fn well(index: u32, bus: u8) -> Gpu {
        let mut gpu = Gpu {
            name: Some(address(bus).gpu_name()),
            usable: true,
            uuid: Some(format!("GPU-{bus}")),
            product_name: Some("NVIDIA H100 80GB HBM3".into()),
            memory: Some(Memory { total_bytes: 80 << 30, reserved_bytes: 0 }),
            index,
            ..Gpu::default()
        };
        gpu.pci.address = Some(address(bus));
        gpu
    }

    /// A GPU that answers nothing; its place is known by elimination if there is a bus.
    fn mute(index: u32, bus: Option<u8>) -> Gpu {
        let mut gpu = Gpu { index, name: bus.map(|bus| address(bus).gpu_name()), ..Gpu::default() };
        gpu.pci.address = bus.map(address);
        gpu
    }

    fn inventory(gpus: Vec<Gpu>) -> Inventory {
        Inventory { gpus, ..Inventory::default() }
    }

    fn all_well() -> Inventory {
        inventory((0..).zip(BUSES).map(|(index, bus)| well(index, bus)).collect())
    }

    /// One GPU of the fresh list differs, or more; what becomes of the list.
    #[derive(Default)]
    struct Case {
        what: &'static str,
        fresh: Vec<Gpu>,
        /// A GPU that was given to another kernel driver.
        elsewhere: Option<PciAddress>,
        wanted: Vec<Gpu>,
        unlisted: Vec<u8>,
        replaced: Vec<u8>,
    }

    #[test]
    fn a_gpu_that_goes_stays_as_it_was() {
        let [a, b, c] = BUSES;
        let exchanged = || Gpu { uuid: Some("GPU-other".into()), ..well(1, b) };
        let hung = Gpu { usable: false, memory: None, ..well(1, b) };
        let as_it_was = || vec![well(0, a), well(1, b), well(2, c)];
        let cases = [
            Case { what: "nothing", fresh: as_it_was(), wanted: as_it_was(), ..Case::default() },
            Case {
                what: "lost, known by elimination",
                fresh: vec![well(0, a), mute(1, Some(b)), well(2, c)],
                wanted: as_it_was(),
                ..Case::default()
            },
            Case {
                what: "hung halfway",
                fresh: vec![well(0, a), hung, well(2, c)],
                wanted: as_it_was(),
                ..Case::default()
            },
            Case {
                what: "lost, and nothing says where it sits",
                fresh: vec![well(0, a), mute(1, None), well(2, c)],
                wanted: as_it_was(),
                ..Case::default()
            },
            Case {
                what: "two lost: which is which cannot be known",
                fresh: vec![well(0, a), mute(1, None), mute(2, None)],
                wanted: as_it_was(),
                unlisted: vec![b, c],
                ..Case::default()
            },
            Case {
                what: "off the bus",
                fresh: vec![well(0, a), well(1, c)],
                wanted: vec![well(0, a), well(1, b), well(1, c)],
                unlisted: vec![b],
                ..Case::default()
            },
            Case {
                what: "given to a virtual machine",
                fresh: vec![well(0, a), well(1, c)],
                elsewhere: Some(address(b)),
                wanted: vec![well(0, a), well(1, c)],
                ..Case::default()
            },
            Case {
                what: "another GPU in the slot",
                fresh: vec![well(0, a), exchanged(), well(2, c)],
                wanted: vec![well(0, a), exchanged(), well(2, c)],
                replaced: vec![b],
                ..Case::default()
            },
            Case {
                what: "one more",
                fresh: vec![well(0, a), well(1, b), well(2, c), well(3, 0x61)],
                wanted: vec![well(0, a), well(1, b), well(2, c), well(3, 0x61)],
                ..Case::default()
            },
        ];
        let names =
            |buses: &[u8]| -> BTreeSet<String> { buses.iter().map(|bus| address(*bus).gpu_name()).collect() };
        for Case { what, fresh, elsewhere, wanted, unlisted, replaced } in cases {
            let elsewhere: Vec<PciAddress> = elsewhere.into_iter().collect();
            let settled = settle(&all_well(), inventory(fresh.clone()), &elsewhere);
            assert_eq!(settled.inventory.gpus, wanted, "{what}");
            assert_eq!(settled.unlisted, names(&unlisted), "{what}");
            assert_eq!(settled.replaced, names(&replaced), "{what}");
            assert!(settled.as_before.is_superset(&settled.unlisted), "{what}");
            assert_eq!(settled.as_before.is_empty(), settled.inventory.gpus == fresh, "{what}");
            let again = settle(&settled.inventory, settled.inventory.clone(), &elsewhere);
            assert_eq!(again.inventory, settled.inventory, "{what}: it rests");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_first_time() {
        let problem = |subject: &str, message: &str| Problem {
            subject: subject.into(),
            severity: Severity::Unusable,
            message: message.into(),
        };
        let mut before = all_well();
        before.problems = vec![problem("gpu-0000-1b-00-0", "no answer within 3 s"), problem("node", "old")];
        let mut fresh = all_well();
        fresh.problems = vec![
            problem("gpu-0000-1b-00-0", "busy for 17 s"),
            problem("gpu-0000-43-00-0", "busy for 18 s"),
            problem("node", "new"),
        ];
        let settled = settle(&before, fresh, &[]);
        let words: Vec<&str> =
            settled.inventory.problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(words, ["no answer within 3 s", "busy for 18 s", "new"]);
    }
}
