//! What a run of the steps amounts to: minutes per step, and one closing line that counts.

use std::fmt::Write;
use std::ops::AddAssign;
use std::time::Duration;

/// Tests by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    /// Reads the line with which a Rust test program closes; `None` for every other line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut count = Self::default();
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((number, "passed")) => count.passed = number.parse().ok()?,
                Some((number, "failed")) => count.failed = number.parse().ok()?,
                Some((number, "ignored")) => count.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(count)
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Not run, because the named step failed.
    After(&'static str),
}

/// One step that was due.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) step: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// The tests that the step ran, if it is one that runs tests.
    pub(crate) tests: Count,
}

/// A run's end: one row per step, their sum, and the closing line.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    reports: Vec<Report>,
}

impl Summary {
    pub(crate) fn add(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// The count of the closing line. A failed step counts as one failure, unless the failures of its own
    /// tests say so already.
    pub(crate) fn count(&self) -> Count {
        let mut sum = Count::default();
        for report in &self.reports {
            sum += report.tests;
            match report.outcome {
                Outcome::Passed => {}
                Outcome::Failed => sum.failed += u64::from(report.tests.failed == 0),
                Outcome::After(_) => sum.skipped += 1,
            }
        }
        sum
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.reports.iter().all(|report| report.outcome == Outcome::Passed) && self.count().failed == 0
    }

    /// The whole text, closing line last.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:<12} {:>8}  result\n", "step", "minutes");
        for report in &self.reports {
            let result = match report.outcome {
                Outcome::Passed => "ok".to_owned(),
                Outcome::Failed => "FAILED".to_owned(),
                Outcome::After(step) => format!("not run, because {step} failed"),
            };
            add_row(&mut text, report.step, report.took, &result);
        }
        add_row(&mut text, "sum", self.reports.iter().map(|report| report.took).sum(), "");
        let Count { passed, failed, skipped } = self.count();
        text + &format!("\n{passed} passed, {failed} failed, {skipped} skipped\n")
    }
}

fn add_row(text: &mut String, step: &str, took: Duration, result: &str) {
    let row = format!("{step:<12} {:>8.2}  {result}", took.as_secs_f64() / 60.0);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", row.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_test_programs_are_counted() {
        for (name, line, count) in [
            (
                "all well",
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.31s",
                Some(Count { passed: 12, failed: 0, skipped: 3 }),
            ),
            (
                "failures",
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
                Some(Count { passed: 1, failed: 2, skipped: 0 }),
            ),
            ("a single test's line", "test lane::tests::a_slow_call ... ok", None),
            ("words of a test", "the test result: ok. 1 passed; 0 failed", None),
        ] {
            assert_eq!(Count::from_line(line), count, "{name}");
        }
    }

    fn report(step: &'static str, outcome: Outcome, seconds: u64, tests: Count) -> Report {
        Report { step, outcome, took: Duration::from_secs(seconds), tests }
    }

    #[test]
    fn a_good_run_closes_with_its_tests() {
        let mut summary = Summary::default();
        summary.add(report("build", Outcome::Passed, 90, Count::default()));
        summary.add(report("tests", Outcome::Passed, 45, Count { passed: 40, failed: 0, skipped: 2 }));
        assert!(summary.succeeded());
        assert_eq!(
            summary.text(),
            "step          minutes  result\n\
             build            1.50  ok\n\
             tests            0.75  ok\n\
             sum              2.25\n\
             \n\
             40 passed, 0 failed, 2 skipped\n"
        );
    }

    #[test]
    fn every_kind_of_failure_shows_in_the_closing_line() {
        let tests = |passed, failed| Count { passed, failed, skipped: 0 };
        for (name, outcome, counted, closing) in [
            ("a step without tests", Outcome::Failed, tests(0, 0), "0 passed, 1 failed, 0 skipped"),
            ("failed tests count themselves", Outcome::Failed, tests(5, 2), "5 passed, 2 failed, 0 skipped"),
            ("a test program that crashed", Outcome::Failed, tests(5, 0), "5 passed, 1 failed, 0 skipped"),
            (
                "a step that could not run",
                Outcome::After("build"),
                tests(0, 0),
                "0 passed, 0 failed, 1 skipped",
            ),
            ("a runner that hides failures", Outcome::Passed, tests(5, 1), "5 passed, 1 failed, 0 skipped"),
        ] {
            let mut summary = Summary::default();
            summary.add(report("step", outcome, 1, counted));
            assert!(!summary.succeeded(), "{name}");
            assert_eq!(summary.text().lines().last(), Some(closing), "{name}");
        }
    }
}
