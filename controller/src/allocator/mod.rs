//! The allocator: which devices claims get on a node.
//!
//! It gives the answers of upstream's structured allocator (`k8s.io/dynamic-resource-allocation` of Kubernetes 1.36),
//! by the same first fit.
//!
//! ```text
//! Inventory, node ──▶ field: the devices that the node sees, in order
//!                       │
//! claims, classes ──▶ problem: what is asked for, checked ──▶ search ──▶ result, or reasons
//!                                 ▲                             │
//!                     selectors, capacity, constraint         state: what is chosen so far
//! ```

mod allocated;
mod capacity;
mod constraint;
mod error;
mod features;
mod field;
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
#[cfg(feature = "planted-bugs")]
pub use planted::{Planted, be_impatient, plant};
pub use reasons::{Check, Reason, Reasons};

use field::Field;
use problem::{Given, Problem};
use selectors::Selectors;

/// How many devices a claim can hold.
const MAX_RESULTS: usize = 32;

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

    fn get(&self, name: &Arc<str>) -> Option<&Class> {
        self.0.get(name).map(|class| &**class)
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

    /// What claims get on a node. Without a node, only devices count that all nodes reach.
    pub fn allocate(
        &self,
        node: Option<&Node>,
        claims: &[&Claim],
        cancel: &Cancel,
    ) -> Result<Answer, AllocationError> {
        let problem = self.problem(node, claims, cancel)?;
        let found = search::search(&problem, cancel)?;
        if let Some(solution) = &found.solution {
            return result::results(&problem, solution).map(Answer::Fits);
        }
        let invalid = problem.field.invalid();
        if !invalid.is_empty() {
            return Err(AllocationError::InvalidPools(invalid.join("; ")));
        }
        Ok(Answer::NoFit(reasons::reasons(&problem, found.furthest)))
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

#[cfg(test)]
mod tests;
