//! Why claims wait: one scenario for each reason, the remedy that makes it fit, and beside it the scenario that looks
//! the same and is not. The real scheduler is asked whether the remedy is one.

use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::scene::{Scene, request, selecting};

/// A scenario: its name is the reason that it is about.
type Scenario = for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, ()>;

const SCENARIOS: [(&str, Scenario); 17] = [
    ("in_use", |scene| in_use(scene).boxed_local()),
    ("device_taint", |scene| device_taint(scene).boxed_local()),
    ("class_missing", |scene| class_missing(scene).boxed_local()),
    ("class_selector", |scene| class_selector(scene).boxed_local()),
    ("request_selector", |scene| request_selector(scene).boxed_local()),
    ("selector_error", |scene| selector_error(scene).boxed_local()),
    ("counters", |scene| counters(scene).boxed_local()),
    ("capacity", |scene| capacity(scene).boxed_local()),
    ("constraint", |scene| constraint(scene).boxed_local()),
    ("too_few_devices", |scene| too_few_devices(scene).boxed_local()),
    ("pool_incomplete", |scene| pool_incomplete(scene).boxed_local()),
    ("pool_invalid", |scene| pool_invalid(scene).boxed_local()),
    ("node_rules", |scene| node_rules(scene).boxed_local()),
    ("claim_elsewhere", |scene| claim_elsewhere(scene).boxed_local()),
    ("together", |scene| together(scene).boxed_local()),
    ("reserved_full", |scene| reserved_full(scene).boxed_local()),
    ("scheduler", |scene| scheduler(scene).boxed_local()),
];

#[tokio::test]
async fn the_true_reason_is_told_and_its_remedy_makes_the_claim_fit() {
    let scene = Scene::new("explain").await;
    let only = std::env::var("DRA_SCENARIO").ok();
    let chosen = SCENARIOS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    // All at once: each has a node and a class of its own, and sees the others' devices from afar.
    join_all(chosen.map(|(_, scenario)| scenario(&scene))).await;
    let metrics = scene.controller.samples("dra_pending_claims").await;
    let waiting: Vec<_> =
        metrics.iter().filter(|(labels, value)| *value > 0.0 && of(&scene, labels)).collect();
    assert!(waiting.is_empty(), "all remedies were applied, but: {waiting:?}");
    scene.remove().await;
}

fn of(scene: &Scene, labels: &std::collections::BTreeMap<String, String>) -> bool {
    labels["device_class"].ends_with(&scene.driver)
}

/// What an Event says has all these parts, in this order.
fn says(told: &str, parts: &[&str]) {
    let mut rest = told;
    for part in parts {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("{part:?} is not, or not in its place, in: {told}"));
        rest = &rest[at + part.len()..];
    }
}

/// A node with two devices of a kind, and their class.
async fn two_devices(scene: &Scene, kind: &str, over: Value) -> (String, String) {
    let node = scene.node(kind).await;
    let class = scene.class(kind, None).await;
    let devices = [scene.device("gpu-0", kind, over.clone()), scene.device("gpu-1", kind, over)];
    scene.slice("gpus", &node, json!({"devices": devices})).await;
    (node, class)
}

/// Two devices, both of which another claim has.
async fn in_use(scene: &Scene) {
    let (node, class) = two_devices(scene, "in-use", json!({})).await;
    scene.wants("in-use-holder", &class, json!({"count": 2})).await;
    scene.allocated("in-use-holder").await;
    scene.wants("in-use", &class, json!({})).await;
    let told = scene.blocked("in-use", &class, "in_use").await;
    says(&told, &[&node]);
    scene.gone("in-use-holder").await;
    scene.allocated("in-use").await;
}

/// Two devices that nobody has: its twin is [`in_use`].
async fn device_taint(scene: &Scene) {
    let taint = json!({"taints": [{"key": "example.com/xid", "value": "79", "effect": "NoSchedule"}]});
    let (_, class) = two_devices(scene, "device-taint", taint).await;
    scene.wants("device-taint", &class, json!({})).await;
    let told = scene.blocked("device-taint", &class, "device_taint").await;
    says(&told, &["example.com/xid=79:NoSchedule"]);
    scene.gone("device-taint").await;
    let toleration = json!([{"key": "example.com/xid", "operator": "Exists", "effect": "NoSchedule"}]);
    scene.wants("device-taint", &class, json!({"tolerations": toleration})).await;
    scene.allocated("device-taint").await;
}

/// A class that is not there: its twin is [`class_selector`].
async fn class_missing(scene: &Scene) {
    let node = scene.node("class-missing").await;
    scene.slice("gpus", &node, json!({"devices": [scene.device("gpu-0", "class-missing", json!({}))]})).await;
    let class = scene.class_name("class-missing");
    scene.wants("class-missing", &class, json!({})).await;
    let told = scene.blocked("class-missing", &class, "class_missing").await;
    says(&told, &[&class]);
    scene.class("class-missing", None).await;
    scene.allocated("class-missing").await;
}

/// A class that is there, and selects nothing.
async fn class_selector(scene: &Scene) {
    let node = scene.node("class-selector").await;
    // The controller knows the class for its driver's, because it selects a device of another node.
    let elsewhere = scene.node("class-selector-other").await;
    let class = scene.class("class-selector", None).await;
    scene.slice("gpus", &node, json!({"devices": [scene.device("gpu-0", "another-kind", json!({}))]})).await;
    let kind = scene.device("gpu-0", "class-selector", json!({}));
    scene.slice("gpus", &elsewhere, json!({"devices": [kind]})).await;
    scene.wants("class-selector-holder", &class, json!({})).await;
    scene.allocated("class-selector-holder").await;
    scene.claim("class-selector", json!({"requests": [request(&class, json!({}))]})).await;
    scene.pod("class-selector", &["class-selector"], json!({"nodeSelector": {"for": node}})).await;
    let told = scene.blocked("class-selector", &class, "class_selector").await;
    says(&told, &[&class]);
    let device = scene.device("gpu-0", "class-selector", json!({}));
    scene.patch_slice("gpus", &node, json!({"devices": [device]})).await;
    scene.allocated("class-selector").await;
    scene.gone("class-selector-holder").await;
}

/// Devices with less memory than is asked for: its twin is [`selector_error`].
async fn request_selector(scene: &Scene) {
    let (_, class) = two_devices(scene, "request-selector", json!({})).await;
    let at_least = |memory: &str| {
        let memory = format!(
            "device.capacity['{}'].memory.compareTo(quantity('{memory}')) >= 0 && \
             device.attributes['{0}'].kind != ''",
            scene.driver
        );
        selecting(&memory)
    };
    scene.wants("request-selector", &class, at_least("100Gi")).await;
    let told = scene.blocked("request-selector", &class, "request_selector").await;
    says(&told, &["memory", "80Gi", "100Gi"]);
    scene.gone("request-selector").await;
    scene.wants("request-selector", &class, at_least("80Gi")).await;
    scene.allocated("request-selector").await;
}

/// Devices without the attribute that is asked for.
async fn selector_error(scene: &Scene) {
    let (_, class) = two_devices(scene, "selector-error", json!({})).await;
    let attributes = format!("device.attributes['{}']", scene.driver);
    scene.wants("selector-error", &class, selecting(&format!("{attributes}.model == 'H100'"))).await;
    let told = scene.blocked("selector-error", &class, "selector_error").await;
    says(&told, &["no such key: model"]);
    scene.gone("selector-error").await;
    let careful = format!("!('model' in {attributes}) || {attributes}.model == 'H100'");
    scene.wants("selector-error", &class, selecting(&careful)).await;
    scene.allocated("selector-error").await;
}

/// A whole GPU and its halves: one half is taken, so that the whole, which nobody has, is not to be had. Its twin is
/// [`in_use`].
async fn counters(scene: &Scene) {
    let node = scene.node("counters").await;
    let part = |name: &str, kind: &str, slices: &str| {
        let taken = json!([{"counterSet": "gpu-0", "counters": {"memory-slices": {"value": slices}}}]);
        scene.device(name, kind, json!({"consumesCounters": taken}))
    };
    let pool = json!({"name": format!("{node}/gpu"), "generation": 1, "resourceSliceCount": 2});
    let sets = json!([{"name": "gpu-0", "counters": {"memory-slices": {"value": "8"}}}]);
    scene.slice("counters", &node, json!({"pool": pool, "sharedCounters": sets})).await;
    let parts = [part("whole", "counters", "8"), part("half-0", "half", "4"), part("half-1", "half", "4")];
    scene.slice("gpus", &node, json!({"pool": pool, "devices": parts})).await;
    let (class, half) = (scene.class("counters", None).await, scene.class("half", None).await);
    scene.wants("counters-half", &half, json!({})).await;
    scene.allocated("counters-half").await;
    scene.wants("counters", &class, json!({})).await;
    let told = scene.blocked("counters", &class, "counters").await;
    says(&told, &["memory-slices", "gpu-0", "4"]);
    scene.gone("counters-half").await;
    scene.allocated("counters").await;
}

/// A device that is shared by its memory, of which too little is left: its twin is [`counters`].
async fn capacity(scene: &Scene) {
    let node = scene.node("capacity").await;
    let class = scene.class("capacity", None).await;
    let memory = json!({"value": "80Gi", "requestPolicy": {"default": "10Gi"}});
    let device = scene.device(
        "gpu-0",
        "capacity",
        json!({"allowMultipleAllocations": true, "capacity": {"memory": memory}}),
    );
    scene.slice("gpus", &node, json!({"devices": [device]})).await;
    let memory = |amount: &str| json!({"capacity": {"requests": {"memory": amount}}});
    scene.wants("capacity-holder", &class, memory("50Gi")).await;
    scene.allocated("capacity-holder").await;
    scene.wants("capacity", &class, memory("40Gi")).await;
    let told = scene.blocked("capacity", &class, "capacity").await;
    says(&told, &["memory", "30Gi"]);
    scene.gone("capacity").await;
    scene.wants("capacity", &class, memory("30Gi")).await;
    scene.allocated("capacity").await;
}

/// Two devices that are not alike in what the claim wants alike: its twin is [`too_few_devices`].
async fn constraint(scene: &Scene) {
    let node = scene.node("constraint").await;
    let class = scene.class("constraint", None).await;
    let on = |name: &str, numa: i64| {
        scene.device(name, "constraint", json!({"attributes": {"numaNode": {"int": numa}}}))
    };
    scene.slice("gpus", &node, json!({"devices": [on("gpu-0", 0), on("gpu-1", 1)]})).await;
    let two = request(&class, json!({"count": 2}));
    let alike = json!([{"matchAttribute": format!("{}/numaNode", scene.driver)}]);
    scene.claim("constraint", json!({"requests": [two], "constraints": alike})).await;
    scene.pod("constraint", &["constraint"], json!({})).await;
    let told = scene.blocked("constraint", &class, "constraint").await;
    says(&told, &["numaNode"]);
    scene.gone("constraint").await;
    scene.wants("constraint", &class, json!({"count": 2})).await;
    scene.allocated("constraint").await;
}

/// More devices than any node has.
async fn too_few_devices(scene: &Scene) {
    let (_, class) = two_devices(scene, "too-few", json!({})).await;
    scene.wants("too-few", &class, json!({"count": 3})).await;
    let told = scene.blocked("too-few", &class, "too_few_devices").await;
    says(&told, &["3", "2"]);
    scene.gone("too-few").await;
    scene.wants("too-few", &class, json!({"count": 2})).await;
    scene.allocated("too-few").await;
}

/// One slice of two: its twin is [`pool_invalid`].
async fn pool_incomplete(scene: &Scene) {
    let node = scene.node("incomplete").await;
    let class = scene.class("incomplete", None).await;
    let pool = json!({"name": format!("{node}/gpu"), "generation": 1, "resourceSliceCount": 2});
    let slice = |name: &str| json!({"pool": pool, "devices": [scene.device(name, "incomplete", json!({}))]});
    // One that could be had shows that the class is the driver's.
    let other = scene.node("incomplete-other").await;
    scene.slice("gpus", &other, json!({"devices": [scene.device("gpu-0", "incomplete", json!({}))]})).await;
    scene.slice("first", &node, slice("gpu-0")).await;
    scene.claim("incomplete", json!({"requests": [request(&class, json!({}))]})).await;
    scene.pod("incomplete", &["incomplete"], json!({"nodeSelector": {"for": node}})).await;
    let told = scene.blocked("incomplete", &class, "pool_incomplete").await;
    says(&told, &[&format!("{node}/gpu"), "1 of 2 slices"]);
    scene.slice("second", &node, slice("gpu-1")).await;
    scene.allocated("incomplete").await;
}

/// Two slices that contradict each other.
async fn pool_invalid(scene: &Scene) {
    let node = scene.node("invalid").await;
    let class = scene.class("invalid", None).await;
    let pool = json!({"name": format!("{node}/gpu"), "generation": 1, "resourceSliceCount": 2});
    let slice = |name: &str| json!({"pool": pool, "devices": [scene.device(name, "invalid", json!({}))]});
    scene.slice("first", &node, slice("gpu-0")).await;
    scene.slice("second", &node, slice("gpu-0")).await;
    scene.claim("invalid", json!({"requests": [request(&class, json!({}))]})).await;
    scene.pod("invalid", &["invalid"], json!({"nodeSelector": {"for": node}})).await;
    let told = scene.blocked("invalid", &class, "pool_invalid").await;
    says(&told, &[&format!("{node}/gpu"), "gpu-0"]);
    let other = scene.device("gpu-1", "invalid", json!({}));
    scene.patch_slice("second", &node, json!({"devices": [other]})).await;
    scene.allocated("invalid").await;
}

/// A node that would do, where the pod does not want to run: its twin is [`claim_elsewhere`].
async fn node_rules(scene: &Scene) {
    let (node, class) = two_devices(scene, "node-rules", json!({})).await;
    scene.claim("node-rules", json!({"requests": [request(&class, json!({}))]})).await;
    let label = format!("disk.{}", scene.driver);
    scene.pod("node-rules", &["node-rules"], json!({"nodeSelector": {label.clone(): "ssd"}})).await;
    let told = scene.blocked("node-rules", &class, "node_rules").await;
    says(&told, &[&label]);
    let labelled = Patch::Merge(json!({"metadata": {"labels": {label: "ssd"}}}));
    let nodes: Api<Node> = Api::all(scene.space.client.clone());
    nodes.patch(&node, &PatchParams::default(), &labelled).await.unwrap();
    scene.allocated("node-rules").await;
}

/// A pod whose other claim has a device on a node without devices for this one.
async fn claim_elsewhere(scene: &Scene) {
    let (here, class) = two_devices(scene, "elsewhere", json!({})).await;
    let (there, shared) = two_devices(scene, "elsewhere-shared", json!({})).await;
    scene.wants("elsewhere-shared", &shared, json!({})).await;
    scene.allocated("elsewhere-shared").await;
    scene.claim("elsewhere", json!({"requests": [request(&class, json!({}))]})).await;
    scene.pod("elsewhere", &["elsewhere", "elsewhere-shared"], json!({})).await;
    let told = scene.blocked("elsewhere", &class, "claim_elsewhere").await;
    says(&told, &["elsewhere-shared"]);
    let more =
        [scene.device("gpu-0", "elsewhere-shared", json!({})), scene.device("gpu-9", "elsewhere", json!({}))];
    assert_ne!(here, there);
    scene.patch_slice("gpus", &there, json!({"devices": more})).await;
    assert_eq!(scene.allocated("elsewhere").await, ["gpu-9"]);
}

/// Two claims of a pod, for each of which there is enough: its twin is [`too_few_devices`].
async fn together(scene: &Scene) {
    let (_, class) = two_devices(scene, "together", json!({})).await;
    for (claim, count) in [("together", 2), ("together-other", 1)] {
        scene.claim(claim, json!({"requests": [request(&class, json!({"count": count}))]})).await;
    }
    scene.pod("together", &["together", "together-other"], json!({})).await;
    let labels = [("device_class", class.as_str()), ("reason", "together")];
    scene.controller.until_value("dra_pending_claims", &labels, Some(2.0)).await;
    let explained = scene.explain(&["pod", "together"]).await;
    assert_eq!(explained["reason"], "together", "{explained:#}");
    scene.gone("together").await;
    scene.wants("together", &class, json!({"count": 1})).await;
    scene.pod("together-again", &["together-other"], json!({})).await;
    scene.allocated("together").await;
    scene.allocated("together-other").await;
}

/// A claim that has as many users as a claim can have. The pod's other claim waits for that.
async fn reserved_full(scene: &Scene) {
    let (_, class) = two_devices(scene, "reserved", json!({})).await;
    scene.wants("reserved-shared", &class, json!({})).await;
    scene.allocated("reserved-shared").await;
    let claims: Api<ResourceClaim> = scene.space.api();
    let reserve = async |count: usize| {
        // Of a kind that nobody knows: no controller takes them away.
        let others = (0..count).map(|number| {
            json!({"apiGroup": "example.com", "resource": "users", "name": number.to_string(), "uid": number.to_string()})
        });
        let pod = scene.space.api::<Pod>().get("reserved-shared").await.unwrap();
        let pod = json!({"resource": "pods", "name": "reserved-shared", "uid": pod.metadata.uid});
        let reserved: Vec<_> = std::iter::once(pod).chain(others).collect();
        let status = Patch::Merge(json!({"status": {"reservedFor": reserved}}));
        claims.patch_status("reserved-shared", &PatchParams::default(), &status).await.unwrap();
    };
    reserve(255).await;
    scene.claim("reserved", json!({"requests": [request(&class, json!({}))]})).await;
    // In this order: the scheduler writes what it allocates claim by claim, and ends where it is refused.
    scene.pod("reserved", &["reserved-shared", "reserved"], json!({})).await;
    let told = scene.blocked("reserved", &class, "reserved_full").await;
    says(&told, &["reserved-shared", "256"]);
    reserve(0).await;
    scene.allocated("reserved").await;
}

/// Devices that fit, and a pod that is held back by something else: its twin is [`node_rules`].
async fn scheduler(scene: &Scene) {
    let (_, class) = two_devices(scene, "scheduler", json!({})).await;
    scene.claim("scheduler", json!({"requests": [request(&class, json!({}))]})).await;
    let gate = json!({"schedulingGates": [{"name": "example.com/quota"}]});
    scene.pod("scheduler", &["scheduler"], gate).await;
    let told = scene.blocked("scheduler", &class, "scheduler").await;
    says(&told, &["example.com/quota"]);
    let open = Patch::Json::<Pod>(
        serde_json::from_value(json!([{"op": "remove", "path": "/spec/schedulingGates"}])).unwrap(),
    );
    scene.space.api::<Pod>().patch("scheduler", &PatchParams::default(), &open).await.unwrap();
    scene.allocated("scheduler").await;
}

/// What is told stays as it is while nothing changes: one Event, however long.
#[tokio::test]
async fn an_event_is_not_repeated_while_nothing_changes() {
    let scene = Scene::new("steady").await;
    let (_, class) = two_devices(&scene, "steady", json!({})).await;
    scene.wants("steady", &class, json!({"count": 3})).await;
    scene.blocked("steady", &class, "too_few_devices").await;
    // Some rounds of explanations, while other tests change the cluster.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = scene.events("ResourceClaim", "steady").await;
    assert_eq!(events.len(), 1, "one Event, whose words may change: {events:#?}");
    let errors =
        scene.controller.value("dra_allocation_errors_total", &[("reason", "too_few_devices")]).await;
    assert_eq!(errors, Some(1.0));
    scene.remove().await;
}
