//! The node's hardware, watched, on fake nodes: GPUs that fail, go and come back, and drivers that are exchanged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use dra_driver::inventory::Roots;
use dra_driver::node::View;
use dra_kubelet_plugin::metrics::Metrics;
use dra_kubelet_plugin::node::{Node, NodeError, Settings, report};
use dra_runtime::events::Events;
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::{Effect, Process};
use fake_node::node::LibraryFile;
use fake_node::{CreateOptions, Description};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Keeps a broken test from hanging.
const LATE: Duration = Duration::from_secs(60);
/// The promise: a fault is seen within this time.
const PROMISED: Duration = Duration::from_secs(5);

/// The third GPU of the HGX H100.
const SICK: usize = 2;
const DEVICE: &str = "gpu-0000-52-00-0";

/// A fake node that is watched.
struct Watched {
    fake: fake_node::Node,
    node: Node,
    ask: watch::Sender<Option<String>>,
    cancel: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Watched {
    /// A node whose GPUs are well, seen to be so.
    async fn new() -> Self {
        let watched = Self::prepared(|_| {});
        watched.seen("the GPUs", |view| view.inventory.gpus.len() == 8 && view.without_nvml.is_none()).await;
        watched
    }

    fn prepared(prepare: impl FnOnce(&fake_node::Node)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let description = Description::builtin("hgx-h100-8").unwrap();
        let fake =
            fake_node::Node::create(&description, &folder.path().join("node"), &CreateOptions::default())
                .unwrap();
        prepare(&fake);
        let roots = Roots { driver: fake.driver_root(), sysfs: fake.sysfs(), procfs: fake.procfs() };
        let cancel = CancellationToken::new();
        let (ask, asked_to_yield) = watch::channel(None);
        let settings = Settings { roots, gpu_timeout: Duration::from_secs(3), asked_to_yield };
        let node = Node::start(settings, Metrics::default(), cancel.clone()).unwrap();
        Self { fake, node, ask, cancel, _folder: folder }
    }

    fn inject(&self, injection: &Injection) {
        self.fake.inject(injection).unwrap();
    }

    fn xid(&self, xid: u64) {
        self.inject(&Injection::Xid { gpu: GpuSelector::Slot(SICK), xid, instances: None });
    }

    fn hang(&self, call: &str) {
        self.inject(&Injection::Fault {
            call: call.into(),
            gpu: Some(GpuSelector::Slot(SICK)),
            after: 0,
            times: None,
            effect: Effect::Hang,
        });
    }

    /// Waits until the view is as wanted.
    async fn seen(&self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut changes = self.node.changes();
        let waited =
            tokio::time::timeout(LATE, changes.wait_for(|view| view.was_asked() && wanted(view))).await;
        match waited {
            Ok(view) => Arc::clone(&view.unwrap()),
            Err(_) => panic!("{what}: not seen; the view is {:#?}", self.node.view()),
        }
    }

    /// Waits until the sick device has these faults, by class and cause.
    async fn faults(&self, wanted: &[&str]) -> Arc<View> {
        self.seen(&format!("{wanted:?}"), |view| shown(view, DEVICE) == wanted).await
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = self.fake.inject(&Injection::Clear(None));
    }
}

fn shown(view: &View, device: &str) -> Vec<String> {
    let faults = view.faults_of(device).iter();
    faults.map(|fault| format!("{} {}", fault.class.as_str(), fault.cause)).collect()
}

fn others_are_well(view: &View) {
    assert_eq!(view.inventory.gpus.len(), 8);
    for gpu in view.inventory.gpus.iter().filter(|gpu| gpu.name.as_deref() != Some(DEVICE)) {
        let name = gpu.name.as_deref().unwrap();
        assert!(gpu.usable, "{name}");
        assert_eq!(view.faults_of(name), [], "{name}");
    }
}

fn slot() -> GpuSelector {
    GpuSelector::Slot(SICK)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_with_its_epoch() {
    let watched = Watched::new().await;
    let view = watched.node.view();
    others_are_well(&view);
    assert_eq!(view.faults.len(), 0);
    assert_eq!(view.epoch.driver_version.as_deref(), Some("550.163.01"));
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(view.epoch.boot_id, boot.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn xids_become_faults_by_class_and_go_with_a_reset() {
    let watched = Watched::new().await;
    let began = Instant::now();
    // In the order in which they are heard, so that the first has been heard when the second is seen.
    watched.xid(31);
    watched.xid(95);
    let view = watched.faults(&["reset xid-95"]).await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    others_are_well(&view);
    assert!(view.faults_of(DEVICE)[0].message.contains("XID 95: uncontained memory error"), "{view:?}");

    // A reset from outside.
    watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
    let view = watched.faults(&[]).await;
    others_are_well(&view);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_gpu_is_kept_with_a_fault_until_it_is_there_again() {
    let watched = Watched::new().await;
    let uuid = watched.node.view().gpu(DEVICE).unwrap().uuid.clone();
    for (what, loss) in [("lost", Injection::Lost(slot())), ("off the bus", Injection::OffTheBus(slot()))] {
        let began = Instant::now();
        watched.inject(&loss);
        let view = watched.faults(&["lost lost", "reboot xid-79"]).await;
        assert!(began.elapsed() < PROMISED, "{what}: {:?}", began.elapsed());
        others_are_well(&view);
        assert_eq!(view.gpu(DEVICE).unwrap().uuid, uuid, "{what}");
        assert!(matches!(ask_processes(&watched, DEVICE).await, Err(NodeError::NoAnswer { .. })));

        watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
        let view = watched.faults(&[]).await;
        others_are_well(&view);
        assert!(view.gpu(DEVICE).unwrap().usable, "{what}");
        // And its events are heard again.
        watched.xid(48);
        watched.faults(&["reset xid-48"]).await;
        watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
        watched.faults(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_is_added_is_shown() {
    let watched = Watched::prepared(|fake| {
        fake.inject(&Injection::OffTheBus(slot())).unwrap();
    });
    let view = watched.seen("the others", |view| view.inventory.gpus.len() == 7).await;
    assert!(view.faults.is_empty(), "nobody knows of it");
    watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
    let view = watched.seen("the GPU", |view| view.inventory.gpus.len() == 8).await;
    others_are_well(&view);
    assert!(view.gpu(DEVICE).unwrap().usable && view.faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lost_gpus_are_not_mistaken_for_each_other() {
    let watched = Watched::new().await;
    let other = (GpuSelector::Slot(5), "gpu-0000-c3-00-0");
    let lost = ["lost lost", "reboot xid-79"];
    watched.inject(&Injection::Lost(slot()));
    watched.inject(&Injection::Lost(other.0.clone()));
    watched.seen("both", |view| shown(view, DEVICE) == lost && shown(view, other.1) == lost).await;
    // A third one goes: NVML is asked anew, and cannot tell which of the lost ones is which.
    watched.inject(&Injection::OffTheBus(GpuSelector::Slot(0)));
    let third = "gpu-0000-1b-00-0";
    let view = watched.seen("all three", |view| shown(view, third) == lost).await;
    assert_eq!(view.faults.len(), 3);
    watched.inject(&Injection::Returned { gpu: other.0, uuid: None });
    let view = watched.seen("one", |view| shown(view, other.1).is_empty()).await;
    assert_eq!(shown(&view, DEVICE), lost);
    watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
    watched.inject(&Injection::Returned { gpu: GpuSelector::Slot(0), uuid: None });
    let view = watched.seen("all", |view| view.faults.is_empty()).await;
    others_are_well(&view);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gpu_in_the_slot_is_seen_as_another() {
    const NEW: &str = "GPU-11111111-2222-4333-8444-555555555555";
    let watched = Watched::new().await;
    watched.inject(&Injection::OffTheBus(slot()));
    watched.faults(&["lost lost", "reboot xid-79"]).await;
    watched.inject(&Injection::Returned { gpu: slot(), uuid: Some(NEW.into()) });
    let view = watched
        .seen("the new GPU", |view| {
            view.gpu(DEVICE).is_some_and(|gpu| gpu.uuid.as_deref() == Some(NEW)) && view.faults.is_empty()
        })
        .await;
    others_are_well(&view);
    assert!(view.gpu(DEVICE).unwrap().usable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_hangs_hides_no_other_and_recovers() {
    let watched = Watched::new().await;
    let began = Instant::now();
    watched.hang("*");
    let view = watched.faults(&["lost silent"]).await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    others_are_well(&view);
    // Others are heard, and asked, while it hangs.
    watched.inject(&Injection::Xid { gpu: GpuSelector::Slot(5), xid: 119, instances: None });
    let other = "gpu-0000-c3-00-0";
    watched.seen("the other's fault", |view| shown(view, other) == ["reset xid-119"]).await;
    assert_eq!(ask_processes(&watched, other).await.unwrap(), Vec::<u32>::new());

    watched.inject(&Injection::Clear(None));
    let view = watched.faults(&[]).await;
    assert!(view.gpu(DEVICE).unwrap().usable);
    assert_eq!(shown(&view, other), ["reset xid-119"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_hangs_from_the_start_is_shown_when_it_answers() {
    let watched = Watched::prepared(|fake| {
        fake.inject(&Injection::Fault {
            call: "nvmlDeviceGetPowerManagementDefaultLimit".into(),
            gpu: Some(slot()),
            after: 0,
            times: None,
            effect: Effect::Hang,
        })
        .unwrap();
    });
    let view = watched.faults(&["lost silent"]).await;
    others_are_well(&view);
    watched.inject(&Injection::Clear(None));
    watched.seen("the GPU", |view| view.faults.is_empty() && view.gpu(DEVICE).unwrap().usable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_driver_recommends_is_a_fault_until_it_does_not() {
    let mut watched = Watched::new().await;
    // The first branch that recommends anything is 565.
    watched.fake.unload_driver().unwrap();
    watched.seen("no driver", |view| view.without_nvml.is_some()).await;
    watched.fake.load_driver(Some("570.172.08")).unwrap();
    watched.seen("the driver", |view| view.inventory.gpus.len() == 8).await;
    let action = |action| Injection::RecoveryAction { gpu: slot(), action };
    let began = Instant::now();
    watched.inject(&action(1));
    let view = watched.faults(&["reset recovery-action"]).await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    others_are_well(&view);
    watched.xid(119);
    watched.faults(&["reset recovery-action", "reset xid-119"]).await;
    watched.inject(&action(2));
    watched.faults(&["reboot recovery-action", "reset xid-119"]).await;
    watched.inject(&action(0));
    watched.faults(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_installed_later_is_noticed() {
    let watched = Watched::prepared(|fake| fake.set_library(LibraryFile::Missing).unwrap());
    let view = watched.seen("no library", |view| view.without_nvml.is_some()).await;
    let reason = view.without_nvml.as_deref().unwrap();
    assert!(reason.starts_with("no libnvidia-ml.so.1 under"), "{reason}");
    assert_eq!(view.inventory.gpus, []);
    assert!(matches!(ask_processes(&watched, DEVICE).await, Err(NodeError::NoNvml { .. })));

    watched.fake.set_library(LibraryFile::Broken).unwrap();
    watched
        .seen("a broken library", |view| view.without_nvml.as_deref().is_some_and(|now| now != reason))
        .await;
    watched.fake.set_library(LibraryFile::Restored).unwrap();
    let view = watched.seen("the GPUs", |view| view.without_nvml.is_none()).await;
    others_are_well(&view);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_goes_and_comes_back_is_noticed() {
    let mut watched = Watched::new().await;
    watched.xid(95);
    watched.faults(&["reset xid-95"]).await;

    // The library alone: what was wrong with the GPU still is.
    watched.fake.set_library(LibraryFile::Missing).unwrap();
    let view = watched.seen("no library", |view| view.without_nvml.is_some()).await;
    assert_eq!((view.inventory.gpus.len(), view.faults.len()), (0, 0));
    watched.fake.set_library(LibraryFile::Restored).unwrap();
    watched.faults(&["reset xid-95"]).await;

    // Another driver: the kernel module is loaded anew, and has initialised the GPU.
    watched.fake.unload_driver().unwrap();
    let view = watched.seen("no driver", |view| view.without_nvml.is_some()).await;
    let reason = view.without_nvml.as_deref().unwrap();
    assert!(reason.contains("the NVIDIA kernel driver is not loaded"), "{reason}");
    assert_eq!(view.epoch.driver_version, None);
    watched.fake.load_driver(Some("570.172.08")).unwrap();
    let view = watched
        .seen("the new driver", |view| view.epoch.driver_version.as_deref() == Some("570.172.08"))
        .await;
    others_are_well(&view);
    assert_eq!(shown(&view, DEVICE), Vec::<String>::new());
    watched.xid(119);
    watched.faults(&["reset xid-119"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nvml_is_closed_while_somebody_asks_for_that_and_then_asked_anew() {
    let mut watched = Watched::new().await;
    watched.xid(95);
    watched.faults(&["reset xid-95"]).await;
    let began = Instant::now();
    watched.ask.send_replace(Some("the driver is exchanged".into()));
    let view = watched.seen("keeping away", |view| view.yielding.is_some()).await;
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    assert_eq!(view.without_nvml.as_deref(), Some("the driver is exchanged"));
    // They are shown as they were.
    others_are_well(&view);
    assert_eq!(shown(&view, DEVICE), ["reset xid-95"]);
    let calls = watched.fake.calls();
    let last = calls.last().unwrap();
    assert_eq!((last.function, last.returned), ("nvmlShutdown", Some(0)), "{calls:?}");
    let Err(NodeError::NoNvml { reason }) = ask_processes(&watched, DEVICE).await else {
        panic!("NVML is closed");
    };
    assert_eq!(reason, "the driver is exchanged");

    // Even what would wake the monitor does not.
    watched.fake.unload_driver().unwrap();
    watched.fake.load_driver(Some("570.172.08")).unwrap();
    let after = last.number + 1;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(watched.fake.calls_since(after), []);

    watched.ask.send_replace(None);
    let view = watched.seen("the GPUs", |view| view.without_nvml.is_none()).await;
    assert_eq!(view.yielding, None);
    assert_eq!(view.epoch.driver_version.as_deref(), Some("570.172.08"));
    others_are_well(&view);
    assert_eq!(shown(&view, DEVICE), Vec::<String>::new(), "the new driver has initialised it");
}

#[tokio::test(flavor = "multi_thread")]
async fn nvml_is_not_even_opened_while_somebody_asks_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let description = Description::builtin("hgx-h100-8").unwrap();
    let fake = fake_node::Node::create(&description, &folder.path().join("node"), &CreateOptions::default())
        .unwrap();
    let roots = Roots { driver: fake.driver_root(), sysfs: fake.sysfs(), procfs: fake.procfs() };
    let cancel = CancellationToken::new();
    let (ask, asked_to_yield) = watch::channel(Some("not now".to_owned()));
    let settings = Settings { roots, gpu_timeout: Duration::from_secs(3), asked_to_yield };
    let node = Node::start(settings, Metrics::default(), cancel.clone()).unwrap();
    let mut changes = node.changes();
    let kept_away = tokio::time::timeout(LATE, changes.wait_for(|view| view.yielding.is_some())).await;
    let view = kept_away.expect("it keeps away").unwrap().clone();
    assert!(!view.was_asked(), "no GPUs means nothing yet");
    assert_eq!(fake.calls(), []);
    ask.send_replace(None);
    let came = changes.wait_for(|view| view.inventory.gpus.len() == 8 && view.yielding.is_none());
    tokio::time::timeout(LATE, came).await.expect("the GPUs come").unwrap();
    cancel.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_and_figures_are_those_of_the_device() {
    let watched = Watched::new().await;
    for (pid, graphics) in [(4711, false), (42, true)] {
        let process = Process { pid, name: "train".into(), memory_mib: 1024, graphics };
        watched.inject(&Injection::ProcessStarts { gpu: slot(), process });
    }
    assert_eq!(ask_processes(&watched, DEVICE).await.unwrap(), [42, 4711]);
    assert_eq!(ask_processes(&watched, "gpu-0000-1b-00-0").await.unwrap(), Vec::<u32>::new());
    assert!(matches!(ask_processes(&watched, "gpu-0000-00-00-0").await, Err(NodeError::NoAnswer { .. })));

    let node = watched.node.clone();
    let figures = tokio::task::spawn_blocking(move || node.figures(LATE)).await.unwrap();
    assert_eq!(figures.len(), 8);
    let (_, sick) = figures.iter().find(|(device, _)| device == DEVICE).unwrap();
    // H100 80GB: 81559 MiB.
    assert_eq!(sick.memory.value().map(|(_, size)| size >> 20), Some(81559));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_closes_nvml_and_waits_for_no_gpu_that_hangs() {
    let watched = Watched::new().await;
    watched.hang("*");
    watched.faults(&["lost silent"]).await;
    watched.cancel.cancel();
    // The monitor's thread ends, and with it the view's other end.
    let mut changes = watched.node.changes();
    let ended = async { while changes.changed().await.is_ok() {} };
    tokio::time::timeout(LATE, ended).await.expect("the monitor has not ended");
    assert!(matches!(ask_processes(&watched, DEVICE).await, Err(NodeError::NoNvml { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_in_events_and_metrics() {
    let watched = Watched::new().await;
    let metrics = Metrics::new("example.com", "1");
    let (events, mut queue) = Events::queue();
    let told = report::run(
        watched.node.clone(),
        "node-1".into(),
        "node-1/gpu".into(),
        metrics.clone(),
        events,
        watched.cancel.clone(),
    );
    let told = tokio::spawn(told);
    let fault = |value: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
        let of_device = format!("dra_device_fault{{driver=\"example.com\",device=\"{DEVICE}\"");
        let reset =
            text.lines().find(|line| line.starts_with(&of_device) && line.contains("class=\"reset\""));
        assert!(reset.is_some_and(|line| line.ends_with(value)), "{value}: {text}");
    };
    let mut next = async || tokio::time::timeout(LATE, queue.recv()).await.expect("no Event").unwrap();

    watched.xid(95);
    let event = next().await;
    assert_eq!((event.warning, event.reason), (true, "GPUFault"));
    assert_eq!(event.about.name.as_deref(), Some("node-1"));
    assert!(
        event.note.starts_with("gpu-0000-52-00-0 (reset): XID 95: uncontained memory error"),
        "{}",
        event.note
    );
    // Metrics are told before Events.
    fault("1.0");
    watched.inject(&Injection::Returned { gpu: slot(), uuid: None });
    while next().await.reason != "GPURecovered" {}
    fault("0.0");

    watched.cancel.cancel();
    tokio::time::timeout(LATE, told).await.expect("the report has not ended").unwrap();
}

async fn ask_processes(watched: &Watched, device: &str) -> Result<Vec<u32>, NodeError> {
    let (node, device) = (watched.node.clone(), device.to_owned());
    tokio::task::spawn_blocking(move || node.processes(&device, LATE)).await.unwrap()
}
