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

/// The variable that names upstream's allocator to the suite and to its bench.
pub(crate) const ORACLE: &str = "DRA_ALLOCATOR_ORACLE";

/// Builds what it takes, and compares.
pub(crate) fn conformance(arguments: &Arguments) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package=conformance", "--features=planted-bugs", "--"]);
    let options = [("cases", arguments.cases), ("seed", arguments.seed)];
    cargo.args(options.iter().filter_map(|(name, value)| value.map(|value| format!("--{name}={value}"))));
    command::run(cargo.args(&arguments.rest).env(ORACLE, binaries::allocator_oracle()?))
}

/// The step of the lanes: with what the step `build` has built.
pub(crate) fn step(long: bool) -> Result<()> {
    let words: &[&str] = if long { &LONG } else { &["--planted"] };
    let mut suite = Command::new(Path::new("target/debug/conformance"));
    command::run(suite.args(words).env(ORACLE, binaries::allocator_oracle()?))
}
