//! The search as it is described, without any shortcut: what the allocator's search is held against.

use super::super::problem::{Problem, Verdict};
use super::super::state::{State, must};
use super::super::{AllocationError, MAX_RESULTS};

/// How a search ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Solved,
    Failed,
    Exceeded,
}

/// What is chosen, as asks and devices by claims.
pub(super) type Choices = Vec<Vec<(usize, usize)>>;

/// Searches; nothing where the claims do not fit.
pub(super) fn search(problem: &Problem<'_>) -> Result<Option<Choices>, AllocationError> {
    let mut state = State::new(problem);
    match requests(problem, &mut state, 0, 0)? {
        End::Solved => Ok(Some(choices(&state))),
        End::Failed => Ok(None),
        End::Exceeded => Err(AllocationError::AlwaysTooMany { claim: problem.claims[0].claim.full_name() }),
    }
}

pub(super) fn choices(state: &State) -> Choices {
    let of_claim =
        |all: &Vec<super::super::state::Choice>| all.iter().map(|one| (one.ask, one.device)).collect();
    state.results.iter().map(of_claim).collect()
}

fn requests(
    problem: &Problem<'_>,
    state: &mut State,
    claim: usize,
    request: usize,
) -> Result<End, AllocationError> {
    if claim == problem.claims.len() {
        return Ok(End::Solved);
    }
    let Some(wanted) = problem.claims[claim].requests.get(request) else {
        return Ok(match requests(problem, state, claim + 1, 0)? {
            End::Exceeded => End::Failed,
            end => end,
        });
    };
    if !wanted.is_prioritized {
        return devices(problem, state, wanted.asks.start, 0, 0);
    }
    let mut all_exceeded = true;
    for ask in wanted.asks.clone() {
        match devices(problem, state, ask, 0, 0)? {
            End::Solved => return Ok(End::Solved),
            End::Failed => all_exceeded = false,
            End::Exceeded => {}
        }
    }
    Ok(if all_exceeded { End::Exceeded } else { End::Failed })
}

fn devices(
    problem: &Problem<'_>,
    state: &mut State,
    number: usize,
    position: usize,
    start: usize,
) -> Result<End, AllocationError> {
    let ask = &problem.asks[number];
    if ask.all.as_ref().is_some_and(Vec::is_empty) {
        return Ok(End::Failed);
    }
    if position >= ask.count {
        return requests(problem, state, ask.claim, ask.number + 1);
    }
    if state.results[ask.claim].len() + ask.count - position > MAX_RESULTS {
        return Ok(End::Exceeded);
    }
    if let Some(all) = &ask.all {
        if let Err(refusal) = state.choose(problem, number, all[position]) {
            return must(problem, number, all[position], refusal).map_or(Ok(End::Failed), Err);
        }
        let end = devices(problem, state, number, position + 1, 0)?;
        if end != End::Solved {
            state.take_back(problem, ask.claim);
        }
        return Ok(end);
    }
    for device in start..problem.field.devices.len() {
        if state.is_in_use(problem, number, device) || problem.verdict(number, device)? != Verdict::Fit {
            continue;
        }
        if state.choose(problem, number, device).is_err() {
            continue;
        }
        let end = devices(problem, state, number, position + 1, device + 1)?;
        if end != End::Failed {
            return Ok(end);
        }
        state.take_back(problem, ask.claim);
    }
    Ok(End::Failed)
}
