//! `claims`: whose they are, and what they have or why they wait.

use anyhow::Result;
use dra_controller::cel::Cache;
use dra_controller::cluster::{Cluster, Name};
use dra_controller::explain::Explainer;
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
    let rows = rows(&read.cluster, namespace, read.hidden.is_empty(), with_pods);
    match global.output {
        Format::Table | Format::Wide => Ok(table(&rows, namespace, global.output == Format::Wide)),
        format => output::data(format, &rows),
    }
}

/// The claims of a namespace, or all.
#[must_use]
pub fn rows(cluster: &Cluster, namespace: Option<&str>, with_reasons: bool, with_pods: bool) -> Vec<Row> {
    let cache = Cache::default();
    // What tells nodes apart is found once for all claims.
    let explainer = with_reasons.then(|| Explainer::new(cluster, &cache));
    let wanted = cluster
        .claims()
        .iter()
        .filter(|(name, _)| namespace.is_none_or(|namespace| *name.namespace == *namespace));
    wanted.map(|(name, claim)| row(cluster, name, claim, explainer.as_ref(), with_pods)).collect()
}

fn row(
    cluster: &Cluster,
    name: &Name,
    claim: &Claim,
    explainer: Option<&Explainer<'_>>,
    with_pods: bool,
) -> Row {
    let waits = cluster.pods_of(name).any(|(_, pod)| pod.is_waiting());
    let (state, reason) = match (&claim.status.allocation, waits) {
        (Some(_), _) => ("allocated", None),
        (None, true) => {
            let reason = explainer.map(|explainer| reason(explainer, cluster, name, claim).as_str());
            ("waiting", reason)
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
    Row {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        state,
        reason,
        since: made.map(|made| made.0.to_string()),
        devices: results.map(|one| format!("{}/{}", one.pool, one.device)).collect(),
        pods,
        classes: asked.map(|asked| asked.device_class_name.to_string()).collect(),
    }
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

#[cfg(test)]
mod tests {
    use dra_controller::allocator::Features;
    use dra_controller::cluster::Lists;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(all: Vec<Value>) -> Vec<T> {
        all.into_iter().map(|one| serde_json::from_value(one).unwrap()).collect()
    }

    /// One GPU: a claim has it, one waits for it, and one is wanted by no pod.
    fn cluster() -> Cluster {
        let claim = |name: &str, status: Value| {
            let exactly = json!({"deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1});
            let request = json!({"name": "gpu", "exactly": exactly});
            json!({
                "metadata": {"name": name, "namespace": "team", "creationTimestamp": "2026-11-01T10:00:00Z"},
                "spec": {"devices": {"requests": [request]}}, "status": status,
            })
        };
        let result = json!({"request": "gpu", "driver": "ours", "pool": "node-a/gpu", "device": "gpu-0"});
        let has = json!({
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "one", "uid": "1"}],
        });
        let pod = |name: &str, claim: &str, node: Value| {
            json!({
                "metadata": {"name": name, "namespace": "team"},
                "spec": {"nodeName": node, "resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]},
            })
        };
        let selector = json!({"cel": {"expression": "device.driver == 'ours'"}});
        let slice = json!({
            "metadata": {"name": "slice"},
            "spec": {
                "driver": "ours", "nodeName": "node-a", "devices": [{"name": "gpu-0"}],
                "pool": {"name": "node-a/gpu", "generation": 1, "resourceSliceCount": 1},
            },
        });
        let lists = Lists {
            slices: read(vec![slice]),
            classes: read(vec![json!({"metadata": {"name": "gpus"}, "spec": {"selectors": [selector]}})]),
            nodes: read(vec![json!({"metadata": {"name": "node-a"}})]),
            claims: read(vec![claim("has", has), claim("waits", json!({})), claim("forgotten", json!({}))]),
            pods: read(vec![pod("one", "has", json!("node-a")), pod("two", "waits", json!(null))]),
        };
        Cluster::of(Features::of_server(1, 36), lists)
    }

    #[test]
    fn each_claim_says_what_it_has_or_why_it_waits() {
        let rows = rows(&cluster(), None, true, true);
        assert_eq!(
            table(&rows, None, true),
            "NAMESPACE   NAME        STATE             DEVICES            PODS   CLASSES   WAITS SINCE\n\
             team        forgotten   unused                                      gpus\n\
             team        has         allocated         node-a/gpu/gpu-0   one    gpus\n\
             team        waits       waiting: in_use                      two    gpus      2026-11-01T10:00:00Z\n"
        );
        assert_eq!(
            table(&rows, Some("team"), false),
            "NAME        STATE             DEVICES            PODS\n\
             forgotten   unused\n\
             has         allocated         node-a/gpu/gpu-0   one\n\
             waits       waiting: in_use                      two\n"
        );
    }

    #[test]
    fn no_reason_is_told_where_a_part_of_the_cluster_is_hidden() {
        let told = |with_reasons: bool, with_pods: bool| -> Vec<(&str, Option<&str>)> {
            let rows = rows(&cluster(), Some("team"), with_reasons, with_pods);
            rows.into_iter().map(|row| (row.state, row.reason)).collect()
        };
        assert_eq!(told(false, true), [("unused", None), ("allocated", None), ("waiting", None)]);
        assert_eq!(told(false, false)[0], ("unallocated", None));
        assert!(rows(&cluster(), Some("another"), true, true).is_empty());
    }
}
