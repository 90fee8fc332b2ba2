//! A fleet of nodes as big clusters have them: the slices that their plugins publish, as the API server sends them.

use std::fmt::Write;

use clap::ValueEnum;
use serde_json::{Value, json};

/// The driver of all devices.
pub const DRIVER: &str = "gpu.example.com";
/// GPUs of a node.
pub const GPUS: usize = 8;
/// The partitions of an H100 80GB: profile, memory slices, and the memory slices it can start at. Source: NVIDIA's MIG
/// user guide, table of H100 placements.
const PARTITIONS: [(&str, usize, &[usize]); 7] = [
    ("1g.10gb", 1, &[0, 1, 2, 3, 4, 5, 6]),
    ("1g.10gb+me", 1, &[0, 1, 2, 3, 4, 5, 6]),
    ("1g.20gb", 2, &[0, 2, 4, 6]),
    ("2g.20gb", 2, &[0, 2, 4]),
    ("3g.40gb", 4, &[0, 4]),
    ("4g.40gb", 4, &[0]),
    ("7g.80gb", 8, &[0]),
];
/// A slice whose devices take from counters holds so many.
const DEVICES_OF_SLICE: usize = 64;

/// What the nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fleet {
    /// Eight GPUs
    Whole,
    /// Eight GPUs and all partitions that each may have
    Mig,
}

/// A node's name.
#[must_use]
pub fn node_name(number: usize) -> String {
    format!("node-{number:05}")
}

impl Fleet {
    /// What it is called in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "eight GPUs each",
            Self::Mig => "eight GPUs each, and all their MIG partitions",
        }
    }

    /// A claim for so many GPUs, or partitions of the smallest kind for the first and GPUs for all others.
    #[must_use]
    pub fn claim(self, count: usize) -> Value {
        let (kind, count) = match (self, count) {
            (Self::Mig, 1) => ("1g.10gb", 3),
            (_, count) => ("gpu", count),
        };
        let expression = format!(r#"device.attributes["{DRIVER}"].profile == "{kind}""#);
        json!({
            "metadata": {"name": "claim", "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {
                "deviceClassName": "gpu",
                "allocationMode": "ExactCount",
                "count": count,
                "selectors": [{"cel": {"expression": expression}}],
            }}]}},
        })
    }

    /// A node's slices, as the API server sends them.
    #[must_use]
    pub fn slices(self, number: usize) -> Vec<String> {
        let node = node_name(number);
        let devices: Vec<String> = (0..GPUS).flat_map(|gpu| self.devices(number, gpu)).collect();
        let of_slice = match self {
            Self::Whole => devices.len(),
            Self::Mig => DEVICES_OF_SLICE,
        };
        let mut contents: Vec<String> =
            devices.chunks(of_slice).map(|some| format!(r#""devices":[{}]"#, some.join(","))).collect();
        if self == Self::Mig {
            let sets: Vec<String> = (0..GPUS)
                .map(|gpu| format!(r#"{{"name":"gpu-{gpu}","counters":{{{}}}}}"#, counters(0, 8, true)))
                .collect();
            contents.push(format!(r#""sharedCounters":[{}]"#, sets.join(",")));
        }
        let count = contents.len();
        let slice = |(index, content): (usize, String)| {
            format!(
                r#"{{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","metadata":{{"name":"{node}-{index}","uid":"8f6c1d0e-{number:04x}-4c52-9e55-{index:012x}","resourceVersion":"{number}","generation":1}},"spec":{{"driver":"{DRIVER}","nodeName":"{node}","pool":{{"name":"{node}","generation":1,"resourceSliceCount":{count}}},{content}}}}}"#
            )
        };
        contents.into_iter().enumerate().map(slice).collect()
    }

    /// A GPU of a node, and its partitions.
    fn devices(self, number: usize, gpu: usize) -> Vec<String> {
        let uuid = format!("GPU-{number:08x}-{gpu:04x}-4d0c-9a77-1f2a3c4d5e6f");
        let bus = gpu * 16 + 11;
        let board = format!(
            r#""productName":{{"string":"NVIDIA H100 80GB HBM3"}},"brand":{{"string":"Nvidia"}},"architecture":{{"string":"Hopper"}},"cudaComputeCapability":{{"version":"9.0.0"}},"driverVersion":{{"version":"570.170.1"}},"cudaDriverVersion":{{"version":"12.8.0"}},"gpuModuleID":{{"int":{module}}},"resource.kubernetes.io/pciBusID":{{"string":"0000:{bus:02x}:00.0"}},"resource.kubernetes.io/pcieRoot":{{"string":"pci0000:{root:02x}"}},"resource.kubernetes.io/numaNode":{{"int":{numa}}}"#,
            module = gpu + 1,
            root = gpu * 16,
            numa = gpu / 4,
        );
        let mut whole = format!(
            r#"{{"name":"gpu-{gpu}","attributes":{{"type":{{"string":"gpu"}},"profile":{{"string":"gpu"}},"uuid":{{"string":"{uuid}"}},{board}}},"capacity":{{"memory":{{"value":"81559Mi"}},"multiprocessors":{{"value":"132"}}}}"#
        );
        if self == Self::Whole {
            return vec![whole + "}"];
        }
        // Writing to a text does not fail.
        let _ = write!(
            whole,
            r#","consumesCounters":[{{"counterSet":"gpu-{gpu}","counters":{{{}}}}}]}}"#,
            counters(0, 8, true)
        );
        let mut devices = vec![whole];
        for (profile, slices, starts) in PARTITIONS {
            let name = profile.replace(['.', '+'], "-");
            let counters = |start| counters(start, slices, profile.ends_with("me"));
            devices.extend(starts.iter().map(|start| {
                format!(
                    r#"{{"name":"gpu-{gpu}-mig-{name}-{start}","attributes":{{"type":{{"string":"mig"}},"profile":{{"string":"{profile}"}},"parentUUID":{{"string":"{uuid}"}},{board}}},"capacity":{{"memory":{{"value":"{memory}Mi"}},"multiprocessors":{{"value":"{processors}"}}}},"consumesCounters":[{{"counterSet":"gpu-{gpu}","counters":{{{taken}}}}}]}}"#,
                    memory = slices * 9728,
                    processors = slices * 16,
                    taken = counters(*start),
                )
            }));
        }
        devices
    }
}

/// What there is of counters, or what a device takes, from a memory slice on.
fn counters(start: usize, slices: usize, media_extensions: bool) -> String {
    let mut all = format!(r#""multiprocessors":{{"value":"{}"}}"#, (slices * 16).min(132));
    for slice in start..start + slices {
        // Writing to a text does not fail.
        let _ = write!(all, r#","memory-slice-{slice}":{{"value":"1"}}"#);
    }
    if media_extensions {
        all.push_str(r#","media-extensions":{"value":"1"}"#);
    }
    all
}
