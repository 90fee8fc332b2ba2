//! Clusters and claims that are measured.

use conformance::case::Case;
use serde_json::{Value, json};

/// GPUs of a node.
const GPUS: usize = 8;
/// The driver.
const DRIVER: &str = "gpu.example.com";
/// The partitions of a GPU: what they are, memory slices, and where they can start.
const PARTITIONS: [(&str, usize, &[usize]); 6] = [
    ("1g.10gb", 1, &[0, 1, 2, 3, 4, 5, 6]),
    ("1g.20gb", 2, &[0, 2, 4, 6]),
    ("2g.20gb", 2, &[0, 2, 4]),
    ("3g.40gb", 4, &[0, 4]),
    ("4g.40gb", 4, &[0]),
    ("7g.80gb", 8, &[0]),
];

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A GPU of a node of which one is left.
    Plain,
    /// Two partitions of a GPU of which others are taken.
    Mig,
    /// Shares of GPUs that many have.
    Consumable,
    /// Partitions that must lie on one GPU, which the first choices leave no room for.
    Backtracking,
    /// Nine claims for eight equal GPUs.
    Hopeless,
    /// More small partitions than there is room for.
    Crowded,
}

impl Scene {
    pub(crate) const ALL: [Self; 6] =
        [Self::Plain, Self::Mig, Self::Consumable, Self::Backtracking, Self::Hopeless, Self::Crowded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mig => "MIG",
            Self::Consumable => "consumable",
            Self::Backtracking => "backtracking",
            Self::Hopeless => "backtracking, no fit",
            Self::Crowded => "MIG, no fit",
        }
    }

    fn is_partitioned(self) -> bool {
        matches!(self, Self::Mig | Self::Backtracking | Self::Crowded)
    }

    /// The case on a cluster of so many nodes; the middle one is asked about.
    pub(crate) fn case(self, nodes: usize) -> Case {
        let node = node_name(nodes / 2);
        let features = [
            "AdminAccess",
            "PrioritizedList",
            "PartitionableDevices",
            "DeviceTaints",
            "DeviceBindingAndStatus",
            "ConsumableCapacity",
        ];
        let mut case = Case {
            features: features.map(str::to_owned).to_vec(),
            classes: vec![class("gpu", r#"device.driver == "gpu.example.com""#)],
            slices: (0..nodes).flat_map(|number| self.slices(&node_name(number))).collect(),
            claims: self.claims(),
            node: json!({"metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}}}),
            allocated_devices: Vec::new(),
            allocated_shared_devices: Vec::new(),
            consumed_capacity: Vec::new(),
        };
        self.allocate(nodes, &mut case);
        case
    }

    fn slices(self, node: &str) -> Vec<Value> {
        let slice = |index: usize, of: usize| {
            json!({
                "metadata": {"name": format!("{index:05x}-{DRIVER}-{node}-x7k2p")},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": node,
                    "pool": {"name": node, "generation": 1, "resourceSliceCount": of},
                },
            })
        };
        if !self.is_partitioned() {
            let mut only = slice(0, 1);
            only["spec"]["devices"] = (0..GPUS).map(|gpu| self.whole(gpu)).collect();
            return vec![only];
        }
        let devices: Vec<Value> = (0..GPUS).flat_map(partitions).collect();
        let of = devices.len().div_ceil(64) + 1;
        let mut counters = slice(0, of);
        counters["spec"]["sharedCounters"] = (0..GPUS)
            .map(|gpu| json!({"name": format!("gpu-{gpu}"), "counters": counters_of(0, 8)}))
            .collect();
        let rest = devices.chunks(64).enumerate().map(|(index, chunk)| {
            let mut slice = slice(index + 1, of);
            slice["spec"]["devices"] = json!(chunk);
            slice
        });
        std::iter::once(counters).chain(rest).collect()
    }

    fn whole(self, gpu: usize) -> Value {
        let mut device = json!({
            "name": format!("gpu-{gpu}"),
            "attributes": attributes(gpu, "gpu"),
            "capacity": {"memory": {"value": "80Gi"}},
        });
        if self == Self::Consumable {
            device["allowMultipleAllocations"] = json!(true);
            let range = json!({"min": "1Gi", "step": "1Gi"});
            device["capacity"]["memory"]["requestPolicy"] = json!({"default": "10Gi", "validRange": range});
        }
        device
    }

    fn claims(self) -> Vec<Value> {
        match self {
            Self::Plain => vec![claim(0, &[request("gpu", 1, None)], &[])],
            Self::Hopeless => {
                (0..=GPUS).map(|number| claim(number, &[request("gpu", 1, None)], &[])).collect()
            }
            Self::Crowded => {
                (0..4).map(|number| claim(number, &[request("small", 15, Some("1g.10gb"))], &[])).collect()
            }
            Self::Mig => vec![claim(
                0,
                &[request("large", 1, Some("3g.40gb")), request("small", 2, Some("1g.10gb"))],
                &[],
            )],
            Self::Consumable => {
                let mut share = request("share", 1, None);
                share["exactly"]["capacity"] = json!({"requests": {"memory": "12Gi"}});
                vec![claim(0, &[share.clone()], &[]), claim(1, &[share], &[])]
            }
            Self::Backtracking => vec![claim(
                0,
                &[request("small", 3, Some("1g.10gb")), request("large", 1, Some("4g.40gb"))],
                &[json!({"matchAttribute": "gpu.example.com/uuid"})],
            )],
        }
    }

    /// Fills the cluster: nodes are busy when a scheduler has to look for room.
    fn allocate(self, nodes: usize, case: &mut Case) {
        let device =
            |node: usize, name: String| json!({"driver": DRIVER, "pool": node_name(node), "device": name});
        for node in 0..nodes {
            match self {
                Self::Plain => {
                    case.allocated_devices
                        .extend((0..GPUS - 1).map(|gpu| device(node, format!("gpu-{gpu}"))));
                }
                Self::Hopeless | Self::Crowded => {}
                Self::Mig => {
                    case.allocated_devices
                        .extend((0..GPUS - 2).map(|gpu| device(node, format!("gpu-{gpu}"))));
                    case.allocated_devices.push(device(node, part_name(GPUS - 2, "3g.40gb", 0)));
                }
                Self::Backtracking => {
                    case.allocated_devices
                        .extend((0..GPUS - 1).map(|gpu| device(node, format!("gpu-{gpu}"))));
                }
                Self::Consumable => {
                    for gpu in 0..GPUS {
                        let mut share = device(node, format!("gpu-{gpu}"));
                        let mut taken = share.clone();
                        share["shareID"] = json!(format!("{node:08}-0000-4000-8000-{gpu:012}"));
                        // The last two have room for one more share each.
                        taken["capacity"] = json!({"memory": if gpu < GPUS - 2 { "70Gi" } else { "60Gi" }});
                        case.allocated_shared_devices.push(share);
                        case.consumed_capacity.push(taken);
                    }
                }
            }
        }
    }
}

fn node_name(number: usize) -> String {
    format!("node-{number:04}")
}

fn part_name(gpu: usize, profile: &str, start: usize) -> String {
    format!("gpu-{gpu}-{}-{start}", profile.replace('.', "-"))
}

fn class(name: &str, expression: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

fn claim(number: usize, requests: &[Value], constraints: &[Value]) -> Value {
    json!({
        "metadata": {"name": format!("claim-{number}"), "namespace": "default", "uid": format!("{number}")},
        "spec": {"devices": {"requests": requests, "constraints": constraints}},
    })
}

fn request(name: &str, count: usize, profile: Option<&str>) -> Value {
    let expression = match profile {
        Some(profile) => format!(r#"device.attributes["gpu.example.com"].profile == "{profile}""#),
        None => r#"device.attributes["gpu.example.com"].type == "gpu""#.to_owned(),
    };
    json!({"name": name, "exactly": {
        "deviceClassName": "gpu",
        "allocationMode": "ExactCount",
        "count": count,
        "selectors": [{"cel": {"expression": expression}}],
    }})
}

fn attributes(gpu: usize, profile: &str) -> Value {
    let kind = if profile == "gpu" { "gpu" } else { "mig" };
    json!({
        "type": {"string": kind},
        "profile": {"string": profile},
        "uuid": {"string": format!("GPU-{gpu:08x}-5b6e-4d0c-9a77-1f2a3c4d5e6f")},
        "productName": {"string": "NVIDIA H100 80GB HBM3"},
        "driverVersion": {"version": "570.86.15"},
        "numa": {"int": gpu / 4},
        "resource.kubernetes.io/pcieRoot": {"string": format!("pci0000:{:02x}", gpu * 16)},
    })
}

fn counters_of(start: usize, slices: usize) -> Value {
    let counters =
        (start..start + slices).map(|slice| (format!("memory-slice-{slice}"), json!({"value": "1"})));
    Value::Object(counters.collect())
}

/// A GPU, whole and in parts.
fn partitions(gpu: usize) -> Vec<Value> {
    let device = |name: String, profile: &str, start: usize, slices: usize| {
        json!({
            "name": name,
            "attributes": attributes(gpu, profile),
            "capacity": {"memory": {"value": format!("{}Gi", slices * 10)}},
            "consumesCounters": [{"counterSet": format!("gpu-{gpu}"), "counters": counters_of(start, slices)}],
        })
    };
    let mut devices = vec![device(format!("gpu-{gpu}"), "gpu", 0, 8)];
    for (profile, slices, starts) in PARTITIONS {
        let parts =
            starts.iter().map(|start| device(part_name(gpu, profile, *start), profile, *start, slices));
        devices.extend(parts);
    }
    devices
}
