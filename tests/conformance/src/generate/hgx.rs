//! Nodes with eight H100, whole and partitioned, as a driver publishes them.

use serde_json::{Value, json};

use super::dice::Dice;
use super::pools::{Known, Pools, taint};
use super::profile::Profile;
use super::words::{NODE, OTHER_NODES};

/// The driver of such nodes.
pub(crate) const DRIVER: &str = "gpu.nvidia.com";

/// A kind of MIG partition of an H100 80GB: profile, memory slices, multiprocessors, memory, and the memory slices
/// it can start at. Source: NVIDIA's MIG user guide, table of H100 placements.
type Partition = (&'static str, usize, u32, &'static str, &'static [usize]);

/// The partitions of an H100 80GB.
pub(crate) const PARTITIONS: [Partition; 6] = [
    ("1g.10gb", 1, 16, "9728Mi", &[0, 1, 2, 3, 4, 5, 6]),
    ("1g.20gb", 2, 26, "19968Mi", &[0, 2, 4, 6]),
    ("2g.20gb", 2, 32, "19968Mi", &[0, 2, 4]),
    ("3g.40gb", 4, 60, "40448Mi", &[0, 4]),
    ("4g.40gb", 4, 64, "40448Mi", &[0]),
    ("7g.80gb", 8, 132, "81152Mi", &[0]),
];
/// The memory slices of a GPU.
const MEMORY_SLICES: usize = 8;

/// Makes the node that is asked about, or, with a number above 0, another one.
pub(crate) fn node(dice: &mut Dice, profile: &Profile, partitioned: bool, number: usize, into: &mut Pools) {
    let name = if number == 0 { NODE } else { OTHER_NODES[number % 2] };
    let gpus = if partitioned { *dice.pick(&[1, 1, 1, 2]) } else { *dice.pick(&[2, 4, 8]) };
    let taints = dice.chance(profile.taints);
    let mut slices = Vec::new();
    if partitioned {
        let mut slice = slice(name, 0);
        slice["spec"]["sharedCounters"] = (0..gpus).map(counter_set).collect();
        slices.push(slice);
    }
    let mut devices = Vec::new();
    for gpu in 0..gpus {
        let broken = (taints && dice.chance(30)).then(|| taint(dice));
        let mut add = |mut device: Value| {
            if let Some(taint) = &broken {
                device["taints"] = json!([taint]);
            }
            into.devices.push(known(name, &device));
            devices.push(device);
        };
        add(whole(gpu, partitioned));
        if partitioned {
            for partition in PARTITIONS {
                partition.4.iter().for_each(|start| add(part(gpu, partition, *start)));
            }
        }
    }
    // A slice whose devices consume counters holds 64 devices.
    for chunk in devices.chunks(64) {
        let mut slice = slice(name, slices.len());
        slice["spec"]["devices"] = json!(chunk);
        slices.push(slice);
    }
    let count = slices.len();
    for slice in &mut slices {
        slice["spec"]["pool"]["resourceSliceCount"] = json!(count);
    }
    into.slices.extend(slices);
}

fn slice(node: &str, index: usize) -> Value {
    json!({
        "metadata": {"name": format!("{index:05x}-{DRIVER}-{node}-x7k2p")},
        "spec": {"driver": DRIVER, "nodeName": node, "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}},
    })
}

fn known(pool: &str, device: &Value) -> Known {
    Known {
        driver: DRIVER.to_owned(),
        pool: pool.to_owned(),
        device: device["name"].as_str().unwrap_or_default().to_owned(),
        is_shared: false,
        capacity: vec!["memory".to_owned()],
    }
}

fn set_name(gpu: usize) -> String {
    format!("gpu-{gpu}-counters")
}

fn counter_set(gpu: usize) -> Value {
    let mut set = json!({"name": set_name(gpu), "counters": counters(0, MEMORY_SLICES, 132, "81559Mi")});
    set["counters"]["memory-slice-7"] = json!({"value": "1"});
    set
}

fn counters(start: usize, slices: usize, multiprocessors: u32, memory: &str) -> Value {
    let mut counters = json!({
        "multiprocessors": {"value": multiprocessors.to_string()},
        "memory": {"value": memory},
    });
    for slice in start..start + slices {
        counters[format!("memory-slice-{slice}")] = json!({"value": "1"});
    }
    counters
}

fn attributes(gpu: usize) -> Value {
    json!({
        "type": {"string": "gpu"},
        "uuid": {"string": format!("GPU-{gpu:08x}-5b6e-4d0c-9a77-1f2a3c4d5e6f")},
        "productName": {"string": "NVIDIA H100 80GB HBM3"},
        "architecture": {"string": "Hopper"},
        "cudaComputeCapability": {"version": "9.0.0"},
        "driverVersion": {"version": "570.86.15"},
        "numa": {"int": gpu / 4},
        "index": {"int": gpu},
        "resource.kubernetes.io/pcieRoot": {"string": format!("pci0000:{:02x}", gpu * 16)},
    })
}

fn whole(gpu: usize, partitioned: bool) -> Value {
    let mut device = json!({
        "name": format!("gpu-{gpu}"),
        "attributes": attributes(gpu),
        "capacity": {"memory": {"value": "81559Mi"}},
    });
    if partitioned {
        let counters = counters(0, MEMORY_SLICES, 132, "81559Mi");
        device["consumesCounters"] = json!([{"counterSet": set_name(gpu), "counters": counters}]);
    }
    device
}

fn part(gpu: usize, (profile, slices, multiprocessors, memory, _): Partition, start: usize) -> Value {
    let mut attributes = attributes(gpu);
    attributes["type"] = json!({"string": "mig"});
    attributes["profile"] = json!({"string": profile});
    attributes["parentUUID"] = attributes["uuid"].clone();
    attributes["uuid"] = json!({"string": format!("MIG-{gpu}-{profile}-{start}")});
    let counters = counters(start, slices, multiprocessors, memory);
    json!({
        "name": format!("gpu-{gpu}-mig-{}-{start}", profile.replace('.', "-")),
        "attributes": attributes,
        "capacity": {"memory": {"value": memory}, "multiprocessors": {"value": multiprocessors.to_string()}},
        "consumesCounters": [{"counterSet": set_name(gpu), "counters": counters}],
    })
}
