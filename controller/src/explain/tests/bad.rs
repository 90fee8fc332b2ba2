//! Input that nobody should write: there is an answer, and it is clear.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// A guard against what hangs.
const GUARD: Duration = Duration::from_secs(30);

#[test]
fn odd_requests_have_a_clear_answer() {
    let one = |over: Value| Scene::nodes(1).pool("node-a", gpus(1)).wants(wanted(&over));
    let long = format!("device.driver in [{}]", vec!["'another driver'"; 600].join(", "));
    let many = format!("device.driver == 'x' && {}", vec!["true"; 1_000].join(" && "));
    let sum = format!("{} == 'x'", vec!["device.driver"; 700].join(" + "));
    let deep = format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000));
    let no_request = Scene::nodes(1).pool("node-a", gpus(1)).wants(json!({"requests": [{"name": "gpu"}]}));
    let mut odd = Scene::nodes(1).wants(wanted(&json!({})));
    odd.slices.push(json!({"metadata": {"name": "odd"}, "spec": {
        "driver": "", "nodeName": "node-a", "pool": {"name": "", "generation": -1, "resourceSliceCount": -5},
        "devices": [{}, {"name": "x", "attributes": {"": {}}, "capacity": {"": {}}}],
    }}));
    for (name, scene, reason, part) in [
        ("a mode that nobody knows", one(json!({"allocationMode": "Some"})), "selector_error", "Some"),
        ("a negative count", one(json!({"count": -1})), "selector_error", "asks for -1 devices"),
        ("no class", one(json!({"deviceClassName": ""})), "selector_error", "it names no DeviceClass"),
        ("nothing asked for", no_request, "selector_error", "neither exactly nor firstAvailable"),
        ("ten KiB of an expression", one(selecting(&[&long])), "request_selector", "is false on 1 device"),
        ("a thousand parts", one(selecting(&[&many])), "request_selector", "is false on 1 device"),
        ("a sum of seven hundred", one(selecting(&[&sum])), "selector_error", "nested more than"),
        ("two thousand brackets", one(selecting(&[&deep])), "selector_error", "does not compile"),
        ("an expression of nothing", one(selecting(&[""])), "selector_error", "does not compile"),
        ("a slice that says nothing right", odd, "pool_incomplete", "of -5 slices"),
        ("more than any number", one(json!({"count": i64::MAX})), "too_few_devices", "holds 32 at most"),
    ] {
        let started = Instant::now();
        let explained = scene.explained();
        let text = explained.text(&Audience::Everything);
        assert_eq!(explained.blocker.as_str(), reason, "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
        assert!(explained.note(&Audience::Everything).len() <= 1000, "{name}");
        assert!(started.elapsed() < GUARD, "{name}");
    }
}

#[test]
fn what_is_read_on_old_servers_says_to_upgrade() {
    let mut scene = Scene::nodes(1).pool("node-a", gpus(1)).wants(wanted(&json!({
        "capacity": {"requests": {"memory": "1Gi"}},
    })));
    scene.features = Some(Features::of_server(1, 35));
    assert_eq!(
        scene.explained().text(&Audience::Everything),
        "0/1 node: capacity of request gpu is something that this cluster's scheduler does not know; upgrade to \
         Kubernetes 1.36 or later."
    );
}

/// What a driver, a user or a broken client may write where something else belongs.
const ODD: [&str; 16] = [
    "null",
    "\"\"",
    "-1",
    "0",
    "9223372036854775807",
    "\"9223372036854775807\"",
    "\"-5Gi\"",
    "true",
    "[]",
    "{}",
    "\"All\"",
    "\"NoExecute\"",
    "\"not a label!\"",
    "\"device.attributes['x'].y.z == 1 || true\"",
    "\"gpu.example.com/gpu.example.com/x\"",
    "[{\"key\": \"\", \"operator\": \"In\", \"values\": []}]",
];

/// The values in an object that are no objects and no lists.
fn leaves(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(fields) => fields.iter_mut().flat_map(|(_, value)| leaves(value)).collect(),
        Value::Array(values) => values.iter_mut().flat_map(leaves).collect(),
        leaf => vec![leaf],
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 16, ..Default::default() })]

    /// [`Scene::explained`] holds what is told to help against the allocator.
    #[test]
    fn odd_objects_are_explained_without_a_panic(
        places in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0..ODD.len()), 2..12),
    ) {
        let mut scene = crowd::crowd().scene;
        // What is asked about keeps its name.
        scene.claims.push(json!({
            "metadata": {"namespace": "team", "name": "train", "uid": "train"},
            "spec": {"devices": wanted(&json!({"deviceClassName": "in_use.gpu.example.com"}))},
        }));
        let asked_about = scene.claims.pop().unwrap();
        for (place, odd) in places {
            let lists = [&mut scene.slices, &mut scene.classes, &mut scene.nodes, &mut scene.claims];
            let mut all: Vec<&mut Value> = lists.into_iter().flatten().flat_map(leaves).collect();
            let index = place.index(all.len());
            *all[index] = serde_json::from_str(ODD[odd]).unwrap();
        }
        // What cannot even be read never comes here.
        scene.slices.retain(|one| serde_json::from_value::<crate::model::object::Slice>(one.clone()).is_ok());
        scene.classes.retain(|one| serde_json::from_value::<crate::model::object::Class>(one.clone()).is_ok());
        scene.nodes.retain(|one| serde_json::from_value::<crate::model::object::Node>(one.clone()).is_ok());
        scene.claims.retain(|one| serde_json::from_value::<crate::model::object::Claim>(one.clone()).is_ok());
        scene.pods.clear();
        scene.claims.push(asked_about);
        let cluster = scene.cluster();
        let (cache, cancel) = (cel::Cache::default(), Cancel::default());
        for claim in cluster.claims().values() {
            let explained = explain(&cluster, &Asked::of_claim(claim), &cache, &cancel);
            let text = explained.text(&Audience::Everything);
            proptest::prop_assert!(text.ends_with('.') && text.len() < 10_000, "{}", text);
        }
        scene.explained();
    }
}
