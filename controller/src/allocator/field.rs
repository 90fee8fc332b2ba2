//! The devices that a node sees.

use std::cell::OnceCell;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use foldhash::HashMap;

use crate::model::intern::Device;
use crate::model::inventory::Inventory;
use crate::model::object::Node;
use crate::model::pool::{PoolId, Slice, Unreadable, Usable, View};

use super::Features;
use super::allocated::{Allocated, InPool};
use super::planted::{self, Planted};

/// The devices that a node sees, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// All pools in order.
    pub(super) pools: Vec<FieldPool<'a>>,
    /// The devices of those that can be used.
    pub(super) devices: Vec<Candidate<'a>>,
}

/// A pool and what it is good for.
#[derive(Debug)]
pub(super) struct FieldPool<'a> {
    pub(super) id: &'a PoolId,
    pub(super) standing: Standing,
    usable: Option<Usable<'a>>,
    allocated: Option<&'a InPool>,
    counters: OnceCell<PoolCounters>,
}

/// What a pool is good for.
#[derive(Debug)]
pub(super) enum Standing {
    Usable,
    Incomplete,
    Invalid(String),
}

/// A device that may be chosen.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// The number of its pool.
    pub(super) pool: usize,
    pub(super) slice: &'a Slice,
    pub(super) device: &'a Device,
    /// It belongs to another claim.
    pub(super) is_taken: bool,
    /// What is taken of its capacity.
    pub(super) capacity_taken: Option<&'a HashMap<Arc<str>, Quantity>>,
    /// Several claims may have it at once.
    pub(super) is_shared: bool,
    /// What it takes from the pool's counters.
    counters: OnceCell<Box<[(usize, i128)]>>,
}

/// The counters of a pool, numbered; amounts in billionths.
#[derive(Debug)]
pub(super) struct PoolCounters {
    /// By the names of the set and the counter.
    pub(super) numbers: HashMap<(Arc<str>, Arc<str>), usize>,
    /// What is left by other claims.
    pub(super) left: Vec<i128>,
    /// Other claims have more of a counter than there is.
    pub(super) is_overdrawn: bool,
}

impl<'a> Field<'a> {
    pub(super) fn new(
        inventory: &'a Inventory,
        allocated: &'a Allocated,
        features: Features,
        node: Option<&Node>,
    ) -> Result<Self, Unreadable> {
        let views = inventory.views(node, features.partitionable_devices)?;
        // Pools with binding conditions come last.
        let (last, first): (Vec<_>, Vec<_>) = views
            .into_iter()
            .partition(|(_, view)| has_conditions(view) && !planted::is(Planted::OrderOfPools));
        let mut field = Self { pools: Vec::new(), devices: Vec::new() };
        for (pool, view) in first.into_iter().chain(last) {
            let (standing, usable) = match view {
                View::Usable(usable) => (Standing::Usable, Some(usable)),
                View::Incomplete => (Standing::Incomplete, None),
                View::Invalid(reason) => (Standing::Invalid(reason), None),
            };
            let allocated = allocated.in_pool(&pool.id);
            let number = field.pools.len();
            for slice in usable.iter().flat_map(|usable| &usable.slices) {
                let candidates = slice.devices.iter();
                let candidate = |device| Candidate::new(number, slice, device, allocated, features);
                field.devices.extend(candidates.map(candidate));
            }
            let counters = OnceCell::new();
            field.pools.push(FieldPool { id: &pool.id, standing, usable, allocated, counters });
        }
        Ok(field)
    }

    /// A device by its number.
    pub(super) fn device(&self, number: usize) -> &Candidate<'a> {
        &self.devices[number]
    }

    /// The pool of a device.
    pub(super) fn pool_of(&self, number: usize) -> &FieldPool<'a> {
        &self.pools[self.devices[number].pool]
    }

    /// A device's full name.
    pub(super) fn name_of(&self, number: usize) -> String {
        format!("{}/{}", self.pool_of(number).id, self.device(number).device.name)
    }

    /// What a device takes from its pool's counters.
    pub(super) fn counters_of(&self, number: usize) -> &[(usize, i128)] {
        let candidate = self.device(number);
        if candidate.device.shape.counters.is_empty() {
            return &[];
        }
        candidate.counters.get_or_init(|| {
            let known = self.pool_of(number).counters();
            let mut taken: Vec<(usize, i128)> = Vec::new();
            for (counter, amount) in known.of(candidate.device) {
                match taken.iter_mut().find(|(other, _)| *other == counter) {
                    Some((_, sum)) => *sum = sum.saturating_add(amount),
                    None => taken.push((counter, amount)),
                }
            }
            taken.into()
        })
    }

    /// The pools that contradict themselves.
    pub(super) fn invalid(&self) -> Vec<String> {
        let of = |pool: &FieldPool<'_>| match &pool.standing {
            Standing::Invalid(reason) => Some(format!("{}: {reason}", pool.id)),
            _ => None,
        };
        self.pools.iter().filter_map(of).collect()
    }
}

fn has_conditions(view: &View<'_>) -> bool {
    matches!(view, View::Usable(usable) if usable.slices.iter().any(|slice| slice.has_binding_conditions))
}

impl<'a> Candidate<'a> {
    fn new(
        pool: usize,
        slice: &'a Slice,
        device: &'a Device,
        allocated: Option<&'a InPool>,
        features: Features,
    ) -> Self {
        let allows_several = device.shape.allow_multiple_allocations.unwrap_or_default();
        Self {
            pool,
            slice,
            device,
            is_taken: allocated.is_some_and(|allocated| allocated.devices.contains(&device.name)),
            capacity_taken: allocated.and_then(|allocated| allocated.capacity.get(&device.name)),
            is_shared: features.consumable_capacity && allows_several,
            counters: OnceCell::new(),
        }
    }
}

impl FieldPool<'_> {
    /// The pool's counters, less what other claims have.
    pub(super) fn counters(&self) -> &PoolCounters {
        self.counters.get_or_init(|| {
            let mut counters =
                PoolCounters { numbers: HashMap::default(), left: Vec::new(), is_overdrawn: false };
            let Some(usable) = &self.usable else { return counters };
            for set in &usable.counters {
                for (name, amount) in &set.amounts {
                    counters.numbers.insert((Arc::clone(&set.set), Arc::clone(name)), counters.left.len());
                    counters.left.push(amount.nanos());
                }
            }
            if let Some(allocated) = self.allocated {
                let others = usable.others.iter().filter(|_| !planted::is(Planted::CountersOfOtherNodes));
                let slices = usable.slices.iter().chain(others);
                let devices = slices.flat_map(|slice| &slice.devices);
                for device in devices.filter(|device| allocated.has(&device.name)) {
                    let taken: Vec<(usize, i128)> = counters.of(device).collect();
                    for (counter, amount) in taken {
                        counters.left[counter] = counters.left[counter].saturating_sub(amount);
                    }
                }
            }
            counters.is_overdrawn = counters.left.iter().any(|left| *left < 0);
            counters
        })
    }
}

impl PoolCounters {
    fn of(&self, device: &Device) -> impl Iterator<Item = (usize, i128)> {
        device.shape.counters.iter().flat_map(|taken| {
            let number = |name: &Arc<str>| self.numbers.get(&(Arc::clone(&taken.set), Arc::clone(name)));
            taken.amounts.iter().filter_map(move |(name, amount)| Some((*number(name)?, amount.nanos())))
        })
    }
}
