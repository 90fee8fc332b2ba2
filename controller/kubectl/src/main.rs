//! Shows who has which GPU, and why claims wait.

use std::process::ExitCode;

use clap::Parser;
use kubectl_dra::arguments::Arguments;
use kubectl_dra::{output, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run::run(&arguments).unwrap_or_else(|error| {
        eprintln!("kubectl-dra: {}", output::visible(&told(&error)));
        ExitCode::FAILURE
    })
}

/// An error with its causes, each of them once: many errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
