//! `cargo xtask conformance` builds this program and what it asks, and runs it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Parser;
use conformance::generate;
use conformance::ours::Ours;
use conformance::program::Program;
use conformance::run::{self, Report};

/// Compares our allocator with the scheduler's.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many cases
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// What the cases are made of; another seed makes others
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the case of this number instead of comparing
    #[arg(long, value_name = "NUMBER")]
    print: Option<u64>,
    /// The program allocator-oracle
    #[arg(long, env = "DRA_ALLOCATOR_ORACLE", value_name = "PROGRAM")]
    oracle: PathBuf,
    /// Compare this program, with its arguments, instead of our allocator: it answers cases as `dra-controller
    /// allocate --stream` does
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    instead: Vec<String>,
    /// What upstream gets for one case; the scheduler gives it 10s
    #[arg(long, default_value = "2s", value_name = "TIME")]
    timeout: String,
}

fn main() -> ExitCode {
    match conform(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn conform(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(index) = arguments.print {
        println!("{}", generate::case(arguments.seed, index).case.line());
        return Ok(ExitCode::SUCCESS);
    }
    let mut oracle = Program::start(Command::new(&arguments.oracle).args([
        "-count-taken-back",
        "-timeout",
        &arguments.timeout,
    ]))?;
    ensure!(!arguments.instead.is_empty(), "--instead names no program");
    let mut ours =
        Ours::Program(Program::start(Command::new(&arguments.instead[0]).args(&arguments.instead[1..]))?);
    let report = run::run(arguments.seed, arguments.cases, &mut ours, &mut oracle)?;
    print(&report, arguments.seed);
    Ok(if report.disagreements.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, seed: u64) {
    let coverage = &report.coverage;
    let percent = |part: usize| part as f64 * 100.0 / coverage.cases.max(1) as f64;
    println!(
        "{} cases of seed {seed} in {:.1} s: {} solved ({:.1} %), {} with backtracking ({:.1} %)",
        coverage.cases,
        report.took.as_secs_f64(),
        coverage.solved,
        percent(coverage.solved),
        coverage.backtracked,
        percent(coverage.backtracked),
    );
    for (profile, [cases, solved, backtracked, errors]) in &coverage.profiles {
        println!(
            "  {profile:<30} {cases:>7}: {solved} solved, {backtracked} with backtracking, {errors} errors"
        );
    }
    for (part, count) in &coverage.parts {
        println!("  {part:<30} {count:>7}");
    }
    println!("not compared, because upstream did not end in time: {:?}", report.not_compared);
    for (bug, count) in &report.known {
        println!("known bug of upstream {bug:?}: {count}");
    }
    for (index, found) in &report.disagreements {
        println!("case {index}:\n  ours     {}\n  upstream {}", found.ours, found.upstream);
    }
    println!("{} disagreements", report.disagreements.len());
}
