//! What is known of the node at one moment: the data that everything on a node is decided from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::health::Fault;
use crate::inventory::{Gpu, Inventory};

/// The node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// What the node has. Empty as long as NVML cannot be had.
    pub inventory: Inventory,
    /// What is wrong with devices, by device name. A device without an entry is well.
    pub faults: BTreeMap<String, Vec<Fault>>,
    /// What the driver's state holds for.
    pub epoch: Epoch,
    /// Why NVML cannot be used, for people, with what to do. None when it can.
    pub without_nvml: Option<String>,
}

/// As long as this is the same, hardware that was configured is still configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// The kernel's `random/boot_id`.
    pub boot_id: String,
    /// Version of the kernel driver, if one is loaded.
    pub driver_version: Option<String>,
}

impl View {
    /// The GPU of this device name.
    #[must_use]
    pub fn gpu(&self, device: &str) -> Option<&Gpu> {
        self.inventory.gpus.iter().find(|gpu| gpu.name.as_deref() == Some(device))
    }

    /// What is wrong with a device; nothing if it is well.
    #[must_use]
    pub fn faults_of(&self, device: &str) -> &[Fault] {
        self.faults.get(device).map_or(&[], Vec::as_slice)
    }
}
