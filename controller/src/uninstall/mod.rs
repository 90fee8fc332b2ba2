//! `uninstall`: takes the driver off the cluster, before Helm deletes the rest.
//!
//! Nothing is deleted while claims hold devices of the driver, since without its plugins no pod of theirs could
//! end. With `force` their pods are deleted first. Then the DaemonSet goes; each plugin, which sees that it goes
//! for good, removes its slices and files. What slices are left then are of nodes that do not answer.

mod cluster;
mod held;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use dra_driver::name::check_driver_name;
use dra_runtime::client;
use tokio::runtime;
use tokio::time::Instant;

use crate::arguments::UninstallOptions;
use cluster::{Cluster, PAUSE};

/// Takes the driver off.
///
/// # Errors
/// That claims hold devices of the driver, which ones, and what to do; or what the API server refuses.
pub fn run(options: &UninstallOptions) -> Result<ExitCode> {
    check_driver_name(&options.driver_name)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(uninstall(options)).map(|()| ExitCode::SUCCESS)
}

async fn uninstall(options: &UninstallOptions) -> Result<()> {
    let user_agent = concat!("dra-controller/", env!("CARGO_PKG_VERSION"));
    let client = client::client(&options.client, user_agent).await?;
    let cluster = Cluster::new(client, &options.driver_name, &options.daemon_set);
    let held = cluster.held().await?;
    if !held.is_empty() {
        if !options.force {
            bail!(held::refusal(&options.driver_name, &held));
        }
        drain(&cluster, options).await?;
    }
    remove_plugins(&cluster, options).await?;
    cluster.delete_slices().await?;
    tracing::info!(driver = options.driver_name, "the driver's plugins and ResourceSlices are gone");
    Ok(())
}

/// Ends the pods that hold devices, and waits until their claims are free.
async fn drain(cluster: &Cluster<'_>, options: &UninstallOptions) -> Result<()> {
    for class in &options.device_classes {
        cluster.delete_device_class(class).await?;
    }
    let end = Instant::now() + options.timeout / 2;
    let mut asked = BTreeSet::new();
    loop {
        let held = cluster.held().await?;
        if held.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!(held::too_late(&options.driver_name, &held));
        }
        // Each time anew: a pod that waited for a device may have got the one of a pod that ended.
        for pod in held::pods(&held) {
            if !asked.contains(&pod) {
                cluster.delete_pod(&pod).await?;
                asked.insert(pod);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes the DaemonSet, and waits for its pods as long as there is time.
async fn remove_plugins(cluster: &Cluster<'_>, options: &UninstallOptions) -> Result<()> {
    let Some(daemon_set) = cluster.delete_daemon_set().await? else {
        tracing::info!(daemon_set = %options.daemon_set, "the DaemonSet is gone already");
        return Ok(());
    };
    let end = Instant::now() + options.timeout / 2;
    loop {
        let nodes = cluster.nodes_with_plugin(&daemon_set).await?;
        if nodes.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            let nodes = nodes.join(", ");
            tracing::warn!(
                nodes,
                "the plugins of these nodes have not ended in time and are left; \
                 what they keep in /run and /var/run/cdi goes with the next boot"
            );
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
