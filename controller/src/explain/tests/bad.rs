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
