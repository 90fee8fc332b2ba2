//! What is known of the node: its GPUs as of the last time that NVML was asked, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use dra_driver::health::{Advice, Class, Fault, Health, News, advice};
use dra_driver::inventory::sysfs::OnBus;
use dra_driver::inventory::{FabricState, Inventory};
use dra_driver::node::settle;
use dra_driver::nvml::events::Event;
use dra_driver::nvml::library::Search;
use jiff::Timestamp;

use super::connection::XID;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    inventory: Inventory,
    /// Devices of which it is only known what they were.
    as_before: BTreeSet<String>,
    /// Those of them that NVML does not list any more.
    unlisted: BTreeSet<String>,
    health: Health,
}

impl Known {
    /// Makes a fresh inventory the known one. Answers the names of the GPUs of this session's lanes.
    pub(super) fn settle(
        &mut self,
        fresh: Inventory,
        lanes: usize,
        bus: &[OnBus],
    ) -> BTreeMap<usize, String> {
        let elsewhere: Vec<_> = bus
            .iter()
            .filter(|gpu| gpu.driver.as_deref().is_some_and(|driver| driver != "nvidia"))
            .map(|gpu| gpu.address)
            .collect();
        let settled = settle(&self.inventory, fresh, &elsewhere);
        let now = Timestamp::now();
        for device in &settled.replaced {
            tracing::warn!(device, "another GPU sits in the slot now");
            self.health.apply(device, &News::Renewed, now);
        }
        self.inventory = settled.inventory;
        self.as_before = settled.as_before;
        self.unlisted = settled.unlisted;
        let gpus = &self.inventory.gpus;
        self.health.retain(|device| gpus.iter().any(|gpu| gpu.name.as_deref() == Some(device)));
        let listed =
            gpus.iter().filter_map(|gpu| Some((usize::try_from(gpu.index).ok()?, gpu.name.clone()?)));
        listed.filter(|(lane, name)| *lane < lanes && !self.unlisted.contains(name)).collect()
    }

    /// What the node has. A GPU that is away is shown as it was; one that answers, but not enough, cannot be
    /// used.
    pub(super) fn inventory(&self) -> Inventory {
        let mut inventory = self.inventory.clone();
        for gpu in &mut inventory.gpus {
            let old = |name: &str| self.as_before.contains(name) && !self.health.is_away(name);
            gpu.usable &= !gpu.name.as_deref().is_some_and(old);
        }
        inventory
    }

    /// What is wrong with devices.
    pub(super) fn faults(&self) -> &BTreeMap<String, Vec<Fault>> {
        self.health.faults()
    }

    /// Whether the device does not answer.
    pub(super) fn is_away(&self, device: &str) -> bool {
        self.health.is_away(device)
    }

    /// The kernel driver's version.
    pub(super) fn driver_version(&self) -> Option<String> {
        self.inventory.versions.driver.as_ref().map(|version| version.raw.clone())
    }

    /// Where the library was found.
    pub(super) fn library(&self) -> Search {
        self.inventory.library.clone()
    }

    /// The driver was loaded anew, and has initialised all GPUs.
    pub(super) fn renew(&mut self) {
        self.health = Health::default();
    }

    /// Enters that the GPUs are lost which NVML does not list any more.
    pub(super) fn unlisted_are_lost(&mut self) {
        for device in self.unlisted.clone() {
            self.enter(&device, &News::Lost("NVML does not list the GPU any more".into()));
        }
    }

    /// Enters news of a device, and logs what changes by it.
    pub(super) fn enter(&mut self, device: &str, news: &News) {
        if !self.health.apply(device, news, Timestamp::now()) {
            return;
        }
        match self.health.faults().get(device).and_then(|faults| faults.first()) {
            Some(worst) => {
                tracing::error!(
                    device,
                    class = worst.class.as_str(),
                    cause = worst.cause,
                    "{}",
                    worst.message
                );
            }
            None => tracing::info!(device, "the device is well again"),
        }
    }

    /// Takes in an event.
    pub(super) fn happened(&mut self, device: &str, event: &Event) {
        if event.kind != XID {
            return;
        }
        let xid = event.data;
        match advice(xid) {
            Advice::Application => {
                tracing::info!(device, xid, "XID of an application; nothing has to be done about the GPU");
            }
            Advice::Unknown => {
                tracing::warn!(device, xid, "XID that NVIDIA's catalogue has no advice for");
            }
            Advice::Fault(_) => self.enter(device, &News::Xid(xid)),
        }
    }

    /// Whether GPUs are lost, and none hangs: a hanging one would hang in a new session too.
    pub(super) fn may_have_come_back(&self) -> bool {
        let faults = self.health.faults().values().flatten();
        let mut away = faults.filter(|fault| fault.class == Class::Lost).peekable();
        away.peek().is_some() && away.all(|fault| fault.cause == "lost")
    }

    /// Whether a GPU that answers is not what it will be: it cannot be used yet, or its fabric is not ready.
    pub(super) fn is_settling(&self) -> bool {
        self.inventory.gpus.iter().any(|gpu| {
            let name = gpu.name.as_deref();
            let answers = name.is_none_or(|name| !self.health.is_away(name));
            let old = name.is_some_and(|name| self.as_before.contains(name));
            let in_progress = gpu.fabric.as_ref().is_some_and(|fabric| {
                matches!(fabric.state, FabricState::NotStarted | FabricState::InProgress)
            });
            answers && (!gpu.usable || old || in_progress)
        })
    }
}
