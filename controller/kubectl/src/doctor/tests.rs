//! Clusters with one thing wrong each, beside one that is right.

use dra_controller::allocator::Features;
use dra_controller::cluster::{Cluster, Lists};
use dra_controller::model::object::{Class, Slice};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Check, Facts, Level, Program, checks};
use crate::read::Hidden;

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The objects of a cluster.
struct Scene {
    version: Option<(u32, u32)>,
    slices: Vec<Value>,
    class: Value,
    node: Value,
    plugin: Value,
    plugin_pod: Value,
    controller: Value,
    webhook: Value,
    configuration: Value,
    hidden: Vec<Hidden>,
}

/// One in which all is well.
fn sound() -> Scene {
    let deployment = |name: &str, command: &str| {
        json!({
            "metadata": {"name": name, "namespace": "gpus"},
            "spec": {"replicas": 1, "selector": {}, "template": {"spec": {"containers": [{
                "name": name, "command": ["/usr/bin/dra-controller", command],
                "env": [{"name": "DRIVER_NAME", "value": "eks-hybrid-dra"}],
            }]}}},
            "status": {"availableReplicas": 1},
        })
    };
    Scene {
        version: Some((1, 36)),
        slices: vec![slice("eks-hybrid-dra", 1)],
        class: json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [
            {"cel": {"expression": "device.driver == 'eks-hybrid-dra'"}},
        ]}}),
        node: json!({
            "metadata": {"name": "node-a", "labels": {"nvidia.com/gpu.present": "true"}},
            "spec": {},
            "status": {"nodeInfo": {
                "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.2",
                "architecture": "amd64", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "",
                "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": "",
            }},
        }),
        plugin: json!({
            "metadata": {"name": "plugin", "namespace": "gpus"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{
                "name": "plugin", "command": ["/usr/bin/dra-kubelet-plugin", "run"],
            }]}}},
            "status": {
                "numberReady": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 0,
            },
        }),
        plugin_pod: json!({
            "metadata": {"name": "plugin-1"},
            "spec": {"nodeName": "node-a", "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }),
        controller: deployment("controller", "run"),
        webhook: deployment("webhook", "webhook"),
        configuration: json!({"metadata": {"name": "w"}, "webhooks": []}),
        hidden: Vec::new(),
    }
}

fn slice(driver: &str, of: i64) -> Value {
    json!({
        "metadata": {"name": format!("{driver}-1")},
        "spec": {
            "driver": driver, "nodeName": "node-a",
            "pool": {"name": "node-a/gpu", "generation": 1, "resourceSliceCount": of},
            "devices": [{"name": "gpu-0"}],
        },
    })
}

fn found(scene: Scene) -> Vec<Check> {
    let slices: Vec<Slice> = scene.slices.into_iter().map(from).collect();
    let classes: Vec<Class> = vec![from(scene.class)];
    let lists = Lists { slices, classes, nodes: vec![from(scene.node.clone())], ..Lists::default() };
    let list = |value: Value| if value.is_null() { Vec::new() } else { vec![value] };
    checks(&Facts {
        driver: "eks-hybrid-dra".to_owned(),
        version: scene.version,
        cluster: Cluster::of(Features::default(), lists),
        nodes: vec![from(scene.node)],
        plugins: list(scene.plugin).into_iter().map(from).collect(),
        plugin_pods: list(scene.plugin_pod).into_iter().map(from).collect(),
        deployments: [list(scene.controller), list(scene.webhook)].concat().into_iter().map(from).collect(),
        webhooks: vec![from(scene.configuration)],
        hidden: scene.hidden,
    })
}

#[test]
fn where_all_is_well_nothing_is_found() {
    let bad: Vec<Check> = found(sound()).into_iter().filter(|check| check.level > Level::Unseen).collect();
    assert_eq!(bad, []);
}

/// What is broken, how, and what is found: its level, its name, and words of its message or fix.
type Case = (&'static str, fn(&mut Scene), Level, &'static str, &'static str);

#[test]
fn each_trouble_is_found_alone() {
    use Level::{Problem, Warning};
    let cases: [Case; 20] = [
        ("before DRA", |s| s.version = Some((1, 33)), Problem, "Kubernetes", "upgrade to 1.36"),
        ("fields are dropped", |s| s.version = Some((1, 35)), Warning, "Kubernetes", "drops taints"),
        ("no version", |s| s.version = None, Warning, "Kubernetes", "kubectl version"),
        (
            "no class",
            |s| s.class["spec"] = json!({}),
            Problem,
            "DeviceClasses",
            "deviceClasses.gpu.create=true",
        ),
        ("no slices", |s| s.slices.clear(), Problem, "ResourceSlices", "publishes no devices"),
        (
            "a slice is missing",
            |s| s.slices = vec![slice("eks-hybrid-dra", 2)],
            Problem,
            "ResourceSlices",
            "has 1 of 2 slices",
        ),
        (
            "one device twice",
            |s| s.slices[0]["spec"]["devices"] = json!([{"name": "gpu-0"}, {"name": "gpu-0"}]),
            Problem,
            "ResourceSlices",
            "two devices have the name gpu-0",
        ),
        (
            "a fault",
            |s| {
                let taints = json!([{"key": "fault", "value": "xid-79", "effect": "NoSchedule"}]);
                s.slices[0]["spec"]["devices"][0]["taints"] = taints;
            },
            Warning,
            "device taints",
            "node-a/gpu/gpu-0 (fault=xid-79:NoSchedule)",
        ),
        (
            "no plugin pod is ready",
            |s| s.plugin["status"]["numberReady"] = json!(0),
            Problem,
            "plugin",
            "0 of 1 pods are ready",
        ),
        (
            "no node is wanted",
            |s| s.plugin["status"]["desiredNumberScheduled"] = json!(0),
            Problem,
            "plugin",
            "nodeSelector",
        ),
        ("no plugin", |s| s.plugin = Value::Null, Problem, "plugin", "install the chart"),
        ("no controller", |s| s.controller = Value::Null, Warning, "controller", "controller.enabled=true"),
        ("no webhook", |s| s.webhook = Value::Null, Warning, "webhook", "webhook.enabled=true"),
        (
            "nobody answers a webhook that must answer",
            |s| {
                s.webhook["status"] = json!({});
                s.configuration["webhooks"] = json!([{
                    "name": "w", "failurePolicy": "Fail", "admissionReviewVersions": [], "sideEffects": "None",
                    "clientConfig": {"service": {"name": "w", "namespace": "gpus"}},
                }]);
            },
            Problem,
            "webhook",
            "0 of 1 pods are available",
        ),
        (
            "a taint keeps the plugin away",
            |s| {
                s.plugin_pod = Value::Null;
                s.node["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
            },
            Problem,
            "plugin on GPU nodes",
            "gpu=yes:NoSchedule",
        ),
        (
            "a taint that is tolerated does not",
            |s| {
                s.plugin_pod = Value::Null;
                s.node["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
                s.plugin["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            },
            Problem,
            "plugin on GPU nodes",
            "there is no pod on node-a",
        ),
        (
            "containerd 1.7",
            |s| s.node["status"]["nodeInfo"]["containerRuntimeVersion"] = json!("containerd://1.7.27"),
            Warning,
            "CDI",
            "enable_cdi",
        ),
        (
            "an old kubelet",
            |s| s.node["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.33.1-eks-1"),
            Problem,
            "kubelet",
            "node-a (v1.33.1-eks-1)",
        ),
        (
            "a device plugin",
            |s| s.node["status"]["allocatable"] = json!({"nvidia.com/gpu": "8"}),
            Problem,
            "device plugin",
            "node-a",
        ),
        (
            "NVIDIA's driver",
            |s| {
                let mut other = slice("gpu.nvidia.com", 1);
                other["spec"]["pool"]["name"] = json!("node-a");
                s.slices.push(other);
            },
            Problem,
            "NVIDIA's DRA driver",
            "node-a",
        ),
    ];
    for (what, break_it, level, name, words) in cases {
        let mut scene = sound();
        break_it(&mut scene);
        let bad: Vec<Check> = found(scene).into_iter().filter(|check| check.level > Level::Unseen).collect();
        let [check] = &bad[..] else { panic!("{what}: {bad:#?}") };
        assert_eq!((check.level, check.name), (level, name), "{what}: {check:?}");
        let text = format!("{} {}", check.message, check.fix.as_deref().unwrap_or_default());
        assert!(text.contains(words), "{what}: {text}");
    }
}

#[test]
fn what_cannot_be_seen_is_no_problem_of_the_cluster() {
    let mut scene = sound();
    let seen = ["resourceslices", "deviceclasses", "daemonsets", "deployments"];
    scene.hidden = seen.map(|resource| Hidden { resource, group: "", own_namespace_only: false }).to_vec();
    (scene.slices, scene.plugin, scene.plugin_pod) = (Vec::new(), Value::Null, Value::Null);
    (scene.controller, scene.webhook) = (Value::Null, Value::Null);
    scene.class["spec"] = json!({});
    let bad: Vec<Check> = found(scene).into_iter().filter(|check| check.level > Level::Unseen).collect();
    assert_eq!(bad.len(), 4, "{bad:#?}");
    assert!(bad.iter().all(|check| check.name == "your rights" && check.level == Level::Warning), "{bad:#?}");
}

#[test]
fn a_program_is_known_by_its_words_and_its_driver() {
    let env = |name: &str| json!([{"name": "DRIVER_NAME", "value": name}]);
    let cases = [
        ("by default", json!({"name": "x", "command": ["/usr/bin/dra-kubelet-plugin", "run"]}), true),
        (
            "another command",
            json!({"name": "x", "command": ["/usr/bin/dra-kubelet-plugin", "inspect"]}),
            false,
        ),
        ("another program", json!({"name": "x", "command": ["/usr/bin/dra-controller", "run"]}), false),
        (
            "by the environment",
            json!({"name": "x", "command": ["dra-kubelet-plugin"], "args": ["run"], "env": env("eks-hybrid-dra")}),
            true,
        ),
        (
            "another driver",
            json!({"name": "x", "command": ["dra-kubelet-plugin", "run"], "env": env("another")}),
            false,
        ),
        (
            "by a flag, which goes first",
            json!({
                "name": "x", "command": ["dra-kubelet-plugin", "run", "--driver-name=eks-hybrid-dra"],
                "env": env("another"),
            }),
            true,
        ),
    ];
    for (what, container, wanted) in cases {
        assert_eq!(Program::Plugin.is_in(&from(container), "eks-hybrid-dra"), wanted, "{what}");
    }
}
