//! `cargo xtask cluster`: a real Kubernetes node, or a control plane alone, on this machine.

mod arguments;
mod certificates;
mod cgroups;
mod components;
mod files;
mod inside;
mod preconditions;
mod processes;
mod show;
mod start;
mod state;
mod stop;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

pub(crate) use self::arguments::Command;
use self::arguments::Part;
use self::components::ComponentName;
pub(crate) use self::preconditions::{is_elevated, is_root};
use self::state::{Cluster, Settings};
use crate::binaries::Level;

/// Runs one of the subcommands.
pub(crate) fn run(wanted: &Command) -> Result<ExitCode> {
    match wanted {
        Command::Up(arguments) => up::up(arguments),
        Command::Down(which) => down(&Cluster::named(&which.name)?),
        Command::List => show::list().map(|()| ExitCode::SUCCESS),
        Command::Env(which) => with(&which.name, show::env),
        Command::Status(which) => as_its_owner(&which.name, show::status),
        Command::Exec { which, command } => {
            as_its_owner(&which.name, |cluster, settings| inside::exec(cluster, settings, command))
        }
        Command::Logs { which, component, follow } => {
            with(&which.name, |cluster, settings| show::logs(cluster, settings, *component, *follow))
        }
        Command::Stop(part) => part_of(part, stop_component),
        Command::Start(part) => part_of(part, start_component),
        Command::Restart(part) => part_of(part, |name, cluster, settings| {
            stop_component(name, cluster, settings)?;
            start_component(name, cluster, settings)
        }),
    }
}

/// Hands the images of these archives to the node of a cluster that runs.
pub(crate) fn import(name: &str, archives: &[PathBuf]) -> Result<ExitCode> {
    as_its_owner(name, |cluster, settings| {
        ensure!(
            settings.wish.level == Level::Node,
            "cluster {name} is a control plane alone: it has no containerd to import images into"
        );
        inside::import(cluster, settings, archives)
    })
}

fn with(name: &str, act: impl FnOnce(&Cluster, &Settings) -> Result<()>) -> Result<ExitCode> {
    let cluster = Cluster::named(name)?;
    let settings = cluster.existing()?;
    act(&cluster, &settings).map(|()| ExitCode::SUCCESS)
}

/// As [`with`], with the rights that the cluster was started with.
fn as_its_owner(name: &str, act: impl FnOnce(&Cluster, &Settings) -> Result<()>) -> Result<ExitCode> {
    let cluster = Cluster::named(name)?;
    let settings = cluster.existing()?;
    if settings.wish.level == Level::Node && !preconditions::is_root() {
        return preconditions::as_root("Entering the cluster's namespaces");
    }
    act(&cluster, &settings).map(|()| ExitCode::SUCCESS)
}

fn down(cluster: &Cluster) -> Result<ExitCode> {
    // Of a cluster whose settings cannot be read, nobody knows what it was.
    let may_be_node =
        cluster.settings().ok().flatten().is_none_or(|settings| settings.wish.level == Level::Node);
    if !stop::exists(cluster)? {
        println!("There is no cluster {}.", cluster.name);
        return Ok(ExitCode::SUCCESS);
    }
    if may_be_node && !preconditions::is_root() {
        return preconditions::as_root("Ending a node");
    }
    ensure!(
        !processes::is_inside(&cluster.folder)?,
        "a cluster cannot be ended from inside: run this outside of `cluster exec`"
    );
    let _lock = cluster.lock()?;
    let began = Instant::now();
    stop::take_down(cluster)?;
    println!("Cluster {} is gone after {:.1} s.", cluster.name, began.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn part_of(
    part: &Part,
    act: impl FnOnce(ComponentName, &Cluster, &Settings) -> Result<()>,
) -> Result<ExitCode> {
    as_its_owner(&part.which.name, |cluster, settings| {
        let mut all = ComponentName::of(settings.wish.level);
        ensure!(
            all.any(|name| name == part.component),
            "cluster {} is a control plane alone: it has no {}",
            cluster.name,
            part.component.text()
        );
        act(part.component, cluster, settings)
    })
}

fn stop_component(name: ComponentName, cluster: &Cluster, _settings: &Settings) -> Result<()> {
    /// The others end at once; an API server waits for its watchers, most of which never leave.
    const PATIENCE: Duration = Duration::from_secs(5);
    let text = name.text();
    let Some(process) = processes::component(&cluster.folder, name)? else {
        println!("{text} is not running.");
        return Ok(());
    };
    let began = Instant::now();
    let forced = processes::end(&cluster.folder, &process, PATIENCE)?;
    let how = if forced { ": killed, for it did not end by itself" } else { "" };
    println!("{text} is stopped after {:.1} s{how}.", began.elapsed().as_secs_f64());
    Ok(())
}

fn start_component(name: ComponentName, cluster: &Cluster, settings: &Settings) -> Result<()> {
    let text = name.text();
    if processes::component(&cluster.folder, name)?.is_some() {
        println!("{text} is running already.");
        return Ok(());
    }
    if settings.wish.level == Level::Node && processes::first(&cluster.folder)?.is_none() {
        bail!(
            "cluster {0} has no namespaces any more: run `cargo xtask cluster down --name {0}`",
            cluster.name
        );
    }
    let began = Instant::now();
    start::one(cluster, settings, name)?;
    println!("{text} is ready after {:.1} s.", began.elapsed().as_secs_f64());
    Ok(())
}
