//! `cargo xtask fuzz`: feeds the controller what nobody should send.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::command;

/// What is fed, and how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is fed; all of them unless it is said
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// How many inputs each is fed
    #[arg(long, default_value_t = 250_000)]
    inputs: u32,
    /// What the inputs are made of: another seed makes others
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

/// The targets of `tests/fuzz`.
const TARGETS: [&str; 4] = ["cel", "quantity", "claims", "slices"];

/// How long an input may be, in bytes: an expression somewhat longer than the API server takes, a case as large as a
/// small cluster's.
fn longest(target: &str) -> u32 {
    match target {
        "cel" => 16 << 10,
        "quantity" => 1 << 10,
        _ => 256 << 10,
    }
}

/// What the compiler counts, so that libFuzzer sees what an input reaches: blocks, each with a counter.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table";

/// What libFuzzer ends with a failure, beside what panics: an input that takes longer, in seconds (a machine may be
/// busy), and one that takes more memory, in MiB.
const BOUNDS: [&str; 2] = ["-timeout=60", "-rss_limit_mb=2048"];

/// Where the inputs to begin with are written, and those at which something was found.
const SEEDS: &str = "target/fuzz-seeds";
const FOUND: &str = "target/fuzz-found";

/// Builds the targets so that coverage is counted, and feeds them.
pub(crate) fn fuzz(arguments: &Arguments) -> Result<()> {
    let targets: Vec<&str> = match arguments.targets.as_slice() {
        [] => TARGETS.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    for target in targets {
        feed(target, arguments)?;
    }
    Ok(())
}

/// The step of the long lane: a million inputs.
pub(crate) fn step() -> Result<()> {
    fuzz(&Arguments { targets: Vec::new(), inputs: 250_000, seed: 1 })
}

fn feed(target: &str, arguments: &Arguments) -> Result<()> {
    println!("Feeding {target}: {} inputs of seed {}", arguments.inputs, arguments.seed);
    let seeds = Path::new(SEEDS).join(target);
    if seeds.exists() {
        fs::remove_dir_all(&seeds)?;
    }
    fs::create_dir_all(&seeds)?;
    fs::create_dir_all(FOUND)?;
    let mut cargo = Command::new("cargo");
    // With the name of a platform, the flags are not those of what the compiler itself loads.
    cargo.args(["run", "--quiet", "--profile=fuzz", "--package=fuzz", "--features=libfuzzer"]);
    cargo.arg(format!("--target={}", platform()?)).arg("--");
    cargo.args([format!("-runs={}", arguments.inputs), format!("-seed={}", arguments.seed)]);
    cargo.args(BOUNDS).args(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1"]);
    cargo.arg(format!("-max_len={}", longest(target)));
    cargo.arg(format!("-artifact_prefix={FOUND}/{target}-")).arg(&seeds);
    cargo.env("RUSTFLAGS", COVERAGE).env("DRA_FUZZ_TARGET", target).env("DRA_FUZZ_SEEDS", &seeds);
    command::run(&mut cargo).with_context(|| {
        format!(
            "{target} did what it must not: the input is in {FOUND}/; once it is mended, keep the input in \
             tests/fuzz/found/{target}/, named after what was wrong"
        )
    })
}

/// The name of this machine's platform.
fn platform() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}
