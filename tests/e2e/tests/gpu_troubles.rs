//! What goes wrong with a GPU or the plugin is told where users look, and pods come through it: on the real kubelet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use e2e::api::{phase, uid, wait};
use e2e::crash::files::FileCall;
use e2e::gpu::{Gpus, kubelet};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Process;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

/// The name of a GPU's device.
fn device(gpus: &Gpus, slot: usize) -> String {
    let pci = gpus.fake.state().unwrap().gpus[slot].pci.to_string();
    format!("gpu-{}", pci.replace([':', '.'], "-"))
}

/// Makes a pod on the GPU of a slot and waits until it runs.
async fn pod_on(gpus: &Gpus, slot: usize, name: &str) -> ResourceClaim {
    let uuid = gpus.fake.state().unwrap().gpus[slot].uuid.clone();
    let this = format!("device.attributes['<driver>'].uuid == '{uuid}'");
    let claim = gpus.claim(name, json!({"requests": [gpus.request_where("gpu", &this)]})).await;
    gpus.pod(name, name).await;
    claim
}

/// The value of the taint of a device, if it has the driver's.
async fn taint(gpus: &Gpus, device: &str) -> Option<String> {
    let slices = gpus.slices().await;
    let mut devices = slices.iter().flat_map(|slice| slice.spec.devices.iter().flatten());
    let taints = devices.find(|found| found.name == device)?.taints.clone().unwrap_or_default();
    taints.into_iter().find(|taint| taint.key == format!("{}/fault", gpus.driver))?.value
}

/// Waits until the status of a pod gives a health for the GPU that its container has.
async fn health(gpus: &Gpus, pod: &str, wanted: &str) {
    wait(&gpus.space.api::<Pod>(), pod, &format!("have a device that is {wanted}"), |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        let resources =
            statuses.into_iter().flatten().flat_map(|s| s.allocated_resources_status.iter().flatten());
        let mut devices = resources.flat_map(|resource| resource.resources.iter().flatten());
        devices.any(|device| device.health.as_deref() == Some(wanted))
    })
    .await;
}

#[tokio::test]
async fn the_driver_keeps_away_from_its_gpus_while_a_label_of_the_node_asks_for_it() {
    let _kubelet = kubelet().await;
    let mut gpus = Gpus::with("h100-nvl-2", "yield").await;
    // A label of its own: others on this node follow theirs.
    let label = format!("{}/deploy", gpus.driver);
    gpus.stop().await;
    gpus.start_under(&["env".into(), format!("YIELD_LABEL={label}").into()]).await;
    pod_on(&gpus, 0, "user").await;
    gpus.sees_one("user", "main").await;
    let nodes: Api<Node> = Api::all(gpus.space.client.clone());
    let node = gpus.cluster.node.clone();
    let set = async |value: Option<&str>| {
        let change = json!({"metadata": {"labels": {&label: value}}});
        nodes.patch(&node, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    };

    let began = Instant::now();
    set(Some("paused-for-driver-upgrade")).await;
    yielding(&gpus, 2).await;
    println!("label to taint: {:?}", began.elapsed());
    let pid = gpus.pid().as_raw_nonzero().get();
    let mut calls = gpus.fake.calls().into_iter().filter(|call| call.pid == u32::try_from(pid).unwrap());
    assert_eq!(calls.next_back().unwrap().function, "nvmlShutdown");
    for file in fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(Result::ok) {
        let target = fs_err::read_link(file.path()).unwrap_or_default();
        assert!(!target.display().to_string().contains("/dev/nvidia"), "{}", target.display());
    }

    // Who has a GPU keeps it and can end; who has none waits.
    gpus.claim("next", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("next", "next").await;
    wait(&gpus.space.api::<Pod>(), "next", "wait for a GPU", |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|found| found.type_ == "PodScheduled" && found.status == "False")
    })
    .await;
    assert_eq!(phase(gpus.space.api::<Pod>().get_opt("user").await.unwrap().as_ref()), Some("Running"));
    gpus.space.delete::<Pod>("user").await;
    gpus.nothing_prepared().await;

    set(None).await;
    gpus.sees_one("next", "main").await;

    // A plugin that is asked before it has ever looked at the GPUs taints what the one before it has published.
    gpus.stop().await;
    set(Some("paused-for-driver-upgrade")).await;
    gpus.start_under(&["env".into(), format!("YIELD_LABEL={label}").into()]).await;
    yielding(&gpus, 2).await;
    set(None).await;
    yielding(&gpus, 0).await;
    gpus.finish().await;
}

/// Waits until so many of the two GPUs have the taint that keeps new claims away while the driver keeps away.
async fn yielding(gpus: &Gpus, wanted: usize) {
    let key = format!("{}/yielding", gpus.driver);
    gpus.until("taint its GPUs", async || {
        let slices = gpus.slices().await;
        let devices: Vec<_> = slices.iter().flat_map(|slice| slice.spec.devices.iter().flatten()).collect();
        let tainted = devices.iter().filter(|device| {
            device.taints.iter().flatten().any(|taint| taint.key == key && taint.effect == "NoSchedule")
        });
        (tainted.count() == wanted && devices.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_gpu_is_told_everywhere_and_so_is_its_return() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::with("h100-nvl-2", "lost").await;
    let (slot, name) = (GpuSelector::Slot(0), device(&gpus, 0));
    pod_on(&gpus, 0, "user").await;
    gpus.sees_one("user", "main").await;
    health(&gpus, "user", "Healthy").await;
    // An error of the application, after which nothing is wrong with the GPU (NVIDIA's catalogue).
    gpus.fake.inject(&Injection::Xid { gpu: slot.clone(), xid: 31, instances: None }).unwrap();

    let began = Instant::now();
    gpus.fake.inject(&Injection::Lost(slot.clone())).unwrap();
    let told = gpus.until("taint the lost GPU", async || taint(&gpus, &name).await).await;
    println!("tainted after {:?}", began.elapsed());
    assert_eq!(told, "lost");
    assert_eq!(taint(&gpus, &device(&gpus, 1)).await, None, "the other GPU is well");
    health(&gpus, "user", "Unhealthy").await;
    println!("in the pod's status after {:?}", began.elapsed());
    let about = format!("involvedObject.kind=Node,involvedObject.name={}", gpus.cluster.node);
    let events: Api<Event> = Api::namespaced(gpus.space.client.clone(), "default");
    let event = gpus
        .until("send an Event about the lost GPU", async || {
            let all = events.list(&ListParams::default().fields(&about)).await.unwrap().items;
            // Tests share the node, and their GPUs have the same names.
            let ours = |event: &Event| event.reporting_component.as_deref() == Some(&gpus.driver);
            all.into_iter().find(|event| ours(event) && event.message.as_deref().unwrap().contains(&name))
        })
        .await;
    println!("Event after {:?}: {:?}", began.elapsed(), event.message);
    assert_eq!(event.type_.as_deref(), Some("Warning"), "{event:#?}");
    let fault = |metrics: &str, class: &str, value: &str| {
        let mut lines = metrics.lines().filter(|line| line.starts_with("dra_device_fault{"));
        let has = |line: &str, label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
        lines.any(|line| has(line, "device", &name) && has(line, "class", class) && line.ends_with(value))
    };
    let metrics = gpus.metrics().await;
    assert!(fault(&metrics, "lost", " 1.0"), "{metrics}");
    assert!(!fault(&metrics, "reset", " 1.0"), "an application's error is no fault\n{metrics}");

    gpus.fake.inject(&Injection::Returned { gpu: slot, uuid: None }).unwrap();
    gpus.until("lift the taint", async || taint(&gpus, &name).await.is_none().then_some(())).await;
    health(&gpus, "user", "Healthy").await;
    let metrics = gpus.metrics().await;
    assert!(!fault(&metrics, "lost", " 1.0"), "{metrics}");
    gpus.finish().await;
}

/// The plugin waits inside the kubelet's call, which would come again only after 60 to 90 s.
#[tokio::test]
#[ignore = "long: the user is told after 5 s of waiting"]
async fn a_gpu_that_somebody_uses_is_waited_for_and_the_user_is_told_who_that_is() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::with("h100-nvl-2", "used").await;
    let stranger = Process { pid: 4242, name: "/usr/bin/miner".to_owned(), memory_mib: 512, graphics: false };
    let slot = GpuSelector::Slot(0);
    gpus.fake.inject(&Injection::ProcessStarts { gpu: slot.clone(), process: stranger }).unwrap();
    let claim = pod_on(&gpus, 0, "waits").await;
    let events = gpus.space.api::<Event>();
    let about = format!("involvedObject.uid={}", uid(&claim));
    let text = gpus
        .until("tell what it waits for", async || {
            let all = events.list(&ListParams::default().fields(&about)).await.unwrap().items;
            all.into_iter().filter_map(|event| event.message).find(|text| text.contains("4242"))
        })
        .await;
    println!("{text}");
    let pod = gpus.space.api::<Pod>().get("waits").await.unwrap();
    assert_eq!(e2e::api::phase(Some(&pod)), Some("Pending"), "the pod started on a GPU that is in use");
    let began = Instant::now();
    gpus.fake.inject(&Injection::ProcessEnds { gpu: slot, pid: 4242 }).unwrap();
    gpus.sees_one("waits", "main").await;
    println!("runs {:?} after the GPU was free", began.elapsed());
    gpus.finish().await;
}

/// The kubelet's second attempt, after 60 to 90 s, finds what the first had begun.
async fn dies_in_its_first_attempt(stem: &str, call: impl FnOnce(&Gpus, &str) -> FileCall) {
    let _kubelet = kubelet().await;
    let mut gpus = Gpus::with("h100-nvl-2", stem).await;
    let claim = gpus.claim("claim", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.stop().await;
    let call = call(&gpus, &uid(&claim));
    gpus.start_under(&call.killer()).await;
    gpus.published().await;
    gpus.pod("user", "claim").await;
    gpus.killed().await;
    gpus.start().await;
    gpus.sees_one("user", "main").await;
    let (records, specs) = gpus.prepared();
    assert_eq!((records.len(), specs.len()), (1, 1), "{records:?} {specs:?}");
    gpus.finish().await;
}

#[tokio::test]
#[ignore = "long: waits for the kubelet's second attempt"]
async fn a_pod_runs_though_the_plugin_died_when_it_had_prepared_and_not_noted_it() {
    dies_in_its_first_attempt("noted", |gpus, uid| FileCall {
        name: "rename".to_owned(),
        path: format!("/run/{}/claims/.{uid}.json.tmp", gpus.driver).into(),
        // The first is the intent.
        nth: 2,
    })
    .await;
}

#[tokio::test]
#[ignore = "long: waits for the kubelet's second attempt"]
async fn a_pod_runs_though_the_plugin_died_before_it_had_written_the_cdi_spec() {
    dies_in_its_first_attempt("spec", |gpus, uid| FileCall {
        name: "rename".to_owned(),
        path: format!("/var/run/cdi/.{}-claim-{uid}.json.tmp", gpus.driver).into(),
        nth: 1,
    })
    .await;
}
