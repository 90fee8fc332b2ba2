//! Pods get the GPUs that were allocated to them, on the real kubelet: the plugin from end to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;

use e2e::api::{delete, phase, uid, wait};
use e2e::gpu::{Gpus, IMAGE, kubelet, kubelet_alone};
use futures_util::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

/// The devices that are allocated to a claim.
fn allocated(claim: &ResourceClaim) -> Vec<String> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let results = allocation.and_then(|allocation| allocation.devices.as_ref()?.results.as_ref());
    results.into_iter().flatten().map(|result| result.device.clone()).collect()
}

/// The UUIDs of the GPUs that a published device and the fake node have in common: by name, from the fake's state.
fn uuid_of(gpus: &Gpus, device: &str) -> String {
    let state = gpus.fake.state().unwrap();
    let name = |pci: String| format!("gpu-{}", pci.replace([':', '.'], "-"));
    let gpu = state.gpus.iter().find(|gpu| name(gpu.pci.to_string()) == device);
    gpu.unwrap_or_else(|| panic!("no GPU of the node is called {device}")).uuid.clone()
}

fn all_uuids(gpus: &Gpus) -> BTreeSet<String> {
    gpus.fake.state().unwrap().gpus.iter().map(|gpu| gpu.uuid.clone()).collect()
}

/// The NUMA nodes of GPUs.
fn numa_nodes(gpus: &Gpus, uuids: &BTreeSet<String>) -> BTreeSet<i32> {
    let state = gpus.fake.state().unwrap();
    state.gpus.iter().filter(|gpu| uuids.contains(&gpu.uuid)).map(|gpu| gpu.numa).collect()
}

async fn claims(gpus: &Gpus) -> Vec<ResourceClaim> {
    gpus.space.api::<ResourceClaim>().list(&ListParams::default()).await.unwrap().items
}

#[tokio::test]
async fn the_training_job_of_the_guide_runs_on_one_gpu() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("training").await;
    gpus.apply_example("training-job.yaml").await;
    let jobs = gpus.space.api::<Job>();
    wait(&jobs, "ml-training-job", "complete", |job: Option<&Job>| {
        job.and_then(|job| job.status.as_ref()).and_then(|status| status.succeeded) == Some(1)
    })
    .await;
    let pods = gpus.space.api::<Pod>().list(&ListParams::default().labels("app=ml-training")).await.unwrap();
    let [pod] = &pods.items[..] else { panic!("the job should need one pod: {pods:#?}") };
    let seen = gpus.sees_one(pod.metadata.name.as_deref().unwrap(), "training").await;
    assert!(all_uuids(&gpus).contains(&seen), "{seen}");
    gpus.finish().await;
}

#[tokio::test]
async fn one_claim_is_shared_by_containers_and_pods() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("shared").await;
    gpus.apply_example("shared-claim.yaml").await;
    let seen = [
        gpus.sees_one("shared-first", "work").await,
        gpus.sees_one("shared-first", "watch").await,
        gpus.sees_one("shared-second", "work").await,
    ];
    let claim = gpus.space.api::<ResourceClaim>().get("shared-gpu").await.unwrap();
    let expected = uuid_of(&gpus, &allocated(&claim)[0]);
    assert_eq!(seen, [expected.clone(), expected.clone(), expected]);

    // The claim stays prepared until its last pod is gone.
    let held = (BTreeSet::from([uid(&claim)]), BTreeSet::from([uid(&claim)]));
    delete(&gpus.space.api::<Pod>(), "shared-first").await;
    assert_eq!(gpus.prepared(), held);
    delete(&gpus.space.api::<Pod>(), "shared-second").await;
    gpus.nothing_prepared().await;
    gpus.finish().await;
}

#[tokio::test]
async fn each_container_gets_the_claims_and_requests_that_it_names() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("requests").await;
    gpus.apply_example("two-claims.yaml").await;
    let encoder = gpus.sees_one("two-claims", "encoder").await;
    let decoder = gpus.sees_one("two-claims", "decoder").await;
    let other = gpus.sees_one("two-claims", "other").await;
    let all = BTreeSet::from([encoder, decoder, other]);
    assert_eq!(all.len(), 3, "three requests are three GPUs: {all:?}");
    assert_eq!(gpus.sees("two-claims", "check").await, all, "the init container names both claims");
    gpus.finish().await;
}

#[tokio::test]
async fn four_gpus_are_of_one_numa_node() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("numa").await;
    // One GPU is taken, so that its NUMA node has but three.
    gpus.claim("one", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("first", "one").await;
    let first = BTreeSet::from([gpus.sees_one("first", "main").await]);
    gpus.apply_example("same-numa-node.yaml").await;
    let four = gpus.sees("same-numa-node", "work").await;
    assert_eq!(four.len(), 4, "{four:?}");
    let node = numa_nodes(&gpus, &four);
    assert_eq!(node.len(), 1, "{four:?} are of the NUMA nodes {node:?}");
    assert_ne!(node, numa_nodes(&gpus, &first));
    gpus.finish().await;
}

#[tokio::test]
async fn gpus_are_chosen_by_uuid_product_and_memory() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("attributes").await;
    gpus.apply_example("by-attribute.yaml").await;
    assert_eq!(gpus.sees_one("by-uuid", "work").await, "GPU-70869ab6-57cc-48a4-8a94-bee25d71e172");
    gpus.sees_one("by-product", "work").await;
    // The board has 81559 MiB.
    let memory = "device.capacity['<driver>'].memory.compareTo(quantity('<size>')) >= 0";
    for (name, size, fits) in [("enough", "79Gi", true), ("too-much", "80Gi", false)] {
        let request = gpus.request_where("gpu", &memory.replace("<size>", size));
        gpus.claim(name, json!({"requests": [request]})).await;
        gpus.pod(name, name).await;
        if fits {
            gpus.sees_one(name, "main").await;
            continue;
        }
        let told = |pod: Option<&Pod>| {
            let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.reason.as_deref() == Some("Unschedulable")))
        };
        wait(&gpus.space.api::<Pod>(), name, "be unschedulable", told).await;
    }
    gpus.finish().await;
}

/// What a container does that looks for GPUs that are not its own.
const TRESPASS: &str = r#"
nvidia-smi -L | wc -l
own=$(ls /dev | grep -E '^nvidia[0-9]+$')
other=$(( (${own#nvidia} + 1) % 8 ))
ls /dev/nvidia$other 2>&1 | sed 's/nvidia[0-9]/nvidiaN/'
cat /dev/$own 2>&1 | sed 's/nvidia[0-9]/nvidiaN/'
mknod /tmp/other c 195 $other && cat /tmp/other 2>&1
echo $NVIDIA_VISIBLE_DEVICES
echo end
"#;

#[tokio::test]
async fn a_container_can_open_no_gpu_but_its_own() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::new("trespass").await;
    gpus.claim("one", json!({"requests": [gpus.request("gpu")]})).await;
    let spec = json!({
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "one"}],
        "containers": [{
            "name": "main", "image": IMAGE, "command": ["sh", "-c", TRESPASS],
            "resources": {"claims": [{"name": "gpu"}]},
        }],
    });
    gpus.space.pod("trespasser", "", spec).await;
    assert_eq!(gpus.space.ended("trespasser").await, "Succeeded");
    let log = gpus.space.log("trespasser", "main").await;
    // ENXIO is the fake's: permission was given, and no kernel driver answers. EPERM is the device cgroup's.
    let expected = "1\n\
        ls: /dev/nvidiaN: No such file or directory\n\
        cat: can't open '/dev/nvidiaN': No such device or address\n\
        cat: can't open '/tmp/other': Operation not permitted\n\
        void\nend\n";
    assert_eq!(log, expected);
    gpus.finish().await;
}

#[tokio::test]
async fn a_claim_that_is_allocated_anew_gets_its_new_gpu() {
    let _kubelet = kubelet().await;
    let gpus = Gpus::with("h100-nvl-2", "anew").await;
    let claim = gpus.claim("lasting", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("first", "lasting").await;
    let first = gpus.sees_one("first", "main").await;
    delete(&gpus.space.api::<Pod>(), "first").await;
    let claims = gpus.space.api::<ResourceClaim>();
    wait(&claims, "lasting", "be deallocated", |claim: Option<&ResourceClaim>| {
        claim.is_some_and(|claim| allocated(claim).is_empty())
    })
    .await;

    // Another claim takes the GPU that it had.
    let taken = format!("device.attributes['<driver>'].uuid == '{first}'");
    gpus.claim("taker", json!({"requests": [gpus.request_where("gpu", &taken)]})).await;
    gpus.pod("taker", "taker").await;
    assert_eq!(gpus.sees_one("taker", "main").await, first);
    gpus.pod("second", "lasting").await;
    let second = gpus.sees_one("second", "main").await;
    assert_ne!(second, first);
    assert_eq!(uid(&claims.get("lasting").await.unwrap()), uid(&claim), "it is the same claim");
    gpus.finish().await;
}

#[tokio::test]
async fn pods_outlive_the_death_of_the_plugin() {
    let _kubelet = kubelet().await;
    let mut gpus = Gpus::with("h100-nvl-2", "killed").await;
    for name in ["stays", "goes"] {
        gpus.claim(name, json!({"requests": [gpus.request("gpu")]})).await;
        gpus.pod(name, name).await;
        gpus.sees_one(name, "main").await;
    }
    let before = gpus.space.api::<Pod>().get("stays").await.unwrap();
    gpus.kill().await;
    // Nobody answers the kubelet: the pod's end waits for the plugin.
    let pods = gpus.space.api::<Pod>();
    pods.delete("goes", &DeleteParams::default()).await.unwrap();
    gpus.start().await;
    wait(&pods, "goes", "be gone", |pod: Option<&Pod>| pod.is_none()).await;
    let kept = uid(&gpus.space.api::<ResourceClaim>().get("stays").await.unwrap());
    gpus.until("unprepare the claim of the deleted pod alone", async || {
        (gpus.prepared().0 == BTreeSet::from([kept.clone()])).then_some(())
    })
    .await;
    untouched(&gpus, &before).await;
    // The GPU is free again.
    gpus.published().await;
    gpus.claim("next", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("next", "next").await;
    gpus.sees_one("next", "main").await;
    gpus.finish().await;
}

/// Checks that the containers of a pod are those of before.
async fn untouched(gpus: &Gpus, before: &Pod) {
    let ids = |pod: &Pod| -> Vec<(Option<String>, i32)> {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        let statuses = statuses.into_iter().flatten();
        statuses.map(|status| (status.container_id, status.restart_count)).collect()
    };
    let now = gpus.space.api::<Pod>().get(before.metadata.name.as_deref().unwrap()).await.unwrap();
    assert_eq!(phase(Some(&now)), Some("Running"));
    assert_eq!(ids(&now), ids(before));
}

#[tokio::test]
#[ignore = "long: restarts the kubelet, alone"]
async fn slices_are_back_after_a_restart_of_the_kubelet() {
    let _kubelet = kubelet_alone().await;
    let mut gpus = Gpus::new("restart").await;
    gpus.claim("one", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("user", "one").await;
    gpus.sees_one("user", "main").await;
    let before = gpus.space.api::<Pod>().get("user").await.unwrap();
    let old: BTreeSet<String> = gpus.slices().await.iter().map(uid).collect();
    assert!(!old.is_empty());

    let began = Instant::now();
    gpus.restart_kubelet().await;
    let registered = began.elapsed();
    // At its start the kubelet deletes all slices of its node, whoever is registered.
    gpus.until("publish its GPUs anew", async || {
        let slices = gpus.slices().await;
        let new = !slices.is_empty() && slices.iter().all(|slice| !old.contains(&uid(slice)));
        new.then_some(())
    })
    .await;
    gpus.published().await;
    println!("registered {registered:?} after the restart began, slices back after {:?}", began.elapsed());
    untouched(&gpus, &before).await;
    gpus.claim("two", json!({"requests": [gpus.request("gpu")]})).await;
    gpus.pod("next", "two").await;
    gpus.sees_one("next", "main").await;
    untouched(&gpus, &before).await;
    gpus.finish().await;
}

/// Eight pods, each with a GPU of its own by a template; they see the node's eight GPUs.
async fn wave(gpus: &Gpus) {
    let names: Vec<String> = (0..8).map(|number| format!("wave-{number}")).collect();
    join_all(names.iter().map(|name| async {
        let spec = json!({
            "terminationGracePeriodSeconds": 0,
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}],
            "containers": [{
                "name": "main", "image": IMAGE,
                "command": ["sh", "-c", "nvidia-smi -L; echo end; exec sleep 86400"],
                "resources": {"claims": [{"name": "gpu"}]},
            }],
        });
        gpus.space.pod(name, "", spec).await;
    }))
    .await;
    let seen = join_all(names.iter().map(|name| gpus.sees_one(name, "main"))).await;
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all_uuids(gpus), "eight pods have eight GPUs");
}

async fn waves(times: usize) {
    let gpus = Gpus::new("waves").await;
    let template: Value = json!({"metadata": {"name": "one"}, "spec": {"spec": {"devices": {
        "requests": [gpus.request("gpu")],
    }}}});
    e2e::api::make::<k8s_openapi::api::resource::v1::ResourceClaimTemplate>(&gpus.space.api(), template)
        .await;
    let pods = gpus.space.api::<Pod>();
    let mut took = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        wave(&gpus).await;
        took.push(began.elapsed());
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete_collection(&now, &ListParams::default()).await.unwrap();
    }
    println!("waves took {took:?}");
    // The kubelet tries again after 60 to 90 s: a wave that took that long had a failure.
    assert!(took.iter().all(|took| *took < Duration::from_secs(55)), "{took:?}\n{}", gpus.log());
    gpus.until("lose its claims", async || claims(&gpus).await.is_empty().then_some(())).await;
    gpus.finish().await;
}

#[tokio::test]
async fn pods_are_replaced_by_others_on_the_same_gpus() {
    let _kubelet = kubelet().await;
    waves(2).await;
}

#[tokio::test]
#[ignore = "long: ten waves of eight pods"]
async fn no_wave_of_pods_waits_for_the_kubelets_slow_retry() {
    let _kubelet = kubelet_alone().await;
    waves(10).await;
}
