//! The DRA kubelet plugin.

mod arguments;
mod inspect;
mod logging;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = logging::start(&arguments.logging).and_then(|()| match &arguments.command {
        Command::Inspect(options) => inspect::run(options),
    });
    done.unwrap_or_else(|error| {
        eprintln!("dra-kubelet-plugin: {error:#}");
        ExitCode::FAILURE
    })
}
