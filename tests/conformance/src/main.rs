//! `cargo xtask conformance` builds this program and what it asks, and runs it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use conformance::ours::{Ours, OursError};
use conformance::program::{Program, ProgramError};
use conformance::run::{self, Outcome, Report};
use conformance::{generate, kept, shrink};

/// From so many cases on, a run must have the shares that the suite promises.
const ENOUGH_FOR_SHARES: usize = 5000;
/// How many disagreements are made smaller and kept.
const KEPT: usize = 5;
/// What our side gets for one case, wherever upstream is given up sooner: as much as the scheduler gives.
const OUR_LIMIT: Duration = Duration::from_secs(10);

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
    /// What upstream gets for one case; the scheduler gives it 10, and what has not ended in half a second rarely ends
    #[arg(long, default_value = "0.5", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Plant bugs in our allocator too, one after the other, and see that each is found
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    planted: bool,
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
    let mut oracle = oracle(arguments)?;
    let mut ours = ours(arguments)?;
    let mut faults = Vec::new();
    for pace in [0, run::BATCH] {
        run::set_pace(pace);
        let (kept, found) = kept::replay(&mut ours, &mut oracle)?;
        faults.extend(found);
        println!("{kept} kept cases");
    }
    let report = run::run(arguments.seed, arguments.cases, &mut ours, &mut oracle)?;
    print(&report, arguments.seed);
    for (index, found) in report.disagreements.iter().take(KEPT) {
        run::set_pace(*index);
        let small = shrink::shrink(&found.case, |case| still_differs(case, found, &mut ours, &mut oracle))?;
        let (_, asked) = run::ask(&small, &mut ours, &mut oracle)?;
        let file = kept::keep(&small, arguments.seed, *index)?;
        println!(
            "case {index}, made smaller, in {}:\n  {}\n  ours     {}\n  upstream {}",
            file.display(),
            small.line(),
            asked.ours,
            asked.upstream
        );
    }
    let differ = report.disagreements.len();
    if differ > 0 {
        faults.push(format!("{differ} cases are answered differently"));
    }
    if report.coverage.cases >= ENOUGH_FOR_SHARES {
        faults.extend(report.coverage.missing());
    }
    #[cfg(feature = "planted-bugs")]
    if arguments.planted {
        for (bug, first) in conformance::plant::find_all(arguments.seed, &report.upstream, &mut ours)? {
            match first {
                Some(index) => println!("the planted bug {bug:?} is found by case {index}"),
                None => faults.push(format!("the planted bug {bug:?} is found by no case")),
            }
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    ensure!(faults.is_empty(), "the allocators differ, or the cases are not what they should be; see above");
    Ok(ExitCode::SUCCESS)
}

/// Reads a time-out, which may have a fraction.
fn seconds(text: &str) -> Result<Duration> {
    let limit = Duration::try_from_secs_f64(text.parse()?)?;
    ensure!(limit.as_millis() > 0, "a time-out has to be a millisecond at least");
    Ok(limit)
}

fn oracle(arguments: &Arguments) -> Result<Program, ProgramError> {
    Program::start(Command::new(&arguments.oracle).args([
        "-count-taken-back",
        "-timeout",
        &format!("{}ms", arguments.timeout.as_millis()),
    ]))
}

fn ours(arguments: &Arguments) -> Result<Ours, ProgramError> {
    let Some((program, words)) = arguments.instead.split_first() else {
        return Ok(Ours::library(OUR_LIMIT));
    };
    Ok(Ours::Program(Program::start(Command::new(program).args(words))?))
}

/// Whether a smaller case shows the same: both sides still answer what they answered, by kind.
fn still_differs(
    case: &conformance::case::Case,
    found: &run::Disagreement,
    ours: &mut Ours,
    oracle: &mut Program,
) -> Result<bool, OursError> {
    let (outcome, asked) = run::ask(case, ours, oracle)?;
    let kind = |line: &str| std::mem::discriminant(&conformance::answer::Answer::read(line));
    Ok(outcome == Outcome::Different
        && kind(&asked.ours) == kind(&found.ours)
        && kind(&asked.upstream) == kind(&found.upstream))
}

fn print(report: &Report, seed: u64) {
    let coverage = &report.coverage;
    let all = coverage.cases.max(1);
    let permille = |part: usize| part * 1000 / all;
    let share = |part: usize| format!("{part} ({}.{} %)", permille(part) / 10, permille(part) % 10);
    println!(
        "{} cases of seed {seed} in {:.1} s: {} solved, {} with backtracking",
        coverage.cases,
        report.took.as_secs_f64(),
        share(coverage.solved),
        share(coverage.backtracked),
    );
    for (profile, [cases, solved, backtracked, errors]) in &coverage.profiles {
        println!(
            "  {profile:<30} {cases:>7}: {solved} solved, {backtracked} with backtracking, {errors} errors"
        );
    }
    for (part, count) in &coverage.parts {
        println!("  {part:<30} {count:>7}");
    }
    let numbers = |ours: bool| {
        let those = report.not_compared.iter().filter(move |(_, answered)| *answered == ours);
        those.map(|(index, _)| index.to_string()).collect::<Vec<_>>().join(", ")
    };
    println!(
        "{} not compared, because upstream did not end in time; ours ended: {}; ours did not either: {}",
        report.not_compared.len(),
        numbers(true),
        numbers(false)
    );
    for (bug, count) in &report.known {
        println!("{count} differ by upstream's known bug {bug:?}");
    }
    println!("{} disagreements", report.disagreements.len());
}
