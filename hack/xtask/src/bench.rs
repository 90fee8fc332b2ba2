//! `cargo xtask bench`: measurements. They are printed, and never make anything fail: how fast a machine is, is no test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

use crate::{binaries, command, conformance};

/// The cluster's name.
const CLUSTER: &str = "bench";

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The kubelet plugin on a node with fake GPUs: publishing, preparing, a pod's start, memory, size
    Node,
    /// The controller with 1,000 and 10,000 nodes, and ten nodes that reboot: memory, times of changes and explanations
    Controller {
        /// Further words for the bench's program; `-- --help` lists them
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// The controller's allocator beside the scheduler's, on the same cases; its memory and times for 10,000 nodes
    Allocator {
        /// Further words for the bench's program; `-- --help` lists them
        #[arg(last = true)]
        rest: Vec<String>,
    },
}

/// Takes the measurements.
pub(crate) fn bench(what: &Bench) -> Result<()> {
    match what {
        Bench::Node => node(),
        Bench::Allocator { rest } => allocator(rest),
        Bench::Controller { rest } => controller(rest),
    }
}

fn controller(words: &[String]) -> Result<()> {
    // Apart, so that the controller has the features that it ships with and not the bench's too.
    for packages in [&["--package=bench"][..], &["--package=dra-controller"]] {
        command::run(Command::new("cargo").args(["build", "--profile=dist"]).args(packages))?;
    }
    let programs = target_folder()?.join("dist");
    let mut bench = Command::new(programs.join("bench-controller"));
    command::run(bench.args(words).env("DRA_CONTROLLER", programs.join("dra-controller")))
}

fn allocator(words: &[String]) -> Result<()> {
    let oracle = binaries::allocator_oracle()?;
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package=conformance", "--bin=bench-allocator", "--"]);
    command::run(cargo.args(words).env(conformance::ORACLE, oracle))
}

fn node() -> Result<()> {
    // As it ships; and apart, so that the plugin has the features that it ships with and not the bench's too.
    for packages in [&["--package=bench", "--package=fake-nvml"][..], &["--package=dra-kubelet-plugin"]] {
        command::run(Command::new("cargo").args(["build", "--profile=dist"]).args(packages))?;
    }
    let programs = target_folder()?.join("dist");
    let xtask = command::own_path()?;
    let cluster = |words: &[&str]| command::run(Command::new(&xtask).arg("cluster").args(words));
    cluster(&["down", "--name", CLUSTER])?;
    cluster(&["up", "--name", CLUSTER, "--fake-node", "hgx-h100-8"])?;
    let mut bench = Command::new(&xtask);
    bench
        .args(["cluster", "exec", "--name", CLUSTER, "--"])
        .arg(programs.join("bench"))
        .env("DRA_KUBELET_PLUGIN", programs.join("dra-kubelet-plugin"))
        .env("FAKE_NVML_LIBRARY", programs.join("libfake_nvml.so"));
    let measured = command::run(&mut bench);
    let down = cluster(&["down", "--name", CLUSTER]);
    measured.and(down)
}

/// Where cargo puts what it builds.
fn target_folder() -> Result<PathBuf> {
    let metadata =
        command::output(Command::new("cargo").args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(Path::new(target).to_owned())
}
