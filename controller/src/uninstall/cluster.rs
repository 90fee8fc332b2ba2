//! What `uninstall` asks of the API server.

use std::future::Future;
use std::time::Duration;

use dra_runtime::flags::ObjectName;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::{Api, Client};
use thiserror::Error;

use super::held::{self, Held, Pod};

/// Between two looks at something that takes time.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long the API server may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How many objects are asked for at a time.
const PAGE: u32 = 500;

/// Why something could not be asked or done.
#[derive(Debug, Error)]
pub(super) enum ClusterError {
    /// The API server's answer, or that there is none.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was attempted, and on what.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// No answer.
    #[error("cannot {what}: the API server gave no answer within {} s", ANSWER.as_secs())]
    Silent {
        /// What was attempted, and on what.
        what: String,
    },
}

/// The cluster, as far as `uninstall` looks at it.
pub(super) struct Cluster<'a> {
    client: Client,
    driver: &'a str,
    daemon_set: &'a ObjectName,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(client: Client, driver: &'a str, daemon_set: &'a ObjectName) -> Self {
        Self { client, driver, daemon_set }
    }

    /// The claims to which devices of the driver are allocated.
    pub(super) async fn held(&self) -> Result<Vec<Held>, ClusterError> {
        let claims: Api<ResourceClaim> = Api::all(self.client.clone());
        let mut found = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = answered("list ResourceClaims", claims.list(&page)).await?;
            found.extend(held::held(self.driver, &list.items));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Asks a pod to end, in its own time.
    pub(super) async fn delete_pod(&self, pod: &Pod) -> Result<(), ClusterError> {
        let Pod { namespace, name, uid } = pod;
        let pods: Api<core::Pod> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let same = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let what = format!("delete the pod {namespace}/{name}");
        let deleted = answered(&what, pods.delete(name, &same)).await;
        // Gone, or another pod of that name: either way it holds nothing any more.
        if unless(deleted, |status| status.is_not_found() || status.is_conflict())?.is_some() {
            tracing::info!("asked the pod {namespace}/{name} to end");
        }
        Ok(())
    }

    pub(super) async fn delete_device_class(&self, name: &str) -> Result<(), ClusterError> {
        let classes: Api<DeviceClass> = Api::all(self.client.clone());
        let what = format!("delete the DeviceClass {name}");
        let deleted = answered(&what, classes.delete(name, &DeleteParams::default())).await;
        unless(deleted, |status| status.is_not_found())?;
        Ok(())
    }

    /// Deletes the DaemonSet and its pods; its UID. None if it is gone already.
    pub(super) async fn delete_daemon_set(&self) -> Result<Option<String>, ClusterError> {
        let ObjectName { namespace, name } = self.daemon_set;
        let daemon_sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("read the DaemonSet {}", self.daemon_set);
        let Some(found) = answered(&what, daemon_sets.get_opt(name)).await? else { return Ok(None) };
        let foreground = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        let what = format!("delete the DaemonSet {}", self.daemon_set);
        let deleted = answered(&what, daemon_sets.delete(name, &foreground)).await;
        unless(deleted, |status| status.is_not_found())?;
        tracing::info!("deleted the DaemonSet {}", self.daemon_set);
        Ok(found.metadata.uid)
    }

    /// The nodes on which a pod of the DaemonSet still is.
    pub(super) async fn nodes_with_plugin(&self, daemon_set: &str) -> Result<Vec<String>, ClusterError> {
        let pods: Api<core::Pod> = Api::namespaced(self.client.clone(), &self.daemon_set.namespace);
        let what = format!("list the pods in the namespace {}", self.daemon_set.namespace);
        let mut nodes = Vec::new();
        for pod in answered(&what, pods.list(&ListParams::default())).await?.items {
            let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
            if owners.iter().any(|owner| owner.uid == daemon_set) {
                let node = pod.spec.and_then(|spec| spec.node_name);
                nodes.push(node.unwrap_or_else(|| "(no node)".to_owned()));
            }
        }
        Ok(nodes)
    }

    /// Deletes what slices of the driver are left.
    pub(super) async fn delete_slices(&self) -> Result<(), ClusterError> {
        let slices: Api<ResourceSlice> = Api::all(self.client.clone());
        let of_driver = ListParams::default().fields(&format!("spec.driver={}", self.driver));
        let what = format!("delete the ResourceSlices of {}", self.driver);
        answered(&what, slices.delete_collection(&DeleteParams::default(), &of_driver)).await?;
        Ok(())
    }
}

async fn answered<T>(what: &str, asked: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => {
            answer.map_err(|source| ClusterError::Api { what: what.to_owned(), source: Box::new(source) })
        }
        Err(_) => Err(ClusterError::Silent { what: what.to_owned() }),
    }
}

/// None where the API server refuses for a reason that is as good as success.
fn unless<T>(
    answer: Result<T, ClusterError>,
    fine: impl Fn(&kube::core::Status) -> bool,
) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClusterError::Api { what, source }) => match *source {
            kube::Error::Api(status) if fine(&status) => Ok(None),
            other => Err(ClusterError::Api { what, source: Box::new(other) }),
        },
        Err(silent) => Err(silent),
    }
}
