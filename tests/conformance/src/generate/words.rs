//! The few names that everything is made of: few, so that things meet.

use serde_json::{Value, json};

use super::dice::Dice;

pub(crate) const DRIVERS: [&str; 3] = ["gpu.example.com", "gpu.nvidia.com", "nic.example.com"];
pub(crate) const NODE: &str = "node-b";
/// Nodes on either side of [`NODE`] in the order of names.
pub(crate) const OTHER_NODES: [&str; 2] = ["node-a", "node-c"];
pub(crate) const ZONES: [&str; 2] = ["east", "west"];
pub(crate) const MODELS: [&str; 3] = ["a", "b", "c"];
pub(crate) const ROOTS: [&str; 3] = ["pci0", "pci1", "pci2"];
pub(crate) const VERSIONS: [&str; 3] = ["1.2.3", "2.0.0-rc.1", "2.0.0"];
pub(crate) const PORTS: [&str; 4] = ["p0", "p1", "p2", "p3"];
/// An attribute that has one name for all drivers.
pub(crate) const ROOT: &str = "resource.kubernetes.io/pcieRoot";
/// Attributes whose names belong to the driver, and which every device has unless it has a gap.
pub(crate) const ATTRIBUTES: [&str; 5] = ["model", "numa", "healthy", "version", "index"];
pub(crate) const TAINT_KEYS: [&str; 2] = ["example.com/broken", "example.com/drained"];
pub(crate) const CLASSES: [&str; 4] = ["any", "gpu", "good", "nic"];

/// The labels of the node that is asked about.
pub(crate) fn node(zone: &str) -> Value {
    json!({"metadata": {"name": NODE, "labels": {"zone": zone, "gpus": "8"}}})
}

/// A selector for nodes; that of a cluster which has the node most of the time.
pub(crate) fn node_selector(dice: &mut Dice) -> Value {
    let requirement = match dice.range(0, 7) {
        0 | 1 => json!({"key": "zone", "operator": "In", "values": [dice.pick(&ZONES)]}),
        2 => json!({"key": "zone", "operator": "In", "values": ["west", "east"]}),
        3 => json!({"key": "zone", "operator": "NotIn", "values": ["north"]}),
        4 => json!({"key": "gpus", "operator": "Exists"}),
        5 => json!({"key": "gpus", "operator": "Gt", "values": ["4"]}),
        6 => json!({"key": "cpu-only", "operator": "DoesNotExist"}),
        _ => json!({"key": "gpus", "operator": "Lt", "values": ["9"]}),
    };
    let mut term = json!({"matchExpressions": [requirement]});
    if dice.chance(25) {
        let more = json!({"key": "zone", "operator": "In", "values": ["east", "west"]});
        term["matchExpressions"] = json!([requirement, more]);
    }
    if dice.chance(20) {
        let name = if dice.chance(80) { NODE } else { OTHER_NODES[0] };
        term["matchFields"] = json!([{"key": "metadata.name", "operator": "In", "values": [name]}]);
    }
    json!({"nodeSelectorTerms": [term]})
}
