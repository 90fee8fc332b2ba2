//! Bounds: what requests need at least, whichever devices they get.
//!
//! Each is true of any solution, and what is there to meet it only gets less as the search goes deeper. So where one is
//! not met, nothing behind can be a solution.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::constraint::Value;
use super::islands::looked_at;
use super::problem::{Problem, Verdict};
use super::state::State;

/// How many sets of devices, and of counters, are looked at at most: the largest, which most requests choose from.
const MOST_SETS: usize = 64;

/// What requests need at least.
#[derive(Debug)]
pub(super) struct Bounds {
    devices: Vec<Devices>,
    counters: Vec<Counters>,
    values: Vec<Values>,
}

/// A number for each ask, and for all requests from each stage on the least that it comes to.
#[derive(Debug)]
struct Demand {
    each: Vec<i128>,
    from: Vec<i128>,
}

/// Devices that one claim alone can have. A request that can choose from no others needs as many as it asks for.
#[derive(Debug)]
struct Devices {
    devices: Vec<usize>,
    demand: Demand,
}

/// Counters, by pool, and what each device takes of all of them together.
#[derive(Debug)]
struct Counters {
    counters: Vec<(usize, usize)>,
    demand: Demand,
}

/// The values of devices to a constraint that wants different ones.
#[derive(Debug)]
struct Values {
    claim: usize,
    constraint: usize,
    devices: Vec<(usize, Value)>,
    demand: Demand,
}

impl Bounds {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let choices = choices(problem);
        Self {
            devices: devices(problem, &choices),
            counters: counters(problem, &choices),
            values: values(problem, &choices),
        }
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
        let lacks = |demand: &Demand, supply: &dyn Fn(i128) -> i128| {
            let demand = times(demand.each[ask], missing).saturating_add(demand.from[stage + 1]);
            demand > 0 && supply(demand) < demand
        };
        let is_free = |device: &usize| state.is_free(problem, *device);
        self.devices.iter().any(|set| {
            let free = || set.devices.iter().filter(|device| is_free(device));
            lacks(&set.demand, &|demand| count(free().take(usize::try_from(demand).unwrap_or(usize::MAX))))
        }) || self.counters.iter().any(|set| {
            let left = |(pool, counter): &(usize, usize)| {
                let left = problem.field.pools[*pool].counters().left[*counter];
                left.saturating_sub(state.taken_of(*pool, *counter)).max(0)
            };
            lacks(&set.demand, &|_| set.counters.iter().map(left).fold(0, i128::saturating_add))
        }) || self.values.iter().any(|set| {
            let supply = |_| {
                let chosen = state.memory(problem, set.claim, set.constraint);
                let free = set.devices.iter().filter(|(device, _)| is_free(device)).map(|(_, value)| value);
                count(free.filter(|value| !chosen.contains(value)).collect::<HashSet<_>>().into_iter())
            };
            lacks(&set.demand, &supply)
        })
    }
}

impl Demand {
    /// Of what each device of an ask needs at least.
    fn new(problem: &Problem<'_>, each: Vec<i128>) -> Self {
        let mut from = vec![0_i128];
        for request in problem.claims.iter().flat_map(|claim| &claim.requests).rev() {
            let of_ask = |ask: usize| times(each[ask], problem.asks[ask].count);
            let least = request.asks.clone().map(of_ask).min().unwrap_or_default();
            from.push(least.saturating_add(from.last().copied().unwrap_or_default()));
        }
        from.reverse();
        Self { each, from }
    }

    fn is_nothing(&self) -> bool {
        self.from.first() == Some(&0)
    }
}

/// The devices from which each ask chooses.
fn choices(problem: &Problem<'_>) -> Vec<BTreeSet<usize>> {
    let of_ask = |ask: usize| match &problem.asks[ask].all {
        Some(all) => all.iter().copied().collect(),
        None => {
            let fits = |device: &usize| looked_at(problem, ask, *device) == Some(Verdict::Fit);
            (0..problem.field.devices.len()).filter(fits).collect()
        }
    };
    (0..problem.asks.len()).map(of_ask).collect()
}

/// Whether each device that an ask chooses is gone then. Of one that several may have there is always one more, and who
/// looks after devices may have those that are gone.
fn is_countable(problem: &Problem<'_>, choices: &[BTreeSet<usize>], ask: usize) -> bool {
    let is_shared = |device: &usize| problem.field.device(*device).is_shared;
    !problem.asks[ask].is_admin && !choices[ask].iter().any(is_shared)
}

/// The sets of devices from which asks choose, and all devices together.
fn devices(problem: &Problem<'_>, choices: &[BTreeSet<usize>]) -> Vec<Devices> {
    let countable: Vec<bool> = (0..choices.len()).map(|ask| is_countable(problem, choices, ask)).collect();
    let counted = || choices.iter().zip(&countable).filter(|(_, is)| **is).map(|(devices, _)| devices);
    let mut sets: Vec<BTreeSet<usize>> = vec![counted().flatten().copied().collect()];
    for devices in counted() {
        if !sets.contains(devices) {
            sets.push(devices.clone());
        }
    }
    sets.sort_by_key(|devices| std::cmp::Reverse(devices.len()));
    sets.truncate(MOST_SETS);
    let demanded = |devices: BTreeSet<usize>| {
        let needs = |(ask, choice): (usize, &BTreeSet<usize>)| {
            i128::from(countable[ask] && choice.is_subset(&devices))
        };
        let demand = Demand::new(problem, choices.iter().enumerate().map(needs).collect());
        Devices { devices: devices.into_iter().collect(), demand }
    };
    sets.into_iter().map(demanded).filter(|set| !set.demand.is_nothing()).collect()
}

/// The counters of each name, whose ever they are; and those whose names differ by numbers alone, as far as an ask's
/// devices take from them: the memory slices of GPUs have such names.
fn counters(problem: &Problem<'_>, choices: &[BTreeSet<usize>]) -> Vec<Counters> {
    let mut by_name: HashMap<Arc<str>, Vec<(usize, usize)>> = HashMap::default();
    let mut names: HashMap<(usize, usize), Arc<str>> = HashMap::default();
    for (pool, known) in problem.field.pools.iter().enumerate() {
        for ((_, name), counter) in &known.counters().numbers {
            by_name.entry(Arc::clone(name)).or_default().push((pool, *counter));
            names.insert((pool, *counter), Arc::clone(name));
        }
    }
    let mut sets: BTreeSet<BTreeSet<&str>> = by_name.keys().map(|name| BTreeSet::from([&**name])).collect();
    for choice in choices {
        let mut by_stem: HashMap<String, BTreeSet<&str>> = HashMap::default();
        for device in choice {
            let pool = problem.field.device(*device).pool;
            for (counter, _) in problem.field.counters_of(*device) {
                let name = &names[&(pool, *counter)];
                by_stem.entry(stem(name)).or_default().insert(name);
            }
        }
        sets.extend(by_stem.into_values());
    }
    let demanded = |set: BTreeSet<&str>| {
        // All shares of a device but one take nothing.
        let taken = |device: &usize| {
            let candidate = problem.field.device(*device);
            let all = problem.field.counters_of(*device).iter().filter(|_| !candidate.is_shared);
            let own = all.filter(|(counter, _)| set.contains(&*names[&(candidate.pool, *counter)]));
            own.map(|(_, amount)| *amount).fold(0, i128::saturating_add)
        };
        let least = |choice: &BTreeSet<usize>| choice.iter().map(taken).min().unwrap_or_default();
        let demand = Demand::new(problem, choices.iter().map(least).collect());
        let counters = set.iter().filter_map(|name| by_name.get(*name)).flatten().copied().collect();
        Counters { counters, demand }
    };
    let mut sets: Vec<_> = sets.into_iter().collect();
    sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
    sets.truncate(MOST_SETS);
    sets.into_iter().map(demanded).filter(|set| !set.demand.is_nothing()).collect()
}

/// A name without its digits.
fn stem(name: &str) -> String {
    name.chars().filter(|one| !one.is_ascii_digit()).collect()
}

/// The constraints that want different values, where each device has one.
fn values(problem: &Problem<'_>, choices: &[BTreeSet<usize>]) -> Vec<Values> {
    let mut all = Vec::new();
    for (claim, known) in problem.claims.iter().enumerate() {
        for (index, constraint) in known.constraints.iter().enumerate().filter(|(_, one)| !one.is_match()) {
            let is_about = |ask: usize| {
                problem.asks[ask].claim == claim && problem.asks[ask].constraints.contains(&index)
            };
            let asks = || (0..choices.len()).filter(|ask| is_about(*ask));
            if !asks().all(|ask| is_countable(problem, choices, ask)) {
                continue;
            }
            let devices: BTreeSet<usize> = asks().flat_map(|ask| &choices[ask]).copied().collect();
            let valued = |device: usize| {
                let driver = &problem.field.pool_of(device).id.driver;
                (device, constraint.value(device, driver, problem.field.device(device).device).clone())
            };
            let devices: Vec<(usize, Value)> = devices.into_iter().map(valued).collect();
            if devices.iter().any(|(_, value)| !matches!(value, Value::One(_) | Value::Missing)) {
                continue;
            }
            let each = (0..choices.len()).map(|ask| i128::from(is_about(ask))).collect();
            let devices = devices.into_iter().filter(|(_, value)| *value != Value::Missing).collect();
            all.push(Values { claim, constraint: index, devices, demand: Demand::new(problem, each) });
        }
    }
    all
}

fn count(some: impl Iterator) -> i128 {
    i128::try_from(some.count()).unwrap_or(i128::MAX)
}

fn times(amount: i128, count: usize) -> i128 {
    amount.max(0).saturating_mul(i128::try_from(count).unwrap_or(i128::MAX))
}
