//! The DRA kubelet plugin.

use std::process::ExitCode;

use clap::Parser;
use dra_kubelet_plugin::arguments::{Arguments, Command};
use dra_kubelet_plugin::{inspect, run, state};
use dra_runtime::logging;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = logging::start(&arguments.logging).and_then(|()| match &arguments.command {
        Command::Inspect(options) => inspect::run(options),
        Command::Run(options) => run::run(options),
        Command::State(options) => state::run(options),
    });
    done.unwrap_or_else(|error| {
        eprintln!("dra-kubelet-plugin: {error:#}");
        ExitCode::FAILURE
    })
}
