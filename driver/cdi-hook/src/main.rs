//! The OCI hook of the driver's CDI specs.

use std::process::ExitCode;

use dra_cdi_hook::arguments::{Arguments, HELP};
use dra_cdi_hook::container;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments = match Arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(error) => return failed(&format!("{error}\n\n{HELP}")),
    };
    let root = match container::root(arguments.container_spec.as_deref()) {
        Ok(root) => root,
        Err(error) => return failed(&error.to_string()),
    };
    match dra_cdi_hook::run(&arguments.command, &root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

/// The container runtime takes what is written here into its own error.
fn failed(why: &str) -> ExitCode {
    eprintln!("dra-cdi-hook: {why}");
    ExitCode::FAILURE
}
