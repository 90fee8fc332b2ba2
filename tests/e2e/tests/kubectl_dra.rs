//! `kubectl-dra` beside a scheduler: what it says is what is so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::process::Output;

use e2e::api::{GUARD, Space, delete, make, make_global, unique, wait};
use e2e::cluster::Cluster;
use e2e::gpu::program;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// A node's slice with one device, whose driver runs nowhere.
struct Scene {
    space: Space,
    driver: String,
    node: String,
}

impl Scene {
    async fn new() -> Self {
        let space = Space::create(Cluster::current().client().await, "kubectl-dra", json!({})).await;
        let (client, driver) = (&space.client, format!("{}.example.com", unique("shown")));
        let node = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
        let node = node.into_iter().next().unwrap().metadata.name.unwrap();
        let slice = json!({
            "metadata": {"name": driver},
            "spec": {
                "driver": driver, "nodeName": node,
                "pool": {"name": format!("{node}/gpu"), "generation": 1, "resourceSliceCount": 1},
                "devices": [{
                    "name": "gpu-0",
                    "attributes": {"type": {"string": "gpu"}, "productName": {"string": "NVIDIA H100 80GB HBM3"}},
                    "capacity": {"memory": {"value": "80Gi"}},
                }],
            },
        });
        make_global::<ResourceSlice>(client, slice).await;
        let class = json!({
            "metadata": {"name": driver},
            "spec": {"selectors": [{"cel": {"expression": format!("device.driver == '{driver}'")}}]},
        });
        make_global::<DeviceClass>(client, class).await;
        Self { space, driver, node }
    }

    /// A claim for a device, and a pod with it.
    async fn wants(&self, name: &str) {
        let request = json!({"name": "gpu", "exactly": {"deviceClassName": self.driver}});
        let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        make::<ResourceClaim>(&self.space.api(), claim).await;
        let spec = json!({
            "tolerations": [{"operator": "Exists"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
        });
        self.space.pod(name, "true", spec).await;
    }

    async fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program().with_file_name("kubectl-dra"));
        command.args(words).args(["--namespace", &self.space.name, "--driver-name", &self.driver]);
        timeout(GUARD, command.output()).await.expect("kubectl-dra ends").unwrap()
    }

    async fn text(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, words: &[&str]) -> Value {
        let text = self.text(&[words, &["--output=json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn remove(self) {
        let client = self.space.client.clone();
        let pods: Api<Pod> = self.space.api();
        let now = DeleteParams::default().grace_period(0);
        pods.delete_collection(&now, &ListParams::default()).await.unwrap();
        delete(&Api::<ResourceSlice>::all(client.clone()), &self.driver).await;
        delete(&Api::<DeviceClass>::all(client), &self.driver).await;
        self.space.remove().await;
    }
}

#[tokio::test]
async fn a_device_its_holder_and_who_waits_for_it_are_shown() {
    let scene = Scene::new().await;
    let space = scene.space.name.clone();
    let free = scene.json(&["gpus"]).await;
    let wanted = json!([{
        "node": scene.node, "pool": format!("{}/gpu", scene.node), "device": "gpu-0", "type": "gpu",
        "product": "NVIDIA H100 80GB HBM3", "memory": "80Gi", "uuid": "", "state": "free", "taints": [],
        "claims": [], "pods": [],
    }]);
    assert_eq!(free, wanted);

    scene.wants("holder").await;
    let has = |claim: Option<&ResourceClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.allocation.as_ref()).is_some()
    };
    wait(&scene.space.api::<ResourceClaim>(), "holder", "be allocated", has).await;
    scene.wants("waiter").await;

    let gpus = scene.json(&["gpus"]).await;
    assert_eq!(gpus[0]["state"], "in use");
    assert_eq!(gpus[0]["claims"], json!([format!("{space}/holder")]));
    assert_eq!(gpus[0]["pods"], json!([format!("{space}/holder")]));
    let claims = scene.json(&["claims"]).await;
    let row = |name: &str| claims.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&row("holder")["state"], &row("holder")["pods"]), (&json!("allocated"), &json!(["holder"])));
    assert_eq!(row("holder")["devices"], json!([format!("{}/gpu/gpu-0", scene.node)]));
    assert_eq!((&row("waiter")["state"], &row("waiter")["reason"]), (&json!("waiting"), &json!("in_use")));
    for kind in ["claim", "pod"] {
        assert_eq!(scene.json(&["explain", kind, "waiter"]).await["reason"], "in_use", "{kind}");
        let text = scene.text(&["explain", kind, "waiter"]).await;
        assert!(text.starts_with("in_use\n") && text.contains("holder"), "{kind}: {text}");
    }
    let output = scene.run(&["explain", "claim", "nobody"]).await;
    assert!(!output.status.success(), "{output:?}");
    let wanted = format!("kubectl-dra: there is no claim nobody in namespace {space}\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), wanted);
    scene.remove().await;
}

#[tokio::test]
async fn what_is_wrong_is_found_and_gathered_without_names() {
    let scene = Scene::new().await;
    scene.wants("merger-model").await;
    let output = scene.run(&["doctor", "--output=json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let level =
        |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["level"].clone());
    assert_eq!(level("ResourceSlices"), Some(json!("ok")), "{checks:#?}");
    assert_eq!(level("DeviceClasses"), Some(json!("ok")), "{checks:#?}");
    // Nobody runs the plugin: that alone is a problem.
    assert_eq!(level("plugin"), Some(json!("problem")), "{checks:#?}");

    let folder = tempfile::tempdir().unwrap();
    let archive = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let told = scene.text(&["gather", "--file", &archive("a.tar.gz")]).await;
    assert!(told.contains("resourceclaims.json"), "{told}");
    let again = scene.run(&["gather", "--file", &archive("a.tar.gz")]).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot write"), "{again:?}");
    scene.text(&["gather", "--names", "--file", &archive("b.tar.gz")]).await;
    let contents = async |name: &str| {
        let read = Command::new("tar").args(["--to-stdout", "-xzf", &archive(name)]).output();
        String::from_utf8(timeout(GUARD, read).await.unwrap().unwrap().stdout).unwrap()
    };
    let (without, with) = (contents("a.tar.gz").await, contents("b.tar.gz").await);
    assert!(without.contains(&scene.driver) && without.contains("claim-1"), "{without}");
    for name in ["merger-model", scene.space.name.as_str()] {
        assert!(!without.contains(name), "{name}: {without}");
        assert!(with.contains(name), "{name}: {with}");
    }
    scene.remove().await;
}
