//! What lets the search pass over parts that cannot hold a solution.
//!
//! Nothing here changes an answer: what is passed over would have failed, and would have failed without an error. None
//! of it is made before a search has failed often enough to be worth it.
//!
//! - **Islands.** Two islands look alike to what is still to be allocated when their devices do, in order. What failed
//!   with a device of one need not be tried with the same device of another that looks alike and is in the same state:
//!   each solution behind the second would have been one behind the first, with the islands exchanged.
//! - **Failures are remembered** by what is still to be allocated and by what it sees of the state. Devices that it has
//!   no use for are left out, and which of several islands that look alike is in which state does not matter.
//! - **Counts and sums**, see [`bounds`](super::bounds): what all remaining requests need at least has to be there. It
//!   only gets less as the search goes deeper.
//!
//! States are told apart by 128-bit hashes with keys of the process: that two differ and are taken for one is less
//! likely than a fault of the memory.

use std::hash::{BuildHasher, Hash};

use foldhash::HashMap;
use foldhash::quality::RandomState;

use super::MAX_RESULTS;
use super::bounds::Bounds;
use super::islands::{Island, Places, islands, looked_at};
use super::planted::{self, Planted};
use super::problem::{Problem, Verdict};
use super::search::Outcome;
use super::state::{Situation, State};

/// How many failures are remembered at most.
const MOST_FAILURES: usize = 1_000_000;

/// What is known of the problem, and of the state, for taking shortcuts.
#[derive(Debug)]
pub(super) struct Shortcuts {
    hashers: [RandomState; 2],
    /// The number of each claim's first request, when all requests are numbered.
    first_stages: Vec<usize>,
    places: Places,
    islands: Vec<Island>,
    /// Of each island, which of its devices requests have a use for: of none in the end, and of more from each earlier
    /// stage on that adds some.
    uses: Vec<Vec<Vec<bool>>>,
    /// Which of those it is from each stage on, by islands.
    use_from: Vec<Vec<usize>>,
    /// The state of each island, as far as it matters to each of those.
    states: Vec<Vec<u128>>,
    /// What requests from each stage on see of an island that does not change: nothing, where they have no use for it.
    looks: Vec<Vec<Option<u128>>>,
    /// What the requests from each stage on see of all islands.
    sums: Vec<u128>,
    /// Whether no part of the search can end with an error or with too many devices.
    is_plain: bool,
    has_admin: bool,
    bounds: Bounds,
    failures: HashMap<Rest, Outcome>,
}

/// What is left to do, and what it sees of the state.
pub(super) type Rest = (u128, usize, usize);

impl Shortcuts {
    pub(super) fn new(problem: &Problem<'_>, state: &State) -> Self {
        let (islands, places) = islands(problem);
        let mut first_stages = vec![0];
        for claim in &problem.claims {
            first_stages.push(first_stages.last().copied().unwrap_or_default() + claim.requests.len());
        }
        let mut shortcuts = Self {
            hashers: [RandomState::default(), RandomState::default()],
            uses: Vec::new(),
            use_from: Vec::new(),
            states: Vec::new(),
            looks: Vec::new(),
            sums: Vec::new(),
            is_plain: is_plain(problem),
            has_admin: problem.asks.iter().any(|ask| ask.is_admin),
            bounds: Bounds::new(problem),
            failures: HashMap::default(),
            first_stages,
            places,
            islands,
        };
        shortcuts.looks = shortcuts.all_looks(problem);
        shortcuts.sums = vec![0; shortcuts.looks.len()];
        (shortcuts.uses, shortcuts.use_from) = all_uses(problem, &shortcuts.islands);
        for number in 0..shortcuts.islands.len() {
            let states = shortcuts.states_of(problem, state, number);
            shortcuts.states.push(states);
            shortcuts.count(number, u128::wrapping_add);
        }
        shortcuts
    }

    /// Whether no part of the search can end with an error or with too many devices.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// A device was chosen or taken back.
    pub(super) fn moved(&mut self, problem: &Problem<'_>, state: &State, device: usize) {
        let number = self.places[device].0;
        self.count(number, u128::wrapping_sub);
        self.states[number] = self.states_of(problem, state, number);
        self.count(number, u128::wrapping_add);
    }

    /// What a device is worth to its request and to all that follow: equal for devices that need not both be tried.
    pub(super) fn worth(&self, problem: &Problem<'_>, ask: usize, device: usize) -> u128 {
        let (number, place) = self.places[device];
        let part = self.part(self.stage(problem, ask), number).unwrap_or_default();
        mixed(part, 1 + place as u128)
    }

    /// What is left to do from a request on.
    pub(super) fn rest(&self, problem: &Problem<'_>, state: &State, claim: usize, request: usize) -> Rest {
        let stage = self.first_stages[claim] + request;
        let asks = problem.claims[claim].requests[request..].iter().flat_map(|request| request.asks.clone());
        let seen = mixed(self.sums[stage], self.claim_state(problem, state, claim, asks));
        (seen, stage, usize::MAX)
    }

    /// What is left to do from one of an ask's devices on, where `start` is the first device that may be chosen for it.
    pub(super) fn rest_of_ask(
        &self,
        problem: &Problem<'_>,
        state: &State,
        (ask, position): (usize, usize),
        start: usize,
    ) -> Rest {
        let (claim, request) = (problem.asks[ask].claim, problem.asks[ask].number);
        let later =
            problem.claims[claim].requests[request + 1..].iter().flat_map(|request| request.asks.clone());
        let seen = self.claim_state(problem, state, claim, std::iter::once(ask).chain(later));
        let stage = self.stage(problem, ask);
        let of_island = |(number, island): (usize, &Island)| {
            let (first, last) = (island.devices.first(), island.devices.last());
            if last.is_some_and(|last| *last < start) {
                // The ask is done with it; later requests may not be.
                return self.part(stage + 1, number).map(|part| mixed(part, 1));
            }
            let part = self.part(stage, number)?;
            let is_begun = first.is_some_and(|first| *first < start);
            Some(if is_begun { mixed(mixed(part, 2 + number as u128), start as u128) } else { part })
        };
        let islands = self.islands.iter().enumerate().filter_map(of_island);
        (mixed(islands.fold(0, u128::wrapping_add), seen), ask, position)
    }

    /// How a rest ended when it was tried before.
    pub(super) fn failure(&self, rest: &Rest) -> Option<Outcome> {
        self.failures.get(rest).copied()
    }

    /// Remembers how a rest ended.
    pub(super) fn remember(&mut self, rest: Rest, outcome: Outcome) {
        if self.failures.len() < MOST_FAILURES {
            self.failures.insert(rest, outcome);
        }
    }

    /// Whether fewer devices, or less of some counter, are left than `missing` devices of an ask and all later requests
    /// need at least.
    pub(super) fn lacks_room(
        &self,
        problem: &Problem<'_>,
        state: &State,
        ask: usize,
        missing: usize,
    ) -> bool {
        self.is_plain && self.bounds.are_exceeded(problem, state, ask, self.stage(problem, ask), missing)
    }

    fn stage(&self, problem: &Problem<'_>, ask: usize) -> usize {
        self.first_stages[problem.asks[ask].claim] + problem.asks[ask].number
    }

    /// What asks of a claim see of what the claim has already.
    fn claim_state(
        &self,
        problem: &Problem<'_>,
        state: &State,
        claim: usize,
        asks: impl Iterator<Item = usize>,
    ) -> u128 {
        let mut constraints: Vec<usize> =
            asks.flat_map(|ask| problem.asks[ask].constraints.clone()).collect();
        constraints.sort_unstable();
        constraints.dedup();
        let chosen = constraints.iter().map(|index| (*index, state.memory(problem, claim, *index)));
        let chosen: Vec<_> = chosen.collect();
        let count = if self.is_plain { 0 } else { state.results[claim].len() };
        self.hash(&(chosen, count))
    }

    /// What the requests from a stage on see of an island: nothing, where they have no use for it.
    fn part(&self, stage: usize, number: usize) -> Option<u128> {
        let look = self.looks.get(stage)?[number]?;
        Some(mixed(look, self.states[number][self.use_from[stage][number]]))
    }

    /// The states of an island as it is now.
    fn states_of(&self, problem: &Problem<'_>, state: &State, number: usize) -> Vec<u128> {
        let island = &self.islands[number];
        let situations = island.devices.iter().map(|device| {
            // Where errors may come up, a device is looked at even if its counters are used up.
            state.situation(problem, *device, self.has_admin, self.is_plain)
        });
        let situations: Vec<_> = situations.collect();
        self.uses[number]
            .iter()
            .map(|uses| self.state_of(problem, state, island, &situations, uses))
            .collect()
    }

    /// The state of an island, as far as it matters to those who have a use for some of its devices.
    fn state_of(
        &self,
        problem: &Problem<'_>,
        state: &State,
        island: &Island,
        situations: &[Situation],
        uses: &[bool],
    ) -> u128 {
        // What is left of a counter matters only to devices that may still be chosen.
        let base = problem.field.pools[island.pool].counters();
        let mut left = vec![None; island.counters.len()];
        let situations: Vec<_> = situations.iter().zip(uses).map(|(now, is)| is.then_some(now)).collect();
        let devices = island.devices.iter().zip(&situations);
        for (device, _) in devices.filter(|(_, now)| now.is_some_and(|now| *now != Situation::Used)) {
            for (counter, _) in problem.field.counters_of(*device) {
                if let Some(place) = island.counters.iter().position(|known| known == counter) {
                    let taken = state.taken_of(island.pool, *counter);
                    left[place] = Some(base.left[*counter].saturating_sub(taken));
                }
            }
        }
        if planted::is(Planted::FailuresWithoutCounters) {
            left.clear();
        }
        self.hash(&(situations, left))
    }

    /// Adds an island to the sums, or subtracts it.
    fn count(&mut self, number: usize, add: fn(u128, u128) -> u128) {
        for stage in 0..self.sums.len() {
            if let Some(part) = self.part(stage, number) {
                self.sums[stage] = add(self.sums[stage], part);
            }
        }
    }

    /// What the requests of all stages see of the islands, worked out from the last stage back.
    fn all_looks(&self, problem: &Problem<'_>) -> Vec<Vec<Option<u128>>> {
        // All devices are tried in a fixed order, so an error may come up for one of two islands that look alike.
        let is_ordered = problem.asks.iter().any(|ask| ask.all.is_some() && !ask.constraints.is_empty());
        let natures = self.islands.iter().enumerate().map(|(number, island)| {
            let devices = island.devices.iter().map(|device| island.nature(problem, *device));
            self.hash(&(is_ordered.then_some(number), devices.collect::<Vec<_>>()))
        });
        let natures: Vec<u128> = natures.collect();
        let mut looks: Vec<Vec<Option<u128>>> = Vec::new();
        for claim in problem.claims.iter().enumerate().rev() {
            for request in claim.1.requests.iter().rev() {
                let of_island = |(number, island): (usize, &Island)| {
                    let seen: Vec<_> = request
                        .asks
                        .clone()
                        .map(|ask| seen(problem, ask, claim.0, &island.devices))
                        .collect();
                    let later = looks.last().and_then(|looks| looks[number]);
                    let is_of_use = seen.iter().any(Option::is_some);
                    match later {
                        None if !is_of_use => None,
                        later => Some(self.hash(&(later.unwrap_or(natures[number]), seen))),
                    }
                };
                let stage = self.islands.iter().enumerate().map(of_island).collect();
                looks.push(stage);
            }
        }
        looks.reverse();
        looks
    }

    fn hash(&self, what: &impl Hash) -> u128 {
        let [one, other] = &self.hashers;
        u128::from(one.hash_one(what)) << 64 | u128::from(other.hash_one(what))
    }
}

/// Of each island the devices that requests have a use for, and which it is from each stage on.
fn all_uses(problem: &Problem<'_>, islands: &[Island]) -> (Vec<Vec<Vec<bool>>>, Vec<Vec<usize>>) {
    let mut uses: Vec<Vec<Vec<bool>>> =
        islands.iter().map(|island| vec![vec![false; island.devices.len()]]).collect();
    let mut use_from = Vec::new();
    for request in problem.claims.iter().flat_map(|claim| &claim.requests).rev() {
        for (island, uses) in islands.iter().zip(&mut uses) {
            let is_of_use = |device: &usize| {
                let verdict = |ask| looked_at(problem, ask, *device);
                request.asks.clone().any(|ask| matches!(verdict(ask), Some(Verdict::Fit | Verdict::Error)))
            };
            let later = uses.last().cloned().unwrap_or_default();
            let now: Vec<bool> = island
                .devices
                .iter()
                .zip(&later)
                .map(|(device, later)| *later || is_of_use(device))
                .collect();
            if now != later {
                uses.push(now);
            }
        }
        use_from.push(uses.iter().map(|uses| uses.len() - 1).collect());
    }
    use_from.reverse();
    (uses, use_from)
}

/// What an ask sees of devices: nothing, where it has no use for any.
fn seen(
    problem: &Problem<'_>,
    ask: usize,
    claim: usize,
    devices: &[usize],
) -> Option<Vec<impl Hash + use<>>> {
    let verdicts: Vec<_> = devices.iter().map(|device| looked_at(problem, ask, *device)).collect();
    let is_of_use = |verdict: &Option<Verdict>| matches!(verdict, Some(Verdict::Fit | Verdict::Error));
    if !verdicts.iter().any(is_of_use) {
        return None;
    }
    let of_device = |(device, verdict): (&usize, Option<Verdict>)| {
        let candidate = problem.field.device(*device);
        let driver = &problem.field.pool_of(*device).id.driver;
        let value = |index: &usize| {
            let constraint = &problem.claims[claim].constraints[*index];
            constraint.value(*device, driver, candidate.device).clone()
        };
        let constraints = problem.asks[ask].constraints.iter();
        let constraints = constraints.filter(|_| !planted::is(Planted::AlikeToConstraints));
        let values: Vec<_> = constraints.map(value).collect();
        let amounts = problem.amounts(ask, &candidate.device.shape).filter(|_| candidate.is_shared);
        let amounts: Option<Vec<i128>> = amounts.map(|all| all.iter().map(|amount| amount.nanos()).collect());
        (verdict, values, amounts)
    };
    Some(devices.iter().zip(verdicts).map(of_device).collect())
}

/// A number from two that are random.
fn mixed(one: u128, other: u128) -> u128 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let product = (one ^ other.rotate_left(53).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    (product ^ (product >> 64)).wrapping_mul(FACTOR)
}

/// Whether no part of the search can end with an error or with too many devices.
fn is_plain(problem: &Problem<'_>) -> bool {
    let fits_any_way = problem.claims.iter().all(|claim| {
        let most = |asks: std::ops::Range<usize>| problem.asks[asks].iter().map(|ask| ask.count).max();
        let most = claim.requests.iter().filter_map(|request| most(request.asks.clone()));
        most.fold(0, usize::saturating_add) <= MAX_RESULTS
    });
    let has_error = |ask| {
        (0..problem.field.devices.len()).any(|device| looked_at(problem, ask, device) == Some(Verdict::Error))
    };
    fits_any_way
        && !problem.asks.iter().any(|ask| ask.all.is_some() && !ask.constraints.is_empty())
        && (planted::is(Planted::ErrorsBehindShortcuts) || !(0..problem.asks.len()).any(has_error))
}
