//! The XIDs that the driver reported, counted for each GPU.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use dra_driver::health::{Advice, advice};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::table::{Labels, Table};
use super::{list, of_device};

/// What has to be done after an XID: the values of the label `class` of `dra_device_xid_errors_total`.
const CLASSES: [&str; 4] = ["application", "reset", "reboot", "unknown"];

/// The metrics of XIDs.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    counts: Table<Counter<f64, AtomicU64>>,
    last: Table,
}

/// The XIDs of a node's GPUs since the plugin started.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, OfGpu>);

#[derive(Debug, Default)]
struct OfGpu {
    uuid: String,
    counts: BTreeMap<&'static str, u32>,
    last: Option<u32>,
}

impl Seen {
    /// The driver reported an XID.
    pub(super) fn enter(&mut self, device: &str, xid: u64) {
        let gpu = self.0.entry(device.to_owned()).or_default();
        let count = gpu.counts.entry(class(xid)).or_default();
        *count = count.saturating_add(1);
        gpu.last = Some(u32::try_from(xid).unwrap_or(u32::MAX));
    }

    /// These GPUs sit in the slots now: what was reported of another one does not count for them.
    pub(super) fn settle(&mut self, uuids: &BTreeMap<String, String>) {
        for (device, uuid) in uuids {
            let gpu = self.0.entry(device.clone()).or_default();
            if gpu.uuid != *uuid {
                let before = std::mem::replace(&mut gpu.uuid, uuid.clone());
                if !before.is_empty() {
                    *gpu = OfGpu { uuid: uuid.clone(), ..OfGpu::default() };
                }
            }
        }
    }
}

impl Tables {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            counts: Table::register(registry, list::XIDS),
            last: Table::register(registry, list::LAST_XID),
        }
    }

    /// Shows what was reported of the GPUs that there are, from zero on.
    pub(super) fn show(&self, pool: &str, uuids: &BTreeMap<String, String>, seen: &Seen) {
        let (mut counts, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (device, uuid) in uuids {
            let gpu = seen.0.get(device);
            for class in CLASSES {
                let mut labels: Labels = of_device(device, uuid, pool);
                labels.push(("class", class.to_owned()));
                let count = gpu.and_then(|gpu| gpu.counts.get(class)).copied();
                counts.insert(labels, f64::from(count.unwrap_or(0)));
            }
            let xid = gpu.and_then(|gpu| gpu.last).unwrap_or(0);
            last.insert(of_device(device, uuid, pool), f64::from(xid));
        }
        self.counts.show(counts);
        self.last.show(last);
    }
}

fn class(xid: u64) -> &'static str {
    match advice(xid) {
        Advice::Application => "application",
        Advice::Fault(class) => class.as_str(),
        Advice::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_xid_is_counted_in_a_class_that_is_shown() {
        for xid in 0..1000 {
            assert!(CLASSES.contains(&class(xid)), "XID {xid} is of the class {}", class(xid));
        }
    }
}
