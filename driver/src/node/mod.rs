//! What is known of the node at one moment: the data that everything on a node is decided from.

mod settle;
mod states;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::Fault;
use crate::inventory::{Gpu, Inventory, PciAddress};

pub use settle::{Settled, settle};
pub use states::{State, states};

/// Why NVML cannot be used before it was asked for the first time.
const NOT_ASKED: &str = "NVML was not asked yet";

/// The node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// What the node has. Without GPUs as long as NVML cannot be had. A GPU that was there and stopped answering
    /// or fell off the bus stays as it was, with a fault of the class lost.
    pub inventory: Inventory,
    /// Where the PCI bus has GPUs that could be this driver's, also without NVML.
    pub on_bus: Vec<PciAddress>,
    /// What is wrong with devices, by device name. A device without an entry is well.
    pub faults: BTreeMap<String, Vec<Fault>>,
    /// What the driver's state holds for.
    pub epoch: Epoch,
    /// Why NVML cannot be used, for people, with what to do. None when it can.
    pub without_nvml: Option<String>,
    /// The driver was asked to keep away from the GPUs, which are shown as they were.
    pub yielding: Option<Yielding>,
}

/// A time for which the driver keeps away from the GPUs, for example while NVIDIA's driver is exchanged. NVML is closed
/// then, and no device node is held open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yielding {
    /// Who asked for it and how it ends, for people.
    pub reason: String,
    /// Since when, in whole seconds.
    pub since: Timestamp,
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
    /// The view before NVML was asked.
    #[must_use]
    pub fn not_asked(epoch: Epoch) -> Self {
        Self { epoch, without_nvml: Some(NOT_ASKED.to_owned()), ..Self::default() }
    }

    /// Whether NVML was asked: before that, no GPUs means nothing.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.without_nvml.as_deref() != Some(NOT_ASKED)
    }

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

impl Epoch {
    /// Reads the boot's id.
    ///
    /// A container may have no more of the host's `/proc` than NVIDIA's part. The boot's id is the same in every
    /// `/proc` of a machine, so this process's own stands in.
    ///
    /// # Errors
    /// There is neither.
    pub fn read(procfs: &Path, driver_version: Option<String>) -> io::Result<Self> {
        const BOOT_ID: &str = "sys/kernel/random/boot_id";
        let boot_id = fs_err::read_to_string(procfs.join(BOOT_ID))
            .or_else(|_| fs_err::read_to_string(Path::new("/proc").join(BOOT_ID)))?;
        Ok(Self { boot_id: boot_id.trim().to_owned(), driver_version })
    }
}
