//! The list of all metrics: what is registered, and what `docs/reference/metrics.md` shows.

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The word for it in OpenMetrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels, apart from `driver`, which all have.
    pub labels: &'static [&'static str],
    /// What it tells, without a full stop.
    pub help: &'static str,
}

impl Entry {
    /// The name that the registry takes, which gives counters their suffix itself.
    pub(super) fn registered(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }
}

const fn entry(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind, labels, help }
}

/// The labels of what is told of a GPU.
const DEVICE: &[&str] = &["device", "uuid", "pool"];

pub(super) const PREPARE: Entry = entry(
    "dra_plugin_prepare_duration_seconds",
    Kind::Histogram,
    &["outcome", "phase"],
    "Time that preparing a claim took, in all and by phase",
);
pub(super) const UNPREPARE: Entry = entry(
    "dra_plugin_unprepare_duration_seconds",
    Kind::Histogram,
    &["outcome", "phase"],
    "Time that unpreparing a claim took, in all and by phase",
);
pub(super) const ERRORS: Entry =
    entry("dra_plugin_errors_total", Kind::Counter, &["reason"], "Errors by reason");
pub(super) const CLAIMS: Entry =
    entry("dra_plugin_prepared_claims", Kind::Gauge, &[], "Claims that are prepared on this node");
pub(super) const DEVICES: Entry = entry(
    "dra_plugin_prepared_devices",
    Kind::Gauge,
    &[],
    "Devices that are prepared for claims on this node",
);
pub(super) const BUILD: Entry = entry(
    "dra_plugin_build_info",
    Kind::Gauge,
    &["version"],
    "Always 1; the plugin's version is in the label",
);
pub(super) const SLICES: Entry =
    entry("dra_slices_published", Kind::Gauge, &[], "ResourceSlices of this node that are published");
pub(super) const YIELDING: Entry = entry(
    "dra_plugin_yielding",
    Kind::Gauge,
    &[],
    "Whether the driver keeps away from the GPUs, as it was asked to, and has closed NVML: 1 or 0",
);
pub(super) const NVML_ERRORS: Entry = entry(
    "dra_nvml_errors_total",
    Kind::Counter,
    &["call", "code"],
    "Calls to NVML that failed; code is NVML's number, or timeout or busy where it did not answer",
);
pub(super) const FAULT: Entry = entry(
    "dra_device_fault",
    Kind::Gauge,
    &["device", "uuid", "pool", "class"],
    "Whether the device has a fault of the class: 1 or 0",
);
pub(super) const CLAIM_INFO: Entry = entry(
    "dra_device_claim_info",
    Kind::Gauge,
    &[
        "device",
        "uuid",
        "pool",
        "dra_claim_namespace",
        "dra_claim_name",
        "dra_pool_name",
        "dra_device_name",
        "owner_namespace",
        "owner_pod",
    ],
    "Always 1; which claim, of which pod, holds the device. Join on device and pool",
);
pub(super) const BUSY: Entry = entry(
    "dra_device_busy_ratio",
    Kind::Gauge,
    DEVICE,
    "Share of the last sampling period in which a kernel ran on the GPU, from 0 to 1",
);
pub(super) const MEMORY_USED: Entry =
    entry("dra_device_memory_used_bytes", Kind::Gauge, DEVICE, "Memory of the GPU in use");
pub(super) const MEMORY_SIZE: Entry =
    entry("dra_device_memory_size_bytes", Kind::Gauge, DEVICE, "Memory of the GPU in all");
pub(super) const POWER: Entry =
    entry("dra_device_power_watts", Kind::Gauge, DEVICE, "Power that the GPU draws");
pub(super) const TEMPERATURE: Entry =
    entry("dra_device_temperature_celsius", Kind::Gauge, DEVICE, "Temperature of the GPU");
pub(super) const SM_CLOCK: Entry =
    entry("dra_device_sm_clock_hertz", Kind::Gauge, DEVICE, "Clock of the GPU's multiprocessors");
pub(super) const ECC_CORRECTED: Entry = entry(
    "dra_device_ecc_corrected_errors",
    Kind::Gauge,
    DEVICE,
    "ECC errors that were corrected since the driver was loaded",
);
pub(super) const ECC_UNCORRECTED: Entry = entry(
    "dra_device_ecc_uncorrected_errors",
    Kind::Gauge,
    DEVICE,
    "ECC errors that were not corrected since the driver was loaded",
);

pub(super) const REMAPPED_ROWS: Entry = entry(
    "dra_device_remapped_rows",
    Kind::Gauge,
    &["device", "uuid", "pool", "cause"],
    "Rows of the GPU's memory that were replaced by spare ones, because of corrected or uncorrected errors",
);
pub(super) const REMAP_PENDING: Entry = entry(
    "dra_device_row_remap_pending",
    Kind::Gauge,
    DEVICE,
    "Whether the remapping of a row waits for a reset of the GPU: 1 or 0",
);
pub(super) const REMAP_FAILED: Entry = entry(
    "dra_device_row_remap_failed",
    Kind::Gauge,
    DEVICE,
    "Whether a row could not be remapped, because no spare one is left: 1 or 0",
);
pub(super) const XIDS: Entry = entry(
    "dra_device_xid_errors_total",
    Kind::Counter,
    &["device", "uuid", "pool", "class"],
    "XIDs that the NVIDIA driver reported for the GPU since the plugin started, by what has to be done",
);
pub(super) const LAST_XID: Entry = entry(
    "dra_device_last_xid",
    Kind::Gauge,
    DEVICE,
    "Number of the last XID that the NVIDIA driver reported for the GPU since the plugin started; 0 if none",
);
pub(super) const DEVICE_INFO: Entry = entry(
    "dra_device_info",
    Kind::Gauge,
    &["device", "uuid", "pool", "product", "vbios_version", "pci_bus_id"],
    "Always 1; what the GPU is",
);
pub(super) const DRIVER_INFO: Entry = entry(
    "dra_nvidia_driver_info",
    Kind::Gauge,
    &["version", "cuda_version"],
    "Always 1; the node's NVIDIA driver, and the newest CUDA that it runs",
);
pub(super) const GPUS: Entry = entry(
    "dra_node_gpus",
    Kind::Gauge,
    &["state"],
    "GPUs that the node should have, by state; each is in one",
);
pub(super) const VCPUS: Entry = entry(
    "dra_node_vcpus",
    Kind::Gauge,
    &[],
    "CPUs of the node that are online, hyper-threads included: what clouds bill as vCPUs",
);
pub(super) const PUBLISHED: Entry =
    entry("dra_published_devices", Kind::Gauge, &["type", "tainted"], "Devices in the node's ResourceSlices");

/// All metrics of the plugin.
pub const METRICS: [Entry; 29] = [
    PREPARE,
    UNPREPARE,
    ERRORS,
    CLAIMS,
    DEVICES,
    BUILD,
    SLICES,
    YIELDING,
    NVML_ERRORS,
    FAULT,
    CLAIM_INFO,
    BUSY,
    MEMORY_USED,
    MEMORY_SIZE,
    POWER,
    TEMPERATURE,
    SM_CLOCK,
    ECC_CORRECTED,
    ECC_UNCORRECTED,
    REMAPPED_ROWS,
    REMAP_PENDING,
    REMAP_FAILED,
    XIDS,
    LAST_XID,
    DEVICE_INFO,
    DRIVER_INFO,
    GPUS,
    VCPUS,
    PUBLISHED,
];
