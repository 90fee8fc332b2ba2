//! What the controller takes for a whole fleet: memory, and the times of changes and of allocations.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use conformance::fleet::{DRIVER, Fleet, GPUS, node_name};
use dra_controller::allocator::{Allocated, Allocator, Answer, Cancel, Classes, Features};
use dra_controller::cel::Cache;
use dra_controller::model::intern::Interner;
use dra_controller::model::inventory::Inventory;
use dra_controller::model::object::{Claim, Class, Node, Slice};
use dra_controller::model::pool::PoolId;
use serde_json::json;

use crate::{median, milliseconds, timed};

/// How many pools are changed, and how often that is measured.
const CHANGES: usize = 101;
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
        [("fits", fleet.claim(1), true), ("no fit, with reasons", fleet.claim(9), false)]
    {
        let claim: Claim = serde_json::from_value(claim)?;
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

fn pool(number: usize) -> PoolId {
    PoolId { driver: DRIVER.into(), name: Arc::from(node_name(number)) }
}
