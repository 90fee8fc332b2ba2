//! The test of the suite: bugs that are planted in our allocator have to be found.

use dra_controller::allocator::{Planted, plant};

use crate::answer::Answer;
use crate::case::Case;
use crate::generate;
use crate::ours::{Ours, OursError};
use crate::program::Program;
use crate::run::{self, BATCH, Outcome};

/// Cases and what upstream answers to them: they are the same for each bug.
#[derive(Debug)]
struct Answered {
    cases: Vec<Case>,
    lines: Vec<String>,
    upstream: Vec<Answer>,
}

/// Plants one bug after the other, and says for each which case of the seed finds it first; `None` where none of so many
/// does.
///
/// # Errors
///
/// If a program ends.
pub fn find_all(
    seed: u64,
    cases: u64,
    ours: &mut Ours,
    oracle: &mut Program,
) -> Result<Vec<(Planted, Option<u64>)>, OursError> {
    let mut answered: Vec<Answered> = Vec::new();
    let mut found = Vec::new();
    for bug in Planted::ALL {
        plant(Some(bug));
        let first = find(seed, cases, ours, oracle, &mut answered);
        plant(None);
        found.push((bug, first?));
    }
    Ok(found)
}

fn find(
    seed: u64,
    cases: u64,
    ours: &mut Ours,
    oracle: &mut Program,
    answered: &mut Vec<Answered>,
) -> Result<Option<u64>, OursError> {
    for (batch, start) in (0..cases).step_by(usize::try_from(BATCH).unwrap_or(1)).enumerate() {
        if answered.len() == batch {
            let made = (start..cases.min(start + BATCH)).map(|index| generate::case(seed, index).case);
            let cases: Vec<Case> = made.collect();
            let lines: Vec<String> = cases.iter().map(Case::line).collect();
            let upstream = oracle.ask(&lines)?.iter().map(|line| Answer::read(line)).collect();
            answered.push(Answered { cases, lines, upstream });
        }
        run::set_pace(start);
        let Answered { cases, lines, upstream } = &answered[batch];
        let answers = ours.ask(lines)?;
        let differs = |at: &usize| {
            let answer = Answer::read(&answers[*at]);
            run::compare(&cases[*at], &answer, &upstream[*at]) == Outcome::Different
        };
        if let Some(at) = (0..cases.len()).find(differs) {
            return Ok((start..).nth(at));
        }
    }
    Ok(None)
}
