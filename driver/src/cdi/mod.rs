//! CDI: what of the driver's files a container gets, and the spec files that say so.
//!
//! A container that gets a device is given two CDI devices: the device itself from its claim's spec, which is
//! small and lives as long as the claim, and the driver's files from one spec that all claims share. The shared
//! edits stand at the top of that spec, so that they are applied once however many devices a container gets.
//!
//! ```text
//! driver root ──▶ discover: libraries, programs, firmware ──┐
//! /dev        ──▶ nodes: control nodes ─────────────────────┴──▶ D/driver=files   D-driver.json
//!             └─▶ nodes: a GPU's node ──▶ claim_spec ───────────▶ D/claim=U-X     D-claim-U.json
//! ```

mod discover;
mod driver_files;
pub mod folder;
mod names;
pub mod nodes;
mod seen;
pub mod spec;

use std::path::PathBuf;

pub use discover::DiscoverError;
pub use driver_files::{DriverFiles, FilesError};
pub use names::{NameError, check_driver_name};
use spec::{Device, DeviceNode, Edits, Spec};

/// The version of the CDI specification that every spec keeps to: the oldest that has `hostPath` of device nodes
/// and device names that begin with a digit, as claim UIDs do.
const VERSION: &str = "0.5.0";

/// Where the driver's files and device nodes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The driver root as this process sees it.
    pub driver: PathBuf,
    /// The driver root as the container runtime sees it: another path where this process runs in a container.
    pub host_driver: PathBuf,
    /// The host's `/dev` as this process sees it. The container runtime sees it at `/dev`.
    pub dev: PathBuf,
}

/// A device of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimDevice {
    /// Its name in the ResourceSlice.
    pub name: String,
    /// The nodes that make it usable, at least one.
    pub nodes: Vec<DeviceNode>,
}

/// The CDI device of a device that was prepared for a claim.
#[must_use]
pub fn claim_device_id(driver: &str, claim_uid: &str, device: &str) -> String {
    format!("{driver}/claim={claim_uid}-{device}")
}

/// The CDI device that brings the driver's files.
#[must_use]
pub fn driver_files_id(driver: &str) -> String {
    format!("{driver}/driver=files")
}

/// The spec of a claim: its devices, in the order given.
#[must_use]
pub fn claim_spec(driver: &str, claim_uid: &str, devices: &[ClaimDevice]) -> Spec {
    let device = |device: &ClaimDevice| Device {
        name: format!("{claim_uid}-{}", device.name),
        container_edits: Edits { device_nodes: device.nodes.clone(), ..Edits::default() },
    };
    Spec {
        cdi_version: VERSION.to_owned(),
        kind: format!("{driver}/claim"),
        devices: devices.iter().map(device).collect(),
        container_edits: Edits::default(),
    }
}
