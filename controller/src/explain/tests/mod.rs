//! Explanations of small clusters with names.

mod bad;
mod cases;
mod crowd;
mod features;
mod many;
mod page;
mod random;
mod tenants;

use serde_json::{Value, json};

use super::*;
use crate::allocator::Features;
use crate::cluster::Lists;

/// The driver of all devices, unless they say otherwise.
pub(super) const DRIVER: &str = "gpu.example.com";

/// A cluster as JSON has it, and what is asked about: the pod `train`, or the claim `train`.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) features: Option<Features>,
    pub(super) slices: Vec<Value>,
    pub(super) classes: Vec<Value>,
    pub(super) nodes: Vec<Value>,
    pub(super) claims: Vec<Value>,
    pub(super) pods: Vec<Value>,
}

impl Scene {
    /// Nodes `a`, `b` and so on with nothing on them, and the class `gpu` for devices of type `gpu`.
    pub(super) fn nodes(count: usize) -> Self {
        let names = (b'a'..).take(count).map(|letter| format!("node-{}", char::from(letter)));
        Self {
            nodes: names.map(|name| node(&name)).collect(),
            classes: vec![class("gpu", "device.attributes['gpu.example.com'].type == 'gpu'")],
            ..Self::default()
        }
    }

    /// With a pool of these devices on a node.
    pub(super) fn pool(mut self, node: &str, devices: Vec<Value>) -> Self {
        self.slices.push(slice(node, &format!("{node}/gpu"), 1, &json!({"devices": devices})));
        self
    }

    pub(super) fn slice(mut self, slice: Value) -> Self {
        self.slices.push(slice);
        self
    }

    pub(super) fn class(mut self, name: &str, expression: &str) -> Self {
        self.classes.push(class(name, expression));
        self
    }

    /// With a claim that has these devices of pools, as `pool/device`.
    pub(super) fn holder(mut self, name: &str, devices: &[&str]) -> Self {
        self.claims.push(holder(name, devices));
        self
    }

    /// With a claim, and a pod that waits for it, both called `train`.
    pub(super) fn wants(self, devices: Value) -> Self {
        self.claim("train", devices).pod(&["train"], &json!({}))
    }

    pub(super) fn claim(mut self, name: &str, devices: Value) -> Self {
        self.claims.push(json!({
            "metadata": {"namespace": "team", "name": name, "uid": name},
            "spec": {"devices": devices},
        }));
        self
    }

    /// With the pod `train`, which waits for these claims.
    pub(super) fn pod(mut self, claims: &[&str], spec: &Value) -> Self {
        let claims: Vec<_> =
            claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
        let mut pod = json!({
            "metadata": {"namespace": "team", "name": "train", "uid": "pod"},
            "spec": {"resourceClaims": claims},
            "status": {"phase": "Pending"},
        });
        merge(&mut pod["spec"], spec);
        self.pods.push(pod);
        self
    }

    pub(super) fn cluster(&self) -> Cluster {
        fn all<T: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<T> {
            values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
        }
        let lists = Lists {
            slices: all(&self.slices),
            classes: all(&self.classes),
            nodes: all(&self.nodes),
            claims: all(&self.claims),
            pods: all(&self.pods),
        };
        Cluster::of(self.features.unwrap_or_default(), lists)
    }

    /// What is said about the pod, or the claim where there is no pod. What is told to help is held against the
    /// allocator.
    pub(super) fn explained(&self) -> Explanation {
        let cluster = self.cluster();
        let asked = asked(&cluster);
        let (cache, cancel) = (cel::Cache::default(), Cancel::default());
        let explanation = explain(&cluster, &asked, &cache, &cancel);
        if let Some(remedy) = &explanation.remedy {
            let (changed, after) = remedy.apply(&cluster, &asked);
            let fits = fits(&changed, &after.asked(), &cache, &cancel);
            assert!(fits, "{remedy:?} does not help: {}", explanation.text(&Audience::Everything));
            let again = explain(&changed, &after.asked(), &cache, &cancel);
            assert_eq!(again.blocker, Blocker::Scheduler, "{}", again.text(&Audience::Everything));
        }
        explanation
    }
}

/// The pod `train` with its claims, or the claim `train`.
pub(super) fn asked(cluster: &Cluster) -> Asked<'_> {
    let name = Name { namespace: "team".into(), name: "train".into() };
    match cluster.pods().get(&name) {
        Some(pod) => Asked::of_pod(cluster, pod),
        None => Asked::of_claim(&cluster.claims()[&name]),
    }
}

pub(super) fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub(super) fn class(name: &str, expression: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

/// A slice of a pool of so many slices.
pub(super) fn slice(node: &str, pool: &str, count: usize, content: &Value) -> Value {
    let mut slice = json!({
        "metadata": {"name": format!("{pool}-{}", content.to_string().len())},
        "spec": {
            "driver": DRIVER, "nodeName": node,
            "pool": {"name": pool, "generation": 1, "resourceSliceCount": count},
        },
    });
    merge(&mut slice["spec"], content);
    slice
}

/// A GPU with 80Gi of memory.
pub(super) fn gpu(name: &str, over: &Value) -> Value {
    let mut device = json!({
        "name": name,
        "attributes": {"type": {"string": "gpu"}},
        "capacity": {"memory": {"value": "80Gi"}},
    });
    merge(&mut device, over);
    device
}

/// So many GPUs: `gpu-0` and so on.
pub(super) fn gpus(count: usize) -> Vec<Value> {
    (0..count).map(|number| gpu(&format!("gpu-{number}"), &json!({}))).collect()
}

/// A claim in use that has these devices, as `pool/device`. Its name may have a namespace before it.
pub(super) fn holder(name: &str, devices: &[&str]) -> Value {
    let (namespace, name) = name.split_once(':').unwrap_or(("team", name));
    let results = devices.iter().map(|device| {
        let (pool, device) = device.rsplit_once('/').unwrap();
        json!({"request": "gpu", "driver": DRIVER, "pool": pool, "device": device})
    });
    let results: Vec<_> = results.collect();
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": name},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": ask(&json!({}))}]}},
        "status": {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [{"resource": "pods", "name": format!("{name}-pod"), "uid": format!("{name}-pod")}],
        },
    })
}

/// What a request asks for: one device of class `gpu`, unless it says otherwise.
pub(super) fn ask(over: &Value) -> Value {
    let mut ask = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    merge(&mut ask, over);
    ask
}

/// The one request `gpu` of a claim.
pub(super) fn wanted(over: &Value) -> Value {
    json!({"requests": [{"name": "gpu", "exactly": ask(over)}]})
}

pub(super) fn selecting(expressions: &[&str]) -> Value {
    let selectors: Vec<_> = expressions.iter().map(|text| json!({"cel": {"expression": text}})).collect();
    json!({"selectors": selectors})
}

pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (field, value) in from {
                merge(into.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
