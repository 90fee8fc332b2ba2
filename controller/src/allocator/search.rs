//! The search: depth first, the first solution is taken.

use super::problem::{Problem, Verdict};
use super::state::{State, must};
use super::{AllocationError, Cancel, MAX_RESULTS};

/// A solution, or that there is none.
#[derive(Debug)]
pub(super) struct Found {
    /// What was chosen, if all claims fit.
    pub(super) solution: Option<Solution>,
    /// The claim and the request that the search came to: the later, the closer to a solution.
    pub(super) furthest: (usize, usize),
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Solution {
    /// The devices.
    pub(super) state: State,
    /// The ask of each request with sub-requests that was taken, by claim and request.
    pub(super) taken: Vec<(usize, usize, usize)>,
}

/// How a part of the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// No device is left to try.
    Failed,
    /// A claim would get more devices than it can hold, whichever are chosen.
    Exceeded,
}

/// What the search does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begin with a request of a claim.
    Request(usize, usize),
    /// Look for a device of an ask: which of its devices, and from which device on.
    Device(usize, usize, usize),
    /// Go back.
    Back(Outcome),
}

/// What was begun and may have to be taken back.
#[derive(Debug)]
enum Frame {
    /// The end of a claim.
    Claim,
    /// A request with sub-requests: the ask that is tried, and whether all before it exceeded the limit.
    Asks { claim: usize, request: usize, ask: usize, all_exceeded: bool },
    /// A device that was chosen, as which of the ask's devices.
    Device { ask: usize, position: usize, device: usize },
    /// One of "all devices".
    One { ask: usize },
}

/// Searches. Upstream's errors come in upstream's order.
pub(super) fn search(problem: &Problem<'_>, cancel: &Cancel) -> Result<Found, AllocationError> {
    let mut search = Search { problem, state: State::new(problem), frames: Vec::new(), furthest: (0, 0) };
    let mut step = Step::Request(0, 0);
    for round in 0_usize.. {
        if round.is_multiple_of(64) && cancel.is_set() {
            return Err(AllocationError::Cancelled);
        }
        step = match step {
            Step::Request(claim, _) if claim == problem.claims.len() => return Ok(search.solved()),
            Step::Request(claim, request) => search.begin(claim, request),
            Step::Device(ask, position, start) => search.look(ask, position, start)?,
            Step::Back(outcome) => match search.frames.pop() {
                Some(frame) => search.go_back(frame, outcome)?,
                None => return search.unsolved(outcome),
            },
        };
    }
    Err(AllocationError::Cancelled)
}

struct Search<'p, 'a> {
    problem: &'p Problem<'a>,
    state: State,
    frames: Vec<Frame>,
    furthest: (usize, usize),
}

impl Search<'_, '_> {
    fn begin(&mut self, claim: usize, request: usize) -> Step {
        self.furthest = self.furthest.max((claim, request));
        let Some(wanted) = self.problem.claims[claim].requests.get(request) else {
            self.frames.push(Frame::Claim);
            return Step::Request(claim + 1, 0);
        };
        let ask = wanted.asks.start;
        if wanted.is_prioritized {
            self.frames.push(Frame::Asks { claim, request, ask, all_exceeded: true });
        }
        Step::Device(ask, 0, 0)
    }

    /// Looks for one of the devices of an ask.
    fn look(&mut self, ask: usize, position: usize, start: usize) -> Result<Step, AllocationError> {
        let wanted = &self.problem.asks[ask];
        if wanted.all.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Step::Back(Outcome::Failed));
        }
        if position >= wanted.count {
            let request = self.problem.request_of(ask);
            return Ok(Step::Request(wanted.claim, request + 1));
        }
        if self.state.results[wanted.claim].len() + wanted.count - position > MAX_RESULTS {
            return Ok(Step::Back(Outcome::Exceeded));
        }
        if let Some(all) = &wanted.all {
            // It must be this one: in which order all are chosen does not matter.
            let device = all[position];
            if let Err(refusal) = self.state.choose(self.problem, ask, device) {
                return match must(self.problem, ask, device, refusal) {
                    Some(error) => Err(error),
                    None => Ok(Step::Back(Outcome::Failed)),
                };
            }
            self.frames.push(Frame::One { ask });
            return Ok(Step::Device(ask, position + 1, 0));
        }
        for device in start..self.problem.field.devices.len() {
            if self.state.is_in_use(self.problem, ask, device)
                || self.problem.verdict(ask, device)? != Verdict::Fit
            {
                continue;
            }
            if self.state.choose(self.problem, ask, device).is_ok() {
                self.frames.push(Frame::Device { ask, position, device });
                // Of the devices of one request, all combinations are tried, not all orders.
                return Ok(Step::Device(ask, position + 1, device + 1));
            }
        }
        Ok(Step::Back(Outcome::Failed))
    }

    fn go_back(&mut self, frame: Frame, outcome: Outcome) -> Result<Step, AllocationError> {
        match frame {
            // Another claim may leave this one devices with which it needs fewer.
            Frame::Claim => Ok(Step::Back(Outcome::Failed)),
            Frame::Asks { claim, request, ask, all_exceeded } => {
                let all_exceeded = all_exceeded && outcome == Outcome::Exceeded;
                let ask = ask + 1;
                if ask < self.problem.claims[claim].requests[request].asks.end {
                    self.frames.push(Frame::Asks { claim, request, ask, all_exceeded });
                    return Ok(Step::Device(ask, 0, 0));
                }
                Ok(Step::Back(if all_exceeded { Outcome::Exceeded } else { Outcome::Failed }))
            }
            Frame::One { ask } => {
                self.state.take_back(self.problem, self.problem.asks[ask].claim);
                Ok(Step::Back(outcome))
            }
            Frame::Device { ask, position, device } => {
                self.state.take_back(self.problem, self.problem.asks[ask].claim);
                match outcome {
                    Outcome::Failed => self.look(ask, position, device + 1),
                    // Another device would not make them fewer.
                    Outcome::Exceeded => Ok(Step::Back(outcome)),
                }
            }
        }
    }

    fn solved(self) -> Found {
        let asks = self.frames.iter().filter_map(|frame| match frame {
            Frame::Asks { claim, request, ask, .. } => Some((*claim, *request, *ask)),
            _ => None,
        });
        let taken = asks.collect();
        Found { solution: Some(Solution { state: self.state, taken }), furthest: self.furthest }
    }

    fn unsolved(self, outcome: Outcome) -> Result<Found, AllocationError> {
        match outcome {
            Outcome::Failed => Ok(Found { solution: None, furthest: self.furthest }),
            Outcome::Exceeded => {
                let claim = self.problem.claims.first().map(|claim| claim.claim.full_name());
                Err(AllocationError::AlwaysTooMany { claim: claim.unwrap_or_default() })
            }
        }
    }
}
