//! How much of some devices of a pool is in use, by cluster-autoscaler's formula.
//!
//! Devices that take from no counters count one by one. Devices that do are parts of something, a GPU, that the set of
//! counters stands for: the counter of the set of which most is taken tells how full it is. The two shares are weighed
//! by how many devices and how many sets there are.
//!
//! Source: `calculatePoolUtil` in cluster-autoscaler/simulator/dynamicresources/utils/utilization.go. Its comment weighs
//! the two always; its code leaves the free ones of the other kind out where all allocated devices are of one kind. This
//! follows the comment, so that a pool is not full while a half of it is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::intern::{Counters, Device};

/// How much of devices is in use, from 0 to 1.
///
/// `of_interest` are the devices that are asked about, each with whether it is allocated; `allocated` are all allocated
/// devices of the pool: they take from the same counters.
pub fn utilization<'a>(
    of_interest: impl Iterator<Item = (&'a Device, bool)>,
    allocated: &[&Device],
    counters: &[&Counters],
) -> f64 {
    let (mut whole, mut whole_in_use) = (0_u32, 0_u32);
    let mut sets: BTreeSet<&Arc<str>> = BTreeSet::new();
    for (device, is_in_use) in of_interest {
        if device.shape.counters.is_empty() {
            whole += 1;
            whole_in_use += u32::from(is_in_use);
        }
        sets.extend(device.shape.counters.iter().map(|taken| &taken.set));
    }
    let mut taken: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for of_device in allocated.iter().flat_map(|device| &device.shape.counters) {
        for (name, amount) in &of_device.amounts {
            *taken.entry((&of_device.set, name)).or_default() += amount.as_float();
        }
    }
    let fullness = |set: &&Arc<str>| {
        let amounts = counters.iter().filter(|counters| counters.set == **set).flat_map(|set| &set.amounts);
        let shares = amounts.map(|(name, there)| {
            let taken = taken.get(&(&***set, &**name)).copied().unwrap_or_default();
            if there.is_zero() { 0.0 } else { taken / there.as_float() }
        });
        shares.fold(0.0, f64::max)
    };
    let parts = u32::try_from(sets.len()).unwrap_or(u32::MAX);
    let full: f64 = sets.iter().map(fullness).sum();
    let all = f64::from(whole) + f64::from(parts);
    if all == 0.0 { 0.0 } else { (f64::from(whole_in_use) + full) / all }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::intern::Interner;

    /// Devices by name, each with what it takes: of which set, how much memory and how many processors.
    type Written = (&'static str, Option<(&'static str, u32, u32)>);

    const SETS: [&str; 2] = ["gpu-0", "gpu-1"];

    fn devices(written: &[Written]) -> (Vec<Device>, Vec<Counters>) {
        let mut interner = Interner::default();
        let amounts = |memory: u32, processors: u32| json!({"memory": {"value": memory}, "processors": {"value": processors}});
        let devices = written.iter().map(|(name, takes)| {
            let takes: Vec<Value> = takes
                .iter()
                .map(|(set, memory, processors)| {
                    json!({"counterSet": set, "counters": amounts(*memory, *processors)})
                })
                .collect();
            let device = json!({"name": name, "consumesCounters": takes});
            interner.device(&"d".into(), serde_json::from_value(device).unwrap())
        });
        let devices = devices.collect();
        let sets = SETS.map(|set| {
            let amounts = serde_json::from_value(amounts(10, 10)).unwrap();
            interner.counters(&set.into(), &amounts)
        });
        (devices, sets.into())
    }

    /// The first six are the examples in the comment of cluster-autoscaler's `calculatePoolUtil`.
    #[test]
    fn devices_and_parts_of_devices_are_weighed() {
        const THREE: &[Written] = &[("a", None), ("b", None), ("part", Some(("gpu-0", 10, 10)))];
        const HALF: &[Written] = &[("a", None), ("b", None), ("part", Some(("gpu-0", 5, 5)))];
        const PARTS: &[Written] = &[("memory", Some(("gpu-0", 8, 5))), ("other", Some(("gpu-1", 6, 0)))];
        let cases: [(&str, &[Written], &[&str], f64); 10] = [
            ("two whole ones of three", THREE, &["a", "b"], 2.0 / 3.0),
            ("the parts' one of three", THREE, &["part"], 1.0 / 3.0),
            ("a whole one, and a half", HALF, &["a", "part"], 0.5),
            ("most of a set's counters count", &PARTS[..1], &["memory"], 0.8),
            ("the mean of two sets", PARTS, &["memory", "other"], 0.7),
            ("all", THREE, &["a", "b", "part"], 1.0),
            ("none", THREE, &[], 0.0),
            ("one of two whole ones", &THREE[..2], &["a"], 0.5),
            ("one of two sets", PARTS, &["other"], 0.3),
            ("no devices", &[], &[], 0.0),
        ];
        for (name, written, in_use, wanted) in cases {
            let (devices, sets) = devices(written);
            let allocated: Vec<_> = devices.iter().filter(|device| in_use.contains(&&*device.name)).collect();
            let all = devices.iter().map(|device| (device, in_use.contains(&&*device.name)));
            let sets: Vec<_> = sets.iter().collect();
            let used = utilization(all, &allocated, &sets);
            assert!((used - wanted).abs() < 1e-9, "{name}: {used} instead of {wanted}");
        }
    }

    #[test]
    fn partitions_of_others_fill_a_gpu_that_nobody_has() {
        let (devices, sets) = devices(&[("whole", Some(("gpu-0", 10, 10))), ("part", Some(("gpu-0", 4, 2)))]);
        let sets: Vec<_> = sets.iter().collect();
        let used = utilization([(&devices[0], false)].into_iter(), &[&devices[1]], &sets);
        assert!((used - 0.4).abs() < 1e-9, "{used}");
    }
}
