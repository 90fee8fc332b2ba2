//! The one entrance for developers: `cargo xtask <command>`.

mod bench;
mod binaries;
mod clients;
mod cluster;
mod command;
mod conformance;
mod debian;
mod demo;
mod digest;
mod e2e;
mod edges;
mod fuzz;
mod image;
mod prometheus;
mod setup;
mod steps;
mod store;
mod summary;
mod wheels;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::setup::Need;
use crate::steps::Step;

/// What a developer does with this repository; each command says what it runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfWorkspace(OfWorkspace),
    /// Run a real Kubernetes node, or a control plane alone, on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
}

/// Commands that run in the workspace's folder, wherever they are called.
#[derive(Debug, Subcommand)]
enum OfWorkspace {
    /// Check and test everything: the same that CI runs
    Test {
        /// Run the tests marked as long too, and build the programs as they ship
        #[arg(long)]
        long: bool,
        /// Run these steps alone
        #[arg(long, value_name = "STEP", num_args = 1..)]
        only: Vec<Step>,
    },
    /// Show how a pod gets its GPU, on a node with eight fake H100, and check each step
    Demo(demo::Arguments),
    /// Compare our allocator with the scheduler's, on generated cases
    Conformance(conformance::Arguments),
    /// Feed the controller what nobody should send, chosen by what it reaches
    Fuzz(fuzz::Arguments),
    /// Measure, and print what came out
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Install what `test` needs (which does so itself)
    Setup,
    /// Fetch NVIDIA's own NVML clients, and print the variables by which the tests find them
    Clients,
    /// Fetch Prometheus and promtool, and print the variables by which the tests find them
    Prometheus,
    /// Provide upstream's programs of a test cluster, and say where they are; `cluster up` does so itself
    Binaries(binaries::Arguments),
    /// Make container images from files, without a registry
    Image {
        /// Which images; without names, those of the test cluster. The product's own is `dra-driver`
        names: Vec<String>,
        /// Make `dra-driver` of programs that are built as tests build them, and leave it uncompressed
        #[arg(long)]
        debug: bool,
        /// Put NAME.tar into this folder instead of the cache
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// Write the files of `dra-driver` into this folder too, which must not be there yet
        #[arg(long, value_name = "FOLDER")]
        unpacked: Option<PathBuf>,
        /// Import them into the node of this cluster, which runs
        #[arg(long, value_name = "CLUSTER")]
        into: Option<String>,
    },
    /// Check which crate may depend on which
    CheckEdges,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Cluster(command) => cluster::run(&command),
        Command::OfWorkspace(command) => run_in_workspace(command),
    }
}

fn run_in_workspace(command: OfWorkspace) -> Result<ExitCode> {
    let root = command::workspace_root()?;
    std::env::set_current_dir(&root)?;
    match command {
        OfWorkspace::Test { long, only } => return Ok(steps::test(long, &only)),
        OfWorkspace::Demo(arguments) => demo::demo(&root, &arguments)?,
        OfWorkspace::Conformance(arguments) => conformance::conformance(&arguments)?,
        OfWorkspace::Fuzz(arguments) => {
            setup::provide(&[Need::CppCompiler])?;
            fuzz::fuzz(&arguments)?;
        }
        OfWorkspace::Bench(what) => bench::bench(&what)?,
        OfWorkspace::Setup => setup::provide(&Need::ALL)?,
        OfWorkspace::Clients => {
            setup::provide(&[Need::ForeignClients])?;
            clients::ensure()?.print_exports();
        }
        OfWorkspace::Prometheus => {
            setup::provide(&[Need::Prometheus])?;
            for (name, path) in prometheus::ensure()? {
                println!("export {name}='{}'", path.display());
            }
        }
        OfWorkspace::Binaries(arguments) => binaries::print(&arguments)?,
        OfWorkspace::Image { names, debug, out, unpacked, into } => {
            let build = if debug { image::Build::Debug } else { image::Build::Dist };
            let archives = image::make(&names, build, out.as_deref(), unpacked.as_deref())?;
            if let Some(cluster) = into {
                return cluster::import(&cluster, &archives);
            }
        }
        OfWorkspace::CheckEdges => edges::check()?,
    }
    Ok(ExitCode::SUCCESS)
}
