//! The one entrance for developers: `cargo xtask <command>`.

mod clients;
mod command;
mod debian;
mod demo;
mod edges;
mod setup;
mod steps;
mod store;
mod summary;
mod wheels;

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
    /// Check and test everything: the same that CI runs
    Test {
        /// Run the tests marked as long too, and build the programs as they ship
        #[arg(long)]
        long: bool,
        /// Run these steps alone
        #[arg(long, value_name = "STEP", num_args = 1..)]
        only: Vec<Step>,
    },
    /// Show the plugin's view of a fake H100 node and a fake H200 node
    Demo {
        /// Leave the fake nodes in place and say where they are
        #[arg(long)]
        keep: bool,
    },
    /// Install what `test` needs (which does so itself)
    Setup,
    /// Fetch NVIDIA's own NVML clients, and print the variables by which the tests find them
    Clients,
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
    let root = command::workspace_root()?;
    std::env::set_current_dir(&root)?;
    match command {
        Command::Test { long, only } => return Ok(steps::test(long, &only)),
        Command::Demo { keep } => demo::demo(&root, keep)?,
        Command::Setup => setup::provide(&Need::ALL)?,
        Command::Clients => {
            setup::provide(&[Need::ForeignClients])?;
            clients::ensure()?.print_exports();
        }
        Command::CheckEdges => edges::check()?,
    }
    Ok(ExitCode::SUCCESS)
}
