//! `cargo xtask test`: the steps in their order, each timed, and what became of them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use fs_err as fs;

use crate::setup::{self, Need};
use crate::summary::{Count, Outcome, Report, Summary};
use crate::{binaries, clients, command, conformance, demo, e2e, edges, fuzz, prometheus};

/// Also the tests that need what the set-up fetched, and those of the tests themselves.
pub(crate) const ALL_TESTS: &str =
    "--features=conformance/planted-bugs,fake-nvml/foreign-clients,observe/promtool";
/// The variable that names helm to the tests of the chart.
const HELM: &str = "DRA_HELM";
/// The variable that names the compiler of device selectors to the test that compares ours with it.
const CEL_ORACLE: &str = "DRA_CEL_ORACLE";

/// A step of `cargo xtask test`, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Install what the other steps need
    Setup,
    /// cargo fmt, checking alone
    Format,
    /// cargo clippy; a warning fails
    Clippy,
    /// Versions, licences and sources of dependencies
    Deny,
    /// Which crate may depend on which
    Edges,
    /// Shell scripts
    Shellcheck,
    /// Everything that the tests need, and with --long the programs as they ship
    Build,
    /// cargo test, with NVIDIA's own clients at hand
    Tests,
    /// Our allocator against the scheduler's, on generated cases; with --long more of them, and other ones
    Conformance,
    /// Documentation of the code; a warning fails
    Rustdoc,
    /// Upstream's programs for the clusters, built once per machine, and our own Go code
    Programs,
    /// Tests that start and end clusters
    Lifecycle,
    /// Tests inside a cluster: a whole Kubernetes node
    Cluster,
    /// The demo, with and without a node: its story is asserted
    Demo,
    /// Pods on every other release of Kubernetes and containerd; with --long alone
    Matrix,
    /// A million inputs that nobody should send; with --long alone
    Fuzz,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Deny => "deny",
            Self::Edges => "edges",
            Self::Shellcheck => "shellcheck",
            Self::Build => "build",
            Self::Tests => "tests",
            Self::Conformance => "conformance",
            Self::Rustdoc => "rustdoc",
            Self::Programs => "programs",
            Self::Lifecycle => "lifecycle",
            Self::Cluster => "cluster",
            Self::Demo => "demo",
            Self::Matrix => "matrix",
            Self::Fuzz => "fuzz",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Format => &[Need::Rustfmt],
            Self::Clippy => &[Need::Clippy],
            Self::Deny => &[Need::CargoDeny],
            Self::Shellcheck => &[Need::Shellcheck],
            Self::Tests => &[Need::ForeignClients, Need::Prometheus, Need::Cluster],
            Self::Programs | Self::Lifecycle => &[Need::Cluster],
            Self::Cluster | Self::Matrix => &[Need::Prometheus, Need::Cluster],
            Self::Demo => &[Need::ForeignClients, Need::Cluster],
            Self::Fuzz => &[Need::CppCompiler],
            Self::Setup | Self::Edges | Self::Build | Self::Conformance | Self::Rustdoc => &[],
        }
    }

    /// Whether the failure of an earlier step makes this one pointless.
    fn is_pointless_after(self, failed: Self) -> bool {
        let needs_programs = matches!(self, Self::Lifecycle | Self::Cluster | Self::Demo | Self::Matrix);
        match failed {
            Self::Setup => true,
            Self::Build => matches!(self, Self::Tests | Self::Conformance) || needs_programs,
            Self::Programs => needs_programs,
            _ => false,
        }
    }

    /// Whether the long lane alone has it, unless it is asked for by name.
    fn is_long(self) -> bool {
        matches!(self, Self::Matrix | Self::Fuzz)
    }

    fn run(self, needs: &[Need], long: bool) -> (Result<()>, Count) {
        let result = match self {
            Self::Setup => setup::provide(needs),
            Self::Format => cargo(&["fmt", "--all", "--check"]),
            Self::Clippy => {
                cargo(&["clippy", "--workspace", "--all-targets", ALL_TESTS, "--", "-D", "warnings"])
            }
            Self::Deny => deny(),
            Self::Edges => edges::check(),
            Self::Shellcheck => shellcheck(),
            Self::Build => build(long),
            Self::Tests => return tests(long),
            Self::Conformance => conformance::step(long),
            Self::Programs => e2e::programs(long),
            Self::Lifecycle => return e2e::lifecycle(long),
            Self::Cluster => return e2e::inside(long),
            Self::Demo => command::workspace_root().and_then(|root| demo::check(&root)),
            Self::Matrix => return e2e::matrix(),
            Self::Fuzz => fuzz::step(),
            Self::Rustdoc => command::run(
                Command::new("cargo")
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
        };
        (result, Count::default())
    }
}

/// Runs the steps (all where `only` is empty) and prints what became of them; the closing line comes last.
pub(crate) fn test(long: bool, only: &[Step]) -> ExitCode {
    let due: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| match only {
            [] => long || !step.is_long(),
            named => *step == Step::Setup || named.contains(step),
        })
        .collect();
    let needs: Vec<Need> = due.iter().flat_map(|step| step.needs()).copied().collect();

    let mut summary = Summary::default();
    let mut failed: Vec<Step> = Vec::new();
    for step in due {
        let started = Instant::now();
        let (outcome, tests) =
            if let Some(cause) = failed.iter().find(|cause| step.is_pointless_after(**cause)) {
                (Outcome::After(cause.name()), Count::default())
            } else {
                println!("\n== {} ==", step.name());
                let (result, tests) = step.run(&needs, long);
                if let Err(error) = &result {
                    eprintln!("error: {error:#}");
                    failed.push(step);
                }
                (if result.is_ok() { Outcome::Passed } else { Outcome::Failed }, tests)
            };
        summary.add(Report { step: step.name(), outcome, took: started.elapsed(), tests });
    }
    print!("\n{}", summary.text());
    if summary.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("cargo").args(arguments))
}

fn deny() -> Result<()> {
    let check = ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    command::run(Command::new(setup::cargo_deny()?).args(check))
}

fn build(long: bool) -> Result<()> {
    cargo(&["build", "--workspace", "--all-targets", ALL_TESTS])?;
    if long {
        let mut arguments = vec!["build".to_owned(), "--profile=dist".to_owned()];
        arguments.extend(edges::shipped_programs()?.iter().map(|package| format!("--package={package}")));
        command::run(Command::new("cargo").args(arguments))?;
    }
    Ok(())
}

fn tests(long: bool) -> (Result<()>, Count) {
    let mut count = Count::default();
    let result = clients::ensure().and_then(|clients| {
        let mut cargo = Command::new("cargo");
        // The tests of e2e need clusters; they have steps of their own.
        cargo.args(["test", "--workspace", "--exclude=e2e", "--no-fail-fast", ALL_TESTS]);
        cargo.envs(clients.environment()).env(HELM, binaries::helm()?);
        cargo.env(CEL_ORACLE, binaries::cel_oracle()?);
        cargo.envs(prometheus::ensure()?);
        if long {
            cargo.args(["--", "--include-ignored"]);
        }
        command::run_watched(&mut cargo, |line| {
            if let Some(program) = Count::from_line(line) {
                count += program;
            }
        })
    });
    let result = result.and_then(|()| {
        ensure!(count.passed > 0, "cargo test ran no test at all");
        Ok(())
    });
    (result, count)
}

fn shellcheck() -> Result<()> {
    let files = command::output(Command::new("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let scripts: Vec<PathBuf> =
        files.split_terminator('\0').map(PathBuf::from).filter(|file| is_shell_script(file)).collect();
    ensure!(!scripts.is_empty(), "git knows no shell script, not even .ci/run");
    command::run(Command::new("shellcheck").arg("--").args(scripts))
}

/// A shell script is known by its name or by its first line.
fn is_shell_script(file: &Path) -> bool {
    // A file that was deleted and not yet committed is still listed.
    let Ok(bytes) = fs::read(file) else { return false };
    let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    file.extension().is_some_and(|extension| extension == "sh") || has_shell_shebang(first_line)
}

fn has_shell_shebang(first_line: &[u8]) -> bool {
    let Some(interpreter) = first_line.strip_prefix(b"#!") else {
        return false;
    };
    let interpreter = String::from_utf8_lossy(interpreter);
    let mut words = interpreter.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    words.find(|word| *word != "env").is_some_and(|shell| ["sh", "bash", "dash"].contains(&shell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_scripts_are_known_by_their_first_line() {
        for (line, is_shell) in [
            ("#!/bin/sh", true),
            ("#!/bin/bash -e", true),
            ("#!/usr/bin/env bash", true),
            ("#! /usr/bin/dash", true),
            ("#!/usr/bin/env python3", false),
            ("#!/usr/bin/fish", false),
            ("bash", false),
            ("#![allow(dead_code)]", false),
            ("", false),
        ] {
            assert_eq!(has_shell_shebang(line.as_bytes()), is_shell, "{line}");
        }
    }

    #[test]
    fn a_failed_step_stops_only_what_stands_on_it() {
        for step in Step::value_variants() {
            let runs_clusters = matches!(step, Step::Lifecycle | Step::Cluster | Step::Demo | Step::Matrix);
            assert!(step.is_pointless_after(Step::Setup), "{step:?}");
            assert!(!step.is_pointless_after(Step::Clippy), "{step:?}");
            let runs_what_is_built = runs_clusters || matches!(step, Step::Tests | Step::Conformance);
            assert_eq!(step.is_pointless_after(Step::Build), runs_what_is_built, "{step:?}");
            assert_eq!(step.is_pointless_after(Step::Programs), runs_clusters, "{step:?}");
        }
    }
}
