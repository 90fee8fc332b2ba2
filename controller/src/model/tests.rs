//! What is kept once, and what belongs to each device.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::attribute::{AttributeValue, QualifiedName};
use super::intern::{Device, Interner};
use super::inventory::Inventory;
use super::object;
use super::pool::PoolId;

const DRIVER: &str = "gpu.example.com";

fn device(interner: &mut Interner, json: &Value) -> Device {
    interner.device(&DRIVER.into(), serde_json::from_value(json.clone()).unwrap())
}

fn merged(mut base: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().unwrap() {
        base[field] = value.clone();
    }
    base
}

#[test]
fn devices_share_a_shape_when_they_say_the_same_and_only_then() {
    let base = json!({
        "name": "gpu-0",
        "attributes": {"index": {"int": 1}, "model": {"string": "H100"}},
        "capacity": {"memory": {"value": "80Gi"}},
    });
    let memory = |capacity: Value| json!({"capacity": {"memory": capacity}});
    let policy = |policy: Value| memory(json!({"value": "80Gi", "requestPolicy": policy}));
    let changes = [
        ("an attribute's value", json!({"attributes": {"index": {"int": 2}, "model": {"string": "H100"}}})),
        ("an attribute's kind", json!({"attributes": {"index": {"int": 1}, "model": {"version": "1.0.0"}}})),
        ("another kind", json!({"attributes": {"index": {"int": 1}, "model": {"version": "2.0.0"}}})),
        ("a truth", json!({"attributes": {"index": {"bool": true}, "model": {"string": "H100"}}})),
        ("a list", json!({"attributes": {"index": {"ints": [1]}, "model": {"string": "H100"}}})),
        ("a longer list", json!({"attributes": {"index": {"ints": [1, 1]}, "model": {"string": "H100"}}})),
        ("texts that are one when put together", json!({"attributes": {"model": {"strings": ["ab", "c"]}}})),
        ("the same, parted elsewhere", json!({"attributes": {"model": {"strings": ["a", "bc"]}}})),
        ("versions instead of texts", json!({"attributes": {"model": {"versions": ["ab", "c"]}}})),
        ("truths", json!({"attributes": {"model": {"bools": [true]}}})),
        ("an attribute's name", json!({"attributes": {"number": {"int": 1}, "model": {"string": "H100"}}})),
        ("no attribute", json!({"attributes": {}})),
        ("an amount", memory(json!({"value": "40Gi"}))),
        ("the same amount, written in another way", memory(json!({"value": "85899345920"}))),
        ("an empty policy", policy(json!({}))),
        ("a default", policy(json!({"default": "1Gi"}))),
        ("values", policy(json!({"validValues": ["1Gi"]}))),
        ("a least", policy(json!({"validRange": {"min": "1Gi"}}))),
        ("a most", policy(json!({"validRange": {"max": "1Gi"}}))),
        ("a step", policy(json!({"validRange": {"step": "1Gi"}}))),
        ("counters", json!({"consumesCounters": [{"counterSet": "a", "counters": {"x": {"value": "1"}}}]})),
        (
            "another set",
            json!({"consumesCounters": [{"counterSet": "b", "counters": {"x": {"value": "1"}}}]}),
        ),
        (
            "another counter",
            json!({"consumesCounters": [{"counterSet": "a", "counters": {"y": {"value": "1"}}}]}),
        ),
        ("more of it", json!({"consumesCounters": [{"counterSet": "a", "counters": {"x": {"value": "2"}}}]})),
        ("its node", json!({"nodeName": "a"})),
        ("all nodes", json!({"allNodes": true})),
        ("not all nodes", json!({"allNodes": false})),
        ("a node selector", json!({"nodeSelector": {"nodeSelectorTerms": []}})),
        (
            "another node selector",
            json!({"nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}}),
        ),
        ("a taint", json!({"taints": [{"key": "a", "effect": "NoSchedule"}]})),
        ("its value", json!({"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]})),
        ("its effect", json!({"taints": [{"key": "a", "effect": "NoExecute"}]})),
        ("binding to the node", json!({"bindsToNode": true})),
        ("no conditions", json!({"bindingConditions": []})),
        ("conditions", json!({"bindingConditions": ["a"]})),
        ("failure conditions", json!({"bindingFailureConditions": ["a"]})),
        ("several allocations", json!({"allowMultipleAllocations": true})),
        ("no several allocations", json!({"allowMultipleAllocations": false})),
    ];
    let mut interner = Interner::default();
    let first = device(&mut interner, &base);
    let namesake = device(&mut interner, &merged(base.clone(), &json!({"name": "gpu-1"})));
    assert!(Arc::ptr_eq(&first.shape, &namesake.shape), "a name is a device's own");
    assert_eq!(first.shape.number, namesake.shape.number);
    let mut seen = HashSet::from([first.shape.number]);
    for (what, change) in &changes {
        let other = device(&mut interner, &merged(base.clone(), change));
        assert!(
            seen.insert(other.shape.number),
            "{what}: it has the shape of a device that says another thing"
        );
    }
    assert_eq!(interner.shapes(), changes.len() + 1);
    drop((first, namesake));
    interner.shrink();
    assert_eq!(interner.shapes(), 0, "what nothing uses is forgotten");
}

#[test]
fn an_attribute_with_many_texts_belongs_to_the_devices() {
    let mut interner = Interner::default();
    let uuid = |number: usize| format!("GPU-{number:08}");
    let make = |interner: &mut Interner, number: usize| {
        let attributes = json!({"uuid": {"string": uuid(number)}, "model": {"string": "H100"}});
        device(interner, &json!({"name": "gpu", "attributes": attributes}))
    };
    let devices: Vec<Device> = (0..1000).map(|number| make(&mut interner, number)).collect();
    assert!(interner.shapes() < 100, "a thousand devices have {} shapes", interner.shapes());
    assert!(Arc::ptr_eq(&devices[998].shape, &devices[999].shape));
    let name = |written| QualifiedName::resolve(written, DRIVER);
    let text = |text: &str| Some(AttributeValue::String(text.into()));
    for (number, device) in devices.iter().enumerate() {
        assert_eq!(device.attribute(&name("uuid")), text(&uuid(number)));
        assert_eq!(device.attribute(&name("model")), text("H100"));
        assert_eq!(device.attribute(&name("serial")), None);
    }
}

#[test]
fn a_pool_changes_and_the_rest_of_the_inventory_is_the_same() {
    let slice = |node: &str, devices: usize| -> object::Slice {
        let devices: Vec<Value> =
            (0..devices).map(|number| json!({"name": format!("gpu-{number}")})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": format!("slice-{node}")},
            "spec": {
                "driver": DRIVER, "nodeName": node, "devices": devices,
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            },
        }))
        .unwrap()
    };
    let id = |node: &str| PoolId { driver: DRIVER.into(), name: node.into() };
    let node =
        |name: &str| -> object::Node { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    let seen = |inventory: &Inventory, name: &str| -> Vec<String> {
        let node = node(name);
        let views = inventory.views(Some(&node), true).unwrap();
        views.iter().map(|(pool, _)| pool.id.to_string()).collect()
    };
    let mut interner = Interner::default();
    let before = Inventory::new(vec![slice("a", 1), slice("b", 1)], &mut interner);
    let after = before.with_pool(id("a"), vec![slice("a", 2)], &mut interner);
    let gone = after.with_pool(id("a"), Vec::new(), &mut interner);

    let devices = |inventory: &Inventory| {
        inventory.pool(&id("a")).map(|pool| pool.slices().map(|slice| slice.devices.len()).sum::<usize>())
    };
    assert_eq!([devices(&before), devices(&after), devices(&gone)], [Some(1), Some(2), None]);
    assert!(Arc::ptr_eq(before.pool(&id("b")).unwrap(), gone.pool(&id("b")).unwrap()));
    assert_eq!(seen(&after, "a"), ["gpu.example.com/a"]);
    assert_eq!(seen(&after, "b"), ["gpu.example.com/b"]);
    assert_eq!(seen(&gone, "a"), [""; 0]);
    assert_eq!(seen(&before, "a"), ["gpu.example.com/a"], "the earlier snapshot is what it was");
}
