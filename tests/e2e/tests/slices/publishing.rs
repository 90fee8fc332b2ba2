//! What is published when all goes well, and what is done about strangers.

use std::time::{Duration, Instant};

use dra_driver::health::Class;
use dra_driver::node::{Epoch, View};
use dra_kubelet_plugin::kubelet::Link;
use e2e::api::GUARD;
use k8s_openapi::api::resource::v1::ResourceSlice;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::stage::{Stage, devices, faulty, view};

const ONE: &str = "gpu-0000-01-00-0";
const TWO: &str = "gpu-0000-02-00-0";
const THREE: &str = "gpu-0000-03-00-0";

#[tokio::test]
async fn a_fresh_start_publishes_one_slice_and_a_restart_writes_nothing() {
    let mut stage = Stage::new("fresh", view(&[1, 2])).await;
    let begun = Instant::now();
    stage.publish().await;
    let slice = stage.until_devices(&[ONE, TWO]).await;
    println!("start to slice visible: {:?}", begun.elapsed());
    let owner = &slice.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), &owner.uid, owner.controller), ("Node", &stage.node_uid, Some(true)));
    assert_eq!((slice.spec.pool.generation, slice.spec.pool.resource_slice_count), (1, 1));
    assert_eq!(slice.spec.pool.name, format!("{}/gpu", stage.node));
    let attributes = devices(&slice)[0].attributes.as_ref().unwrap();
    assert_eq!(attributes["driverVersion"].version.as_deref(), Some("570.170.1"));
    assert_eq!(devices(&slice)[0].capacity.as_ref().unwrap()["memory"].value.0, "81559Mi");
    stage.stop().await;

    stage.publish().await;
    stage.until_watching(2).await;
    // What comes after it shows that the restart is over.
    stage.see(view(&[1, 2, 3]));
    stage.until_devices(&[ONE, TWO, THREE]).await;
    assert_eq!(stage.writes(), "+1 ~1 -0");
    stage.remove().await;
}

#[tokio::test]
async fn nothing_is_known_before_nvml_was_asked() {
    let mut stage = Stage::new("asked", view(&[1])).await;
    stage.publish().await;
    stage.until_devices(&[ONE]).await;
    stage.stop().await;

    stage.see(View::not_asked(Epoch::default()));
    stage.publish().await;
    stage.until_watching(2).await;
    stage.see(view(&[1, 2]));
    stage.until_devices(&[ONE, TWO]).await;
    assert_eq!(stage.writes(), "+1 ~1 -0", "the slice was not emptied in between");
    stage.remove().await;
}

#[tokio::test]
async fn a_gpu_that_is_lost_and_returns_takes_one_write_each_way() {
    let mut stage = Stage::new("lost", view(&[1, 2])).await;
    stage.publish().await;
    let before = stage.until_devices(&[ONE, TWO]).await;
    stage.see(view(&[2]));
    stage.until_devices(&[TWO]).await;
    stage.see(view(&[]));
    stage.until_devices(&[]).await;
    stage.see(view(&[1, 2]));
    let after = stage.until_devices(&[ONE, TWO]).await;
    assert_eq!(stage.writes(), "+1 ~3 -0");
    assert_eq!((before.metadata.uid, &before.spec), (after.metadata.uid, &after.spec));
    stage.remove().await;
}

/// Run it in a cluster with `--feature-gate DRADeviceTaints=false` as well.
#[tokio::test]
async fn a_fault_taints_the_gpu_or_withdraws_it_where_taints_are_dropped() {
    let mut stage = Stage::new("taint", view(&[1, 2])).await;
    let kept = stage.server_keeps_taints().await;
    stage.publish().await;
    stage.until_devices(&[ONE, TWO]).await;
    stage.see(faulty(view(&[1, 2]), ONE, Class::Reset));
    if kept {
        let taint = |slices: &[ResourceSlice]| {
            let taint = devices(slices.first()?).first()?.taints.clone()?.pop()?;
            Some((taint.key, taint.value?, taint.effect))
        };
        let wanted =
            |value: &str| Some((format!("{}/fault", stage.driver), value.into(), "NoSchedule".into()));
        stage.until("tainted", |slices| taint(slices) == wanted("reset")).await;
        stage.see(faulty(view(&[1, 2]), ONE, Class::Reboot));
        let slices = stage.until("tainted worse", |slices| taint(slices) == wanted("reboot")).await;
        assert!(devices(&slices[0])[1].taints.is_none());
        stage.see(view(&[1, 2]));
        stage.until("without taint", |slices| taint(slices).is_none()).await;
        assert_eq!(stage.writes(), "+1 ~3 -0");
        assert!(stage.events.is_empty());
    } else {
        stage.until_devices(&[TWO]).await;
        let event = timeout(GUARD, stage.events.recv()).await.unwrap().unwrap();
        assert_eq!((event.reason, event.about.name.as_deref()), ("DeviceTaintsDropped", Some(&*stage.node)));
        stage.see(view(&[1, 2]));
        stage.until_devices(&[ONE, TWO]).await;
        stage.see(faulty(view(&[1, 2]), TWO, Class::Lost));
        stage.until_devices(&[ONE]).await;
        assert_eq!(stage.writes(), "+1 ~3 -0", "a sick GPU was never published as a good one");
        assert!(stage.events.is_empty(), "it is said once");
    }
    stage.remove().await;
}

#[tokio::test]
async fn what_strangers_do_is_undone_at_once_while_the_kubelet_is_connected() {
    let mut stage = Stage::new("strangers", view(&[1])).await;
    stage.publish().await;
    let slice = stage.until_devices(&[ONE]).await;
    stage.until_watching(1).await;

    stage.delete(&slice).await;
    let healed = stage.until_devices(&[ONE]).await;
    assert_ne!(slice.metadata.uid, healed.metadata.uid);

    let name = healed.metadata.name.unwrap();
    let edit = json!({"spec": {"devices": [{"name": "made-up"}]}});
    stage.slices.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    stage.until_devices(&[ONE]).await;
    assert_eq!(stage.writes(), "+2 ~1 -0");
    stage.remove().await;
}

#[tokio::test]
async fn the_first_slices_wait_until_the_kubelet_has_registered_the_plugin() {
    let mut stage = Stage::new("first", view(&[1])).await;
    stage.link.send_replace(Link::default());
    stage.publish().await;
    stage.until_watching(1).await;
    stage.see(view(&[1, 2]));
    stage.link.send_modify(|link| link.refusal = Some("not yet".into()));
    // Long enough for a write, had one begun.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.writes(), "+0 ~0 -0");
    stage.link.send_replace(Link { registrations: 1, ..Link::default() });
    stage.until_devices(&[ONE, TWO]).await;
    stage.stop().await;

    // Slices that are there already, of an instance before, follow the hardware in any case.
    stage.link.send_replace(Link::default());
    stage.publish().await;
    stage.until_watching(2).await;
    stage.see(view(&[2]));
    stage.until_devices(&[TWO]).await;
    assert_eq!(stage.writes(), "+1 ~1 -0");
    stage.remove().await;
}

#[tokio::test]
async fn slices_that_the_kubelet_wiped_stay_away_until_it_registers_the_plugin() {
    let mut stage = Stage::new("wiped", view(&[1])).await;
    stage.publish().await;
    let slice = stage.until_devices(&[ONE]).await;
    stage.until_watching(1).await;
    stage.link.send_modify(|link| link.connected = false);
    stage.delete(&slice).await;
    stage.until_known(0).await;
    // Not even news of the hardware bring them back.
    stage.see(view(&[1, 2]));
    stage.link.send_modify(|link| link.refusal = Some("not yet".into()));
    assert_eq!(stage.writes(), "+1 ~0 -0");

    stage.link.send_modify(|link| link.registrations += 1);
    stage.until_devices(&[ONE, TWO]).await;
    assert_eq!(stage.writes(), "+2 ~0 -0");
    stage.remove().await;
}

#[tokio::test]
async fn an_instance_that_stops_to_own_the_slices_stops_writing() {
    let mut stage = Stage::new("owner", view(&[1])).await;
    stage.owns.send_replace(false);
    stage.publish().await;
    stage.owns.send_replace(true);
    let slice = stage.until_devices(&[ONE]).await;
    stage.until_watching(1).await;
    stage.owns.send_replace(false);
    stage.delete(&slice).await;
    stage.see(view(&[2]));
    assert_eq!(stage.now().await.len(), 0);

    stage.owns.send_replace(true);
    stage.until_devices(&[TWO]).await;
    assert_eq!(stage.writes(), "+2 ~0 -0");
    stage.remove().await;
}

#[tokio::test]
async fn slices_follow_a_node_that_is_replaced() {
    let mut stage = Stage::new("replaced", view(&[1])).await;
    stage.publish().await;
    stage.until_devices(&[ONE]).await;
    stage.until_watching(1).await;
    let uid = stage.replace_node().await;
    // The garbage collector takes the slices of the old Node.
    stage
        .until("the new Node's", |slices| {
            let owners = |slice: &ResourceSlice| slice.metadata.owner_references.clone().unwrap_or_default();
            matches!(slices, [slice] if owners(slice).iter().any(|owner| owner.uid == uid))
        })
        .await;
    stage.remove().await;
}

#[tokio::test]
async fn slices_of_other_controllers_are_adopted_or_removed() {
    let mut stage = Stage::new("adopted", view(&[1])).await;
    for (prefix, pool) in [("00000-", format!("{}/gpu", stage.node)), ("00000-", stage.node.clone())] {
        let slice: ResourceSlice = serde_json::from_value(json!({
            "metadata": {"generateName": format!("{prefix}{}-", stage.node)},
            "spec": {
                "driver": stage.driver, "nodeName": stage.node,
                "pool": {"name": pool, "generation": 7, "resourceSliceCount": 1},
                "devices": [{"name": "gpu-0"}],
            },
        }))
        .unwrap();
        stage.slices.create(&PostParams::default(), &slice).await.unwrap();
    }
    stage.publish().await;
    let slice = stage.until_devices(&[ONE]).await;
    assert_eq!(slice.spec.pool.generation, 7);
    assert_eq!(stage.writes(), "+0 ~1 -1");
    stage.remove().await;
}
