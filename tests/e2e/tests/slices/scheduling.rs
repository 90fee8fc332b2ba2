//! The scheduler and what is published: the documentation's expressions, the order, devices with faults.

use dra_driver::device::attribute::documentation;
use dra_driver::health::Class;
use e2e::api::{Space, make, wait};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::stage::{Stage, faulty, view};

/// A claim for GPUs of the stage's driver that an expression selects, and a pod for it on the stage's Node. Returns
/// the devices that the scheduler takes.
async fn scheduled(stage: &Stage, space: &Space, name: &str, count: u32, expression: &str) -> Vec<String> {
    let class = &stage.driver;
    let exactly = json!({
        "deviceClassName": class, "count": count, "selectors": [{"cel": {"expression": expression}}],
    });
    let spec = json!({"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}});
    make::<ResourceClaim>(&space.api(), json!({"metadata": {"name": name}, "spec": spec})).await;
    let over: Value = json!({
        "nodeSelector": {"for": stage.node},
        "tolerations": [{"operator": "Exists"}],
        "resourceClaims": [{"name": "gpus", "resourceClaimName": name}],
    });
    space.pod(name, "true", over).await;
    let claims: Api<ResourceClaim> = space.api();
    let allocated = |claim: Option<&ResourceClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.allocation.as_ref()).is_some()
    };
    let claim = wait(&claims, name, "be allocated", allocated).await.unwrap();
    let results = claim.status.unwrap().allocation.unwrap().devices.unwrap().results.unwrap();
    results.into_iter().map(|result| result.device).collect()
}

/// Removes what no kubelet ends.
async fn unscheduled(space: &Space, name: &str) {
    space.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    space.delete::<ResourceClaim>(name).await;
}

async fn class(stage: &Stage) {
    let expression =
        format!("device.driver == '{0}' && device.attributes['{0}'].type == 'gpu'", stage.driver);
    let class: DeviceClass = serde_json::from_value(json!({
        "metadata": {"name": stage.driver},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }))
    .unwrap();
    Api::all(stage.client.clone()).create(&PostParams::default(), &class).await.unwrap();
}

/// The documentation's expressions, with the driver's default name replaced.
fn documented(driver: &str) -> [String; 2] {
    let page = documentation().replace("eks-hybrid-dra", driver);
    let block = page.split_once("expression: |-\n").unwrap().1.split_once("```").unwrap().0;
    let inline = page.split_once("ask with a default:\n`").unwrap().1.split_once('`').unwrap().0;
    [block.to_owned(), inline.to_owned()]
}

#[tokio::test]
async fn the_scheduler_takes_what_the_documentation_says_in_the_published_order() {
    let mut seen = view(&[1, 2, 3]);
    // The GPU in the middle is on another NUMA node, so the outer two are neighbours.
    seen.inventory.gpus[1].numa_node = Some(1);
    seen.inventory.gpus[2].module_id = Some(1);
    let mut stage = Stage::new("scheduled", seen.clone()).await;
    let space = Space::create(stage.client.clone(), "scheduled", json!({})).await;
    class(&stage).await;
    stage.publish().await;
    stage.until_devices(&["gpu-0000-01-00-0", "gpu-0000-03-00-0", "gpu-0000-02-00-0"]).await;

    let [wide, module] = documented(&stage.driver);
    let cases = [
        ("two", 2, &wide, vec!["gpu-0000-01-00-0", "gpu-0000-03-00-0"]),
        ("by-module", 1, &module, vec!["gpu-0000-03-00-0"]),
    ];
    for (name, count, expression, wanted) in cases {
        assert_eq!(scheduled(&stage, &space, name, count, expression).await, wanted, "{name}");
        unscheduled(&space, name).await;
    }

    stage.see(faulty(seen, "gpu-0000-01-00-0", Class::Reset));
    stage.until("changed", |slices| slices[0].metadata.generation > Some(1)).await;
    assert_eq!(scheduled(&stage, &space, "healthy", 1, &wide).await, ["gpu-0000-03-00-0"]);
    unscheduled(&space, "healthy").await;

    let classes: Api<DeviceClass> = Api::all(stage.client.clone());
    classes.delete(&stage.driver, &DeleteParams::default()).await.unwrap();
    space.remove().await;
    stage.remove().await;
}
