//! `cluster up`: everything before the start itself. What is built is built as the user; what a node needs of
//! root comes after, and says why.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::binaries::{self, Level, Source, Wanted};
use crate::cluster::arguments::{Switch, Up};
use crate::cluster::cgroups::Layout;
use crate::cluster::show::{self, State};
use crate::cluster::state::{Cluster, Settings, Wish};
use crate::cluster::{preconditions, start, stop};
use crate::{clients, command, image};

const WHY_ROOT: &str = "Starting a node (mount, network and pid namespaces, cgroups, device nodes)";

/// Starts a cluster and waits until it is ready.
pub(crate) fn up(arguments: &Up) -> Result<ExitCode> {
    let cluster = Cluster::named(&arguments.which.name)?;
    let wish = wish(arguments)?;
    let is_node = wish.level == Level::Node;
    if is_node {
        preconditions::can_be_root(WHY_ROOT)?;
    }
    let lock = cluster.lock()?;
    if is_running_already(&cluster, &wish)? {
        return Ok(ExitCode::SUCCESS);
    }
    let system = preconditions::system(wish.level)?;
    preconditions::enough_space(&cluster, wish.level)?;
    // Better now than after a build.
    wish.api_port.map(preconditions::take_port).transpose()?;

    let source = source(arguments)?;
    if is_node || wish.fake_node.is_some() || wish.binaries.is_none() {
        // What is built is this workspace's, wherever the user is.
        std::env::set_current_dir(command::workspace_root()?)?;
    }
    let programs = binaries::provide(&wanted(&wish), &source)?;
    let images = if is_node { image::provide()? } else { Vec::new() };
    let fake_node = wish.fake_node.as_ref().map(|_| fake_node_programs()).transpose()?;
    if is_node {
        let own = command::own_path()?;
        let needed =
            [Some(&cluster.folder), Some(&own), programs.kubelet.as_ref(), programs.containerd.as_ref()];
        preconditions::visible_inside(needed.into_iter().flatten())?;
    }
    if is_node && !preconditions::is_root() {
        drop(lock);
        return preconditions::as_root(WHY_ROOT);
    }

    if stop::exists(&cluster)? {
        println!("Removing what is left of an earlier cluster {}.", cluster.name);
        stop::take_down(&cluster)?;
    }
    let ports =
        if is_node { preconditions::NODE_PORTS } else { preconditions::free_ports(arguments.api_port)? };
    let settings = Settings {
        programs,
        ports,
        cgroup: stop::cgroup(&cluster),
        cgroup_v1: is_node && matches!(Layout::of_this_machine()?, Layout::V1(_)),
        overlayfs: is_node && preconditions::has_overlayfs(&cluster.folder)?,
        runc: system.runc,
        cni: system.cni,
        wish,
    };
    let began = Instant::now();
    println!("Starting cluster {} in {}", cluster.name, cluster.folder.display());
    start::all(&cluster, &settings, fake_node.as_ref(), &images)?;
    println!("\nCluster {} is ready after {:.1} s.", cluster.name, began.elapsed().as_secs_f64());
    print_use(&cluster, &settings);
    Ok(ExitCode::SUCCESS)
}

fn wish(arguments: &Up) -> Result<Wish> {
    Ok(Wish {
        level: if arguments.control_plane { Level::ControlPlane } else { Level::Node },
        kubernetes: arguments.kubernetes,
        kubelet: arguments.kubelet.unwrap_or(arguments.kubernetes),
        containerd: arguments.containerd,
        cdi: arguments.cdi == Switch::On,
        feature_gates: arguments.feature_gates.clone(),
        runtime_config: arguments.runtime_config.clone(),
        fake_node: arguments.fake_node.as_deref().map(description).transpose()?,
        binaries: arguments.binaries.as_deref().map(std::path::absolute).transpose()?,
        api_port: arguments.api_port,
    })
}

/// A fake node's description by its built-in name, or by the absolute path of its file.
fn description(text: &str) -> Result<String> {
    if Path::new(text).is_file() {
        return Ok(std::path::absolute(text)?.display().to_string());
    }
    Ok(text.to_owned())
}

fn source(arguments: &Up) -> Result<Source> {
    Ok(match &arguments.binaries {
        Some(folder) => Source::Folder(std::path::absolute(folder)?),
        None if arguments.download => Source::Download { from: arguments.from.clone() },
        None => Source::CacheOrBuild,
    })
}

fn wanted(wish: &Wish) -> Wanted {
    Wanted {
        level: wish.level,
        kubernetes: wish.kubernetes,
        kubelet: wish.kubelet,
        containerd: wish.containerd,
    }
}

/// Whether the cluster that is wished for runs. One that runs in part or was asked to be another is an error;
/// one of which nothing runs is as good as none.
fn is_running_already(cluster: &Cluster, wish: &Wish) -> Result<bool> {
    let Some(settings) = cluster.settings()? else { return Ok(false) };
    if settings.wish.level == Level::Node && !preconditions::is_root() {
        // Its processes can be seen by root alone, who will ask again.
        return Ok(false);
    }
    let name = &cluster.name;
    match show::state(cluster, &settings)? {
        State::Dead => Ok(false),
        State::Unready => bail!(
            "cluster {name} was not started to the end: run `cargo xtask cluster down --name {name}`, then this \
             again"
        ),
        State::Missing(missing) => bail!(
            "cluster {name} is not whole, {} not running: end it (`cargo xtask cluster down --name {name}`), or \
             start what is missing (`cargo xtask cluster start --name {name} {}`)",
            missing.join(", "),
            missing[0]
        ),
        State::Whole => {
            let differences = settings.wish.differences(wish);
            ensure!(
                differences.is_empty(),
                "cluster {name} runs already, but is another than asked for: {}. End it first (`cargo xtask \
                 cluster down --name {name}`), or give this one another --name",
                differences.join("; ")
            );
            println!("Cluster {name} is running already.");
            print_use(cluster, &settings);
            Ok(true)
        }
    }
}

/// Builds, as the user, what makes a fake node, and fetches NVIDIA's nvidia-smi.
fn fake_node_programs() -> Result<start::FakeNode> {
    if !preconditions::is_elevated() {
        let mut build = Command::new("cargo");
        command::run_aside(build.args(["build", "--quiet", "--package=fake-node", "--package=fake-nvml"]))?;
    }
    let program = command::own_path()?;
    // Cargo puts the workspace's programs of one profile beside each other.
    let program = program.with_file_name("fake-node");
    let nvidia_smi = clients::nvidia_smi().inspect_err(|error| {
        eprintln!("warning: the fake node's nvidia-smi stays a placeholder: {error:#} (`cargo xtask setup`)");
    });
    Ok(start::FakeNode { program, nvidia_smi: nvidia_smi.ok() })
}

fn print_use(cluster: &Cluster, settings: &Settings) {
    let name = &cluster.name;
    if settings.wish.level == Level::Node {
        println!("  cargo xtask cluster exec --name {name} -- kubectl get nodes");
    } else {
        println!("  eval \"$(cargo xtask cluster env --name {name})\"; kubectl get namespaces");
    }
    println!("  cargo xtask cluster logs --name {name}");
    println!("  cargo xtask cluster down --name {name}");
}
