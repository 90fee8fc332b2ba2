//! The objects of a cluster: nodes with GPUs, most of which claims of pods have.

use conformance::fleet::{DRIVER, Fleet, node_name};
use serde_json::{Value, json};

use crate::server::Server;

/// How many GPUs of each node claims have.
pub(crate) const HELD: usize = 5;
/// The DeviceClass.
pub(crate) const CLASS: &str = "gpu.example.com";

/// A cluster's objects, all at once.
pub(crate) fn fill(server: &Server, fleet: Fleet, nodes: usize, held: usize) {
    server.apply("deviceclasses", class());
    for number in 0..nodes {
        server.apply("nodes", node(number));
        for slice in fleet.slices(number) {
            server.apply("resourceslices", serde_json::from_str(&slice).expect("the fleet writes JSON"));
        }
        for gpu in 0..held {
            let name = format!("training-{number}-{gpu}");
            server.apply("resourceclaims", claim(&name, 1, Some((number, gpu))));
            server.apply("pods", pod(&name, Some(number)));
        }
    }
    server.forget();
}

fn class() -> Value {
    let gpus = format!("device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'");
    json!({
        "metadata": {"name": CLASS, "uid": CLASS},
        "spec": {"selectors": [{"cel": {"expression": gpus}}]},
    })
}

fn node(number: usize) -> Value {
    let name = node_name(number);
    json!({
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"cpu": "224", "memory": "2Ti"},
        },
    })
}

/// A claim for so many GPUs; which one of which node it has, if any.
pub(crate) fn claim(name: &str, count: usize, held: Option<(usize, usize)>) -> Value {
    let exactly = json!({"deviceClassName": CLASS, "allocationMode": "ExactCount", "count": count});
    let mut claim = json!({
        "metadata": {
            "namespace": "team", "name": name, "uid": name, "creationTimestamp": "2026-11-23T12:00:00Z",
        },
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
        "status": {},
    });
    if let Some((number, gpu)) = held {
        claim["status"] = json!({
            "allocation": {"devices": {"results": [{
                "request": "gpu", "driver": DRIVER, "pool": node_name(number), "device": format!("gpu-{gpu}"),
            }]}},
            "reservedFor": [{"resource": "pods", "name": name, "uid": name}],
        });
    }
    claim
}

/// A pod with the claim of its name, on a node or waiting for one.
pub(crate) fn pod(name: &str, on: Option<usize>) -> Value {
    let claims = json!([{"name": "gpu", "resourceClaimName": name}]);
    let mut pod = json!({
        "metadata": {
            "namespace": "team", "name": name, "uid": name, "creationTimestamp": "2026-11-23T12:00:00Z",
        },
        "spec": {
            "containers": [{"name": "main", "image": "training", "resources": {"claims": [{"name": "gpu"}]}}],
            "resourceClaims": claims,
        },
        "status": {"phase": "Pending"},
    });
    if let Some(number) = on {
        pod["spec"]["nodeName"] = node_name(number).into();
        pod["status"]["phase"] = "Running".into();
    }
    pod
}
