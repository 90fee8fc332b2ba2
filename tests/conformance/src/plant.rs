//! The test of the suite: bugs that are planted in our allocator have to be found.

use dra_controller::allocator::{Planted, plant};

use crate::answer::Answer;
use crate::case::Case;
use crate::generate;
use crate::ours::{Ours, OursError};
use crate::run::{self, BATCH, Outcome};

/// Plants each bug, and says which case of the seed finds it first; `None` where none of those does whose answers by
/// upstream are given.
///
/// # Errors
///
/// If a program ends.
pub fn find_all(
    seed: u64,
    upstream: &[Answer],
    ours: &mut Ours,
) -> Result<Vec<(Planted, Option<u64>)>, OursError> {
    let mut found: Vec<(Planted, Option<u64>)> = Planted::ALL.into_iter().map(|bug| (bug, None)).collect();
    let size = usize::try_from(BATCH).unwrap_or(1);
    for (start, upstream) in (0..).step_by(size).zip(upstream.chunks(size)) {
        let mut open = found.iter_mut().filter(|(_, first)| first.is_none()).peekable();
        if open.peek().is_none() {
            break;
        }
        let cases: Vec<Case> =
            (start..).take(upstream.len()).map(|index| generate::case(seed, index).case).collect();
        let lines: Vec<String> = cases.iter().map(Case::line).collect();
        run::set_pace(start);
        for (bug, first) in open {
            plant(Some(*bug));
            let answers = ours.ask(&lines);
            plant(None);
            let answers = answers?;
            let differs = |at: &usize| {
                let answer = Answer::read(&answers[*at]);
                run::compare(&cases[*at], &answer, &upstream[*at]) == Outcome::Different
            };
            *first = (0..cases.len()).find(differs).and_then(|at| (start..).nth(at));
        }
    }
    Ok(found)
}
