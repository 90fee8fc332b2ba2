//! `claims`: whose they are, and what they have or why they wait.

use anyhow::Result;
use dra_controller::cel::Cache;
use dra_controller::cluster::{Cluster, Name};
use dra_controller::explain::Blocker;
use dra_controller::model::object::Claim;
use serde::Serialize;

use crate::arguments::{Format, Global};
use crate::explain::reason;
use crate::output::{self, Table};
use crate::read::Read;

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `allocated`, `waiting`, `unused` where no pod waits for it, or `unallocated` where pods cannot be seen.
    pub state: &'static str,
    /// Why it waits, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What it has, as pool/device.
    pub devices: Vec<String>,
    /// The pods that use it, or want to.
    pub pods: Vec<String>,
    /// The classes that it asks for.
    pub classes: Vec<String>,
}

/// Claims, in the format that is asked for.
///
/// # Errors
/// When they cannot be written as such.
pub fn claims(read: &Read, global: &Global, namespace: &str) -> Result<String> {
    let namespace = (!global.all_namespaces).then_some(namespace);
    // With a part of the cluster hidden, the reason would be a wrong one.
    let with_pods = !read.hidden.iter().any(|one| one.resource == "pods" && !one.own_namespace_only);
    let rows = rows(&read.cluster, namespace, read.hidden.is_empty(), with_pods)?;
    match global.output {
        Format::Table | Format::Wide => Ok(table(&rows, namespace, global.output == Format::Wide)),
        format => output::data(format, &rows),
    }
}

/// The claims of a namespace, or all.
///
/// # Errors
/// None that is known: explanations of claims that are there.
pub fn rows(
    cluster: &Cluster,
    namespace: Option<&str>,
    with_reasons: bool,
    with_pods: bool,
) -> Result<Vec<Row>> {
    let cache = Cache::default();
    let wanted = cluster
        .claims()
        .iter()
        .filter(|(name, _)| namespace.is_none_or(|namespace| *name.namespace == *namespace));
    let cache = with_reasons.then_some(&cache);
    wanted.map(|(name, claim)| row(cluster, name, claim, (cache, with_pods))).collect()
}

fn row(
    cluster: &Cluster,
    name: &Name,
    claim: &Claim,
    (cache, with_pods): (Option<&Cache>, bool),
) -> Result<Row> {
    let waits = cluster.pods_of(name).any(|(_, pod)| pod.is_waiting());
    let (state, reason) = match (&claim.status.allocation, waits) {
        (Some(_), _) => ("allocated", None),
        (None, true) => {
            let reason = cache.map(|cache| reason(cluster, name, cache)).transpose()?;
            ("waiting", reason.map(Blocker::as_str))
        }
        (None, false) => (if with_pods { "unused" } else { "unallocated" }, None),
    };
    let made = claim.metadata.creation_timestamp.as_ref().filter(|_| state == "waiting");
    let results = claim.status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
    let reserved = claim.status.reserved_for.iter().filter(|consumer| consumer.is_pod());
    let mut pods: Vec<String> = reserved.map(|pod| pod.name.to_string()).collect();
    pods.extend(cluster.pods_of(name).map(|(pod, _)| pod.name.to_string()));
    pods.sort();
    pods.dedup();
    let requests = claim.spec.devices.requests.iter();
    let asked = requests.flat_map(|request| request.exactly.iter().chain(&request.first_available));
    Ok(Row {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        state,
        reason,
        since: made.map(|made| made.0.to_string()),
        devices: results.map(|one| format!("{}/{}", one.pool, one.device)).collect(),
        pods,
        classes: asked.map(|asked| asked.device_class_name.to_string()).collect(),
    })
}

fn table(rows: &[Row], namespace: Option<&str>, is_wide: bool) -> String {
    if rows.is_empty() {
        let place = namespace.map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
        return format!("There are no ResourceClaims{place}.\n");
    }
    let mut heads = vec!["NAME", "STATE", "DEVICES", "PODS"];
    if namespace.is_none() {
        heads.insert(0, "NAMESPACE");
    }
    if is_wide {
        heads.extend(["CLASSES", "WAITS SINCE"]);
    }
    let mut table = Table::new(&heads);
    for row in rows {
        let state = match row.reason {
            Some(reason) => format!("waiting: {reason}"),
            None => row.state.to_owned(),
        };
        let mut cells = vec![row.name.clone(), state, row.devices.join(","), row.pods.join(",")];
        if namespace.is_none() {
            cells.insert(0, row.namespace.clone());
        }
        if is_wide {
            cells.extend([row.classes.join(","), row.since.clone().unwrap_or_default()]);
        }
        table.row(cells);
    }
    table.text()
}
