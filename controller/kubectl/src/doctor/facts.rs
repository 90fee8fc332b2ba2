//! What a diagnosis is made from: what the cluster says of itself.

use std::collections::BTreeMap;

use dra_controller::cluster::Cluster;
use dra_controller::model::pool::Pool;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use kube::api::ListParams;

use crate::connect::Connection;
use crate::read::{self, Hidden, Read, ReadError};

/// What is known of a cluster and the driver in it.
#[derive(Debug, Default)]
pub struct Facts {
    /// The driver's name.
    pub driver: String,
    /// The API server's version.
    pub version: Option<(u32, u32)>,
    /// Devices, classes, claims.
    pub cluster: Cluster,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The driver's DaemonSets.
    pub plugins: Vec<DaemonSet>,
    /// The pods of these.
    pub plugin_pods: Vec<Pod>,
    /// The driver's Deployments.
    pub deployments: Vec<Deployment>,
    /// All ValidatingWebhookConfigurations.
    pub webhooks: Vec<ValidatingWebhookConfiguration>,
    /// What could not be read.
    pub hidden: Vec<Hidden>,
}

/// A program of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The plugin on each node.
    Plugin,
    /// The controller.
    Controller,
    /// The webhook.
    Webhook,
}

impl Program {
    /// The words that start it.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Plugin => ["dra-kubelet-plugin", "run"],
            Self::Controller => ["dra-controller", "run"],
            Self::Webhook => ["dra-controller", "webhook"],
        }
    }

    /// Whether a container runs it, for this driver.
    #[must_use]
    pub fn is_in(self, container: &Container, driver: &str) -> bool {
        let words: Vec<&str> =
            container.command.iter().chain(&container.args).flatten().map(String::as_str).collect();
        let [program, command] = self.words();
        let starts = words.iter().any(|word| word.rsplit('/').next() == Some(program));
        let named = container.env.iter().flatten().find(|variable| variable.name == "DRIVER_NAME");
        let flag = words.iter().find_map(|word| word.strip_prefix("--driver-name="));
        let name = flag.or(named.and_then(|variable| variable.value.as_deref())).unwrap_or("eks-hybrid-dra");
        starts && words.contains(&command) && name == driver
    }

    /// Whether pods like this run it, for this driver.
    #[must_use]
    pub fn is_in_pod(self, pod: Option<&PodSpec>, driver: &str) -> bool {
        pod.is_some_and(|pod| pod.containers.iter().any(|container| self.is_in(container, driver)))
    }
}

/// Collects them.
///
/// # Errors
/// [`ReadError`], where something else than a right is missing.
pub(crate) async fn collect(connection: &Connection, read: Read, driver: &str) -> Result<Facts, ReadError> {
    let client = &connection.client;
    let Read { cluster, mut hidden } = read;
    // Those were asked for before.
    let nodes = if hidden.iter().any(|hidden| hidden.resource == "nodes") {
        Vec::new()
    } else {
        read::whole::<Node>(client, "nodes", "", &mut hidden).await?
    };
    let mut plugins = read::whole::<DaemonSet>(client, "daemonsets", "apps", &mut hidden).await?;
    plugins.retain(|set| {
        let pod = set.spec.template.spec.as_ref();
        Program::Plugin.is_in_pod(pod, driver)
    });
    let mut deployments = read::whole::<Deployment>(client, "deployments", "apps", &mut hidden).await?;
    deployments.retain(|deployment| {
        let pod = deployment.spec.template.spec.as_ref();
        [Program::Controller, Program::Webhook].into_iter().any(|program| program.is_in_pod(pod, driver))
    });
    let group = "admissionregistration.k8s.io";
    let webhooks = read::whole(client, "validatingwebhookconfigurations", group, &mut hidden).await?;
    let mut plugin_pods = Vec::new();
    for set in &plugins {
        let selector = set.spec.selector.match_labels.as_ref();
        plugin_pods.extend(pods(connection, set.metadata.namespace.as_deref(), selector).await?);
    }
    Ok(Facts {
        driver: driver.to_owned(),
        version: read::version(client).await,
        cluster,
        nodes,
        plugins,
        plugin_pods,
        deployments,
        webhooks,
        hidden,
    })
}

/// The pods of a namespace that have these labels: none where the caller may not list them.
pub(crate) async fn pods(
    connection: &Connection,
    namespace: Option<&str>,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Pod>, ReadError> {
    let labels: Vec<String> =
        labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let which = ListParams::default().labels(&labels.join(","));
    let path = read::path("", namespace, "pods");
    match read::list_some(&connection.client, "pods", &path, which).await {
        Err(error) if read::is_forbidden(&error) => Ok(Vec::new()),
        listed => listed,
    }
}

impl Facts {
    /// Whether a resource could not be read as a whole.
    #[must_use]
    pub fn hides(&self, resource: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden.resource == resource)
    }

    /// The driver's pools.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        let pools = self.cluster.inventory().pools().map(|pool| &**pool);
        pools.filter(|pool| *pool.id.driver == *self.driver)
    }
}
