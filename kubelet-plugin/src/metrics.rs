//! The plugin's metrics. [`list`] has them all.

mod figures;
pub mod list;
mod table;
mod xids;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dra_driver::health::Class;
use dra_driver::node::{View, states};
use dra_driver::nvml::pulse::Figures;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use table::{Labels, Table};

/// Upper bounds of the buckets of durations, in seconds: from what a repeated prepare takes to the kubelet's
/// own deadline.
const BUCKETS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// How a call of the kubelet ended for one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done, now or before.
    Ok,
    /// It was refused or failed.
    Error,
}

impl Outcome {
    const ALL: [Self; 2] = [Self::Ok, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
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

impl Phase {
    const ALL: [Self; 4] = [Self::Total, Self::GetClaim, Self::Wait, Self::Effects];

    fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::GetClaim => "get_claim",
            Self::Wait => "wait",
            Self::Effects => "effects",
        }
    }
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

impl Reason {
    /// All reasons, with what they mean, for the documentation.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Api, "the API server could not be reached, or refused"),
        (Self::ClaimChanged, "the claim is gone, replaced, or not allocated"),
        (Self::Config, "the opaque configuration is wrong"),
        (Self::DeviceHeld, "a device is held by another claim"),
        (Self::DeviceBusy, "a process uses the device"),
        (Self::DeviceGone, "the device is gone"),
        (Self::DeviceFault, "the device has a fault"),
        (Self::DeviceNode, "a device node is missing"),
        (Self::Allocation, "the allocation is not one that this node can have"),
        (Self::Nvml, "NVML cannot be used"),
        (Self::Files, "a file could not be read or written"),
        (Self::Publish, "a ResourceSlice could not be written"),
        (Self::Internal, "a defect of the driver"),
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ClaimChanged => "claim_changed",
            Self::Config => "config",
            Self::DeviceHeld => "device_held",
            Self::DeviceBusy => "device_busy",
            Self::DeviceGone => "device_gone",
            Self::DeviceFault => "device_fault",
            Self::DeviceNode => "device_node",
            Self::Allocation => "allocation",
            Self::Nvml => "nvml",
            Self::Files => "files",
            Self::Publish => "publish",
            Self::Internal => "internal",
        }
    }
}

/// What NVML was asked for: the values of the label `call` of `dra_nvml_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NvmlCall {
    /// Opening a session.
    Open,
    /// Whether a GPU lives.
    Pulse,
    /// News of a GPU.
    Events,
    /// A GPU's figures.
    Figures,
    /// A GPU's processes.
    Processes,
}

impl NvmlCall {
    const ALL: [Self; 5] = [Self::Open, Self::Pulse, Self::Events, Self::Figures, Self::Processes];

    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pulse => "pulse",
            Self::Events => "events",
            Self::Figures => "figures",
            Self::Processes => "processes",
        }
    }
}

/// How a call to NVML failed: the values of the label `code` of `dra_nvml_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NvmlCode {
    /// NVML's return code.
    Returned(u32),
    /// It did not answer in time.
    Timeout,
    /// It was not asked, because an earlier call has not returned.
    Busy,
    /// Anything else, such as a library that cannot be loaded.
    Other,
}

impl fmt::Display for NvmlCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(code) => code.fmt(f),
            Self::Timeout => f.write_str("timeout"),
            Self::Busy => f.write_str("busy"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// A device that a claim holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedDevice {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub claim: String,
    /// The device's pool.
    pub pool: String,
    /// The device.
    pub device: String,
    /// The pods that the claim is reserved for, if known. They are of its namespace.
    pub pods: Vec<String>,
}

/// The plugin's metrics. Clones count in the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    prepare: Durations,
    unprepare: Durations,
    errors: Family<Labels, Counter>,
    nvml_errors: Family<Labels, Counter>,
    claims: Gauge<u64, AtomicU64>,
    devices: Gauge<u64, AtomicU64>,
    slices: Gauge<u64, AtomicU64>,
    yielding: Gauge<u64, AtomicU64>,
    faults: Table,
    claim_info: Table,
    figures: figures::Tables,
    xids: xids::Tables,
    device_info: Table,
    driver_info: Table,
    gpus: Family<Labels, Gauge<u64, AtomicU64>>,
    vcpus: Table,
    published: Table,
    known: Arc<Mutex<Known>>,
}

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// What joins devices with claims and with what happens to them.
#[derive(Debug, Default)]
struct Known {
    pool: String,
    uuids: BTreeMap<String, String>,
    claimed: Vec<ClaimedDevice>,
    xids: xids::Seen,
}

impl Metrics {
    /// The metrics of a plugin of this driver, with what is known to come set to zero.
    #[must_use]
    pub fn new(driver: &str, version: &str) -> Self {
        let mut registry = Registry::with_labels([("driver".into(), driver.to_owned().into())].into_iter());
        let mut durations = |entry: list::Entry| {
            let family: Durations = Family::new_with_constructor(|| Histogram::new(BUCKETS));
            for outcome in Outcome::ALL {
                for phase in Phase::ALL {
                    drop(family.get_or_create(&of_phase(phase, outcome)));
                }
            }
            registry.register(entry.registered(), entry.help, family.clone());
            family
        };
        let (prepare, unprepare) = (durations(list::PREPARE), durations(list::UNPREPARE));

        let errors: Family<Labels, Counter> = Family::default();
        for (reason, _) in Reason::ALL {
            drop(errors.get_or_create(&vec![("reason", reason.as_str().to_owned())]));
        }
        registry.register(list::ERRORS.registered(), list::ERRORS.help, errors.clone());
        let nvml_errors: Family<Labels, Counter> = Family::default();
        for call in NvmlCall::ALL {
            drop(nvml_errors.get_or_create(&of_call(call, NvmlCode::Timeout)));
        }
        registry.register(list::NVML_ERRORS.registered(), list::NVML_ERRORS.help, nvml_errors.clone());

        let mut gauge = |entry: list::Entry| {
            let gauge: Gauge<u64, AtomicU64> = Gauge::default();
            registry.register(entry.registered(), entry.help, gauge.clone());
            gauge
        };
        let (claims, devices, slices) = (gauge(list::CLAIMS), gauge(list::DEVICES), gauge(list::SLICES));
        let yielding = gauge(list::YIELDING);

        let mut table = |entry: list::Entry| Table::register(&mut registry, entry);
        table(list::BUILD).show(BTreeMap::from([(vec![("version", version.to_owned())], 1.0)]));
        let (faults, claim_info) = (table(list::FAULT), table(list::CLAIM_INFO));
        let (device_info, driver_info) = (table(list::DEVICE_INFO), table(list::DRIVER_INFO));
        let (vcpus, published) = (table(list::VCPUS), table(list::PUBLISHED));
        let (figures, xids) =
            (figures::Tables::register(&mut registry), xids::Tables::register(&mut registry));
        let gpus: Family<Labels, Gauge<u64, AtomicU64>> = Family::default();
        registry.register(list::GPUS.registered(), list::GPUS.help, gpus.clone());
        let metrics = Self {
            registry: Arc::new(registry),
            prepare,
            unprepare,
            errors,
            nvml_errors,
            claims,
            devices,
            slices,
            yielding,
            faults,
            claim_info,
            figures,
            xids,
            device_info,
            driver_info,
            gpus,
            vcpus,
            published,
            known: Arc::default(),
        };
        metrics.gpus(&View::default());
        metrics.published(0, &BTreeMap::new());
        metrics
    }

    /// The registry, for the endpoint that shows it.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// A part of a prepare took this long.
    pub fn prepare_took(&self, phase: Phase, outcome: Outcome, took: Duration) {
        self.prepare.get_or_create(&of_phase(phase, outcome)).observe(took.as_secs_f64());
    }

    /// A part of an unprepare took this long.
    pub fn unprepare_took(&self, phase: Phase, outcome: Outcome, took: Duration) {
        self.unprepare.get_or_create(&of_phase(phase, outcome)).observe(took.as_secs_f64());
    }

    /// Something failed.
    pub fn error(&self, reason: Reason) {
        self.errors.get_or_create(&vec![("reason", reason.as_str().to_owned())]).inc();
    }

    /// A call to NVML failed.
    pub fn nvml_error(&self, call: NvmlCall, code: NvmlCode) {
        self.nvml_errors.get_or_create(&of_call(call, code)).inc();
    }

    /// How many claims and devices are prepared now.
    pub fn prepared(&self, claims: usize, devices: usize) {
        self.claims.set(number(claims));
        self.devices.set(number(devices));
    }

    /// How many ResourceSlices are published now, and how many devices they have, by type and by whether they have
    /// a taint.
    pub fn published(&self, slices: usize, devices: &BTreeMap<(String, bool), u32>) {
        self.slices.set(number(slices));
        let gpus = [false, true].map(|tainted| (("gpu".to_owned(), tainted), 0));
        let mut all = BTreeMap::from(gpus);
        all.extend(devices.clone());
        let series = all.into_iter().map(|((kind, tainted), count)| {
            (vec![("type", kind), ("tainted", tainted.to_string())], f64::from(count))
        });
        self.published.show(series.collect());
    }

    /// How many CPUs the node has.
    pub fn vcpus(&self, count: u32) {
        self.vcpus.show(BTreeMap::from([(Labels::new(), f64::from(count))]));
    }

    /// The NVIDIA driver reported an XID.
    pub fn xid(&self, device: &str, xid: u64) {
        let mut known = self.known();
        known.xids.enter(device, xid);
        self.xids.show(&known.pool, &known.uuids, &known.xids);
    }

    /// Which devices are held by claims now: all of them, every time.
    pub fn claim_devices(&self, claimed: &[ClaimedDevice]) {
        let mut known = self.known();
        known.claimed = claimed.to_vec();
        self.show_claims(&known);
    }

    /// What the node has now, and what is wrong with it.
    pub fn view(&self, pool: &str, view: &View) {
        self.yielding.set(u64::from(view.yielding.is_some()));
        let mut known = self.known();
        known.uuids = view
            .inventory
            .gpus
            .iter()
            .filter_map(|gpu| Some((gpu.name.clone()?, gpu.uuid.clone().unwrap_or_default())))
            .collect();
        let mut faults = BTreeMap::new();
        for (device, uuid) in &known.uuids {
            for class in Class::ALL {
                let has = view.faults_of(device).iter().any(|fault| fault.class == class);
                let mut labels = of_device(device, uuid, pool);
                labels.push(("class", class.as_str().to_owned()));
                faults.insert(labels, if has { 1.0 } else { 0.0 });
            }
        }
        self.faults.show(faults);
        self.show_claims(&known);
        known.pool = pool.to_owned();
        let Known { uuids, xids, .. } = &mut *known;
        xids.settle(uuids);
        self.xids.show(pool, uuids, xids);
        self.gpus(view);
        self.what_it_is(pool, view);
    }

    fn gpus(&self, view: &View) {
        for (state, count) in states(view) {
            self.gpus.get_or_create(&vec![("state", state.as_str().to_owned())]).set(number(count));
        }
    }

    fn what_it_is(&self, pool: &str, view: &View) {
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let info = view.inventory.gpus.iter().filter_map(|gpu| {
            let mut labels = of_device(gpu.name.as_deref()?, gpu.uuid.as_deref().unwrap_or_default(), pool);
            labels.push(("product", text(gpu.product_name.as_ref())));
            labels.push(("vbios_version", text(gpu.vbios_version.as_ref())));
            labels
                .push(("pci_bus_id", gpu.pci.address.map(|address| address.to_string()).unwrap_or_default()));
            Some((labels, 1.0))
        });
        self.device_info.show(info.collect());
        let versions = &view.inventory.versions;
        let driver = versions.driver.iter().map(|driver| {
            let cuda = versions.cuda.as_ref().map(|cuda| cuda.raw.clone()).unwrap_or_default();
            (vec![("version", driver.raw.clone()), ("cuda_version", cuda)], 1.0)
        });
        self.driver_info.show(driver.collect());
    }

    /// The figures of those GPUs that answered. Those of the others are no longer shown.
    pub fn figures(&self, pool: &str, figures: &[(String, Figures)]) {
        self.figures.show(pool, &self.known().uuids, figures);
    }

    fn show_claims(&self, known: &Known) {
        let mut shown = BTreeMap::new();
        for claimed in &known.claimed {
            let uuid = known.uuids.get(&claimed.device).map_or("", String::as_str);
            let none = [String::new()];
            let pods = if claimed.pods.is_empty() { &none[..] } else { &claimed.pods };
            for pod in pods {
                let mut labels = of_device(&claimed.device, uuid, &claimed.pool);
                labels.extend([
                    ("dra_claim_namespace", claimed.namespace.clone()),
                    ("dra_claim_name", claimed.claim.clone()),
                    ("dra_pool_name", claimed.pool.clone()),
                    ("dra_device_name", claimed.device.clone()),
                    ("owner_namespace", claimed.namespace.clone()),
                    ("owner_pod", pod.clone()),
                ]);
                shown.insert(labels, 1.0);
            }
        }
        self.claim_info.show(shown);
    }

    /// Nothing that runs under the lock panics halfway.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    /// Metrics that nobody looks at.
    fn default() -> Self {
        Self::new("unnamed", env!("CARGO_PKG_VERSION"))
    }
}

fn of_phase(phase: Phase, outcome: Outcome) -> Labels {
    vec![("outcome", outcome.as_str().to_owned()), ("phase", phase.as_str().to_owned())]
}

fn of_call(call: NvmlCall, code: NvmlCode) -> Labels {
    vec![("call", call.as_str().to_owned()), ("code", code.to_string())]
}

fn of_device(device: &str, uuid: &str, pool: &str) -> Labels {
    vec![("device", device.to_owned()), ("uuid", uuid.to_owned()), ("pool", pool.to_owned())]
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
