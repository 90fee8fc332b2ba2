//! The search: depth first, the first solution is taken.
//!
//! It tries what upstream tries, in the same order, and passes over what cannot hold a solution: see
//! [`shortcuts`](super::shortcuts).

use foldhash::HashSet;

use super::planted::{self, Planted};
use super::problem::{Problem, Verdict};
use super::shortcuts::{Rest, Shortcuts};
use super::state::{Refusal, State, must};
use super::{AllocationError, Cancel, MAX_RESULTS};

/// After so many failures, and so many looks at each device for each ask, shortcuts are worth what they cost: a search
/// that ends before is faster without them.
const PATIENCE: (usize, usize) = (8, 8);

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
pub(super) enum Outcome {
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
    /// All requests from one on, as they are remembered when they fail.
    Rest(Rest),
    /// A request with sub-requests: the ask that is tried, and whether all before it exceeded the limit.
    Asks { claim: usize, request: usize, ask: usize, all_exceeded: bool },
    /// A device that was chosen.
    Device { level: Level, device: usize },
    /// One of "all devices".
    One { ask: usize, device: usize },
}

/// One of the devices of an ask, and what was tried for it.
#[derive(Debug)]
struct Level {
    ask: usize,
    position: usize,
    /// What devices were worth that failed.
    failed: HashSet<u128>,
    /// How this is remembered if it fails.
    rest: Option<Rest>,
}

/// Searches. Upstream's errors come in upstream's order.
pub(super) fn search(problem: &Problem<'_>, cancel: &Cancel) -> Result<Found, AllocationError> {
    Search::new(problem).run(cancel)
}

pub(super) struct Search<'p, 'a> {
    problem: &'p Problem<'a>,
    state: State,
    frames: Vec<Frame>,
    furthest: (usize, usize),
    /// How many chosen devices were taken back.
    failures: usize,
    /// How many devices were looked at.
    looked: usize,
    pub(super) shortcuts: Option<Shortcuts>,
}

impl<'p, 'a> Search<'p, 'a> {
    pub(super) fn new(problem: &'p Problem<'a>) -> Self {
        Self {
            problem,
            state: State::new(problem),
            frames: Vec::new(),
            furthest: (0, 0),
            failures: 0,
            looked: 0,
            shortcuts: None,
        }
    }

    pub(super) fn run(mut self, cancel: &Cancel) -> Result<Found, AllocationError> {
        let mut step = Step::Request(0, 0);
        let mut rounds = 0_u32;
        loop {
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(64) && cancel.is_set() {
                return Err(AllocationError::Cancelled);
            }
            step = match step {
                Step::Request(claim, _) if claim == self.problem.claims.len() => return Ok(self.solved()),
                Step::Request(claim, request) => self.begin(claim, request),
                Step::Device(ask, position, start) => self.look(ask, position, start)?,
                Step::Back(outcome) => match self.frames.pop() {
                    Some(frame) => self.go_back(frame, outcome)?,
                    None => return self.unsolved(outcome),
                },
            };
        }
    }

    fn begin(&mut self, claim: usize, request: usize) -> Step {
        self.furthest = self.furthest.max((claim, request));
        let Some(wanted) = self.problem.claims[claim].requests.get(request) else {
            self.frames.push(Frame::Claim);
            return Step::Request(claim + 1, 0);
        };
        if let Some(shortcuts) = &mut self.shortcuts {
            let rest = shortcuts.rest(self.problem, &self.state, claim, request);
            if let Some(outcome) = shortcuts.failure(&rest) {
                return Step::Back(outcome);
            }
            if shortcuts.is_plain() && !self.may_succeed(claim, request) {
                return Step::Back(Outcome::Failed);
            }
            self.frames.push(Frame::Rest(rest));
        }
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
            return Ok(Step::Request(wanted.claim, wanted.number + 1));
        }
        if self.state.results[wanted.claim].len() + wanted.count - position > MAX_RESULTS {
            return Ok(Step::Back(Outcome::Exceeded));
        }
        if let Some(all) = &wanted.all {
            // It must be this one: in which order all are chosen does not matter.
            let device = all[position];
            if let Err(refusal) = self.choose(ask, device) {
                return match must(self.problem, ask, device, refusal) {
                    Some(error) => Err(error),
                    None => Ok(Step::Back(Outcome::Failed)),
                };
            }
            self.frames.push(Frame::One { ask, device });
            return Ok(Step::Device(ask, position + 1, 0));
        }
        let mut rest = None;
        if let Some(shortcuts) = &self.shortcuts {
            let missing = wanted.count - position;
            if position > 0 {
                let this = shortcuts.rest_of_ask(self.problem, &self.state, (ask, position), start);
                if let Some(outcome) = shortcuts.failure(&this) {
                    return Ok(Step::Back(outcome));
                }
                rest = Some(this);
            }
            if (missing > 1 && !self.has_enough(ask, start, missing))
                || shortcuts.lacks_room(self.problem, &self.state, ask, missing)
            {
                return Ok(Step::Back(Outcome::Failed));
            }
        }
        self.look_from(Level { ask, position, failed: HashSet::default(), rest }, start)
    }

    /// Chooses the next device that may be chosen.
    fn look_from(&mut self, level: Level, start: usize) -> Result<Step, AllocationError> {
        let Level { ask, position, .. } = level;
        for device in start..self.problem.field.devices.len() {
            self.looked += 1;
            if self.state.is_in_use(self.problem, ask, device)
                || self.problem.verdict(ask, device)? != Verdict::Fit
            {
                continue;
            }
            if let Some(shortcuts) = &self.shortcuts
                && !level.failed.is_empty()
                && level.failed.contains(&shortcuts.worth(self.problem, ask, device))
            {
                continue;
            }
            if self.choose(ask, device).is_ok() {
                self.frames.push(Frame::Device { level, device });
                // Of the devices of one request, all combinations are tried, not all orders.
                return Ok(Step::Device(ask, position + 1, device + 1));
            }
        }
        self.remember(level.rest, Outcome::Failed);
        Ok(Step::Back(Outcome::Failed))
    }

    fn go_back(&mut self, frame: Frame, outcome: Outcome) -> Result<Step, AllocationError> {
        match frame {
            // Another claim may leave this one devices with which it needs fewer.
            Frame::Claim => Ok(Step::Back(Outcome::Failed)),
            Frame::Rest(rest) => {
                self.remember(Some(rest), outcome);
                Ok(Step::Back(outcome))
            }
            Frame::Asks { claim, request, ask, all_exceeded } => {
                let all_exceeded = all_exceeded && outcome == Outcome::Exceeded;
                let ask = ask + 1;
                if ask < self.problem.claims[claim].requests[request].asks.end {
                    self.frames.push(Frame::Asks { claim, request, ask, all_exceeded });
                    return Ok(Step::Device(ask, 0, 0));
                }
                Ok(Step::Back(if all_exceeded { Outcome::Exceeded } else { Outcome::Failed }))
            }
            Frame::One { ask, device } => {
                self.take_back(ask, device);
                Ok(Step::Back(outcome))
            }
            Frame::Device { mut level, device } => {
                self.take_back(level.ask, device);
                // Another device would not make them fewer.
                if outcome == Outcome::Exceeded {
                    self.remember(level.rest, outcome);
                    return Ok(Step::Back(outcome));
                }
                if let Some(shortcuts) = &self.shortcuts {
                    level.failed.insert(shortcuts.worth(self.problem, level.ask, device));
                }
                self.look_from(level, device + 1)
            }
        }
    }

    fn choose(&mut self, ask: usize, device: usize) -> Result<(), Refusal> {
        self.state.choose(self.problem, ask, device)?;
        if let Some(shortcuts) = &mut self.shortcuts {
            shortcuts.moved(self.problem, &self.state, device);
        }
        Ok(())
    }

    fn take_back(&mut self, ask: usize, device: usize) {
        self.state.take_back(self.problem, self.problem.asks[ask].claim);
        self.failures += 1;
        match &mut self.shortcuts {
            Some(shortcuts) => shortcuts.moved(self.problem, &self.state, device),
            None => {
                let looks = self.problem.asks.len().saturating_mul(self.problem.field.devices.len());
                let is_worth_it =
                    self.failures >= PATIENCE.0 && self.looked >= looks.saturating_mul(PATIENCE.1);
                if is_worth_it || planted::is_impatient() {
                    self.shortcuts = Some(Shortcuts::new(self.problem, &self.state));
                }
            }
        }
    }

    fn remember(&mut self, rest: Option<Rest>, outcome: Outcome) {
        if let (Some(shortcuts), Some(rest)) = (&mut self.shortcuts, rest) {
            shortcuts.remember(rest, outcome);
        }
    }

    /// Whether each request from one on finds enough devices by itself, as things are.
    fn may_succeed(&self, claim: usize, request: usize) -> bool {
        let first = self.problem.claims[claim].requests[request..].iter();
        let later = self.problem.claims[claim + 1..].iter().flat_map(|claim| &claim.requests);
        first.chain(later).all(|request| {
            request.asks.clone().any(|ask| self.has_enough(ask, 0, self.problem.asks[ask].count))
        })
    }

    /// Whether so many devices of an ask, from one on, could be chosen one by one. An error that would come up is
    /// enough: then it has to come up.
    fn has_enough(&self, ask: usize, start: usize, missing: usize) -> bool {
        if let Some(all) = &self.problem.asks[ask].all {
            let is_free = |device: &usize| self.state.refusal(self.problem, ask, *device).is_none();
            return !all.is_empty() && all.iter().all(is_free);
        }
        let mut found = 0;
        for device in start..self.problem.field.devices.len() {
            if found == missing {
                return true;
            }
            match self.state.refusal(self.problem, ask, device) {
                None => found += 1,
                Some(Refusal::Verdict(Verdict::Error)) if !planted::is(Planted::ErrorsBehindShortcuts) => {
                    return true;
                }
                Some(_) => {}
            }
        }
        found == missing
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
