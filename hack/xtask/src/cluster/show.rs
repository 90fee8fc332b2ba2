//! What a person wants to see of a cluster: its state, its logs, its variables.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::binaries::Level;
use crate::cluster::components::ComponentName;
use crate::cluster::state::{Cluster, Settings};
use crate::cluster::{inside, preconditions, processes};
use crate::command;

/// What of a cluster runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Whole,
    /// Some components run, and these do not.
    Missing(Vec<&'static str>),
    /// The start was not completed, whatever runs.
    Unready,
    /// Nothing runs; its files are there.
    Dead,
}

pub(crate) fn state(cluster: &Cluster, settings: &Settings) -> Result<State> {
    let running = processes::of_cluster(&cluster.folder)?;
    if running.is_empty() {
        return Ok(State::Dead);
    }
    let runs = |name: &ComponentName| running.iter().any(|process| process.is(*name));
    let missing: Vec<&str> =
        ComponentName::of(settings.wish.level).filter(|name| !runs(name)).map(ComponentName::text).collect();
    Ok(if !cluster.ready_file().exists() {
        State::Unready
    } else if missing.is_empty() {
        State::Whole
    } else {
        State::Missing(missing)
    })
}

/// Prints each component with its process and memory; fails where one is missing.
pub(crate) fn status(cluster: &Cluster, settings: &Settings) -> Result<()> {
    println!("{:<25} {:>8} {:>9}", "component", "pid", "memory");
    let mut sum = 0;
    for name in ComponentName::of(settings.wish.level) {
        match processes::component(&cluster.folder, name)? {
            Some(process) => {
                println!(
                    "{:<25} {:>8} {:>5} MiB",
                    name.text(),
                    process.pid.to_string(),
                    process.resident >> 10
                );
                sum += process.resident;
            }
            None => println!("{:<25} {:>8}", name.text(), "stopped"),
        }
    }
    println!("{:<25} {:>8} {:>5} MiB", "all", "", sum >> 10);
    let state = state(cluster, settings)?;
    ensure!(state == State::Whole, "cluster {} is not whole: {}", cluster.name, described(&state));
    Ok(())
}

/// A state in words.
pub(crate) fn described(state: &State) -> String {
    match state {
        State::Whole => "runs".to_owned(),
        State::Unready => "not started to the end".to_owned(),
        State::Missing(names) => format!("{} not running", names.join(", ")),
        State::Dead => "nothing of it runs".to_owned(),
    }
}

pub(crate) fn list() -> Result<()> {
    for cluster in Cluster::all()? {
        let line = match cluster.settings() {
            Ok(Some(settings)) => {
                let level = if settings.wish.level == Level::Node { "node" } else { "control plane" };
                let state = if settings.wish.level == Level::Node && !preconditions::is_root() {
                    "root can say whether it runs".to_owned()
                } else {
                    described(&state(&cluster, &settings)?)
                };
                format!("{level}, Kubernetes {}, {state}", settings.wish.kubernetes_text())
            }
            Ok(None) => "unfinished; `cargo xtask cluster down` removes it".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("{:<20} {line}", cluster.name);
    }
    Ok(())
}

/// Prints the variables as lines for a shell.
pub(crate) fn env(cluster: &Cluster, settings: &Settings) -> Result<()> {
    if settings.wish.level == Level::Node {
        println!("# The API server is inside the cluster's namespaces: cargo xtask cluster exec -- COMMAND");
    }
    for (name, value) in inside::variables(cluster, settings)? {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(())
}

/// Becomes `tail` on the logs: on the end of all of them, or on one in full. Returns only where that fails.
pub(crate) fn logs(
    cluster: &Cluster,
    settings: &Settings,
    component: Option<ComponentName>,
    follow: bool,
) -> Result<()> {
    let mut tail = Command::new("tail");
    if follow {
        tail.arg("-F");
    }
    if let Some(name) = component {
        let log = cluster.log(name.text());
        ensure!(log.exists(), "{} has no log: this cluster does not have it", name.text());
        tail.args(["--lines=+1", "--"]).arg(log);
    } else {
        let namespaces = (settings.wish.level == Level::Node).then_some(processes::NAMESPACES);
        let components = ComponentName::of(settings.wish.level).map(ComponentName::text);
        let logs = namespaces.into_iter().chain(components).map(|name| cluster.log(name));
        tail.args(["--lines=10", "--verbose", "--"]).args(logs.filter(|log| log.exists()));
    }
    let error = tail.exec();
    Err(error).with_context(|| format!("cannot start `{}`", command::line(&tail)))
}
