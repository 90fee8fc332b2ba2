//! What the controller takes for a whole fleet: memory, and the times of changes and of allocations.

use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use dra_controller::allocator::{Allocated, Allocator, Answer, Cancel, Classes, Features};
use dra_controller::cel::Cache;
use dra_controller::model::intern::Interner;
use dra_controller::model::inventory::Inventory;
use dra_controller::model::object::{Claim, Class, Node, Slice};
use dra_controller::model::pool::PoolId;
use serde_json::json;

use crate::{median, milliseconds, timed};

const DRIVER: &str = "gpu.example.com";
/// GPUs of a node.
const GPUS: usize = 8;
/// How many pools are changed, and how often that is measured.
const CHANGES: usize = 101;
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
pub(crate) enum Fleet {
    /// Eight GPUs
    Whole,
    /// Eight GPUs and all partitions that each may have
    Mig,
}

/// Measures all fleets, each in a process of its own: memory that one has left free would be the next one's.
pub(crate) fn all(nodes: usize) -> Result<()> {
    for fleet in Fleet::value_variants() {
        let name = fleet.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut own = Command::new(std::env::current_exe()?);
        let status = own.args(["fleet", "--only", &name, "--nodes", &nodes.to_string()]).status()?;
        ensure!(status.success(), "the process that measures the fleet {name} failed");
    }
    Ok(())
}

/// Measures a fleet in this process.
pub(crate) fn measure(fleet: Fleet, nodes: usize) -> Result<()> {
    let before = resident()?;
    let mut interner = Interner::default();
    let mut inventory = Inventory::default();
    let (mut decoding, mut applying) = (Duration::ZERO, Duration::ZERO);
    let mut devices = 0;
    // One node at a time: a controller never has the text of all of them.
    for number in 0..nodes {
        let texts = fleet.slices(number);
        let (slices, took) = timed(|| decoded(&texts));
        decoding += took;
        let slices = slices?;
        devices += slices.iter().map(|slice| slice.spec.devices.len()).sum::<usize>();
        let ((), took) = timed(|| inventory.apply(pool(number), slices, &mut interner));
        applying += took;
    }
    let taken = resident()?.saturating_sub(before);
    println!("\n{} nodes, {devices} devices: {}", nodes, fleet.name());
    line("resident memory", format!("{} MiB, {} bytes a device", taken >> 20, taken / devices.max(1)));
    line("shapes", interner.shapes());
    line("decoding all slices", format!("{:.1} s", decoding.as_secs_f64()));
    line("making the inventory", format!("{:.1} s", applying.as_secs_f64()));
    changes(fleet, nodes, &mut inventory, &mut interner)?;
    allocations(fleet, nodes, &inventory)?;
    line("resident memory in the end", format!("{} MiB", resident()? >> 20));
    Ok(())
}

/// Changes of one pool: in place, and beside a snapshot that somebody reads.
fn changes(fleet: Fleet, nodes: usize, inventory: &mut Inventory, interner: &mut Interner) -> Result<()> {
    let (mut in_place, mut beside) = (Vec::new(), Vec::new());
    for number in (0..nodes).step_by((nodes / CHANGES).max(1)).take(CHANGES) {
        let slices = decoded(&fleet.slices(number))?;
        let again = slices.clone();
        let ((), took) = timed(|| inventory.apply(pool(number), slices, interner));
        in_place.push(took);
        let (changed, took) = timed(|| inventory.with_pool(pool(number), again, interner));
        beside.push(took);
        *inventory = changed;
    }
    line("one pool changed in place", format!("{} ms", milliseconds(median(&mut in_place))));
    line("one pool beside a snapshot", format!("{} ms", milliseconds(median(&mut beside))));
    Ok(())
}

/// Allocations on each node, of which all GPUs but one are given away.
fn allocations(fleet: Fleet, nodes: usize, inventory: &Inventory) -> Result<()> {
    let mut allocated = Allocated::default();
    for number in 0..nodes {
        for gpu in 0..GPUS - 1 {
            allocated.insert_device(pool(number), format!("gpu-{gpu}").into());
        }
    }
    let class = json!({
        "metadata": {"name": "gpu"},
        "spec": {"selectors": [{"cel": {"expression": format!(r#"device.driver == "{DRIVER}""#)}}]},
    });
    let classes = Classes::new(vec![serde_json::from_value::<Class>(class)?]);
    let cache = Cache::default();
    let allocator = Allocator::new(Features::default(), inventory, &classes, &allocated, &cache);
    for (name, claim, fits) in
        [("fits", fleet.claim(1)?, true), ("no fit, with reasons", fleet.claim(9)?, false)]
    {
        let mut times = Vec::new();
        for number in 0..nodes {
            let node: Node = serde_json::from_value(json!({"metadata": {"name": node_name(number)}}))?;
            let (answer, took) = timed(|| allocator.allocate(Some(&node), &[&claim], &Cancel::default()));
            times.push(took);
            ensure!(matches!(answer?, Answer::Fits(_)) == fits, "{name}: another answer on node {number}");
        }
        let (first, all) = (times.first().copied().unwrap_or_default(), times.iter().sum::<Duration>());
        line(&format!("{name}: the first node"), format!("{} ms", milliseconds(first)));
        line(&format!("{name}: a node, median"), format!("{} ms", milliseconds(median(&mut times))));
        line(&format!("{name}: all nodes"), format!("{:.2} s", all.as_secs_f64()));
    }
    Ok(())
}

fn line(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<34} {value}");
}

/// The memory of this process, in bytes.
fn resident() -> Result<usize> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib =
        value.and_then(|value| value.trim().strip_suffix(" kB")).context("the kernel names no VmRSS")?;
    Ok(kib.trim().parse::<usize>()? * 1024)
}

fn decoded(texts: &[String]) -> Result<Vec<Slice>> {
    texts.iter().map(|text| Ok(serde_json::from_str(text)?)).collect()
}

fn node_name(number: usize) -> String {
    format!("node-{number:05}")
}

fn pool(number: usize) -> PoolId {
    PoolId { driver: DRIVER.into(), name: Arc::from(node_name(number)) }
}

impl Fleet {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "eight GPUs each",
            Self::Mig => "eight GPUs each, and all their MIG partitions",
        }
    }

    /// A claim for so many GPUs, or partitions of the smallest kind for the first and GPUs for all others.
    fn claim(self, count: usize) -> Result<Claim> {
        let (kind, count) = match (self, count) {
            (Self::Mig, 1) => ("1g.10gb", 3),
            (_, count) => ("gpu", count),
        };
        let expression = format!(r#"device.attributes["{DRIVER}"].profile == "{kind}""#);
        Ok(serde_json::from_value(json!({
            "metadata": {"name": "claim", "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {
                "deviceClassName": "gpu",
                "allocationMode": "ExactCount",
                "count": count,
                "selectors": [{"cel": {"expression": expression}}],
            }}]}},
        }))?)
    }

    /// A node's slices, as the API server sends them.
    fn slices(self, number: usize) -> Vec<String> {
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
