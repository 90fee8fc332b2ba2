//! Metrics move as claims are made, allocated, blocked and freed.

use e2e::api::make_global;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::scene::{Scene, labels, request};

/// 80Gi.
const MEMORY: f64 = 80.0 * 1_073_741_824.0;

#[tokio::test]
async fn metrics_tell_what_is_taken_and_what_waits() {
    let scene = Scene::new("metrics").await;
    let controller = &scene.controller;
    let node = scene.node("metrics").await;
    let class = scene.class("metrics", None).await;
    let devices: Vec<_> =
        (0..4).map(|number| scene.device(&format!("gpu-{number}"), "metrics", json!({}))).collect();
    scene.slice("gpus", &node, json!({"devices": devices})).await;
    let pool = format!("{node}/gpu");
    let of_class = [("node", &*node), ("pool", &*pool), ("device_class", &*class)];
    let of_pool = &of_class[..2];
    controller.until_value("dra_allocatable_devices", &of_class, Some(4.0)).await;
    controller.until_value("dra_allocatable_memory_bytes", of_pool, Some(4.0 * MEMORY)).await;
    assert_eq!(controller.value("dra_resource_utilization_ratio", &of_class).await, Some(0.0));
    assert_eq!(controller.value("dra_allocated_devices", &of_class).await, Some(0.0));
    assert_eq!(controller.value("dra_allocated_memory_bytes", of_pool).await, Some(0.0));
    assert_eq!(controller.value("dra_unreserved_claims", &[]).await, Some(0.0));

    // Three of four.
    scene.wants("one", &class, json!({})).await;
    scene.wants("two", &class, json!({"count": 2})).await;
    let device = scene.allocated("one").await.remove(0);
    scene.allocated("two").await;
    controller.until_value("dra_resource_utilization_ratio", &of_class, Some(0.75)).await;
    controller.until_value("dra_allocated_devices", &of_class, Some(3.0)).await;
    controller.until_value("dra_allocated_memory_bytes", of_pool, Some(3.0 * MEMORY)).await;
    let by_class = [("device_class", &*class)];
    for name in ["dra_allocation_duration_seconds", "dra_pod_allocation_duration_seconds"] {
        controller.until_value(&format!("{name}_count"), &by_class, Some(2.0)).await;
        let sum = controller.value(&format!("{name}_sum"), &by_class).await.unwrap();
        assert!((0.0..60.0).contains(&sum), "{name}: {sum}");
    }
    let held = labels(&[
        ("driver", &scene.driver),
        ("node", &node),
        ("pool", &pool),
        ("device", &device),
        ("dra_claim_namespace", &scene.space.name),
        ("dra_claim_name", "one"),
        ("owner_namespace", &scene.space.name),
        ("owner_pod", "one"),
    ]);
    controller
        .until("say who has the device", async || {
            controller.samples("dra_claim_allocation_info").await.contains(&(held.clone(), 1.0))
        })
        .await;

    // Two are asked for, and one is left.
    scene.wants("three", &class, json!({"count": 2})).await;
    scene.blocked("three", &class, "in_use").await;
    let oldest = controller.value("dra_oldest_pending_claim_seconds", &[]).await.unwrap();
    assert!(oldest > 0.0, "{oldest}");
    assert!(controller.value("dra_pending_claims_total", &[]).await >= Some(1.0));
    assert_eq!(controller.value("dra_allocation_errors_total", &[("reason", "in_use")]).await, Some(1.0));

    // One is freed.
    scene.gone("one").await;
    scene.allocated("three").await;
    controller.until_value("dra_resource_utilization_ratio", &of_class, Some(1.0)).await;
    controller
        .until_value("dra_pending_claims", &[("device_class", &class), ("reason", "in_use")], None)
        .await;
    controller.until_value("dra_allocation_duration_seconds_count", &by_class, Some(3.0)).await;
    assert_eq!(controller.value("dra_allocation_errors_total", &[("reason", "in_use")]).await, Some(1.0));

    // One is allocated by hand, and nobody uses it.
    scene.gone("three").await;
    scene.claim("left", json!({"requests": [request(&class, json!({}))]})).await;
    let result = json!({"request": "gpu", "driver": scene.driver, "pool": pool, "device": device});
    let status = Patch::Merge(json!({"status": {"allocation": {"devices": {"results": [result]}}}}));
    let claims: Api<ResourceClaim> = scene.space.api();
    claims.patch_status("left", &PatchParams::default(), &status).await.unwrap();
    controller.until_value("dra_unreserved_claims", &[], Some(1.0)).await;
    controller.until_value("dra_allocated_devices", &of_class, Some(3.0)).await;
    scene.space.delete::<ResourceClaim>("left").await;
    controller.until_value("dra_unreserved_claims", &[], Some(0.0)).await;

    // All goes with the node's slice.
    scene.gone("two").await;
    let slices: Api<ResourceSlice> = Api::all(scene.space.client.clone());
    e2e::api::delete(&slices, &format!("gpus-{node}")).await;
    controller.until_value("dra_allocatable_devices", &of_class, None).await;
    controller.until_value("dra_resource_utilization_ratio", &of_class, None).await;
    scene.remove().await;
}

/// The same slices under another driver's name change nothing.
#[tokio::test]
async fn devices_of_other_drivers_are_not_counted() {
    let scene = Scene::new("others").await;
    let node = scene.node("others").await;
    let class = scene.class("others", None).await;
    let device = scene.device("gpu-0", "others", json!({}));
    let slice = |name: &str, driver: &str| {
        json!({
            "metadata": {"name": format!("{name}-{node}")},
            "spec": {
                "driver": driver, "nodeName": node, "devices": [device],
                "pool": {"name": format!("{node}/{name}"), "generation": 1, "resourceSliceCount": 1},
            },
        })
    };
    make_global::<ResourceSlice>(&scene.space.client, slice("foreign", "other.example.com")).await;
    make_global::<ResourceSlice>(&scene.space.client, slice("ours", &scene.driver)).await;
    let pool = format!("{node}/ours");
    let ours = [("node", &*node), ("pool", &*pool), ("device_class", &*class)];
    scene.controller.until_value("dra_allocatable_devices", &ours, Some(1.0)).await;
    let of_node: Vec<_> = scene.controller.samples("dra_allocatable_memory_bytes").await;
    let of_node: Vec<_> = of_node.iter().filter(|(labels, _)| labels["node"] == node).collect();
    assert_eq!(of_node.len(), 1, "{of_node:?}");
    let slices: Api<ResourceSlice> = Api::all(scene.space.client.clone());
    e2e::api::delete(&slices, &format!("foreign-{node}")).await;
    scene.remove().await;
}
