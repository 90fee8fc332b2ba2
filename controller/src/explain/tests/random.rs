//! Random clusters: whatever is told to help does, and nothing panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn device(number: usize) -> impl Strategy<Value = Value> {
    let memory = prop_oneof![Just("40Gi"), Just("80Gi"), Just("141Gi")];
    let kind = prop_oneof![4 => Just("gpu"), 1 => Just("mig")];
    let taint =
        proptest::option::weighted(0.2, prop_oneof![Just("NoSchedule"), Just("NoExecute"), Just("None")]);
    let counters = proptest::option::weighted(0.4, 1_u8..8);
    (memory, kind, 0_u8..2, taint, counters, any::<bool>()).prop_map(
        move |(memory, kind, numa, taint, counters, is_shared)| {
            let mut device = json!({
                "name": format!("gpu-{number}"),
                "attributes": {"type": {"string": kind}, "numa": {"int": numa}},
                "capacity": {"memory": {"value": memory}},
            });
            if let Some(effect) = taint {
                device["taints"] = json!([{"key": "sick", "value": "yes", "effect": effect}]);
            }
            if let Some(slices) = counters {
                device["consumesCounters"] =
                    json!([{"counterSet": "set", "counters": {"slices": {"value": slices.to_string()}}}]);
            }
            if is_shared && number == 0 {
                device["allowMultipleAllocations"] = json!(true);
            }
            device
        },
    )
}

fn request(name: &'static str) -> impl Strategy<Value = Value> {
    let class = prop_oneof![4 => Just("gpu"), 1 => Just("mig"), 1 => Just("gpuu")];
    let selector = proptest::option::of(prop_oneof![
        Just("device.capacity['gpu.example.com'].memory.compareTo(quantity('100Gi')) >= 0"),
        Just("device.attributes['gpu.example.com'].numa == 1"),
        Just("device.attributes['gpu.example.com'].numa in [3, 4] && device.driver != ''"),
        Just("device.attributes['gpu.example.com'].none == 1"),
        Just("has(device.attributes['gpu.example.com'].none) || device.driver.startsWith('x')"),
    ]);
    let mode = prop_oneof![6 => Just("ExactCount"), 1 => Just("All")];
    (class, selector, mode, 1_u8..5).prop_map(move |(class, selector, mode, count)| {
        let mut ask = json!({"deviceClassName": class, "allocationMode": mode, "count": count});
        if let Some(selector) = selector {
            merge(&mut ask, &selecting(&[selector]));
        }
        json!({"name": name, "exactly": ask})
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let devices = || {
        proptest::collection::vec(any::<u8>(), 0..5).prop_flat_map(|all| {
            all.into_iter().enumerate().map(|(number, _)| device(number)).collect::<Vec<_>>()
        })
    };
    let requests = prop_oneof![
        3 => request("one").prop_map(|one| vec![one]),
        1 => (request("one"), request("two")).prop_map(|(one, two)| vec![one, two]),
    ];
    let constraint =
        proptest::option::weighted(0.2, prop_oneof![Just("matchAttribute"), Just("distinctAttribute")]);
    let held = proptest::collection::vec((0_usize..2, 0_usize..5, any::<bool>()), 0..5);
    let slices = prop_oneof![6 => Just(2), 1 => Just(3)];
    let label = proptest::option::weighted(0.2, Just("ssd"));
    ((devices(), devices()), requests, constraint, held, slices, label).prop_map(
        |((first, second), requests, constraint, held, slices, label)| {
            let mut scene =
                Scene::nodes(3).class("mig", "device.attributes['gpu.example.com'].type == 'mig'");
            for (node, devices) in [("node-a", first), ("node-b", second)] {
                let pool = format!("{node}/gpu");
                let sets = json!([{"name": "set", "counters": {"slices": {"value": "8"}}}]);
                scene = scene
                    .slice(slice(node, &pool, slices, &json!({"sharedCounters": sets})))
                    .slice(slice(node, &pool, slices, &json!({"devices": devices})));
            }
            for (number, (node, device, is_ours)) in held.into_iter().enumerate() {
                let node = ["node-a", "node-b"][node];
                let namespace = if is_ours { "team" } else { "other" };
                let name = format!("{namespace}:claim-{number}");
                scene = scene.holder(&name, &[&format!("{node}/gpu/gpu-{device}")]);
            }
            let mut devices = json!({"requests": requests});
            if let Some(constraint) = constraint {
                devices["constraints"] = json!([{constraint: "gpu.example.com/numa"}]);
            }
            let spec = label.map_or(json!({}), |label| json!({"nodeSelector": {"disk": label}}));
            scene.claim("train", devices).pod(&["train"], &spec)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// [`Scene::explained`] applies the remedy and asks again.
    #[test]
    fn what_is_told_to_help_does(scene in scene()) {
        let explained = scene.explained();
        let (cluster, cache, cancel) = (scene.cluster(), cel::Cache::default(), Cancel::default());
        let fits = fits(&cluster, &asked(&cluster), &cache, &cancel);
        let text = explained.text(&Audience::Everything);
        let is_scheduler = explained.blocker == Blocker::Scheduler;
        // What has no answer on one node ends the search on all.
        let is_error = explained.findings.iter().any(|finding| matches!(finding.what, What::Error { .. }));
        prop_assert!(fits == is_scheduler || is_error, "{}", text);
        prop_assert!(!explained.findings.is_empty());
        prop_assert!(text.ends_with('.') && !text.contains(".."), "{}", text);
    }
}

/// Some scenes have no devices, or fewer than requests: nothing helps there.
#[test]
fn most_of_what_is_blocked_is_told_what_would_help() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut blocked, mut helped) = (0, 0);
    for _ in 0..200 {
        let explained = scene().new_tree(&mut runner).unwrap().current().explained();
        if explained.blocker != Blocker::Scheduler {
            blocked += 1;
            helped += usize::from(explained.remedy.is_some());
        }
    }
    assert!(blocked > 80, "{blocked} are blocked");
    assert!(helped * 10 >= blocked * 7, "{helped} of {blocked} are told what would help");
}
