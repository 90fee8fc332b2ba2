//! The allocator: which devices claims get on a node.
//!
//! It gives the answers of upstream's structured allocator (`k8s.io/dynamic-resource-allocation`, Kubernetes 1.36): the
//! first fit of a depth-first search, in the order of pools (those with binding conditions last, then by driver and
//! name), slices (by name) and devices (as listed). Errors are a part of the search: an expression without an answer
//! ends it when, and only when, the search comes to the device.
//!
//! ```text
//! Inventory, node ──▶ field: the devices that the node sees, in order
//!                       │
//! claims, classes ──▶ problem: what is asked for, checked ──▶ search ──▶ result, or reasons
//!                                 ▲                           │    ▲
//!                     selectors, capacity, constraint       state  shortcuts
//! ```
//!
//! # Known differences
//!
//! Where upstream's release (v0.36.3) has a bug that makes an answer wrong, ours is right. The conformance suite holds
//! that answers differ there, and nowhere else.
//!
//! | what | upstream | here |
//! | --- | --- | --- |
//! | `distinctAttribute` and several devices of one request | remembers one value for each request, and none after a device was taken back: of devices with A, B, A it takes all three | all devices are compared with all others |
//! | `matchAttribute` over lists | what devices have in common stays narrowed by devices that were taken back (kubernetes#140300), so that it may find nothing, or other devices | what is taken back is forgotten |
//! | counters of pools with one name | counts for pools of several drivers together when their names are equal (kubernetes#140434) | each driver's pool has its own |
//! | a request with neither `exactly` nor `firstAvailable`, a negative count, a step of zero, no node | ends with a panic | an error; no amount is on such a step; devices that all nodes reach |
//! | the order of pools where only features of its oldest variant are on (`AdminAccess`, `PrioritizedList`, `PartitionableDevices`, `DeviceTaints`) | random, and `distinctAttribute` is an error | as with the other features |
//!
//! That counters and constraints stayed charged with devices that were rejected (kubernetes#140436), and that shared
//! devices were not charged again, is mended in that release: there is no difference.
//!
//! What looks odd in upstream but is its documented or harmless way is the same here: a configuration of a claim that
//! names two requests comes twice; a device that is given with `adminAccess` is in use for later requests; a counter of
//! which others have more than there is bars all devices of the pool that take from counters; and a share of a device
//! without capacities pays for the device's counters again when another claim has one.

mod allocated;
mod bounds;
mod capacity;
mod constraint;
mod error;
mod features;
mod field;
mod inspect;
mod islands;
mod planted;
mod problem;
mod reasons;
mod result;
mod search;
mod selectors;
mod shortcuts;
mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use k8s_openapi::api::resource::v1::AllocationResult;

use crate::cel;
use crate::model::inventory::Inventory;
use crate::model::object::{Claim, Class, Node};

pub use allocated::{Allocated, InPool};
pub use error::{AllocationError, SelectorOwner};
pub use features::{Features, NAMES as FEATURE_NAMES};
pub use inspect::{Inspected, InspectedDevice, Inspection, Obstacle};
#[cfg(feature = "planted-bugs")]
pub use planted::{Planted, be_impatient, plant};
pub use reasons::{Check, Reason, Reasons};
pub use selectors::class_selects;

use field::Field;
use problem::{Given, Problem};
use search::Found;
use selectors::Selectors;

/// How many devices a claim can hold.
pub const MAX_RESULTS: usize = 32;

/// DeviceClasses by name.
#[derive(Debug, Clone, Default)]
pub struct Classes(HashMap<Arc<str>, Arc<Class>>);

impl Classes {
    /// These classes. Of several with one name, the first.
    #[must_use]
    pub fn new(classes: Vec<Class>) -> Self {
        let mut by_name = HashMap::new();
        for class in classes {
            by_name.entry(Arc::clone(&class.metadata.name)).or_insert_with(|| Arc::new(class));
        }
        Self(by_name)
    }

    /// A class.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Class> {
        self.0.get(name).map(|class| &**class)
    }

    /// All classes, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Class>> {
        self.0.values()
    }

    /// A class came, or changed.
    pub fn insert(&mut self, class: Class) {
        self.0.insert(Arc::clone(&class.metadata.name), Arc::new(class));
    }

    /// A class is gone.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// A switch by which an allocation is ended early: from another thread, or at a time.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    is_set: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Ends the allocation at a time.
    #[must_use]
    pub fn at(deadline: Instant) -> Self {
        Self { is_set: Arc::default(), deadline: Some(deadline) }
    }

    /// Ends the allocation.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether the allocation is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// What comes out of an allocation.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What each claim gets, in the order of the claims.
    Fits(Vec<AllocationResult>),
    /// The claims do not fit, and why.
    NoFit(Reasons),
}

/// Allocates on any node, of one snapshot of the cluster. Threads may share it.
#[derive(Debug)]
pub struct Allocator<'a> {
    features: Features,
    inventory: &'a Inventory,
    classes: &'a Classes,
    allocated: &'a Allocated,
    selectors: Selectors<'a>,
}

impl<'a> Allocator<'a> {
    /// An allocator for a snapshot of the cluster.
    #[must_use]
    pub fn new(
        features: Features,
        inventory: &'a Inventory,
        classes: &'a Classes,
        allocated: &'a Allocated,
        cache: &'a cel::Cache,
    ) -> Self {
        Self { features, inventory, classes, allocated, selectors: Selectors::new(features, cache) }
    }

    /// What claims get on a node, and if they do not fit, why. Without a node, only devices count that all nodes reach.
    pub fn allocate(
        &self,
        node: Option<&Node>,
        claims: &[&Claim],
        cancel: &Cancel,
    ) -> Result<Answer, AllocationError> {
        let problem = self.problem(node, claims, cancel)?;
        let found = search::search(&problem, cancel)?;
        Ok(match results(&problem, &found)? {
            Some(results) => Answer::Fits(results),
            None => Answer::NoFit(reasons::reasons(&problem, found.furthest)),
        })
    }

    /// What claims get on a node, if they fit: the same as [`Allocator::allocate`] for those who do not ask why.
    pub fn fits(
        &self,
        node: Option<&Node>,
        claims: &[&Claim],
        cancel: &Cancel,
    ) -> Result<Option<Vec<AllocationResult>>, AllocationError> {
        let problem = self.problem(node, claims, cancel)?;
        results(&problem, &search::search(&problem, cancel)?)
    }

    fn problem<'p>(
        &'p self,
        node: Option<&'p Node>,
        claims: &[&'p Claim],
        cancel: &'p Cancel,
    ) -> Result<Problem<'p>, AllocationError> {
        let field = Field::new(self.inventory, self.allocated, self.features, node)?;
        let given = Given { features: self.features, selectors: &self.selectors, node, cancel };
        Problem::new(given, field, self.classes, claims)
    }
}

fn results(problem: &Problem<'_>, found: &Found) -> Result<Option<Vec<AllocationResult>>, AllocationError> {
    if let Some(solution) = &found.solution {
        return result::results(problem, solution).map(Some);
    }
    let invalid = problem.field.invalid();
    if invalid.is_empty() { Ok(None) } else { Err(AllocationError::InvalidPools(invalid.join("; "))) }
}

#[cfg(test)]
mod tests;
