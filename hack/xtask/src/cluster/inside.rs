//! Running programs where the cluster is: in its namespaces, with the variables by which they find it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries::Level;
use crate::cluster::components::NODE;
use crate::cluster::processes;
use crate::cluster::state::{Cluster, Settings};
use crate::command;
use crate::command::output;

/// The variables by which programs find the cluster.
pub(crate) fn variables(cluster: &Cluster, settings: &Settings) -> Result<Vec<(&'static str, String)>> {
    let text = |path: &Path| path.display().to_string();
    let program = command::own_path()?;
    let mut variables = vec![
        ("KUBECONFIG", text(&cluster.kubeconfig("admin"))),
        ("DRA_CLUSTER", cluster.name.clone()),
        ("DRA_CLUSTER_STATE", text(&cluster.folder)),
        ("DRA_XTASK", text(&program)),
        // What kubectl remembers of one cluster is wrong for the next one at the same address.
        ("KUBECACHEDIR", text(&cluster.folder.join("kubectl-cache"))),
    ];
    if settings.wish.level == Level::Node {
        variables.push(("DRA_CLUSTER_NODE", NODE.to_owned()));
    }
    if settings.wish.fake_node.is_some() {
        variables.push(("DRA_FAKE_NODE", text(&cluster.fake_node())));
    }
    let mut path = text(&settings.programs.clients);
    if let Some(containerd) = &settings.programs.containerd {
        path = format!("{path}:{}", text(containerd));
    }
    let rest = std::env::var("PATH").unwrap_or_default();
    variables.push(("PATH", format!("{path}:{rest}")));
    Ok(variables)
}

/// The words before a program's own that take it into the cluster's namespaces; none where it is there
/// already, or where there are no namespaces.
pub(crate) fn enter(cluster: &Cluster, settings: &Settings) -> Result<Vec<OsString>> {
    if settings.wish.level == Level::ControlPlane || processes::is_inside(&cluster.folder)? {
        return Ok(Vec::new());
    }
    let first = processes::first(&cluster.folder)?.with_context(|| {
        format!("cluster {0} has no namespaces any more: `cargo xtask cluster down --name {0}`", cluster.name)
    })?;
    let pid = first.pid.to_string();
    Ok(["nsenter", "-t", &pid, "-m", "-n", "-p", "--"].iter().map(OsString::from).collect())
}

/// `program` inside the cluster, in this process's folder, to be completed with its arguments.
pub(crate) fn command(cluster: &Cluster, settings: &Settings, program: &str) -> Result<Command> {
    let mut words = enter(cluster, settings)?;
    if !words.is_empty() {
        // nsenter leaves the folder that it was called in.
        words.extend(["sh", "-c", r#"cd "$0" && exec "$@""#].iter().map(OsString::from));
        words.push(std::env::current_dir()?.into_os_string());
    }
    words.push(program.into());
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).envs(variables(cluster, settings)?);
    Ok(command)
}

/// Becomes the program; returns only where it cannot be started.
pub(crate) fn exec(cluster: &Cluster, settings: &Settings, words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("name a program to run")?;
    let mut command = command(cluster, settings, program)?;
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

/// Hands containerd images from OCI archives, as a registry would.
pub(crate) fn import(cluster: &Cluster, settings: &Settings, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        let mut ctr = command(cluster, settings, "ctr")?;
        ctr.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
        output(&mut ctr).with_context(|| format!("cannot import {}", archive.display()))?;
    }
    Ok(())
}
