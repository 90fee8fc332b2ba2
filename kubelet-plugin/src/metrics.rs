//! The plugin's metrics.

use std::time::Duration;

/// How a call of the kubelet ended for one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done, now or before.
    Ok,
    /// It was refused or failed.
    Error,
}

/// A part of preparing or unpreparing a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// All of it, as the kubelet sees it.
    Total,
    /// Getting the claim from the API server.
    GetClaim,
    /// Waiting for a device that another claim or a process still holds.
    Wait,
    /// Changing files and hardware.
    Effects,
}

/// Why something failed: the values of the label `reason` of `dra_plugin_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The API server could not be reached, or refused.
    Api,
    /// The claim is gone, replaced, or not allocated.
    ClaimChanged,
    /// The opaque configuration is wrong.
    Config,
    /// A device is held by another claim.
    DeviceHeld,
    /// A process uses the device.
    DeviceBusy,
    /// The device is gone.
    DeviceGone,
    /// The device has a fault.
    DeviceFault,
    /// A device node is missing.
    DeviceNode,
    /// The result is for another node, or otherwise not one that this node can have.
    Allocation,
    /// NVML cannot be used.
    Nvml,
    /// A file could not be read or written.
    Files,
    /// A ResourceSlice could not be written.
    Publish,
    /// A defect of the driver.
    Internal,
}

/// The plugin's metrics. Clones count in the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// A part of a prepare took this long.
    pub fn prepare_took(&self, _phase: Phase, _outcome: Outcome, _took: Duration) {}

    /// A part of an unprepare took this long.
    pub fn unprepare_took(&self, _phase: Phase, _outcome: Outcome, _took: Duration) {}

    /// Something failed.
    pub fn error(&self, _reason: Reason) {}

    /// How many claims and devices are prepared now.
    pub fn prepared(&self, _claims: usize, _devices: usize) {}

    /// How many ResourceSlices are published now.
    pub fn slices_published(&self, _slices: usize) {}
}
