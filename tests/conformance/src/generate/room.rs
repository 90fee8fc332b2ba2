//! A pool in which the choice of one large device decides whether small ones still fit beside it.
//!
//! The large devices take from the same counters, so that there is room for one of them alone, and each leaves another
//! rest. Whichever is chosen, the same devices can still be chosen one by one: only what is left of the counters tells
//! whether enough of them can be chosen together. Whoever forgets to look at that takes one failure for another.
//!
//! A last request may find nothing but a device on which its selector fails: an error, if the search ever comes there.

use serde_json::{Value, json};

use super::dice::Dice;
use super::pools::{Known, Pools};
use super::words::{DRIVERS, NODE};

const DRIVER: &str = DRIVERS[0];
/// The attribute by which requests tell large from small.
const SIZE: &str = "model";

/// Makes the pool, for the node that is asked about.
pub(crate) fn pool(dice: &mut Dice, into: &mut Pools) {
    let sets = if dice.chance(75) { 1 } else { 2 };
    let total = dice.range(9, 11);
    let mut devices = Vec::new();
    for set in 0..sets {
        // More than half of what there is, so that no two go together.
        let mut large: Vec<usize> = (0..dice.range(3, 5)).map(|_| dice.range(total / 2 + 1, total)).collect();
        if dice.chance(80) {
            // Those that leave the least come first.
            large.sort_unstable_by(|one, other| other.cmp(one));
        }
        let small: Vec<usize> = (0..dice.range(3, 4)).map(|_| if dice.chance(85) { 1 } else { 2 }).collect();
        devices.extend(large.into_iter().map(|units| device("a", set, units)));
        devices.extend(small.into_iter().map(|units| device("b", set, units)));
    }
    if dice.chance(60) {
        devices.push(json!({"attributes": {SIZE: {"string": "c"}}}));
    }
    if dice.chance(15) {
        dice.shuffle(&mut devices);
    }
    for (number, device) in devices.iter_mut().enumerate() {
        device["name"] = json!(format!("device-{number}"));
        into.devices.push(Known {
            driver: DRIVER.to_owned(),
            pool: NODE.to_owned(),
            device: format!("device-{number}"),
            is_shared: false,
            capacity: Vec::new(),
        });
    }
    let counters = (0..sets)
        .map(|set| json!({"name": set_name(set), "counters": {"units": {"value": total.to_string()}}}));
    let mut slices = [slice("counters"), slice("devices")];
    slices[0]["spec"]["sharedCounters"] = counters.collect();
    slices[1]["spec"]["devices"] = json!(devices);
    into.slices.extend(slices);
}

/// What the requests of a claim ask for: first a large device, then small ones.
pub(crate) fn wanted(dice: &mut Dice, at: usize, wanted: &mut Value) {
    let own = format!(r#"device.attributes["{DRIVER}"]"#);
    let (expression, most) = match at {
        0 => (format!(r#"{own}.{SIZE} == "a""#), 1),
        2 if dice.chance(60) => (format!("{own}.numa > 1"), 1),
        _ => (format!(r#"{own}.{SIZE} == "b""#), 3),
    };
    wanted["deviceClassName"] = json!("any");
    wanted["count"] = json!(dice.range(most.min(2), most));
    wanted["selectors"] = json!([{"cel": {"expression": expression}}]);
}

fn slice(stem: &str) -> Value {
    json!({
        "metadata": {"name": format!("{stem}-{DRIVER}-{NODE}")},
        "spec": {
            "driver": DRIVER,
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 2},
        },
    })
}

fn device(size: &str, set: usize, units: usize) -> Value {
    json!({
        "attributes": {SIZE: {"string": size}, "numa": {"int": set}},
        "consumesCounters": [{
            "counterSet": set_name(set),
            "counters": {"units": {"value": units.to_string()}},
        }],
    })
}

fn set_name(set: usize) -> String {
    format!("set-{set}")
}
