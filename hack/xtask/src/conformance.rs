//! `cargo xtask conformance`: our allocator against the scheduler's.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{binaries, command};

/// How many cases the long lane compares, and the seconds that it gives upstream for one of them.
const LONG: [&str; 4] = ["--cases=200000", "--seed=2", "--timeout=2", "--planted"];

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
    let options = [("cases", arguments.cases), ("seed", arguments.seed)];
    let options = options.iter().filter_map(|(name, value)| value.map(|value| format!("--{name}={value}")));
    command::run(optimised()?.args(options).args(&arguments.rest))
}

fn optimised() -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package=conformance", "--features=planted-bugs", "--"]);
    cargo.env(ORACLE, binaries::allocator_oracle()?);
    Ok(cargo)
}

/// The variable that names upstream's allocator to the suite and to its bench.
pub(crate) const ORACLE: &str = "DRA_ALLOCATOR_ORACLE";

/// The step of the lanes: with what the step `build` has built, or in the long lane with what is fast.
pub(crate) fn step(long: bool) -> Result<()> {
    if long {
        return command::run(optimised()?.args(LONG));
    }
    let mut suite = Command::new(Path::new("target/debug/conformance"));
    command::run(suite.arg("--planted").env(ORACLE, binaries::allocator_oracle()?))
}
