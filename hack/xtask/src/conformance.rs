//! `cargo xtask conformance`: our allocator against the scheduler's.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{binaries, command};

/// How many cases the long lane compares, and what it gives upstream for one of them: as much as the scheduler does.
const LONG: [&str; 4] = ["--cases=200000", "--seed=2", "--timeout=10s", "--planted"];

/// What is compared; the suite's own program has the defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many cases; 20,000 unless it is said
    #[arg(long)]
    cases: Option<u64>,
    /// What the cases are made of: another seed makes others
    #[arg(long)]
    seed: Option<u64>,
    /// Further words for the suite's program; `-- --help` lists them
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds what it takes, optimised, and compares.
pub(crate) fn conformance(arguments: &Arguments) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package=conformance", "--features=planted-bugs", "--"]);
    cargo.env(ORACLE, binaries::allocator_oracle()?);
    let options = [("cases", arguments.cases), ("seed", arguments.seed)];
    cargo.args(options.iter().filter_map(|(name, value)| value.map(|value| format!("--{name}={value}"))));
    command::run(cargo.args(&arguments.rest))
}

/// The variable that names upstream's allocator to the suite.
const ORACLE: &str = "DRA_ALLOCATOR_ORACLE";

/// The step of the lanes: with what the step `build` has built.
pub(crate) fn step(long: bool) -> Result<()> {
    let mut suite = Command::new(Path::new("target/debug/conformance"));
    suite.env(ORACLE, binaries::allocator_oracle()?);
    if long {
        suite.args(LONG);
    } else {
        suite.arg("--planted");
    }
    command::run(&mut suite)
}
