//! Asks both allocators about many cases, and collects where they differ.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::answer::Answer;
use crate::case::Case;
use crate::coverage::Coverage;
use crate::generate::{self, Made};
use crate::known::{self, KnownBug};
use crate::ours::{Ours, OursError};
use crate::program::Program;

/// How many cases are made and asked about at a time.
pub const BATCH: u64 = 400;
/// Upstream's answers to so many of the first cases are kept, for those who ask ours again.
const REMEMBERED: usize = 20_000;
/// After so many disagreements a run stops: more would not help whoever looks for their causes.
const ENOUGH: usize = 20;

/// A case to which the two allocators give different answers.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// What was asked.
    pub case: Case,
    /// Our answer's line.
    pub ours: String,
    /// Upstream's answer's line.
    pub upstream: String,
}

/// What came out of one case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Both say the same.
    Same,
    /// They differ where upstream is known to be wrong.
    Known(KnownBug),
    /// Upstream did not end in time.
    NotCompared,
    /// They differ.
    Different,
}

/// What came out of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// What the cases were.
    pub coverage: Coverage,
    /// Numbers of cases that upstream did not answer in time, and whether we did.
    pub not_compared: Vec<(u64, bool)>,
    /// How often the two differ because of each of upstream's known bugs.
    pub known: BTreeMap<KnownBug, usize>,
    /// What differs otherwise, with the cases' numbers.
    pub disagreements: Vec<(u64, Disagreement)>,
    /// Upstream's answers to the first cases, in their order.
    pub upstream: Vec<Answer>,
    /// How long all of it took.
    pub took: Duration,
}

/// Cases of a seed that are asked about together.
#[derive(Debug)]
struct Batch {
    first: u64,
    made: Vec<Made>,
    lines: Vec<String>,
}

/// Lets our allocator take shortcuts as it does, or at once, by the case's number. It takes them after some failures, and
/// small cases have few: so half of the cases are answered with all the shortcuts that there are.
pub fn set_pace(index: u64) {
    #[cfg(feature = "planted-bugs")]
    dra_controller::allocator::be_impatient((index / BATCH) % 2 == 1);
    #[cfg(not(feature = "planted-bugs"))]
    let _ = index;
}

/// Compares two answers to a case.
pub fn compare(case: &Case, ours: &Answer, upstream: &Answer) -> Outcome {
    if matches!(upstream, Answer::Timeout) {
        return Outcome::NotCompared;
    }
    if ours.agrees_with(upstream) {
        return Outcome::Same;
    }
    known::bug(case, ours, upstream).map_or(Outcome::Different, Outcome::Known)
}

/// Asks both sides about one case.
///
/// # Errors
///
/// If a program ends.
pub fn ask(case: &Case, ours: &mut Ours, oracle: &mut Program) -> Result<(Outcome, Disagreement), OursError> {
    let lines = [case.line()];
    let mut answers = ours.ask(&lines)?;
    let mut theirs = oracle.ask(&lines)?;
    let asked = Disagreement {
        case: case.clone(),
        ours: answers.pop().unwrap_or_default(),
        upstream: theirs.pop().unwrap_or_default(),
    };
    Ok((compare(case, &Answer::read(&asked.ours), &Answer::read(&asked.upstream)), asked))
}

/// Asks both sides about the cases of a seed, from number 0 on.
///
/// # Errors
///
/// If a program ends.
pub fn run(seed: u64, cases: u64, ours: &mut Ours, oracle: &mut Program) -> Result<Report, OursError> {
    let began = Instant::now();
    let mut report = Report::default();
    let mut answered = None;
    let mut next = Batch::make(seed, 0, cases);
    while let Some(batch) = next.take()
        && report.disagreements.len() < ENOUGH
    {
        set_pace(batch.first);
        let (answers, theirs) = thread::scope(|scope| {
            let theirs = scope.spawn(|| oracle.ask(&batch.lines));
            // Meanwhile: what came before is looked at, and what comes after is made.
            let meanwhile = scope.spawn(|| {
                report.add_all(answered.take());
                next = Batch::make(seed, batch.first + BATCH, cases);
            });
            let answers = ours.ask(&batch.lines);
            join(meanwhile);
            (answers, join(theirs))
        });
        answered = Some((batch, answers?, theirs?));
    }
    report.add_all(answered);
    report.took = began.elapsed();
    Ok(report)
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

impl Batch {
    /// The cases from one on; nothing, where there are no more.
    fn make(seed: u64, first: u64, cases: u64) -> Option<Self> {
        let made: Vec<Made> =
            (first..cases.min(first + BATCH)).map(|index| generate::case(seed, index)).collect();
        let lines = made.iter().map(|made| made.case.line()).collect();
        (!made.is_empty()).then_some(Self { first, made, lines })
    }
}

impl Report {
    fn add_all(&mut self, answered: Option<(Batch, Vec<String>, Vec<String>)>) {
        let Some((batch, ours, upstream)) = answered else { return };
        for ((index, made), (ours, upstream)) in
            (batch.first..).zip(&batch.made).zip(ours.iter().zip(&upstream))
        {
            self.add(index, made, ours, upstream);
        }
    }

    fn add(&mut self, index: u64, made: &Made, ours: &str, upstream: &str) {
        let answer = Answer::read(upstream);
        let taken_back = serde_json::from_str::<Value>(upstream).ok();
        let taken_back = taken_back.and_then(|answer| answer["takenBack"].as_u64()).unwrap_or_default();
        self.coverage.add(&made.case, made.profile, &answer, taken_back);
        let our_answer = Answer::read(ours);
        match compare(&made.case, &our_answer, &answer) {
            Outcome::Same => {}
            Outcome::Known(bug) => *self.known.entry(bug).or_default() += 1,
            Outcome::NotCompared => self.not_compared.push((index, our_answer != Answer::Timeout)),
            Outcome::Different => {
                let (ours, upstream) = (ours.to_owned(), upstream.to_owned());
                self.disagreements.push((index, Disagreement { case: made.case.clone(), ours, upstream }));
            }
        }
        if self.upstream.len() < REMEMBERED {
            self.upstream.push(answer);
        }
    }
}
