//! What keeps each request from each device of a node, in full, for those who explain it.

use std::sync::Arc;

use dra_driver::quantity::{Format, Quantity};

use crate::model::intern::Device;
use crate::model::object::{Claim, Node, Taint};
use crate::model::pool::PoolId;

use super::field::Standing;
use super::problem::{Problem, Verdict};
use super::selectors::selects;
use super::state::{Refusal, State};
use super::{AllocationError, Allocator, Cancel};

/// What the requests of claims are to the devices of a node, each request by itself.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// What is asked for, in the order of claims, requests and sub-requests.
    pub asks: Vec<Inspected>,
    /// Pools that the node sees and that cannot be used, and what is wrong with them: nothing, where slices are missing.
    pub unusable: Vec<(PoolId, Option<String>)>,
}

/// What a request, or a sub-request, is to the devices of a node.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The number of the claim.
    pub claim: usize,
    /// The number of the request in the claim: alternatives have the same.
    pub number: usize,
    /// The request's name, and the sub-request's behind a slash.
    pub request: Arc<str>,
    /// The class.
    pub class: Arc<str>,
    /// How many devices are asked for: all that match, where all are.
    pub wanted: usize,
    /// All devices are asked for.
    pub is_all: bool,
    /// The devices, and what is in the way of each.
    pub devices: Vec<InspectedDevice>,
}

/// A device, and what is in the way of it.
#[derive(Debug, Clone)]
pub struct InspectedDevice {
    /// Its pool.
    pub pool: PoolId,
    /// The device.
    pub device: Device,
    /// What is in the way: first what the device is, then what others have of it. Nothing, where it could be had.
    pub obstacles: Vec<Obstacle>,
}

/// What is in the way of a device.
#[derive(Debug, Clone)]
pub enum Obstacle {
    /// It has binding conditions, or takes from counters, and the feature is off.
    Feature(&'static str),
    /// A selector of the class is false: which one, from zero.
    ClassSelector(usize),
    /// A selector of the request is false: which one, from zero.
    RequestSelector(usize),
    /// There is no answer.
    Error(AllocationError),
    /// It is for other nodes.
    OtherNodes,
    /// It lacks a capacity that is asked for, or its policy offers nothing that is enough.
    CapacityPolicy {
        /// The capacity.
        name: Arc<str>,
        /// How much is asked for.
        wanted: Quantity,
        /// How much there is: nothing, where the device has no such capacity.
        there: Option<Quantity>,
    },
    /// Too little is there, or left, of a capacity.
    Capacity {
        /// The capacity.
        name: Arc<str>,
        /// How much the request takes.
        wanted: Quantity,
        /// How much there is.
        there: Quantity,
        /// How much others have.
        taken: Quantity,
    },
    /// Taints that are not tolerated.
    Taints(Vec<Taint>),
    /// Another claim has it.
    InUse,
    /// Too little is left of a counter.
    Counter {
        /// The set.
        set: Arc<str>,
        /// The counter.
        name: Arc<str>,
        /// How much the device takes.
        wanted: Quantity,
        /// How much is left.
        left: Quantity,
    },
    /// It lacks the attribute that a constraint compares: which constraint of the claim, from zero.
    Constraint(usize),
}

impl Allocator<'_> {
    /// What keeps each request of claims from each device of a node.
    pub fn inspect(
        &self,
        node: Option<&Node>,
        claims: &[&Claim],
        cancel: &Cancel,
    ) -> Result<Inspection, AllocationError> {
        let problem = self.problem(node, claims, cancel)?;
        let state = State::new(&problem);
        let mut inspection = Inspection::default();
        for pool in &problem.field.pools {
            match &pool.standing {
                Standing::Usable => {}
                Standing::Incomplete => inspection.unusable.push((pool.id.clone(), None)),
                Standing::Invalid(why) => inspection.unusable.push((pool.id.clone(), Some(why.clone()))),
            }
        }
        for (number, ask) in problem.asks.iter().enumerate() {
            let mut devices = Vec::with_capacity(problem.field.devices.len());
            for device in 0..problem.field.devices.len() {
                if device % 256 == 255 && cancel.is_set() {
                    return Err(AllocationError::Cancelled);
                }
                devices.push(InspectedDevice {
                    pool: problem.field.pool_of(device).id.clone(),
                    device: problem.field.device(device).device.clone(),
                    obstacles: problem.obstacles(&state, number, device),
                });
            }
            inspection.asks.push(Inspected {
                claim: ask.claim,
                number: ask.number,
                request: ask.name().into(),
                class: Arc::clone(&ask.class.metadata.name),
                wanted: ask.count,
                is_all: ask.all.is_some(),
                devices,
            });
        }
        Ok(inspection)
    }
}

impl Problem<'_> {
    /// What is in the way of a device. What the device is counts before what others have of it: a device that is not
    /// selected is of no interest, whoever has it.
    fn obstacles(&self, state: &State, ask: usize, device: usize) -> Vec<Obstacle> {
        let mut obstacles = Vec::new();
        let is_taken = state.is_in_use(self, ask, device);
        match self.verdict(ask, device) {
            Err(error) => return vec![Obstacle::Error(error)],
            Ok(Verdict::Fit) => {}
            Ok(Verdict::Binding) => obstacles.push(Obstacle::Feature("DeviceBindingAndStatus")),
            Ok(Verdict::Counters) => obstacles.push(Obstacle::Feature("PartitionableDevices")),
            Ok(Verdict::Class | Verdict::Request | Verdict::Error) => {
                return vec![self.false_selector(ask, device)];
            }
            Ok(Verdict::Node) => return vec![Obstacle::OtherNodes],
            Ok(Verdict::CapacityPolicy) => obstacles.extend(self.capacity_policy(ask, device)),
            Ok(Verdict::CapacityTaken) => obstacles.extend(self.capacity_taken(ask, device)),
            Ok(Verdict::Taint) => obstacles.push(Obstacle::Taints(self.taints(ask, device))),
        }
        if is_taken {
            obstacles.push(Obstacle::InUse);
        } else if let Some(Refusal::Counters) = state.refusal(self, ask, device) {
            obstacles.extend(self.short_counters(device));
        }
        let candidate = self.field.device(device);
        let driver = &self.field.pool_of(device).id.driver;
        let lacks = |index: &&usize| {
            let constraint = &self.claims[self.asks[ask].claim].constraints[**index];
            !constraint.admits(&super::constraint::Chosen::default(), device, driver, candidate.device)
        };
        let lacking = self.asks[ask].constraints.iter().filter(lacks);
        obstacles.extend(lacking.map(|index| Obstacle::Constraint(*index)));
        obstacles
    }

    fn false_selector(&self, ask: usize, device: usize) -> Obstacle {
        let ask = &self.asks[ask];
        let driver = &self.field.pool_of(device).id.driver;
        let is_false = |selector: &crate::model::object::Selector| {
            let Some(cel) = &selector.cel else { return false };
            let expression = self.given.selectors.expression(&cel.expression);
            let Ok(program) = expression.program() else { return false };
            let of = self.field.device(device).device;
            matches!(selects(&expression, program, driver, of, self.given.cancel), Some(Ok(false)))
        };
        match ask.class.spec.selectors.iter().position(is_false) {
            Some(index) => Obstacle::ClassSelector(index),
            None => {
                let index = ask.source.selectors.iter().position(is_false);
                index.map_or(Obstacle::Error(AllocationError::Cancelled), Obstacle::RequestSelector)
            }
        }
    }

    fn capacity_policy(&self, ask: usize, device: usize) -> Vec<Obstacle> {
        let shape = &self.field.device(device).device.shape;
        let requests = self.asks[ask].source.capacity.iter().flat_map(|capacity| &capacity.requests);
        let short = requests.filter_map(|(name, wanted)| {
            let there = shape.capacity.iter().find(|(known, _)| known == name).map(|(_, capacity)| capacity);
            let is_offered = there.is_some_and(|one| super::capacity::taken(Some(wanted), one).is_some());
            (!is_offered).then(|| Obstacle::CapacityPolicy {
                name: Arc::clone(name),
                wanted: *wanted,
                there: there.map(|capacity| capacity.value),
            })
        });
        let mut short: Vec<Obstacle> = short.collect();
        if short.is_empty() {
            // A default that the device's own policy does not offer.
            let first = shape.capacity.first();
            short.extend(first.map(|(name, capacity)| Obstacle::CapacityPolicy {
                name: Arc::clone(name),
                wanted: capacity.value,
                there: Some(capacity.value),
            }));
        }
        short
    }

    fn capacity_taken(&self, ask: usize, device: usize) -> Vec<Obstacle> {
        let candidate = self.field.device(device);
        let shape = &candidate.device.shape;
        let Some(amounts) = self.amounts(ask, shape) else { return Vec::new() };
        let short = shape.capacity.iter().zip(&*amounts).filter_map(|((name, capacity), wanted)| {
            let taken = candidate.capacity_taken.and_then(|taken| taken.get(name)).copied();
            let taken = taken.unwrap_or(Quantity::of_integer(0, Format::BinarySi));
            let sum = taken.nanos().saturating_add(wanted.nanos());
            (sum > capacity.value.nanos()).then(|| Obstacle::Capacity {
                name: Arc::clone(name),
                wanted: *wanted,
                there: capacity.value,
                taken,
            })
        });
        short.collect()
    }

    fn taints(&self, ask: usize, device: usize) -> Vec<Taint> {
        let taints = self.field.device(device).device.shape.taints.iter();
        taints.filter(|taint| self.asks[ask].is_barred_by(taint)).cloned().collect()
    }

    fn short_counters(&self, device: usize) -> Vec<Obstacle> {
        let counters = self.field.pool_of(device).counters();
        let name = |number: usize| counters.numbers.iter().find(|(_, known)| **known == number);
        let short = self.field.counters_of(device).iter().filter_map(|(number, amount)| {
            let left = counters.left[*number];
            let ((set, counter), _) = name(*number).filter(|_| left < *amount)?;
            Some(Obstacle::Counter {
                set: Arc::clone(set),
                name: Arc::clone(counter),
                wanted: self.written_as(device, set, counter)?,
                left: amount_of(left),
            })
        });
        let mut short: Vec<Obstacle> = short.collect();
        short.sort_by_key(|obstacle| match obstacle {
            Obstacle::Counter { set, name, .. } => (Arc::clone(set), Arc::clone(name)),
            _ => Default::default(),
        });
        if short.is_empty() {
            // Others have more than there is of a counter that this device does not take from.
            let overdrawn = counters.left.iter().position(|left| *left < 0).and_then(name);
            short.extend(overdrawn.map(|((set, counter), number)| Obstacle::Counter {
                set: Arc::clone(set),
                name: Arc::clone(counter),
                wanted: amount_of(0),
                left: amount_of(counters.left[*number]),
            }));
        }
        short
    }

    /// What a device takes from a counter, as it was written.
    fn written_as(&self, device: usize, set: &str, counter: &str) -> Option<Quantity> {
        let taken = &self.field.device(device).device.shape.counters;
        let amounts = taken.iter().filter(|taken| *taken.set == *set).flat_map(|taken| &taken.amounts);
        let mut of = amounts.filter(|(name, _)| **name == *counter).map(|(_, amount)| *amount);
        let first = of.next()?;
        Some(of.fold(first, |sum, amount| sum.add(&amount)))
    }
}

/// An amount of billionths.
fn amount_of(nanos: i128) -> Quantity {
    let whole = i64::try_from(nanos / 1_000_000_000).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX });
    Quantity::of_integer(whole, Format::BinarySi)
}
