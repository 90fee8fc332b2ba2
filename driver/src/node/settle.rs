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

    fn as_it_was(gpu: Gpu, index: u32) -> Gpu {
        Gpu { index, ..gpu }
    }

    #[test]
    fn a_gpu_that_goes_stays_as_it_was() {
        let [a, b, c] = BUSES;
        let other = || Gpu { uuid: Some("GPU-other".into()), ..well(1, b) };
        let mut hung = well(1, b);
        hung.usable = false;
        hung.memory = None;
        let unlisted = address(b).gpu_name();
        let both = [address(b).gpu_name(), address(c).gpu_name()];
        // What happened; the fresh list; given away; the list wanted; unlisted; replaced.
        type Names<'a> = &'a [String];
        let cases: Vec<(&str, Vec<Gpu>, Vec<PciAddress>, Vec<Gpu>, Names<'_>, Names<'_>)> = vec![
            ("nothing", all_well().gpus, vec![], all_well().gpus, &[], &[]),
            (
                "lost, known by elimination",
                vec![well(0, a), mute(1, Some(b)), well(2, c)],
                vec![],
                vec![well(0, a), as_it_was(well(1, b), 1), well(2, c)],
                &[],
                &[],
            ),
            (
                "hung halfway",
                vec![well(0, a), hung, well(2, c)],
                vec![],
                vec![well(0, a), as_it_was(well(1, b), 1), well(2, c)],
                &[],
                &[],
            ),
            (
                "lost, and nothing says where it sits",
                vec![well(0, a), mute(1, None), well(2, c)],
                vec![],
                vec![well(0, a), as_it_was(well(1, b), 1), well(2, c)],
                &[],
                &[],
            ),
            (
                "two lost: which is which cannot be known",
                vec![well(0, a), mute(1, None), mute(2, None)],
                vec![],
                vec![well(0, a), as_it_was(well(1, b), 1), as_it_was(well(2, c), 2)],
                &both,
                &[],
            ),
            (
                "off the bus",
                vec![well(0, a), well(1, c)],
                vec![],
                vec![well(0, a), as_it_was(well(1, b), 1), well(1, c)],
                std::slice::from_ref(&unlisted),
                &[],
            ),
            (
                "given to a virtual machine",
                vec![well(0, a), well(1, c)],
                vec![address(b)],
                vec![well(0, a), well(1, c)],
                &[],
                &[],
            ),
            (
                "another GPU in the slot",
                vec![well(0, a), other(), well(2, c)],
                vec![],
                vec![well(0, a), other(), well(2, c)],
                &[],
                std::slice::from_ref(&unlisted),
            ),
            (
                "one more",
                vec![well(0, a), well(1, b), well(2, c), well(3, 0x61)],
                vec![],
                vec![well(0, a), well(1, b), well(2, c), well(3, 0x61)],
                &[],
                &[],
            ),
        ];
        for (what, fresh, elsewhere, wanted, unlisted, replaced) in cases {
            let fresh_gpus = fresh.clone();
            let settled = settle(&all_well(), inventory(fresh), &elsewhere);
            assert_eq!(settled.inventory.gpus, wanted, "{what}");
            assert!(settled.unlisted.iter().eq(unlisted), "{what}: {:?}", settled.unlisted);
            assert!(settled.replaced.iter().eq(replaced), "{what}: {:?}", settled.replaced);
            assert!(settled.as_before.is_superset(&settled.unlisted), "{what}");
            assert_eq!(settled.as_before.is_empty(), settled.inventory.gpus == fresh_gpus, "{what}");
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
