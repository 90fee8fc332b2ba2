//! The scrape configuration for a plain Prometheus, with other targets.

use serde_json::{Value, json};

use crate::{ReadError, repository};

/// A pod of the driver, as Prometheus' discovery of Kubernetes would find it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Address and port of its metrics.
    pub address: String,
    /// Its node.
    pub node: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its phase.
    pub phase: String,
    /// The value of `app.kubernetes.io/component`.
    pub component: String,
}

/// The configuration that users get, with these pods in the place of discovery: Debian's build of Prometheus does not
/// know Kubernetes. Relabelling is as users have it.
///
/// # Errors
/// The file cannot be read.
pub fn with_pods(pods: &[Pod]) -> Result<Value, ReadError> {
    let path = repository().join("deploy/prometheus/prometheus.yaml");
    let text = fs_err::read_to_string(&path)?;
    let form = |reason: &str| ReadError::Form { path: path.clone(), reason: reason.to_owned() };
    let mut config: Value = serde_saphyr::from_str(&text).map_err(|error| form(&error.to_string()))?;
    let targets = pods.iter().map(|pod| {
        json!({"targets": [pod.address], "labels": {
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "dra-driver",
            "__meta_kubernetes_pod_label_app_kubernetes_io_component": pod.component,
            "__meta_kubernetes_pod_container_port_name": "metrics",
            "__meta_kubernetes_pod_phase": pod.phase,
            "__meta_kubernetes_pod_node_name": pod.node,
            "__meta_kubernetes_namespace": pod.namespace,
            "__meta_kubernetes_pod_name": pod.name,
        }})
    });
    let targets: Value = targets.collect();
    let jobs = config["scrape_configs"].as_array_mut();
    for job in jobs.ok_or_else(|| form("scrape_configs has no job"))? {
        let job = job.as_object_mut().ok_or_else(|| form("a job is no object"))?;
        job.remove("kubernetes_sd_configs").ok_or_else(|| form("a job discovers no pods"))?;
        job.insert("static_configs".to_owned(), targets.clone());
    }
    Ok(config)
}
