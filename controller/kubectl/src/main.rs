//! Shows who has which GPU, and why claims wait.

use std::process::ExitCode;

use clap::Parser;
use kubectl_dra::arguments::Arguments;
use kubectl_dra::run;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run::run(&arguments).unwrap_or_else(|error| {
        eprintln!("kubectl-dra: {error:#}");
        ExitCode::FAILURE
    })
}
