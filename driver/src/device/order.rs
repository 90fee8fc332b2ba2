//! The order of whole GPUs. The scheduler takes the first that fit, so neighbours stand together.

use std::cmp::Reverse;

use crate::inventory::{Gpu, NvLinkRemoteKind, PciAddress, Via};

/// GPUs so that those of one NUMA node follow each other, and within it each is followed by the one that is nearest
/// to it: by most NVLinks, then by what lies between them on the PCI bus, then by address.
pub(super) fn packed(mut gpus: Vec<&Gpu>) -> Vec<&Gpu> {
    // Where the firmware names no node, there is only one or nobody knows: these come last.
    gpus.sort_by_key(|gpu| (gpu.numa_node.is_none(), gpu.numa_node, address(gpu), &gpu.name));
    let mut packed = Vec::with_capacity(gpus.len());
    for of_node in gpus.chunk_by(|one, other| one.numa_node == other.numa_node) {
        chain(of_node.to_vec(), &mut packed);
    }
    packed
}

fn chain<'a>(mut left: Vec<&'a Gpu>, packed: &mut Vec<&'a Gpu>) {
    let mut last: Option<&Gpu> = None;
    while !left.is_empty() {
        // The first of equals is the one with the lowest address.
        let next =
            last.and_then(|last| (0..left.len()).min_by_key(|&at| distance(last, left[at]))).unwrap_or(0);
        let gpu = left.remove(next);
        packed.push(gpu);
        last = Some(gpu);
    }
}

/// How far two GPUs are from each other; less is nearer.
fn distance(from: &Gpu, to: &Gpu) -> (Reverse<u32>, Via) {
    let to = address(to);
    let links = from.nvlink.iter().flat_map(|nvlink| &nvlink.remotes);
    let links = links.filter(|remote| remote.kind == NvLinkRemoteKind::Gpu && remote.address == to);
    let via = from.topology.iter().find(|neighbour| Some(neighbour.address) == to);
    let via = via.map_or(Via::System, |neighbour| neighbour.via);
    (Reverse(links.map(|remote| remote.links).sum()), via)
}

fn address(gpu: &Gpu) -> Option<PciAddress> {
    gpu.pci.address
}
