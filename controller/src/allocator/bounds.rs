//! Bounds: what requests need at least, whichever devices they get.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;

use super::islands::looked_at;
use super::problem::{Problem, Verdict};
use super::state::State;

/// How many sets of devices are counted at most: the largest, which most requests choose from.
const MOST_SETS: usize = 16;

/// Devices that one claim alone can have, and how many of them requests need.
#[derive(Debug)]
struct Devices {
    devices: Vec<usize>,
    /// Of each ask, whether it can choose from these alone.
    suffices: Vec<bool>,
    /// How many of them the requests from each stage on need at least.
    demands: Vec<usize>,
}

/// The sets of devices from which asks choose, and all devices together.
fn sets(problem: &Problem<'_>) -> Vec<Devices> {
    // Of a device that several may have, or that is looked after, there is always one more.
    let choices = (0..problem.asks.len()).map(|ask| {
        let is_choice = |device: &usize| looked_at(problem, ask, *device) == Some(Verdict::Fit);
        let devices: BTreeSet<usize> = match &problem.asks[ask].all {
            Some(all) => all.iter().copied().collect(),
            None => (0..problem.field.devices.len()).filter(is_choice).collect(),
        };
        let is_countable =
            !problem.asks[ask].is_admin && !devices.iter().any(|one| problem.field.device(*one).is_shared);
        is_countable.then_some(devices)
    });
    let choices: Vec<Option<BTreeSet<usize>>> = choices.collect();
    let mut sets: Vec<BTreeSet<usize>> = vec![choices.iter().flatten().flatten().copied().collect()];
    for devices in choices.iter().flatten() {
        if !sets.contains(devices) {
            sets.push(devices.clone());
        }
    }
    sets.sort_by_key(|devices| std::cmp::Reverse(devices.len()));
    sets.truncate(MOST_SETS);
    let counted = |devices: BTreeSet<usize>| {
        let suffices =
            choices.iter().map(|choice| choice.as_ref().is_some_and(|all| all.is_subset(&devices)));
        let suffices: Vec<bool> = suffices.collect();
        let mut demands = vec![0_usize];
        for request in problem.claims.iter().flat_map(|claim| &claim.requests).rev() {
            let of_ask = |ask: usize| if suffices[ask] { problem.asks[ask].count } else { 0 };
            let demand = request.asks.clone().map(of_ask).min().unwrap_or_default();
            demands.push(demand.saturating_add(demands.last().copied().unwrap_or_default()));
        }
        demands.reverse();
        Devices { devices: devices.into_iter().collect(), suffices, demands }
    };
    sets.into_iter().map(counted).collect()
}

/// What requests need at least.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Devices of which requests need some.
    sets: Vec<Devices>,
    /// The counters of each name, by pool. Counters count by name: whose they are does not matter here.
    counters: Vec<Vec<(usize, usize)>>,
    /// What one device of each ask takes at least, by name.
    least: Vec<Vec<i128>>,
    /// What the requests from each stage on take at least, by name.
    demands: Vec<Vec<i128>>,
}

impl Bounds {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let mut names: HashMap<Arc<str>, usize> = HashMap::default();
        let mut counters: Vec<Vec<(usize, usize)>> = Vec::new();
        for (pool, known) in problem.field.pools.iter().enumerate() {
            for ((_, name), counter) in &known.counters().numbers {
                let next = names.len();
                let number = *names.entry(Arc::clone(name)).or_insert(next);
                if number == counters.len() {
                    counters.push(Vec::new());
                }
                counters[number].push((pool, *counter));
            }
        }
        let mut name_of: HashMap<(usize, usize), usize> = HashMap::default();
        for (name, all) in counters.iter().enumerate() {
            name_of.extend(all.iter().map(|counter| (*counter, name)));
        }
        let least_of = |ask| {
            let mut least: Option<Vec<i128>> = None;
            for device in 0..problem.field.devices.len() {
                if looked_at(problem, ask, device) != Some(Verdict::Fit) {
                    continue;
                }
                let candidate = problem.field.device(device);
                let mut taken = vec![0_i128; counters.len()];
                // All shares of a device but one take nothing.
                for (counter, amount) in
                    problem.field.counters_of(device).iter().filter(|_| !candidate.is_shared)
                {
                    let sum = &mut taken[name_of[&(candidate.pool, *counter)]];
                    *sum = sum.saturating_add(*amount);
                }
                least = Some(match least {
                    None => taken,
                    Some(least) => least.into_iter().zip(taken).map(|(one, other)| one.min(other)).collect(),
                });
            }
            least.unwrap_or_else(|| vec![0; counters.len()])
        };
        let least: Vec<Vec<i128>> = (0..problem.asks.len()).map(least_of).collect();
        let mut demands = vec![vec![0_i128; counters.len()]];
        for request in problem.claims.iter().flat_map(|claim| &claim.requests).rev() {
            let later = demands.last().into_iter().flatten();
            let demand = later.enumerate().map(|(name, later)| {
                let of_ask = |ask: usize| times(least[ask][name], problem.asks[ask].count);
                later.saturating_add(request.asks.clone().map(of_ask).min().unwrap_or_default())
            });
            let demand = demand.collect();
            demands.push(demand);
        }
        demands.reverse();
        Self { sets: sets(problem), counters, least, demands }
    }

    /// Whether less is left than `missing` devices of an ask, which is of a request at a stage, and all requests of
    /// later stages need.
    pub(super) fn are_exceeded(
        &self,
        problem: &Problem<'_>,
        state: &State,
        ask: usize,
        stage: usize,
        missing: usize,
    ) -> bool {
        let lacks_devices = |set: &Devices| {
            let own = if set.suffices[ask] { missing } else { 0 };
            let demand = own.saturating_add(set.demands[stage + 1]);
            let is_free = |device: &&usize| state.is_free(problem, **device);
            demand > 0 && set.devices.iter().filter(is_free).take(demand).count() < demand
        };
        let lacks_counters = self.counters.iter().enumerate().any(|(name, counters)| {
            let demand = times(self.least[ask][name], missing).saturating_add(self.demands[stage + 1][name]);
            let left = |(pool, counter): &(usize, usize)| {
                let left = problem.field.pools[*pool].counters().left[*counter];
                left.saturating_sub(state.taken_of(*pool, *counter)).max(0)
            };
            demand > 0 && counters.iter().map(left).fold(0, i128::saturating_add) < demand
        });
        lacks_counters || self.sets.iter().any(lacks_devices)
    }
}

fn times(amount: i128, count: usize) -> i128 {
    amount.max(0).saturating_mul(i128::try_from(count).unwrap_or(i128::MAX))
}
