//! Pools of devices: their slices, and what a case's claims and allocations need to know of them.

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::features::Features;
use super::profile::Profile;
use super::words::{
    DRIVERS, MODELS, NODE, OTHER_NODES, PORTS, ROOT, ROOTS, TAINT_KEYS, VERSIONS, node_selector,
};

/// What a case offers.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pub(crate) slices: Vec<Value>,
    pub(crate) devices: Vec<Known>,
    /// Drivers that have a pool which is named after the node.
    node_pools: Vec<&'static str>,
    /// Whether one of those has counters.
    counted: bool,
}

/// A device, for those who allocate it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) driver: String,
    pub(crate) pool: String,
    pub(crate) device: String,
    pub(crate) is_shared: bool,
    /// Names of its capacities.
    pub(crate) capacity: Vec<String>,
}

/// Where a slice's devices are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Here,
    Elsewhere,
    Everywhere,
    Selected,
    PerDevice,
}

/// Makes one pool.
pub(crate) fn pool(dice: &mut Dice, profile: &Profile, features: &Features, number: usize, into: &mut Pools) {
    let maker = Maker::new(dice, profile, features, number, into);
    maker.make(dice, into);
}

/// What the slices of one pool have in common.
#[derive(Debug)]
struct Maker<'a> {
    profile: &'a Profile,
    features: &'a Features,
    driver: &'static str,
    name: String,
    place: Place,
    counters: bool,
    sets: usize,
    taints: bool,
    binding: bool,
    gaps: bool,
    /// All devices alike: no number of their own, one shape.
    alike: bool,
    qualified: bool,
}

impl<'a> Maker<'a> {
    fn new(
        dice: &mut Dice,
        profile: &'a Profile,
        features: &'a Features,
        number: usize,
        into: &mut Pools,
    ) -> Self {
        let driver = if dice.chance(60) { DRIVERS[0] } else { *dice.pick(&DRIVERS) };
        let place = if dice.chance(profile.per_device) {
            Place::PerDevice
        } else {
            match dice.range(if number == 0 { 0 } else { 6 }, 19) {
                0..=11 => Place::Here,
                12 => Place::Elsewhere,
                13..=15 => Place::Everywhere,
                _ => Place::Selected,
            }
        };
        let counters = dice.chance(profile.counters);
        // Upstream takes two pools of one name for one where both have counters; a kept case has that.
        let is_taken = into.node_pools.contains(&driver) || (counters && into.counted);
        let name = if !is_taken && dice.chance(40) {
            into.node_pools.push(driver);
            into.counted |= counters;
            NODE.to_owned()
        } else {
            let stem = *dice.pick(&["rack", "node-b/gpus", "shelf"]);
            format!("{stem}-{number}")
        };
        Self {
            profile,
            features,
            driver,
            name,
            place,
            counters,
            sets: dice.range(1, 2),
            taints: dice.chance(profile.taints),
            binding: dice.chance(profile.binding),
            gaps: dice.chance(profile.gaps),
            alike: dice.chance(35),
            qualified: dice.chance(15),
        }
    }

    fn make(&self, dice: &mut Dice, into: &mut Pools) {
        let generation = dice.range(1, 3);
        let wanted = dice.range(self.profile.slices.0, self.profile.slices.1);
        let mut slices = Vec::new();
        let mut serial = 0;
        let mut order: Vec<usize> = (0..wanted + 1).collect();
        dice.shuffle(&mut order);
        for slot in order.iter().take(wanted) {
            let place = if self.place != Place::PerDevice && dice.chance(if self.counters { 30 } else { 8 }) {
                Place::Elsewhere
            } else {
                self.place
            };
            let many = dice.range(self.profile.devices.0, self.profile.devices.1);
            let mut devices = Vec::new();
            for _ in 0..many {
                devices.push(self.device(dice, serial, place, into));
                serial += 1;
            }
            let mut slice = self.slice(dice, &slot.to_string(), generation, place);
            slice["spec"]["devices"] = Value::Array(devices);
            slices.push(slice);
        }
        if self.counters {
            let place = if self.place == Place::PerDevice { Place::Everywhere } else { self.place };
            let mut slice = self.slice(dice, "counters", generation, place);
            slice["spec"]["sharedCounters"] = (0..self.sets).map(|set| self.counter_set(dice, set)).collect();
            slices.push(slice);
        }
        let count = slices.len();
        for slice in &mut slices {
            slice["spec"]["pool"]["resourceSliceCount"] = json!(count);
        }
        self.age(dice, generation, &mut slices);
        if dice.chance(self.profile.broken_pool) {
            break_pool(dice, &mut slices);
        }
        into.slices.extend(slices);
    }

    /// Adds slices of another generation, as they stand in a cluster while a driver replaces its own.
    fn age(&self, dice: &mut Dice, generation: usize, slices: &mut Vec<Value>) {
        let newer = match dice.range(0, 99) {
            0..=5 => false,
            6..=7 => true,
            _ => return,
        };
        let place = if dice.chance(50) { Place::Elsewhere } else { Place::Here };
        let mut slice = self.slice(dice, "aged", generation, place);
        slice["spec"]["pool"]["generation"] = json!(if newer { generation + 1 } else { generation - 1 });
        slice["spec"]["pool"]["resourceSliceCount"] = json!(dice.range(1, 2));
        slice["spec"]["devices"] = json!([{"name": "device-0"}, {"name": "aged"}]);
        slices.push(slice);
    }

    fn slice(&self, dice: &mut Dice, stem: &str, generation: usize, place: Place) -> Value {
        let name = format!("{stem}-{}-{}", self.driver, self.name.replace('/', "-"));
        let pool = json!({"name": self.name, "generation": generation, "resourceSliceCount": 1});
        let mut slice = json!({"metadata": {"name": name}, "spec": {"driver": self.driver, "pool": pool}});
        let spec = &mut slice["spec"];
        match place {
            Place::Here => spec["nodeName"] = json!(NODE),
            Place::Elsewhere => spec["nodeName"] = json!(dice.pick(&OTHER_NODES)),
            Place::Everywhere => spec["allNodes"] = json!(true),
            Place::Selected => spec["nodeSelector"] = node_selector(dice),
            Place::PerDevice => spec["perDeviceNodeSelection"] = json!(true),
        }
        slice
    }

    fn device(&self, dice: &mut Dice, serial: usize, place: Place, into: &mut Pools) -> Value {
        let is_shared = dice.chance(self.profile.shared);
        let capacity = self.capacity(dice, is_shared);
        let name = format!("device-{serial}");
        into.devices.push(Known {
            driver: self.driver.to_owned(),
            pool: self.name.clone(),
            device: name.clone(),
            is_shared,
            capacity: capacity.keys().cloned().collect(),
        });
        let mut device = json!({"name": name, "attributes": self.attributes(dice, serial)});
        if !capacity.is_empty() {
            device["capacity"] = Value::Object(capacity);
        }
        if is_shared {
            device["allowMultipleAllocations"] = json!(true);
        } else if dice.chance(2) {
            device["allowMultipleAllocations"] = json!(false);
        }
        if self.counters && dice.chance(80) {
            device["consumesCounters"] = self.consumed_counters(dice);
        }
        if self.taints && dice.chance(45) {
            device["taints"] = (0..dice.range(1, 2)).map(|_| taint(dice)).collect();
        }
        if self.binding && dice.chance(60) {
            device["bindingConditions"] = json!(["example.com/Attached"]);
            device["bindingFailureConditions"] = json!(["example.com/Failed"]);
        }
        if self.binding && dice.chance(30) {
            device["bindsToNode"] = json!(true);
        }
        if place == Place::PerDevice {
            match dice.range(0, 9) {
                0..=4 => device["nodeName"] = json!(NODE),
                5 => device["nodeName"] = json!(OTHER_NODES[1]),
                6 | 7 => device["allNodes"] = json!(true),
                _ => device["nodeSelector"] = node_selector(dice),
            }
        }
        device
    }

    fn attributes(&self, dice: &mut Dice, serial: usize) -> Map<String, Value> {
        let mut attributes = Map::new();
        let mut add = |dice: &mut Dice, name: &str, value: Value| {
            if !(self.gaps && dice.chance(12)) {
                let name = if self.qualified && !name.contains('/') {
                    format!("{}/{name}", self.driver)
                } else {
                    name.to_owned()
                };
                attributes.insert(name, value);
            }
        };
        let shape = if self.alike { 0 } else { dice.range(0, 8) };
        let odd = self.gaps && dice.chance(10);
        let model = if odd { json!({"int": 1}) } else { json!({"string": MODELS[shape % 3]}) };
        add(dice, "model", model);
        add(dice, "numa", json!({"int": shape % 2}));
        add(dice, "healthy", json!({"bool": shape != 5}));
        add(dice, "version", json!({"version": VERSIONS[shape / 3]}));
        let index = if self.alike { 0 } else { serial / dice.range(1, 2) };
        add(dice, "index", json!({"int": index}));
        if dice.chance(70) {
            let root = if self.alike { ROOTS[0] } else { *dice.pick(&ROOTS) };
            add(dice, ROOT, json!({"string": root}));
        }
        if self.features.lists() && dice.chance(80) {
            let ports = dice.some(&PORTS, 55);
            match ports.len() {
                0 => add(dice, "ports", json!({"string": PORTS[0]})),
                _ => add(dice, "ports", json!({"strings": ports})),
            }
            match dice.range(0, 5) {
                0 => add(dice, "lanes", json!({"int": 1})),
                1 => add(dice, "lanes", json!({"versions": ["1.0.0", "2.0.0"]})),
                2 => add(dice, "lanes", json!({"bools": [true, false]})),
                _ => {
                    let lanes = *dice.pick(&[&[1, 2][..], &[2, 3], &[3], &[1, 2, 3]]);
                    add(dice, "lanes", json!({"ints": lanes}));
                }
            }
        }
        attributes
    }

    fn capacity(&self, dice: &mut Dice, is_shared: bool) -> Map<String, Value> {
        let mut capacity = Map::new();
        if !is_shared && dice.chance(50) {
            return capacity;
        }
        let mut memory = json!({"value": dice.pick(&["40Gi", "80Gi", "80Gi", "20480Mi"])});
        if is_shared && dice.chance(75) {
            memory["requestPolicy"] = memory_policy(dice);
        }
        let name = if dice.chance(6) { format!("{}/memory", self.driver) } else { "memory".to_owned() };
        capacity.insert(name, memory);
        if dice.chance(40) {
            let mut bandwidth = json!({"value": dice.pick(&["10G", "2500M", "1"])});
            if is_shared && dice.chance(50) {
                let default = dice.pick(&["1G", "500m", "0"]);
                bandwidth["requestPolicy"] = json!({"default": default, "validRange": {"min": default}});
            }
            capacity.insert("bandwidth".to_owned(), bandwidth);
        }
        capacity
    }

    fn counter_set(&self, dice: &mut Dice, set: usize) -> Value {
        let (memory, units) = if self.profile.plenty {
            (["8Gi", "12Gi", "16Gi", "8192Mi"], ["6", "8", "9", "8500m"])
        } else {
            (["4Gi", "6Gi", "8Gi", "8192Mi"], ["3", "4", "7", "4500m"])
        };
        json!({"name": format!("set-{set}"), "counters": {
            "memory": {"value": dice.pick(&memory)}, "units": {"value": dice.pick(&units)},
        }})
    }

    fn consumed_counters(&self, dice: &mut Dice) -> Value {
        let first = dice.range(0, self.sets - 1);
        let sets = if self.sets > 1 && dice.chance(20) { vec![0, 1] } else { vec![first] };
        let consumed = sets.into_iter().map(|set| {
            let mut counters = json!({"memory": {"value": dice.pick(&["1Gi", "2Gi", "4Gi", "2048Mi"])}});
            if dice.chance(60) {
                counters["units"] = json!({"value": dice.pick(&["1", "2", "1500m"])});
            }
            json!({"counterSet": format!("set-{set}"), "counters": counters})
        });
        consumed.collect()
    }
}

fn memory_policy(dice: &mut Dice) -> Value {
    let default = dice.pick(&["5Gi", "10Gi", "20Gi"]);
    match dice.range(0, 5) {
        0 => json!({"default": default}),
        1 => json!({"default": default, "validRange": {"min": "5Gi"}}),
        2 => json!({"default": default, "validRange": {"min": "5Gi", "max": "40Gi"}}),
        3 => json!({"default": default, "validRange": {"min": "5Gi", "step": "5Gi"}}),
        4 => json!({"default": default, "validRange": {"min": "1Gi", "max": "21Gi", "step": "4Gi"}}),
        _ => json!({"default": default, "validValues": ["5Gi", "10Gi", "20Gi", "40Gi"]}),
    }
}

pub(crate) fn taint(dice: &mut Dice) -> Value {
    let mut taint = json!({
        "key": dice.pick(&TAINT_KEYS),
        "effect": dice.pick(&["NoSchedule", "NoSchedule", "NoSchedule", "NoExecute", "NoExecute", "None", "FromTheFuture"]),
    });
    if dice.chance(50) {
        taint["value"] = json!(dice.pick(&["yes", "no"]));
    }
    taint
}

/// Makes a pool one that contradicts itself, or that is not there as a whole.
fn break_pool(dice: &mut Dice, slices: &mut Vec<Value>) {
    let at = dice.range(0, slices.len() - 1);
    let how = dice.range(0, 4);
    if how == 1 && slices.len() > 1 {
        slices.remove(at);
        return;
    }
    let spec = &mut slices[at]["spec"];
    match how {
        0 => spec["pool"]["resourceSliceCount"] = json!(9),
        2 => {
            let name = json!({"name": "device-0"});
            if let Some(devices) = spec["devices"].as_array_mut() {
                devices.push(name);
            }
        }
        3 => {
            if let Some(device) = spec.pointer_mut("/devices/0") {
                let nowhere = json!({"counterSet": "nowhere", "counters": {"memory": {"value": "1"}}});
                device["consumesCounters"] = json!([nowhere]);
            }
        }
        _ => {
            if let Some(sets) = spec.pointer_mut("/sharedCounters").and_then(Value::as_array_mut) {
                sets.push(json!({"name": "set-0", "counters": {"memory": {"value": "1Gi"}}}));
            } else if let Some(device) = spec.pointer_mut("/devices/0/consumesCounters/0/counters") {
                device["nothing"] = json!({"value": "1"});
            }
        }
    }
}
