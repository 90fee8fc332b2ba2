//! The part of the DRA driver that runs in the cluster, not on its nodes.

use std::process::ExitCode;

use clap::Parser;
use dra_controller::arguments::{Arguments, Command};
use dra_controller::{allocate, run, uninstall, webhook};
use dra_runtime::logging;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = logging::start(&arguments.logging).and_then(|()| match &arguments.command {
        Command::Allocate(options) => allocate::run(options),
        Command::Run(options) => run::run(options),
        Command::Uninstall(options) => uninstall::run(options),
        Command::Webhook(options) => webhook::run(options),
    });
    done.unwrap_or_else(|error| {
        eprintln!("dra-controller: {error:#}");
        ExitCode::FAILURE
    })
}
