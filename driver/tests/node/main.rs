//! The NVML layer and the inventory on fake nodes, through the real C interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod faults;
mod inventory;
mod library;
mod pulse;
mod session;

use std::time::Duration;

use dra_driver::inventory::{Gpu, Inventory, Roots, discover_node};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::{Effect, NodeState};
use fake_node::{CreateOptions, Description, Node};

/// A deadline that no healthy call meets: it only keeps a broken test from hanging.
const LATE: Duration = Duration::from_secs(60);

/// A fake node in a folder of its own.
struct Fake {
    node: Node,
    _folder: tempfile::TempDir,
}

impl Fake {
    fn new(description: &str) -> Self {
        Self::with(description, |_| {})
    }

    /// A node that its description does not allow.
    fn with(description: &str, change: impl FnOnce(&mut NodeState)) -> Self {
        let mut state = Description::builtin(description).unwrap().state();
        change(&mut state);
        let folder = tempfile::tempdir().unwrap();
        let node = Node::create_from(&state, &folder.path().join("node"), &CreateOptions::default()).unwrap();
        Self { node, _folder: folder }
    }

    fn inventory(&self) -> Inventory {
        self.inventory_within(LATE)
    }

    fn inventory_within(&self, within: Duration) -> Inventory {
        let roots =
            Roots { driver: self.node.driver_root(), sysfs: self.node.sysfs(), procfs: self.node.procfs() };
        discover_node(&roots, within)
    }

    fn inject(&self, injection: &Injection) {
        self.node.inject(injection).unwrap();
    }

    /// Lets every call of a function on a GPU meet a fault.
    fn fault(&self, call: &str, slot: usize, effect: Effect) {
        self.inject(&Injection::Fault {
            call: call.into(),
            gpu: Some(GpuSelector::Slot(slot)),
            after: 0,
            times: None,
            effect,
        });
    }
}

fn gpu<'a>(inventory: &'a Inventory, name: &str) -> &'a Gpu {
    inventory
        .gpus
        .iter()
        .find(|gpu| gpu.name.as_deref() == Some(name))
        .unwrap_or_else(|| panic!("no {name} in {:#?}", inventory.gpus))
}

fn messages<'a>(inventory: &'a Inventory, subject: &str) -> Vec<&'a str> {
    let of_subject = inventory.problems.iter().filter(|problem| problem.subject == subject);
    of_subject.map(|problem| problem.message.as_str()).collect()
}
