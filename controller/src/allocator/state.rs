//! What is chosen so far, and what that leaves.

use std::rc::Rc;

use dra_driver::quantity::Quantity;
use foldhash::HashMap;

use super::AllocationError;
use super::constraint::{Chosen, Value};
use super::planted::{self, Planted};
use super::problem::{Ask, Problem, Verdict};

/// What is chosen so far. Whatever is chosen can be taken back, the last first.
#[derive(Debug)]
pub(super) struct State {
    /// For how many claims each device is chosen.
    marks: Vec<u32>,
    /// What is taken from each counter, by pools.
    counters: Vec<Vec<i128>>,
    /// What is taken of devices that several may have.
    shares: HashMap<usize, Share>,
    /// What constraints remember, by claims.
    constraints: Vec<Vec<Chosen>>,
    /// What is chosen, by claims.
    pub(super) results: Vec<Vec<Choice>>,
}

/// What is taken of a device that several may have.
#[derive(Debug, Default)]
struct Share {
    count: u32,
    amounts: Vec<i128>,
}

/// A device that is chosen.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) ask: usize,
    pub(super) device: usize,
    /// What is taken of its capacities, where several may have it.
    pub(super) amounts: Option<Rc<[Quantity]>>,
    has_counters: bool,
}

/// What a device is to what comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Situation {
    /// It may be chosen, if nothing else is in the way.
    Free,
    /// Nobody gets it.
    Used,
    /// Only those who look after devices get it, and these claims not again.
    UsedBy(Vec<usize>),
    /// So much is taken of its capacities.
    Shared(Vec<i128>),
}

/// Why a device cannot be chosen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is chosen, or belongs to another claim.
    InUse,
    /// Too little is left of a counter.
    Counters,
    /// It has a taint, or takes from counters and the feature is off.
    Verdict(Verdict),
    /// A constraint does not hold with it.
    Constraint,
    /// Too little is left of a capacity.
    Capacity,
}

impl State {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        Self {
            marks: vec![0; problem.field.devices.len()],
            counters: vec![Vec::new(); problem.field.pools.len()],
            shares: HashMap::default(),
            constraints: problem
                .claims
                .iter()
                .map(|claim| vec![Chosen::default(); claim.constraints.len()])
                .collect(),
            results: vec![Vec::new(); problem.claims.len()],
        }
    }

    /// Whether an ask passes over a device before anything of it is looked at.
    pub(super) fn is_in_use(&self, problem: &Problem<'_>, ask: usize, device: usize) -> bool {
        let ask = &problem.asks[ask];
        if !ask.is_admin {
            return self.marks[device] > 0 || problem.field.device(device).is_taken;
        }
        // Whoever looks after devices may have what others have, but each only once in a claim.
        self.marks[device] > 0
            && !problem.field.device(device).is_shared
            && (self.results[ask.claim].iter().any(|choice| choice.device == device)
                || planted::is(Planted::AdministratorsOfOnePod))
    }

    /// Chooses a device that its ask selects. What is in the way is looked for in upstream's order, as far as the
    /// order matters.
    pub(super) fn choose(&mut self, problem: &Problem<'_>, ask: usize, device: usize) -> Result<(), Refusal> {
        self.check(problem, ask, device)?;
        let wanted = &problem.asks[ask];
        let candidate = problem.field.device(device);
        for added in 0..wanted.constraints.len() {
            if !self.add_to_constraint(problem, ask, added, device) {
                self.remove_from_constraints(problem, ask, added);
                return Err(Refusal::Constraint);
            }
        }
        if !self.has_capacity(problem, ask, device) {
            self.remove_from_constraints(problem, ask, wanted.constraints.len());
            return Err(Refusal::Capacity);
        }
        let has_counters = !self.is_shared_already(problem, device);
        if has_counters {
            self.move_counters(problem, device, 1);
        }
        let mut amounts = None;
        if candidate.is_shared {
            let taken = problem.amounts(ask, &candidate.device.shape).unwrap_or_else(|| Rc::new([]));
            let share = self.shares.entry(device).or_default();
            share.count += 1;
            share.amounts.resize(taken.len(), 0);
            for (sum, amount) in share.amounts.iter_mut().zip(&*taken) {
                *sum = sum.saturating_add(amount.nanos());
            }
            amounts = Some(taken);
        } else {
            self.marks[device] += 1;
        }
        self.results[wanted.claim].push(Choice { ask, device, amounts, has_counters });
        Ok(())
    }

    /// What keeps an ask from a device, if anything does.
    pub(super) fn refusal(&self, problem: &Problem<'_>, ask: usize, device: usize) -> Option<Refusal> {
        if let Err(refusal) = self.check(problem, ask, device) {
            return Some(refusal);
        }
        let wanted = &problem.asks[ask];
        let driver = &problem.field.pool_of(device).id.driver;
        let is_admitted = |index: &usize| {
            let chosen = &self.constraints[wanted.claim][*index];
            let constraint = &problem.claims[wanted.claim].constraints[*index];
            constraint.admits(chosen, device, driver, problem.field.device(device).device)
        };
        if !wanted.constraints.iter().all(is_admitted) {
            return Some(Refusal::Constraint);
        }
        (!self.has_capacity(problem, ask, device)).then_some(Refusal::Capacity)
    }

    /// Takes back what was chosen last for a claim.
    pub(super) fn take_back(&mut self, problem: &Problem<'_>, claim: usize) {
        let Some(Choice { ask, device, amounts, has_counters }) = self.results[claim].pop() else { return };
        match amounts {
            None => self.marks[device] -= 1,
            Some(amounts) => {
                if let Some(share) = self.shares.get_mut(&device) {
                    share.count -= 1;
                    for (sum, amount) in share.amounts.iter_mut().zip(&*amounts) {
                        *sum = sum.saturating_sub(amount.nanos());
                    }
                    if share.count == 0 {
                        self.shares.remove(&device);
                    }
                }
            }
        }
        if has_counters {
            self.move_counters(problem, device, -1);
        }
        self.remove_from_constraints(problem, ask, problem.asks[ask].constraints.len());
    }

    /// What is taken from a counter of a pool.
    pub(super) fn taken_of(&self, pool: usize, counter: usize) -> i128 {
        self.counters[pool].get(counter).copied().unwrap_or_default()
    }

    /// What a constraint remembers, as far as it matters to what comes.
    pub(super) fn memory(&self, problem: &Problem<'_>, claim: usize, constraint: usize) -> Vec<Value> {
        problem.claims[claim].constraints[constraint].memory(&self.constraints[claim][constraint])
    }

    /// What a device is to what comes. With `unreachable_is_used`, a device whose counters are used up is the same as
    /// one that is in use.
    pub(super) fn situation(
        &self,
        problem: &Problem<'_>,
        device: usize,
        has_admin: bool,
        unreachable_is_used: bool,
    ) -> Situation {
        if let Some(share) = self.shares.get(&device) {
            return Situation::Shared(share.amounts.clone());
        }
        if unreachable_is_used
            && !self.is_shared_already(problem, device)
            && !self.has_counters(problem, device)
        {
            return Situation::Used;
        }
        match self.marks[device] {
            0 => Situation::Free,
            _ if !has_admin => Situation::Used,
            _ => {
                let has = |claim: &usize| self.results[*claim].iter().any(|choice| choice.device == device);
                Situation::UsedBy((0..self.results.len()).filter(has).collect())
            }
        }
    }

    /// Whether no claim of the pod has a device, and its counters suffice for it.
    pub(super) fn is_free(&self, problem: &Problem<'_>, device: usize) -> bool {
        self.marks[device] == 0 && self.has_counters(problem, device)
    }

    fn add_to_constraint(&mut self, problem: &Problem<'_>, ask: usize, which: usize, device: usize) -> bool {
        let Ask { claim, constraints, .. } = &problem.asks[ask];
        let constraint = &problem.claims[*claim].constraints[constraints[which]];
        let driver = &problem.field.pool_of(device).id.driver;
        let chosen = &mut self.constraints[*claim][constraints[which]];
        constraint.add(chosen, device, driver, problem.field.device(device).device)
    }

    /// Takes a device out of the first constraints that an ask adds it to.
    fn remove_from_constraints(&mut self, problem: &Problem<'_>, ask: usize, added: usize) {
        let Ask { claim, constraints, .. } = &problem.asks[ask];
        for index in &constraints[..added] {
            self.constraints[*claim][*index].remove();
        }
    }

    /// Whether enough is left of a device's capacities, beside what is being taken.
    fn has_capacity(&self, problem: &Problem<'_>, ask: usize, device: usize) -> bool {
        let Some(share) = self.shares.get(&device) else { return true };
        if planted::is(Planted::SharesOfOnePod) {
            return true;
        }
        let amounts = problem.amounts(ask, &problem.field.device(device).device.shape);
        amounts.is_some_and(|amounts| problem.has_capacity(device, &amounts, Some(&share.amounts)))
    }

    /// Whether nothing but constraints and capacities is in the way of a device.
    fn check(&self, problem: &Problem<'_>, ask: usize, device: usize) -> Result<(), Refusal> {
        if self.is_in_use(problem, ask, device) {
            return Err(Refusal::InUse);
        }
        let verdict = problem.verdict(ask, device).unwrap_or(Verdict::Error);
        if verdict != Verdict::Fit {
            return Err(Refusal::Verdict(verdict));
        }
        if !self.is_shared_already(problem, device) && !self.has_counters(problem, device) {
            return Err(Refusal::Counters);
        }
        Ok(())
    }

    /// Whether a device's counters are paid for by another share of it.
    fn is_shared_already(&self, problem: &Problem<'_>, device: usize) -> bool {
        let candidate = problem.field.device(device);
        candidate.is_shared && (candidate.capacity_taken.is_some() || self.shares.contains_key(&device))
    }

    fn has_counters(&self, problem: &Problem<'_>, device: usize) -> bool {
        if problem.field.device(device).device.shape.counters.is_empty() {
            return true;
        }
        let taken = problem.field.counters_of(device);
        let known = problem.field.pool_of(device).counters();
        if known.is_overdrawn {
            return false;
        }
        let before = &self.counters[problem.field.device(device).pool];
        taken.iter().all(|(counter, amount)| {
            let before = before.get(*counter).copied().unwrap_or_default();
            before.saturating_add(*amount) <= known.left[*counter]
        })
    }

    fn move_counters(&mut self, problem: &Problem<'_>, device: usize, sign: i128) {
        let taken = problem.field.counters_of(device);
        let counters = &mut self.counters[problem.field.device(device).pool];
        if let Some(most) = taken.iter().map(|(counter, _)| *counter + 1).max()
            && counters.len() < most
        {
            counters.resize(most, 0);
        }
        for (counter, amount) in taken {
            counters[*counter] = counters[*counter].saturating_add(sign.saturating_mul(*amount));
        }
    }
}

/// What a refusal means to an ask for all devices: an error, where the claim could never be met.
pub(super) fn must(
    problem: &Problem<'_>,
    ask: usize,
    device: usize,
    refusal: Refusal,
) -> Option<AllocationError> {
    (refusal == Refusal::Constraint).then(|| AllocationError::ConstraintBars {
        claim: problem.claims[problem.asks[ask].claim].claim.full_name(),
        request: problem.asks[ask].name(),
        device: problem.field.name_of(device),
    })
}
