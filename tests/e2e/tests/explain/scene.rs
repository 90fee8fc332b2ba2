//! Nodes without a kubelet, slices that no plugin publishes, and claims and pods for them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use e2e::api::{GUARD, Space, delete, make, make_global, unique, wait};
use e2e::cluster::Cluster;
use e2e::gpu::program;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::controller::{Controller, Settings};

/// A driver with a controller, and a namespace.
pub(crate) struct Scene {
    pub(crate) space: Space,
    pub(crate) driver: String,
    pub(crate) controller: Controller,
    nodes: Mutex<Vec<String>>,
}

impl Scene {
    pub(crate) async fn new(stem: &str) -> Self {
        let space = Space::create(Cluster::current().client().await, stem, json!({})).await;
        let driver = format!("{}.example.com", unique(stem));
        let controller = Controller::start(Self::settings(&space, &driver, "one")).await;
        controller.until_ready().await;
        controller.until_leader().await;
        Self { space, driver, controller, nodes: Mutex::default() }
    }

    /// How a replica is started.
    pub(crate) fn settings(space: &Space, driver: &str, identity: &str) -> Settings {
        Settings {
            driver: driver.to_owned(),
            lease: format!("{}/dra-controller", space.name),
            identity: identity.to_owned(),
            kubeconfig: None,
        }
    }

    /// Makes a node that pods can be bound to, though none of them runs.
    pub(crate) async fn node(&self, stem: &str) -> String {
        let name = unique(stem);
        let room = json!({"pods": "20", "cpu": "4", "memory": "4Gi"});
        let node = json!({
            "metadata": {"name": name, "labels": {"for": name}},
            "status": {
                "capacity": room, "allocatable": room,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        make_global::<Node>(&self.space.client, node).await;
        self.nodes.lock().unwrap().push(name.clone());
        name
    }

    /// Publishes a slice of a node's pool, as the one and only slice unless `over` says so.
    pub(crate) async fn slice(&self, name: &str, node: &str, over: Value) {
        let mut slice = json!({
            "metadata": {"name": format!("{name}-{node}")},
            "spec": {
                "driver": self.driver, "nodeName": node,
                "pool": {"name": format!("{node}/gpu"), "generation": 1, "resourceSliceCount": 1},
            },
        });
        e2e::api::merge(&mut slice["spec"], over);
        make_global::<ResourceSlice>(&self.space.client, slice).await;
    }

    /// Changes a slice.
    pub(crate) async fn patch_slice(&self, name: &str, node: &str, spec: Value) {
        let slices: Api<ResourceSlice> = Api::all(self.space.client.clone());
        let patch = Patch::Merge(json!({"spec": spec}));
        slices.patch(&format!("{name}-{node}"), &PatchParams::default(), &patch).await.unwrap();
    }

    /// Makes a DeviceClass; without an expression it selects the devices of a kind.
    pub(crate) async fn class(&self, kind: &str, expression: Option<String>) -> String {
        let name = self.class_name(kind);
        let expression = expression.unwrap_or_else(|| {
            format!("device.driver == '{0}' && device.attributes['{0}'].kind == '{kind}'", self.driver)
        });
        let class = json!({
            "metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]},
        });
        make_global::<DeviceClass>(&self.space.client, class).await;
        name
    }

    pub(crate) fn class_name(&self, kind: &str) -> String {
        format!("{kind}.{}", self.driver)
    }

    /// A device of a kind with 80Gi of memory.
    pub(crate) fn device(&self, name: &str, kind: &str, over: Value) -> Value {
        let mut device = json!({
            "name": name,
            "attributes": {"kind": {"string": kind}},
            "capacity": {"memory": {"value": "80Gi"}},
        });
        e2e::api::merge(&mut device, over);
        device
    }

    /// Makes a claim with these requests.
    pub(crate) async fn claim(&self, name: &str, devices: Value) {
        let claim = json!({"metadata": {"name": name}, "spec": {"devices": devices}});
        make::<ResourceClaim>(&self.space.api(), claim).await;
    }

    /// Makes a pod with these claims.
    pub(crate) async fn pod(&self, name: &str, claims: &[&str], over: Value) {
        let claims: Vec<_> =
            claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
        let names: Vec<_> = claims.iter().map(|claim| json!({"name": claim["name"]})).collect();
        let mut spec = json!({
            "tolerations": [{"operator": "Exists"}],
            "resourceClaims": claims,
            "containers": [{
                "name": "main", "image": e2e::api::IMAGE, "command": ["true"],
                "resources": {"claims": names},
            }],
        });
        e2e::api::merge(&mut spec, over);
        self.space.pod(name, "true", spec).await;
    }

    /// Makes a claim for devices of a class and a pod that waits for it, both of one name.
    pub(crate) async fn wants(&self, name: &str, class: &str, over: Value) {
        self.claim(name, json!({"requests": [request(class, over)]})).await;
        self.pod(name, &[name], json!({})).await;
    }

    /// Deletes a pod that no kubelet ends, and claims with it.
    pub(crate) async fn gone(&self, name: &str) {
        let pods: Api<Pod> = self.space.api();
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
        self.space.delete::<ResourceClaim>(name).await;
    }

    /// Waits until the scheduler has allocated a claim, and returns its devices.
    pub(crate) async fn allocated(&self, name: &str) -> Vec<String> {
        let has = |claim: Option<&ResourceClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.allocation.as_ref()).is_some()
        };
        let claim = wait(&self.space.api::<ResourceClaim>(), name, "be allocated", has).await.unwrap();
        let results = claim.status.unwrap().allocation.unwrap().devices.unwrap().results.unwrap();
        results.into_iter().map(|result| result.device).collect()
    }

    /// The controller's Events about an object of the namespace, by kind and name: their texts.
    pub(crate) async fn events(&self, kind: &str, name: &str) -> Vec<String> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},reason=CannotAllocate");
        let params = ListParams::default().fields(&fields);
        let events = self.space.api::<Event>().list(&params).await.unwrap().items;
        // A class that does not exist is any driver's: controllers of other tests may have told of it before.
        events.into_iter().filter_map(|event| event.message).collect()
    }

    /// Waits until the controller says that a claim waits for a reason, and returns the Event about the claim. The
    /// pod's Event, the metric and `kubectl-dra explain` say the same.
    pub(crate) async fn blocked(&self, claim: &str, class: &str, reason: &str) -> String {
        let labels = [("device_class", class), ("reason", reason)];
        self.controller.until_value("dra_pending_claims", &labels, Some(1.0)).await;
        // Other tests change the cluster meanwhile, and the words with it.
        let what = format!("tell about the claim and the pod {claim}");
        self.controller
            .until(&what, async || {
                let (of_claim, of_pod) =
                    (self.events("ResourceClaim", claim).await, self.events("Pod", claim).await);
                !of_claim.is_empty() && of_claim.len() == of_pod.len()
            })
            .await;
        let of_claim = self.events("ResourceClaim", claim).await;
        let explained = self.explain(&["claim", claim]).await;
        assert_eq!(explained["reason"], reason, "{claim}: {explained:#}");
        of_claim.into_iter().next_back().unwrap()
    }

    /// What `kubectl-dra explain` says, with the rights of the tests.
    pub(crate) async fn explain(&self, what: &[&str]) -> Value {
        let mut command = Command::new(program().with_file_name("kubectl-dra"));
        command.arg("explain").args(what).args(["--namespace", &self.space.name, "--output=json"]);
        command.args(["--driver-name", &self.driver]);
        let output = timeout(GUARD, command.output()).await.expect("kubectl-dra ends").unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}"))
    }

    /// Removes all that was made.
    pub(crate) async fn remove(mut self) {
        self.controller.end().await;
        let client = self.space.client.clone();
        let pods: Api<Pod> = self.space.api();
        pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
            .await
            .unwrap();
        let slices: Api<ResourceSlice> = Api::all(client.clone());
        let of_driver = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        slices.delete_collection(&DeleteParams::default(), &of_driver).await.unwrap();
        let classes: Api<DeviceClass> = Api::all(client.clone());
        for class in classes.list(&ListParams::default()).await.unwrap().items {
            let name = class.metadata.name.unwrap();
            if name.ends_with(&self.driver) {
                delete(&classes, &name).await;
            }
        }
        let nodes = std::mem::take(&mut *self.nodes.lock().unwrap());
        for node in &nodes {
            delete(&Api::<Node>::all(client.clone()), node).await;
        }
        self.space.remove().await;
    }
}

/// A request for a device of a class.
pub(crate) fn request(class: &str, over: Value) -> Value {
    let mut exactly = json!({"deviceClassName": class});
    e2e::api::merge(&mut exactly, over);
    json!({"name": "gpu", "exactly": exactly})
}

/// A request whose devices an expression selects.
pub(crate) fn selecting(expression: &str) -> Value {
    json!({"selectors": [{"cel": {"expression": expression}}]})
}

/// Labels, as a map.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
