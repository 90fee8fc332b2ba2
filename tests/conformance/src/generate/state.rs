//! What other claims hold.

use serde_json::{Value, json};

use super::dice::Dice;
use super::pools::Known;
use super::profile::Profile;
use crate::case::Case;

/// Gives some of the devices to other claims.
pub(crate) fn allocate(dice: &mut Dice, profile: &Profile, devices: &[Known], case: &mut Case) {
    // Whole clusters are empty as often as they are busy.
    let percent = if dice.chance(40) { 0 } else { profile.allocated };
    for (number, device) in devices.iter().enumerate() {
        if !dice.chance(percent) {
            continue;
        }
        let name = json!({"driver": device.driver, "pool": device.pool, "device": device.device});
        // One in fifty is not what it should be: the device became one that can be shared, or is one no longer.
        if device.is_shared == dice.chance(2) {
            case.allocated_devices.push(name);
        } else {
            share(dice, device, number, &name, case);
        }
    }
}

fn share(dice: &mut Dice, device: &Known, number: usize, name: &Value, case: &mut Case) {
    for share in 0..dice.range(1, 2) {
        let mut with_id = name.clone();
        with_id["shareID"] = json!(format!("{number:08}-0000-4000-8000-{share:012}"));
        case.allocated_shared_devices.push(with_id);
    }
    let amounts = ["1Gi", "5Gi", "10Gi", "35Gi", "79Gi", "500M"];
    let capacity = device.capacity.iter().map(|name| (name.clone(), json!(dice.pick(&amounts))));
    let mut taken = name.clone();
    taken["capacity"] = Value::Object(capacity.collect());
    case.consumed_capacity.push(taken);
}
