//! What there is of the NVIDIA driver and of GPUs, without asking NVML.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use dra_driver::inventory::sysfs::{self, OnBus};
use dra_driver::inventory::{PciAddress, Roots, procfs};
use dra_driver::nvml::library;

/// What decides whether a session can be opened, and whether a new one has to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    /// The library, with device and inode.
    library: Option<(PathBuf, u64, u64)>,
    /// The kernel module's version.
    pub(super) module: Option<String>,
    /// The GPUs on the PCI bus.
    pub(super) bus: Vec<OnBus>,
}

impl Surroundings {
    /// Where GPUs sit that no other kernel driver has, such as that of virtual machines.
    pub(super) fn on_bus(&self) -> Vec<PciAddress> {
        let ours = |gpu: &&OnBus| gpu.driver.as_deref().is_none_or(|driver| driver == "nvidia");
        self.bus.iter().filter(ours).map(|gpu| gpu.address).collect()
    }

    /// What there is now.
    pub(super) fn look_again(&self, roots: &Roots) -> Self {
        let library = library::find(&roots.driver).found.and_then(|path| {
            let file = fs_err::metadata(&path).ok()?;
            Some((path, file.dev(), file.ino()))
        });
        // A bus that cannot be read is no news.
        let bus = sysfs::gpus_on_bus(&roots.sysfs).unwrap_or_else(|_| self.bus.clone());
        Self { library, module: procfs::loaded_module(&roots.procfs), bus }
    }
}
