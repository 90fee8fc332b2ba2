//! All scenes in one cluster: each reason is told though the others' nodes, pools and classes are in sight.

use serde_json::{Value, json};

use super::*;

/// A cluster with a node and a class for each kind of trouble.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) scene: Scene,
}

impl Crowd {
    fn node(&mut self, name: &str) {
        let mut node = node(name);
        node["metadata"]["labels"]["for"] = json!(name);
        self.scene.nodes.push(node);
    }

    /// A node with a class for the devices of its kind.
    fn kind(&mut self, kind: &str) {
        self.node(kind);
        let text = format!("device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].kind == '{kind}'");
        self.scene.classes.push(class(&format!("{kind}.{DRIVER}"), &text));
    }

    fn pool(&mut self, node: &str, count: usize, content: &Value) {
        self.scene.slices.push(slice(node, &format!("{node}/gpu"), count, content));
    }

    fn claim(&mut self, name: &str, kind: &str, over: &Value) {
        let mut devices = wanted(over);
        devices["requests"][0]["exactly"]["deviceClassName"] = json!(format!("{kind}.{DRIVER}"));
        self.scene.claims.push(json!({
            "metadata": {"namespace": "team", "name": name, "uid": name}, "spec": {"devices": devices},
        }));
    }

    fn pod(&mut self, name: &str, claims: &[&str], spec: &Value) {
        let claims: Vec<_> =
            claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
        let mut pod = json!({
            "metadata": {"namespace": "team", "name": name, "uid": name},
            "spec": {"resourceClaims": claims}, "status": {"phase": "Pending"},
        });
        merge(&mut pod["spec"], spec);
        self.scene.pods.push(pod);
    }

    /// A claim and a pod of one name that wait.
    fn wants(&mut self, kind: &str, over: &Value) {
        self.claim(kind, kind, over);
        self.pod(kind, &[kind], &json!({}));
    }

    fn held(&mut self, name: &str, device: &str) {
        self.scene.claims.push(holder(name, &[device]));
    }
}

fn device(name: &str, kind: &str, over: &Value) -> Value {
    let mut device = gpu(name, &json!({"attributes": {"kind": {"string": kind}}}));
    merge(&mut device, over);
    device
}

fn two(kind: &str, over: &Value) -> Value {
    json!({"devices": [device("gpu-0", kind, over), device("gpu-1", kind, over)]})
}

pub(super) fn crowd() -> Crowd {
    let mut crowd = Crowd::default();
    for kind in [
        "in_use",
        "device_taint",
        "request_selector",
        "selector_error",
        "constraint",
        "too_few_devices",
        "node_rules",
        "together",
        "scheduler",
        "reserved_full",
    ] {
        crowd.kind(kind);
        let over = match kind {
            "device_taint" => {
                json!({"taints": [{"key": "example.com/xid", "value": "79", "effect": "NoSchedule"}]})
            }
            _ => json!({}),
        };
        let mut devices = two(kind, &over);
        for number in 0..2 {
            devices["devices"][number]["attributes"]["numaNode"] = json!({"int": number});
        }
        crowd.pool(kind, 1, &devices);
    }
    crowd.held("in-use-0", "in_use/gpu/gpu-0");
    crowd.held("in-use-1", "in_use/gpu/gpu-1");
    crowd.wants("in_use", &json!({}));
    crowd.wants("device_taint", &json!({}));
    let memory = format!("device.capacity['{DRIVER}'].memory.compareTo(quantity('100Gi')) >= 0");
    crowd.wants("request_selector", &selecting(&[&memory]));
    crowd.wants("selector_error", &selecting(&[&format!("device.attributes['{DRIVER}'].model == 'H100'")]));
    crowd.wants("constraint", &json!({"count": 2}));
    let last = crowd.scene.claims.last_mut().unwrap();
    last["spec"]["devices"]["constraints"] = json!([{"matchAttribute": format!("{DRIVER}/numaNode")}]);
    crowd.wants("too_few_devices", &json!({"count": 3}));
    crowd.claim("node_rules", "node_rules", &json!({}));
    crowd.pod("node_rules", &["node_rules"], &json!({"nodeSelector": {"disk": "ssd"}}));
    crowd.claim("together", "together", &json!({"count": 2}));
    crowd.claim("together-other", "together", &json!({}));
    crowd.pod("together", &["together", "together-other"], &json!({}));
    crowd.claim("scheduler", "scheduler", &json!({}));
    crowd.pod("scheduler", &["scheduler"], &json!({"schedulingGates": [{"name": "example.com/quota"}]}));
    crowd.held("full", "reserved_full/gpu/gpu-0");
    let users: Vec<Value> =
        (0..256).map(|number| json!({"resource": "users", "uid": number.to_string()})).collect();
    crowd.scene.claims.last_mut().unwrap()["status"]["reservedFor"] = Value::Array(users);
    crowd.claim("reserved_full", "reserved_full", &json!({}));
    crowd.pod("reserved_full", &["reserved_full", "full"], &json!({}));

    // A class that is not there.
    crowd.node("class_missing");
    crowd.pool("class_missing", 1, &two("class_missing", &json!({})));
    crowd.wants("class_missing", &json!({}));
    // A class whose devices are in use elsewhere, for a pod that is bound to a node with others.
    crowd.kind("class_selector");
    crowd.node("class-selector-here");
    crowd.pool("class_selector", 1, &json!({"devices": [device("gpu-0", "class_selector", &json!({}))]}));
    crowd.pool("class-selector-here", 1, &json!({"devices": [device("gpu-0", "another", &json!({}))]}));
    crowd.held("class-selector-holder", "class_selector/gpu/gpu-0");
    crowd.claim("class_selector", "class_selector", &json!({}));
    crowd.pod(
        "class_selector",
        &["class_selector"],
        &json!({"nodeSelector": {"for": "class-selector-here"}}),
    );
    // A whole GPU and a half.
    crowd.kind("counters");
    let part = |name: &str, kind: &str, slices: &str| {
        let taken = json!([{"counterSet": "gpu-0", "counters": {"memory-slices": {"value": slices}}}]);
        device(name, kind, &json!({"consumesCounters": taken}))
    };
    let sets = json!([{"name": "gpu-0", "counters": {"memory-slices": {"value": "8"}}}]);
    crowd.pool("counters", 2, &json!({"sharedCounters": sets}));
    crowd.pool(
        "counters",
        2,
        &json!({"devices": [part("whole", "counters", "8"), part("half", "half", "4")]}),
    );
    crowd.held("half", "counters/gpu/half");
    crowd.wants("counters", &json!({}));
    // A shared device.
    crowd.kind("capacity");
    let memory = json!({"memory": {"value": "80Gi", "requestPolicy": {"default": "10Gi"}}});
    let shared = device("gpu-0", "capacity", &json!({"allowMultipleAllocations": true, "capacity": memory}));
    crowd.pool("capacity", 1, &json!({"devices": [shared]}));
    crowd.held("capacity-holder", "capacity/gpu/gpu-0");
    let result = &mut crowd.scene.claims.last_mut().unwrap()["status"]["allocation"]["devices"]["results"][0];
    merge(result, &json!({"shareID": "1", "consumedCapacity": {"memory": "50Gi"}}));
    crowd.wants("capacity", &json!({"capacity": {"requests": {"memory": "40Gi"}}}));
    // Pools that are not right, for pods that are bound to their nodes.
    for (kind, second) in [("pool_incomplete", None), ("pool_invalid", Some("gpu-0"))] {
        crowd.kind(kind);
        crowd.pool(kind, 2, &json!({"devices": [device("gpu-0", kind, &json!({}))]}));
        if let Some(name) = second {
            crowd.pool(
                kind,
                2,
                &json!({"devices": [device(name, kind, &json!({})), device("gpu-77", kind, &json!({}))]}),
            );
        }
        let other = format!("{kind}-other");
        crowd.node(&other);
        crowd.pool(&other, 1, &json!({"devices": [device("gpu-0", kind, &json!({}))]}));
        crowd.claim(kind, kind, &json!({}));
        crowd.pod(kind, &[kind], &json!({"nodeSelector": {"for": kind}}));
    }
    // A claim on a node without devices for the other.
    crowd.kind("claim_elsewhere");
    crowd.kind("there");
    crowd.pool("claim_elsewhere", 1, &two("claim_elsewhere", &json!({})));
    crowd.pool("there", 1, &two("there", &json!({})));
    crowd.held("shared", "there/gpu/gpu-0");
    crowd.scene.claims.last_mut().unwrap()["status"]["allocation"]["nodeSelector"] = json!({
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["there"]}]}],
    });
    crowd.claim("claim_elsewhere", "claim_elsewhere", &json!({}));
    crowd.pod("claim_elsewhere", &["claim_elsewhere", "shared"], &json!({}));
    crowd
}

#[test]
fn each_reason_is_told_among_all_others() {
    let cluster = crowd().scene.cluster();
    let (cache, cancel) = (cel::Cache::default(), Cancel::default());
    let mut wrong = Vec::new();
    for (name, pod) in cluster.pods() {
        let asked = Asked::of_pod(&cluster, pod);
        let explained = explain(&cluster, &asked, &cache, &cancel);
        let text = explained.note(&Audience::Namespace("team"));
        if explained.blocker.as_str() != &*name.name {
            wrong.push(format!("{}: {}: {text}", name.name, explained.blocker.as_str()));
        }
        let may_be_without = ["class_missing", "claim_elsewhere"].contains(&&*name.name);
        match &explained.remedy {
            Some(remedy) => {
                let (changed, after) = remedy.apply(&cluster, &asked);
                assert!(fits(&changed, &after.asked(), &cache, &cancel), "{text}");
            }
            None => assert!(may_be_without, "{}: nothing is told to help: {text}", name.name),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
