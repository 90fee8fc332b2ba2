//! `uninstall`: what has to happen before Helm deletes the driver's objects.
//!
//! A pod whose claim has a device of a driver that is gone never ends: the kubelet waits for somebody to unprepare the
//! claim. So nothing is removed while claims have devices, unless the user wants their pods to be deleted.

mod held;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::core::Selector;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::arguments::UninstallOptions;
use held::{Held, held};

/// How often something that is waited for is looked at.
const PACE: Duration = Duration::from_millis(500);
/// How many objects one list has at most.
const PAGE: u32 = 500;

/// Removes the plugin from all nodes, or says which claims keep it from that.
///
/// # Errors
/// Claims that have devices; the API server.
pub fn run(options: &UninstallOptions) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(uninstall(options)).map(|()| ExitCode::SUCCESS)
}

async fn uninstall(options: &UninstallOptions) -> Result<()> {
    let user_agent = concat!("dra-controller/", env!("CARGO_PKG_VERSION"));
    let client = dra_runtime::client::client(&options.client, user_agent).await?;
    let driver = &options.driver_name;

    let held = claims(&client, driver).await?;
    if !held.is_empty() && !options.force {
        bail!(
            "{}\nThe pods of these claims would never end without the driver. Delete them and uninstall again. Or bring \
             the release back (helm rollback), set the value uninstall.force=true, which deletes them, and uninstall \
             then. Nothing was removed",
            list(&format!("these claims have devices of driver {driver}:"), &held)
        );
    }
    let end = Instant::now() + options.timeout;
    remove_controller(&client, options, end).await?;
    if !held.is_empty() {
        remove_classes(&client, &options.device_classes).await?;
        drain(&client, driver, held, end).await?;
    }
    remove_plugin(&client, options, Instant::now() + options.timeout).await?;
    remove_slices(&client, driver).await
}

fn list(head: &str, held: &[Held]) -> String {
    let lines = held.iter().map(|one| format!("\n  {one}"));
    lines.fold(head.to_owned(), |text, line| text + &line)
}

async fn claims(client: &Client, driver: &str) -> Result<Vec<Held>> {
    let claims = all::<ResourceClaim>(&Api::all(client.clone()), ListParams::default()).await;
    Ok(held(driver, &claims.context("cannot list the ResourceClaims")?))
}

/// All objects of a list, page by page.
async fn all<K>(api: &Api<K>, params: ListParams) -> kube::Result<Vec<K>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// Deletes the controller and what it has made that belongs to nobody else: classes of translated parameters. What it has
/// made in namespaces belongs to the users' ConfigMaps.
async fn remove_controller(client: &Client, options: &UninstallOptions, end: Instant) -> Result<()> {
    let Some(name) = &options.controller else { return Ok(()) };
    let deployments = Api::<Deployment>::namespaced(client.clone(), &name.namespace);
    gone(deployments.delete(&name.name, &DeleteParams::foreground()).await)
        .with_context(|| format!("cannot delete the Deployment {name}"))?;
    tracing::info!(%name, "deleted the controller's Deployment; waiting for its pods");
    // It goes after its pods. One of them that still ran would make the classes anew.
    while deployments
        .get_opt(&name.name)
        .await
        .with_context(|| format!("cannot get the Deployment {name}"))?
        .is_some()
    {
        if Instant::now() >= end {
            tracing::warn!(%name, "the controller did not end in time; its node may be cut off");
            break;
        }
        sleep(PACE).await;
    }
    let classes = Api::<DeviceClass>::all(client.clone());
    let made = ListParams::default().labels(&translated(&options.driver_name));
    let made = all(&classes, made).await.context("cannot list the DeviceClasses")?;
    let names: Vec<String> = made.into_iter().filter_map(|class| class.metadata.name).collect();
    remove_classes(client, &names).await
}

/// Without the classes no new pod gets a device, so that the pods which replace those that are deleted wait.
async fn remove_classes(client: &Client, names: &[String]) -> Result<()> {
    let classes = Api::<DeviceClass>::all(client.clone());
    for name in names {
        gone(classes.delete(name, &DeleteParams::default()).await)
            .with_context(|| format!("cannot delete the DeviceClass {name}"))?;
        tracing::info!(name, "deleted the DeviceClass");
    }
    Ok(())
}

/// Deletes pods until no claim has a device.
async fn drain(client: &Client, driver: &str, mut held: Vec<Held>, end: Instant) -> Result<()> {
    let mut asked = BTreeSet::new();
    while !held.is_empty() {
        for one in &held {
            let pods = Api::<Pod>::namespaced(client.clone(), &one.claim.namespace);
            // One that was asked to end is waited for.
            for pod in one.pods.iter().filter(|pod| asked.insert(pod.uid.clone())) {
                // A pod of the same name that came since may have nothing to do with the claim.
                let only = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
                let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                match pods.delete(&pod.name, &params).await {
                    Ok(_) => tracing::info!(claim = %one.claim, pod = pod.name, "deleted the pod"),
                    Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                    Err(error) => {
                        let what = format!("cannot delete pod {}/{}", one.claim.namespace, pod.name);
                        return Err(error).context(what);
                    }
                }
            }
        }
        if Instant::now() >= end {
            bail!(
                "{}\nTheir pods were deleted; what makes them anew has to be scaled down first. The plugin was left",
                list(&format!("these claims still have devices of driver {driver}:"), &held)
            );
        }
        sleep(PACE).await;
        held = claims(client, driver).await?;
    }
    Ok(())
}

/// Deletes the DaemonSet, and waits until its pods are gone: each plugin that sees that takes its traces with it.
async fn remove_plugin(client: &Client, options: &UninstallOptions, end: Instant) -> Result<()> {
    let name = &options.daemon_set;
    let sets = Api::<DaemonSet>::namespaced(client.clone(), &name.namespace);
    let Some(set) =
        sets.get_opt(&name.name).await.with_context(|| format!("cannot get the DaemonSet {name}"))?
    else {
        return Ok(());
    };
    let selector = set.spec.selector;
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    gone(sets.delete(&name.name, &params).await)
        .with_context(|| format!("cannot delete the DaemonSet {name}"))?;
    tracing::info!(%name, "deleted the DaemonSet; waiting for its pods");
    loop {
        let pods = pods(client, &name.namespace, &selector).await?;
        if pods.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            let nodes: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
            tracing::warn!(
                nodes = nodes.join(","),
                "the plugin did not end in time on these nodes, which may be cut off; its files there stay until the \
                 next reboot"
            );
            return Ok(());
        }
        sleep(PACE).await;
    }
}

async fn pods(client: &Client, namespace: &str, selector: &LabelSelector) -> Result<Vec<Pod>> {
    let selector: Selector = selector.clone().try_into().context("the DaemonSet's selector is none")?;
    let params = ListParams::default().labels_from(&selector);
    all(&Api::namespaced(client.clone(), namespace), params).await.context("cannot list the plugin's pods")
}

/// Deletes what plugins could not.
async fn remove_slices(client: &Client, driver: &str) -> Result<()> {
    let slices = Api::<ResourceSlice>::all(client.clone());
    let params = ListParams::default().fields(&format!("spec.driver={driver}"));
    for slice in all(&slices, params).await.context("cannot list the ResourceSlices")? {
        let name = slice.metadata.name.unwrap_or_default();
        gone(slices.delete(&name, &DeleteParams::default()).await)
            .with_context(|| format!("cannot delete the ResourceSlice {name}"))?;
        tracing::info!(name, "deleted the ResourceSlice");
    }
    Ok(())
}

/// What selects the classes that the driver's controller has translated.
fn translated(driver: &str) -> String {
    format!("{driver}/translated=true")
}

/// What is not there need not be deleted.
fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
