//! What is measured of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::utilization::utilization;
use crate::cluster::Cluster;
use crate::model::intern::Device;
use crate::model::pool::{Pool, Slice};

/// The capacity that is a GPU's memory.
const MEMORY: &str = "memory";

/// What is measured of a pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolFigures {
    /// The node that has the devices: empty where that is not one.
    pub node: Arc<str>,
    /// By the DeviceClasses that select devices of it.
    pub classes: BTreeMap<Arc<str>, ClassFigures>,
    /// The memory of all devices, in bytes. Partitions share the memory of their GPU, which counts once.
    pub memory: f64,
    /// How much of it is allocated.
    pub memory_allocated: f64,
    /// How many devices claims have: one that several share counts for each.
    pub held: usize,
}

/// What is measured of the devices of one class in a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ClassFigures {
    /// How many devices claims can have, or have.
    pub allocatable: usize,
    /// How many claims have.
    pub allocated: usize,
    /// How much of them is in use, from 0 to 1.
    pub utilization: f64,
}

/// Measures a pool. `selects` says whether a class selects a device.
pub fn figures(
    cluster: &Cluster,
    pool: &Pool,
    classes: &BTreeSet<Arc<str>>,
    selects: impl Fn(&str, &Device) -> bool,
) -> PoolFigures {
    let slices: Vec<&Slice> = pool.slices().filter(|slice| slice.generation == pool.generation()).collect();
    let devices: Vec<&Device> = slices.iter().flat_map(|slice| &slice.devices).collect();
    let counters: Vec<_> = slices.iter().flat_map(|slice| &slice.counters).collect();
    let is_held = |device: &Device| {
        let holders = cluster.holdings().of(&pool.id, &device.name);
        holders.iter().any(|holder| !holder.admin_access)
    };
    let held: Vec<bool> = devices.iter().map(|device| is_held(device)).collect();
    let allocated: Vec<&Device> =
        devices.iter().zip(&held).filter(|(_, held)| **held).map(|(device, _)| *device).collect();

    let mut of_classes = BTreeMap::new();
    for class in classes {
        let selected: Vec<(&Device, bool)> = devices
            .iter()
            .zip(&held)
            .filter(|(device, _)| selects(class, device))
            .map(|(device, held)| (*device, *held))
            .collect();
        if selected.is_empty() {
            continue;
        }
        let figures = ClassFigures {
            allocatable: selected.len(),
            allocated: selected.iter().filter(|(_, held)| *held).count(),
            utilization: utilization(selected.into_iter(), &allocated, &counters),
        };
        of_classes.insert(Arc::clone(class), figures);
    }
    let node = slices.iter().find_map(|slice| slice.reach.node_name.clone()).unwrap_or_default();
    let memory = memory(&devices);
    let memory_allocated = allocated.iter().map(|device| memory_of(device)).sum::<f64>().min(memory);
    let held = cluster.holdings().of_pool(&pool.id).map(|(_, holders)| holders.len()).sum();
    PoolFigures { node, classes: of_classes, memory, memory_allocated, held }
}

/// The memory of devices. Of those that take from one set of counters the largest has all that the set stands for.
fn memory(devices: &[&Device]) -> f64 {
    let mut of_sets: BTreeMap<&str, f64> = BTreeMap::new();
    let mut sum = 0.0;
    for device in devices {
        match device.shape.counters.first() {
            None => sum += memory_of(device),
            Some(taken) => {
                let largest = of_sets.entry(&taken.set).or_default();
                *largest = largest.max(memory_of(device));
            }
        }
    }
    sum + of_sets.values().sum::<f64>()
}

fn memory_of(device: &Device) -> f64 {
    let mut amounts = device.shape.amounts.iter();
    amounts.find(|(name, _)| &*name.name == MEMORY).map_or(0.0, |(_, amount)| amount.as_float())
}
