//! One scene for each reason, with its near twin: what looks alike and is not. Each text is written by hand.

use serde_json::{Value, json};

use super::*;

/// A scene's name, the scene, the reason, and the text for all eyes.
type Case = (&'static str, Scene, &'static str, &'static str);

fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (name, scene, reason, text) in cases {
        let explained = scene.explained();
        let told = explained.text(&Audience::Everything);
        if (explained.blocker.as_str(), told.as_str()) != (reason, text) {
            wrong.push(format!(
                "{name}\n  wanted {reason}: {text}\n  found  {}: {told}",
                explained.blocker.as_str()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn at_least(memory: &str) -> Value {
    let text = format!("device.capacity['gpu.example.com'].memory.compareTo(quantity('{memory}')) >= 0");
    selecting(&[&text])
}

#[test]
fn devices_in_use_and_devices_that_are_not() {
    let two = || Scene::nodes(2).pool("node-a", gpus(2));
    check(vec![
        (
            "all are in use",
            two()
                .holder("one", &["node-a/gpu/gpu-0"])
                .holder("other:two", &["node-a/gpu/gpu-1"])
                .wants(wanted(&json!({}))),
            "in_use",
            "0/2 nodes: 2 devices on node-a are in use (2 claims: other/two, team/one); node-b has no devices. \
             It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "one of two is in use",
            two().holder("one", &["node-a/gpu/gpu-0"]).wants(wanted(&json!({"count": 2}))),
            "in_use",
            "0/2 nodes: 1 device on node-a is in use (1 claim: team/one); node-b has no devices. \
             It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "more than there are, and one of them is in use",
            two().holder("one", &["node-a/gpu/gpu-0"]).wants(wanted(&json!({"count": 3}))),
            "too_few_devices",
            "0/2 nodes: 3 devices are asked for on one node, and none of these nodes has more than 2 that match, 1 of \
             them free; 1 device on node-a is in use (1 claim: team/one); node-b has no devices. \
             It would fit on node-a if request gpu asked for 1 device.",
        ),
        (
            "more than there are, and all are free",
            two().wants(wanted(&json!({"count": 3}))),
            "too_few_devices",
            "0/2 nodes: 3 devices are asked for on one node, and none of these nodes has more than 2 that match; \
             node-b has no devices. It would fit on node-a if request gpu asked for 2 devices.",
        ),
        (
            "no devices at all",
            Scene::nodes(2).wants(wanted(&json!({}))),
            "no_devices",
            "0/2 nodes: 2 nodes have no devices.",
        ),
        (
            "devices that are in use and would not do",
            Scene::nodes(1)
                .pool("node-a", vec![gpu("gpu-0", &json!({"attributes": {"type": {"string": "vfio"}}}))])
                .class("vfio", "device.attributes['gpu.example.com'].type == 'vfio'")
                .holder("one", &["node-a/gpu/gpu-0"])
                .wants(wanted(&json!({}))),
            "class_selector",
            "0/1 node: the selector of DeviceClass gpu is false on 1 device: type is vfio, not gpu. \
             It would fit on node-a if request gpu named DeviceClass vfio, and claim team/one gave back its devices.",
        ),
    ]);
}

#[test]
fn selectors_that_are_false_and_selectors_that_fail() {
    let two = || Scene::nodes(1).pool("node-a", gpus(2));
    let memory = "device.capacity['gpu.example.com'].memory.compareTo(quantity('100Gi')) >= 0";
    let kind = "device.attributes['gpu.example.com'].type == 'gpu'";
    check(vec![
        (
            "too little memory",
            two().wants(wanted(&at_least("100Gi"))),
            "request_selector",
            "0/1 node: the selector of request gpu is false on 2 devices: memory 80Gi < 100Gi. \
             It would fit on node-a if selector 1 of request gpu had \
             device.capacity['gpu.example.com'].memory.compareTo(quantity('80Gi')) >= 0 instead of \
             device.capacity['gpu.example.com'].memory.compareTo(quantity('100Gi')) >= 0.",
        ),
        (
            "too little memory, in the second part of the second selector",
            two().wants(wanted(&selecting(&[kind, &format!("{kind} && {memory}")]))),
            "request_selector",
            "0/1 node: selector 2 of request gpu is false on 2 devices: memory 80Gi < 100Gi. \
             It would fit on node-a if selector 2 of request gpu had \
             device.capacity['gpu.example.com'].memory.compareTo(quantity('80Gi')) >= 0 instead of \
             device.capacity['gpu.example.com'].memory.compareTo(quantity('100Gi')) >= 0.",
        ),
        (
            "enough memory, and all devices with it are in use",
            two().holder("one", &["node-a/gpu/gpu-0", "node-a/gpu/gpu-1"]).wants(wanted(&at_least("80Gi"))),
            "in_use",
            "0/1 node: 2 devices on node-a are in use (1 claim: team/one). \
             It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "an attribute that devices lack",
            two().wants(wanted(&selecting(&["device.attributes['gpu.example.com'].model == 'H100'"]))),
            "selector_error",
            "0/1 node: selector 1 of request gpu has no answer: no such key: model (2 devices, the first is \
             gpu.example.com/node-a/gpu/gpu-0). It would fit on node-a if selector 1 of request gpu were without \
             device.attributes['gpu.example.com'].model == 'H100'.",
        ),
        (
            "an attribute that devices lack, and that is asked for first",
            two().wants(wanted(&selecting(&["'model' in device.attributes['gpu.example.com'] && \
                 device.attributes['gpu.example.com'].model == 'H100'"]))),
            "request_selector",
            "0/1 node: the selector of request gpu is false on 2 devices: it has no model and \
             device.attributes['gpu.example.com'].model == 'H100' has no value. \
             It would fit on node-a if selector 1 of request gpu were without \
             'model' in device.attributes['gpu.example.com'] && device.attributes['gpu.example.com'].model == 'H100'.",
        ),
        (
            "a foreign driver's device without the attribute",
            Scene::nodes(1)
                .slice(json!({
                    "metadata": {"name": "foreign"},
                    "spec": {
                        "driver": "a.example.com", "nodeName": "node-a",
                        "pool": {"name": "node-a", "generation": 1, "resourceSliceCount": 1},
                        "devices": [{"name": "nic-0"}],
                    },
                }))
                .pool("node-a", gpus(1))
                .class("any", "true")
                .wants(wanted(&json!({
                    "deviceClassName": "any",
                    "selectors": [{"cel": {"expression": kind}}],
                }))),
            "selector_error",
            "0/1 node: selector 1 of request gpu has no answer: no such key: type (device \
             a.example.com/node-a/nic-0). It would fit on node-a if selector 1 of request gpu had device.driver == 'gpu.example.com' && \
             (device.attributes['gpu.example.com'].type == 'gpu') instead of \
             device.attributes['gpu.example.com'].type == 'gpu'.",
        ),
        (
            "a selector that does not compile",
            two().wants(wanted(&selecting(&["device.attribute['x'] == 1"]))),
            "selector_error",
            "0/1 node: selector 1 of request gpu does not compile: undefined field 'attribute'. \
             It would fit on node-a if selector 1 of request gpu were without device.attribute['x'] == 1.",
        ),
        (
            "a class that does not exist, and one with nearly the same name",
            two().wants(wanted(&json!({"deviceClassName": "gpus"}))),
            "class_missing",
            "0/1 node: DeviceClass gpus, which request gpu names, does not exist (the nearest name is gpu). \
             It would fit on node-a if request gpu named DeviceClass gpu.",
        ),
        (
            "a class that does not exist, and nothing like it",
            two().wants(wanted(&json!({"deviceClassName": "infiniband"}))),
            "class_missing",
            "0/1 node: DeviceClass infiniband, which request gpu names, does not exist.",
        ),
        (
            "a class that exists and selects nothing",
            two()
                .class("mig", "device.attributes['gpu.example.com'].type == 'mig'")
                .wants(wanted(&json!({"deviceClassName": "mig"}))),
            "class_selector",
            "0/1 node: the selector of DeviceClass mig is false on 2 devices: type is gpu, not mig. \
             It would fit on node-a if request gpu named DeviceClass gpu.",
        ),
    ]);
}

/// A GPU of 80Gi that claims share, of which one has 50Gi.
pub(super) fn shared(over: Value) -> Scene {
    let memory = json!({"memory": {"value": "80Gi", "requestPolicy": {"default": "10Gi"}}});
    let device = gpu("gpu-0", &json!({"allowMultipleAllocations": true, "capacity": memory}));
    let mut claim = holder("one", &["node-a/gpu/gpu-0"]);
    let result = &mut claim["status"]["allocation"]["devices"]["results"][0];
    merge(result, &json!({"shareID": "1", "consumedCapacity": {"memory": "50Gi"}}));
    let mut scene = Scene::nodes(1).pool("node-a", vec![device]);
    scene.claims.push(claim);
    scene.wants(wanted(&over))
}

/// A pod with a claim on a node, and another claim that could be met on `node-a`.
pub(super) fn bound(node: &str) -> Scene {
    let mut claim = holder("shared", &[&format!("{node}/gpu/gpu-7")]);
    claim["status"]["allocation"]["nodeSelector"] = json!({"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": [node]},
    ]}]});
    let mut scene = Scene::nodes(2)
        .pool("node-a", gpus(1))
        .pool("node-b", vec![gpu("gpu-7", &json!({}))])
        .claim("train", wanted(&json!({})));
    scene.claims.push(claim);
    scene.pod(&["train", "shared"], &json!({}))
}

/// A pod with a claim that so many others use.
pub(super) fn reserved(count: usize) -> Scene {
    let mut claim = holder("shared", &["node-a/gpu/gpu-0"]);
    let users = (0..count).map(|number| json!({"resource": "pods", "uid": number.to_string()}));
    claim["status"]["reservedFor"] = Value::Array(users.collect());
    let mut scene = Scene::nodes(1).pool("node-a", gpus(2)).claim("train", wanted(&json!({})));
    scene.claims.push(claim);
    scene.pod(&["train", "shared"], &json!({}))
}

/// A GPU with 8 slices of memory, of which a device takes so many.
pub(super) fn partitions(devices: &[(&str, &str)]) -> Scene {
    let part = |(name, slices): &(&str, &str)| {
        let taken = json!([{"counterSet": "gpu-0", "counters": {"memory-slices": {"value": slices}}}]);
        gpu(name, &json!({"consumesCounters": taken, "attributes": {"name": {"string": name}}}))
    };
    let sets = json!([{"name": "gpu-0", "counters": {"memory-slices": {"value": "8"}}}]);
    let devices: Vec<Value> = devices.iter().map(part).collect();
    Scene::nodes(1).slice(slice("node-a", "node-a/gpu", 2, &json!({"sharedCounters": sets}))).slice(slice(
        "node-a",
        "node-a/gpu",
        2,
        &json!({"devices": devices}),
    ))
}

#[test]
fn what_others_leave_of_devices() {
    let named = |name: &str| selecting(&[&format!("device.attributes['gpu.example.com'].name == '{name}'")]);
    let parts = || partitions(&[("whole", "8"), ("half-0", "4"), ("half-1", "4")]);
    let tainted = |effect: &str| {
        let taint = json!({"taints": [{"key": "nvidia.com/xid", "value": "79", "effect": effect}]});
        Scene::nodes(1).pool("node-a", vec![gpu("gpu-0", &taint), gpu("gpu-1", &taint)])
    };
    let memory = |amount: &str| json!({"capacity": {"requests": {"memory": amount}}});
    check(vec![
        (
            "a half is in use, so the whole cannot be had",
            parts().holder("one", &["node-a/gpu/half-0"]).wants(wanted(&named("whole"))),
            "counters",
            "0/1 node: counter memory-slices of gpu-0 is short by 4: 1 device on node-a needs 8 of it (1 claim: \
             team/one); the selector of request gpu is false on 2 devices: name is half-0, not whole (1), name is \
             half-1, not whole (1). It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "the whole itself is in use",
            parts().holder("one", &["node-a/gpu/whole"]).wants(wanted(&named("whole"))),
            "in_use",
            "0/1 node: 1 device on node-a is in use (1 claim: team/one); the selector of request gpu is false on 2 \
             devices: name is half-0, not whole (1), name is half-1, not whole (1). \
             It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "a taint",
            tainted("NoExecute").wants(wanted(&json!({}))),
            "device_taint",
            "0/1 node: 2 devices on node-a are tainted nvidia.com/xid=79:NoExecute. It would fit on node-a if the \
             taint nvidia.com/xid=79:NoExecute were gone from the devices, or request gpu tolerated it.",
        ),
        (
            "a taint that is tolerated, on devices in use",
            tainted("NoSchedule").holder("one", &["node-a/gpu/gpu-0", "node-a/gpu/gpu-1"]).wants(wanted(
                &json!({
                    "tolerations": [{"key": "nvidia.com/xid", "operator": "Exists"}],
                }),
            )),
            "in_use",
            "0/1 node: 2 devices on node-a are in use (1 claim: team/one). \
             It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "too little is left of a capacity",
            shared(memory("40Gi")),
            "capacity",
            "0/1 node: capacity memory: 30Gi of 80Gi is left on 1 device on node-a, and 40Gi is asked for (1 claim: \
             team/one). It would fit on node-a if claim team/one gave back its devices.",
        ),
        (
            "more of a capacity than there is",
            shared(memory("100Gi")),
            "capacity",
            "0/1 node: capacity memory: 30Gi of 80Gi is left on 1 device on node-a, and 100Gi is asked for (1 claim: \
             team/one). It would fit on node-a if request gpu asked for 30Gi of memory.",
        ),
        (
            "a capacity that devices do not have",
            Scene::nodes(1)
                .pool("node-a", gpus(2))
                .wants(wanted(&json!({"capacity": {"requests": {"cores": "1"}}}))),
            "capacity",
            "0/1 node: 2 devices on node-a have no capacity cores.",
        ),
    ]);
}

#[test]
fn devices_that_fit_alone() {
    let on = |name: &str, numa: i64| gpu(name, &json!({"attributes": {"numaNode": {"int": numa}}}));
    let alike = |attribute: &str, count: u8| {
        json!({
            "requests": [{"name": "gpu", "exactly": ask(&json!({"count": count}))}],
            "constraints": [{"matchAttribute": format!("gpu.example.com/{attribute}")}],
        })
    };
    let two = || Scene::nodes(1).pool("node-a", vec![on("gpu-0", 0), on("gpu-1", 1)]);
    let requests = json!({"requests": [
        {"name": "big", "exactly": ask(&json!({"count": 2}))},
        {"name": "small", "exactly": ask(&json!({"count": 1}))},
    ]});
    check(vec![
        (
            "two devices that are not alike",
            two().wants(alike("numaNode", 2)),
            "constraint",
            "0/1 node: constraint matchAttribute gpu.example.com/numaNode does not hold for free devices on node-a: 0 \
             on 1 device, 1 on 1 device. It would fit on node-a if claim team/train had no constraint about \
             gpu.example.com/numaNode.",
        ),
        (
            "three devices of two, alike or not",
            two().wants(alike("numaNode", 3)),
            "too_few_devices",
            "0/1 node: 3 devices are asked for on one node, and none of these nodes has more than 2 that match. \
             It would fit on node-a if request gpu asked for 1 device.",
        ),
        (
            "devices without what is to be alike",
            two().wants(alike("rack", 1)),
            "constraint",
            "0/1 node: 2 devices on node-a have no attribute gpu.example.com/rack, which constraint matchAttribute \
             compares. It would fit on node-a if claim team/train had no constraint about gpu.example.com/rack.",
        ),
        (
            "two requests, for each of which there is enough",
            two().wants(requests.clone()),
            "together",
            "0/1 node: each of the 2 requests finds enough devices by itself, but not all together on node-a. \
             It would fit on node-a if request big asked for 1 device.",
        ),
        (
            "two requests, one of which has too few",
            Scene::nodes(1).pool("node-a", gpus(1)).wants(requests),
            "too_few_devices",
            "0/1 node: 2 devices are asked for on one node, and none of these nodes has more than 1 that matches.",
        ),
        (
            "more than a claim can hold",
            two().wants(wanted(&json!({"count": 40}))),
            "too_few_devices",
            "0/1 node: at least 40 devices are asked for, and a claim holds 32 at most. \
             It would fit on node-a if request gpu asked for 2 devices.",
        ),
    ]);
}

#[test]
fn pools_that_are_not_right() {
    let some = |names: &[&str]| {
        let devices: Vec<Value> = names.iter().map(|name| gpu(name, &json!({}))).collect();
        slice("node-a", "node-a/gpu", 2, &json!({"devices": devices}))
    };
    check(vec![
        (
            "one slice of two",
            Scene::nodes(1).slice(some(&["gpu-0"])).wants(wanted(&json!({}))),
            "pool_incomplete",
            "0/1 node: pool gpu.example.com/node-a/gpu is incomplete (1 of 2 slices). It would fit on node-a if the \
             driver published the missing slices of pool gpu.example.com/node-a/gpu.",
        ),
        (
            "two slices with one device twice",
            Scene::nodes(1)
                .slice(some(&["gpu-0"]))
                .slice(some(&["gpu-0", "gpu-1"]))
                .wants(wanted(&json!({}))),
            "pool_invalid",
            "0/1 node: pool gpu.example.com/node-a/gpu is invalid: two devices have the name gpu-0. It would fit on \
             node-a if the driver published pool gpu.example.com/node-a/gpu without contradictions.",
        ),
        (
            "one slice of two, and all devices are asked for",
            Scene::nodes(1)
                .slice(some(&["gpu-0"]))
                .wants(wanted(&json!({"allocationMode": "All", "count": 0}))),
            "pool_incomplete",
            "0/1 node: pool gpu.example.com/node-a/gpu is incomplete (1 of 2 slices). It would fit on node-a if the \
             driver published the missing slices of pool gpu.example.com/node-a/gpu.",
        ),
    ]);
}

#[test]
fn nodes_where_the_pod_cannot_run() {
    let scene = |over: Value, spec: Value| {
        let mut scene = Scene::nodes(2).pool("node-a", gpus(1)).claim("train", wanted(&json!({})));
        merge(&mut scene.nodes[0], &over);
        scene.pod(&["train"], &spec)
    };
    let tainted = json!({"spec": {"taints": [{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}]}});
    check(vec![
        (
            "a label that the node lacks",
            scene(json!({}), json!({"nodeSelector": {"disk": "ssd"}})),
            "node_rules",
            "0/2 nodes: node-a lacks the label disk=ssd of the pod's nodeSelector, though the devices would fit there; \
             node-b lacks the label disk=ssd of the pod's nodeSelector. It would fit on node-a if the pod's nodeSelector did not \
             ask for disk, or the node had that label.",
        ),
        (
            "a taint of the node",
            scene(tainted.clone(), json!({})),
            "node_rules",
            "0/2 nodes: node-a has the taint dedicated=ml:NoSchedule, which the pod does not tolerate, though the \
             devices would fit there; node-b has no devices. It would fit on node-a if the node's taint dedicated=ml:NoSchedule were \
             gone, or the pod tolerated it.",
        ),
        (
            "a taint of the node that is tolerated, and a gate",
            scene(
                tainted,
                json!({
                    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
                    "schedulingGates": [{"name": "example.com/quota"}],
                }),
            ),
            "scheduler",
            "1/2 nodes: the devices fit, but the pod has the scheduling gates example.com/quota. \
             It would fit on node-a if the pod's scheduling gates were removed.",
        ),
        (
            "a node that is cordoned",
            scene(json!({"spec": {"unschedulable": true}}), json!({})),
            "node_rules",
            "0/2 nodes: node-a is cordoned, though the devices would fit there; node-b has no devices. \
             It would fit on node-a if the node were uncordoned.",
        ),
        (
            "a node that does not answer",
            scene(
                json!({"spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]}}),
                json!({}),
            ),
            "node_rules",
            "0/2 nodes: node-a is not Ready, though the devices would fit there; node-b has no devices. \
             It would fit on node-a if the node were Ready.",
        ),
        (
            "affinity",
            scene(
                json!({}),
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-b"]},
                    ]}],
                }}}}),
            ),
            "node_rules",
            "0/2 nodes: node-a is excluded by the pod's required node affinity, though the devices would fit there; \
             node-b has no devices. It would fit on node-a if the pod had no required node affinity.",
        ),
        (
            "a claim on a node without devices for the other",
            bound("node-b"),
            "claim_elsewhere",
            "0/2 nodes: claim team/shared is allocated already, and can be used on node-b only; 1 device on node-b is \
             in use (1 claim: team/shared).",
        ),
        (
            "a claim on the node with devices for the other",
            bound("node-a"),
            "scheduler",
            "1/2 nodes: the devices fit, so something else holds the pod back: see the scheduler's own Events.",
        ),
    ]);
}

#[test]
fn what_has_nothing_to_do_with_devices() {
    let mut unmade = Scene::nodes(1).pool("node-a", gpus(2)).pod(&[], &json!({}));
    unmade.pods[0]["spec"]["resourceClaims"] =
        json!([{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]);
    check(vec![
        (
            "256 consumers",
            reserved(256),
            "reserved_full",
            "0/1 node: claim team/shared is reserved for 256 consumers, and a claim can have no more. \
             It would fit on node-a if claim team/shared had one consumer less.",
        ),
        (
            "255 consumers",
            reserved(255),
            "scheduler",
            "1/1 node: the devices fit, so something else holds the pod back: see the scheduler's own Events.",
        ),
        (
            "no pod",
            Scene::nodes(1).pool("node-a", gpus(2)).claim("train", wanted(&json!({}))),
            "scheduler",
            "1/1 node: the devices fit, but no pod that uses the claim is waiting, and claims are allocated for pods only.",
        ),
        (
            "a claim that is not made yet",
            unmade,
            "scheduler",
            "0/1 node: no ResourceClaim was made of the ResourceClaimTemplate one-gpu yet.",
        ),
    ]);
}
