//! `gpus`: each device of the driver, and who has it.

use std::collections::BTreeSet;

use anyhow::Result;
use dra_controller::cluster::Cluster;
use dra_controller::model::attribute::{AttributeValue, QualifiedName};
use dra_controller::model::intern::Device;
use dra_controller::model::pool::{Pool, Slice, View};
use serde::Serialize;

use crate::arguments::{Format, Global};
use crate::output::{self, Table};
use crate::read::Read;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The node: empty where it is not one.
    pub node: String,
    /// The pool.
    pub pool: String,
    /// The device.
    pub device: String,
    /// What it is: a GPU, or a partition.
    pub r#type: String,
    /// The product's name.
    pub product: String,
    /// Its memory.
    pub memory: String,
    /// Its UUID.
    pub uuid: String,
    /// `free`, `in use`, `tainted`, `incomplete` or `invalid`; `unknown` where the caller may not see who has it.
    pub state: &'static str,
    /// Its taints, as `key=value:effect`.
    pub taints: Vec<String>,
    /// The claims that have it, as namespace/name.
    pub claims: Vec<String>,
    /// The pods for which these are reserved, as namespace/name.
    pub pods: Vec<String>,
}

/// The devices of the driver, in the format that is asked for.
///
/// # Errors
/// When they cannot be written as such.
pub fn gpus(read: &Read, global: &Global) -> Result<String> {
    let rows = rows(&read.cluster, &global.driver_name, read.has_all("resourceclaims"));
    match global.output {
        Format::Table | Format::Wide if !read.has_all("resourceslices") => Ok(String::new()),
        Format::Table | Format::Wide if rows.is_empty() => Ok(none(&read.cluster, &global.driver_name)),
        Format::Table | Format::Wide => Ok(table(&rows, global.output == Format::Wide)),
        format => output::data(format, &rows),
    }
}

/// The devices of a driver. Without all claims, it is not known which of them are free.
#[must_use]
pub fn rows(cluster: &Cluster, driver: &str, with_all_claims: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = cluster
        .inventory()
        .pools()
        .filter(|pool| &*pool.id.driver == driver)
        .flat_map(|pool| of_pool(cluster, pool))
        .collect();
    for row in rows.iter_mut().filter(|row| !with_all_claims && row.state == "free") {
        row.state = "unknown";
    }
    rows.sort_by(|one, other| {
        (&one.node, &one.pool, &one.device).cmp(&(&other.node, &other.pool, &other.device))
    });
    rows
}

fn of_pool(cluster: &Cluster, pool: &Pool) -> Vec<Row> {
    let newest = || pool.slices().filter(|slice| slice.generation == pool.generation());
    let node = newest().find_map(|slice| slice.reach.node_name.clone());
    let node = node.and_then(|node| cluster.nodes().get(&node).cloned());
    let unusable = match pool.view(node.as_deref(), cluster.features.partitionable_devices) {
        Ok(Some(View::Incomplete)) => Some("incomplete"),
        Ok(Some(View::Invalid(_))) | Err(_) => Some("invalid"),
        Ok(_) => None,
    };
    let each = newest().flat_map(|slice| slice.devices.iter().map(move |device| (slice, device)));
    each.map(|(slice, device)| row(cluster, pool, slice, device, unusable)).collect()
}

fn row(
    cluster: &Cluster,
    pool: &Pool,
    slice: &Slice,
    device: &Device,
    unusable: Option<&'static str>,
) -> Row {
    let text = |name: &str| {
        let name = QualifiedName { domain: pool.id.driver.clone(), name: name.into() };
        match device.attribute(&name) {
            Some(AttributeValue::String(text)) => text.to_string(),
            _ => String::new(),
        }
    };
    let holders = cluster.holdings().of(&pool.id, &device.name);
    let held: Vec<_> = holders.iter().filter(|holder| !holder.admin_access).collect();
    let taints: Vec<String> = device
        .shape
        .taints
        .iter()
        .map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect))
        .collect();
    let state = match (unusable, held.is_empty(), taints.is_empty()) {
        (_, false, _) => "in use",
        (Some(unusable), ..) => unusable,
        (None, true, false) => "tainted",
        (None, true, true) => "free",
    };
    let memory = device.shape.amounts.iter().find(|(name, _)| &*name.name == "memory");
    let pods = holders.iter().flat_map(|holder| {
        let claim = cluster.claims().get(&holder.claim);
        let reserved = claim.into_iter().flat_map(|claim| &claim.status.reserved_for);
        reserved.filter(|one| one.is_pod()).map(|pod| format!("{}/{}", holder.claim.namespace, pod.name))
    });
    Row {
        node: slice.reach.node_name.as_deref().unwrap_or_default().to_owned(),
        pool: pool.id.name.to_string(),
        device: device.name.to_string(),
        r#type: text("type"),
        product: text("productName"),
        memory: memory.map(|(_, amount)| amount.to_string()).unwrap_or_default(),
        uuid: text("uuid"),
        state,
        taints,
        claims: holders.iter().map(|holder| holder.claim.to_string()).collect(),
        pods: pods.collect(),
    }
}

/// What is said when a driver has no devices: another name may be meant.
fn none(cluster: &Cluster, driver: &str) -> String {
    const NAMED: usize = 5;
    let drivers: BTreeSet<&str> = cluster.inventory().pools().map(|pool| &*pool.id.driver).collect();
    let others: Vec<&str> = drivers.into_iter().filter(|other| *other != driver).take(NAMED).collect();
    let hint = match others.as_slice() {
        [] => String::new(),
        others => format!(" There are slices of {}: name one of them with --driver-name.", others.join(", ")),
    };
    format!("No ResourceSlice of driver {driver} has devices.{hint}\n")
}

fn table(rows: &[Row], is_wide: bool) -> String {
    let mut heads = vec!["NODE", "DEVICE", "TYPE", "PRODUCT", "MEMORY", "STATE", "CLAIM", "POD"];
    if is_wide {
        heads.extend(["POOL", "UUID"]);
    }
    let mut table = Table::new(&heads);
    for row in rows {
        let state = match row.taints.as_slice() {
            [] => row.state.to_owned(),
            taints if row.state == "tainted" => format!("tainted {}", taints.join(",")),
            taints => format!("{}, tainted {}", row.state, taints.join(",")),
        };
        let mut cells = vec![
            row.node.clone(),
            row.device.clone(),
            row.r#type.clone(),
            row.product.clone(),
            row.memory.clone(),
            state,
            row.claims.join(","),
            row.pods.join(","),
        ];
        if is_wide {
            cells.extend([row.pool.clone(), row.uuid.clone()]);
        }
        table.row(cells);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use dra_controller::allocator::Features;
    use dra_controller::cluster::Lists;
    use dra_controller::model::object;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_told_only_where_it_is_known() {
        let claim = json!({
            "metadata": {"name": "train", "namespace": "team-a"},
            "status": {
                "allocation": {"devices": {"results": [
                    {"request": "gpu", "driver": "ours", "pool": "node-a/gpu", "device": "held"},
                ]}},
                "reservedFor": [{"resource": "pods", "name": "trainer", "uid": "1"}],
            },
        });
        let slice = |name: &str, driver: &str, of: i64, devices: serde_json::Value| {
            json!({
                "metadata": {"name": name},
                "spec": {
                    "driver": driver, "nodeName": name, "devices": devices,
                    "pool": {"name": format!("{name}/gpu"), "generation": 1, "resourceSliceCount": of},
                },
            })
        };
        let taint = json!([{"key": "fault", "value": "xid-79", "effect": "NoSchedule"}]);
        let devices = json!([{"name": "held"}, {"name": "idle"}, {"name": "sick", "taints": taint}]);
        let slices = [
            slice("node-a", "ours", 1, devices),
            slice("node-b", "ours", 2, json!([{"name": "early"}])),
            slice("node-c", "theirs", 1, json!([{"name": "other"}])),
        ];
        let node = |name: &str| -> object::Node {
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
        };
        let cluster = Cluster::of(
            Features::default(),
            Lists {
                slices: slices.into_iter().map(|slice| serde_json::from_value(slice).unwrap()).collect(),
                nodes: vec![node("node-a"), node("node-b"), node("node-c")],
                claims: vec![serde_json::from_value(claim).unwrap()],
                ..Lists::default()
            },
        );
        let told = |has_claims: bool| -> Vec<(String, &str, String)> {
            let rows = rows(&cluster, "ours", has_claims).into_iter();
            rows.map(|row| (row.device, row.state, row.pods.join(","))).collect()
        };
        let wanted = |idle: &'static str| {
            [
                ("held", "in use", "team-a/trainer"),
                ("idle", idle, ""),
                ("sick", "tainted", ""),
                ("early", "incomplete", ""),
            ]
            .map(|(device, state, pods)| (device.to_owned(), state, pods.to_owned()))
        };
        assert_eq!(told(true), wanted("free"));
        assert_eq!(told(false), wanted("unknown"));
        let table = table(&rows(&cluster, "ours", true), false);
        assert_eq!(
            table,
            "NODE     DEVICE   TYPE   PRODUCT   MEMORY   STATE                             CLAIM          POD\n\
             node-a   held                               in use                            team-a/train   team-a/trainer\n\
             node-a   idle                               free\n\
             node-a   sick                               tainted fault=xid-79:NoSchedule\n\
             node-b   early                              incomplete\n"
        );
        assert_eq!(
            none(&cluster, "gpu.nvidia.com"),
            "No ResourceSlice of driver gpu.nvidia.com has devices. There are slices of ours, theirs: name one of them \
             with --driver-name.\n"
        );
        let empty = Cluster::of(Features::default(), Lists::default());
        assert_eq!(none(&empty, "ours"), "No ResourceSlice of driver ours has devices.\n");
    }
}
