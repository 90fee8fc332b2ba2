//! One pool of devices, and what a node sees of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::intern::{Counters, Device, Interner, Reach};
use super::node::{NodeFilter, NodeFilterError};
use super::object::{self, Node};

/// A driver and one of its pools.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId {
    /// The driver's name.
    pub driver: Arc<str>,
    /// The pool's name.
    pub name: Arc<str>,
}

impl std::fmt::Display for PoolId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.driver, self.name)
    }
}

/// A ResourceSlice.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Its name.
    pub name: Arc<str>,
    /// The pool's generation that it belongs to.
    pub generation: i64,
    /// How many slices that generation has.
    pub count: i64,
    /// Which nodes reach its devices.
    pub reach: Reach,
    /// Whether that is left to its devices: absent is not the same as no.
    pub per_device: Option<bool>,
    /// Counters of the pool.
    pub counters: Box<[Counters]>,
    /// The devices.
    pub devices: Box<[Device]>,
    /// Whether a device has binding conditions, if only a list without content.
    pub has_binding_conditions: bool,
}

impl Slice {
    /// A slice as the API has it.
    pub fn new(slice: object::Slice, interner: &mut Interner) -> Self {
        let spec = slice.spec;
        let has_binding_conditions = spec.devices.iter().any(|device| device.binding_conditions.is_some());
        Self {
            name: slice.metadata.name,
            generation: spec.pool.generation,
            count: spec.pool.resource_slice_count,
            reach: Reach {
                node_name: spec.node_name.map(|name| interner.text(&name)),
                all_nodes: spec.all_nodes.unwrap_or_default(),
                selector: spec.node_selector.map(|selector| Arc::new(NodeFilter::new(selector))),
            },
            per_device: spec.per_device_node_selection,
            counters: spec.shared_counters.iter().map(|s| interner.counters(&s.name, &s.counters)).collect(),
            devices: spec.devices.into_iter().map(|one| interner.device(&spec.driver, one)).collect(),
            has_binding_conditions,
        }
    }

    /// Whether its devices say for themselves which nodes reach them.
    #[must_use]
    pub fn is_per_device(&self) -> bool {
        self.per_device.unwrap_or_default()
    }

    /// The node that it is for, where that is one.
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        self.reach.node_name.as_ref().filter(|name| !name.is_empty())
    }

    /// Whether it may have devices for a node.
    fn is_for(&self, node: Option<&Node>) -> Result<bool, Unreadable> {
        if !self.counters.is_empty() {
            return Ok(true);
        }
        let unreadable = |source| Unreadable { slice: Arc::clone(&self.name), source };
        if self.node().is_some() || self.reach.all_nodes || self.reach.selector.is_some() {
            return reaches(&self.reach, node).map_err(unreadable);
        }
        if !self.is_per_device() {
            // Selected by something that is not known here.
            return Ok(false);
        }
        for device in &self.devices {
            if reaches(&device.shape.reach, node).map_err(unreadable)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a node is among those that reach something.
pub fn reaches(reach: &Reach, node: Option<&Node>) -> Result<bool, NodeFilterError> {
    match (&reach.node_name, &reach.selector) {
        (Some(name), _) if !name.is_empty() => Ok(node.is_some_and(|node| node.metadata.name == *name)),
        _ if reach.all_nodes => Ok(true),
        (_, Some(selector)) => selector.selects(node),
        _ => Ok(false),
    }
}

/// A slice's node selector, or that of one of its devices, cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slice {slice}: {source}; mend the slice, or the driver that publishes it")]
pub struct Unreadable {
    slice: Arc<str>,
    source: NodeFilterError,
}

/// All slices of a pool, of all generations, in the order in which they came.
#[derive(Debug)]
pub struct Pool {
    /// Which pool it is.
    pub id: PoolId,
    slices: Vec<Arc<Slice>>,
    newest: i64,
    /// What is wrong with the newest generation as a whole, with and without counters.
    problem: [OnceLock<Option<String>>; 2],
}

/// What a node sees of a pool.
#[derive(Debug)]
pub enum View<'a> {
    /// Its devices can be had.
    Usable(Usable<'a>),
    /// Not all of its slices are there: the driver is writing them.
    Incomplete,
    /// It contradicts itself.
    Invalid(String),
}

/// The devices of a pool that are for a node.
#[derive(Debug, Clone)]
pub struct Usable<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// The slices with devices for the node, in the order in which they are tried.
    pub slices: Vec<&'a Slice>,
    /// Slices for other nodes. Their devices take from the same counters.
    pub others: Vec<&'a Slice>,
    /// The counters, by the names of the sets.
    pub counters: Vec<&'a Counters>,
}

impl Pool {
    /// A pool from its slices.
    #[must_use]
    pub fn new(id: PoolId, slices: Vec<Arc<Slice>>) -> Self {
        let newest = slices.iter().map(|slice| slice.generation).max().unwrap_or_default();
        Self { id, slices, newest, problem: [OnceLock::new(), OnceLock::new()] }
    }

    /// Its slices, of all generations, as they are kept.
    pub fn shared_slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.slices.iter()
    }

    /// Its slices, of all generations.
    pub fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter().map(|slice| &**slice)
    }

    /// The pool's highest generation, whose slices count.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.newest
    }

    /// Its slices, when one of them has come or changed.
    pub(super) fn with(&self, slice: Slice) -> Vec<Arc<Slice>> {
        let slice = Arc::new(slice);
        let mut slices = self.slices.clone();
        match slices.iter_mut().find(|known| known.name == slice.name) {
            Some(known) => *known = slice,
            None => slices.push(slice),
        }
        slices
    }

    /// Its slices, when one of them has gone.
    pub(super) fn without(&self, name: &str) -> Vec<Arc<Slice>> {
        self.slices.iter().filter(|slice| &*slice.name != name).map(Arc::clone).collect()
    }

    /// What a node sees of it: nothing, where no slice is for the node or only an outdated one.
    ///
    /// Without `counters` (the feature `PartitionableDevices`), slices with counters and slices that leave the choice
    /// of nodes to devices are not looked at.
    pub fn view(&self, node: Option<&Node>, counters: bool) -> Result<Option<View<'_>>, Unreadable> {
        let relevant = self.relevant(node, counters)?;
        let Some(first) = relevant.first() else { return Ok(None) };
        let (generation, wanted) = (first.generation, first.count);
        let has_all = |count: usize| i64::try_from(count) == Ok(wanted);
        if has_all(relevant.len()) {
            return Ok(Some(self.built(relevant, None, counters)));
        }
        // Slices for other nodes count as well.
        if self.newest > generation {
            return Ok(None);
        }
        let all: Vec<&Slice> = self.slices().filter(|slice| slice.generation == generation).collect();
        if !has_all(all.len()) {
            return Ok(Some(View::Incomplete));
        }
        Ok(Some(self.built(relevant, Some(all), counters)))
    }

    /// The slices that matter to a node, of the newest generation among them: those for it alone first.
    fn relevant(&self, node: Option<&Node>, counters: bool) -> Result<Vec<&Slice>, Unreadable> {
        let is_known = |slice: &&Slice| counters || (slice.per_device.is_none() && slice.counters.is_empty());
        let is_own = |slice: &&Slice| slice.node().is_some() && slice.counters.is_empty();
        let own = self.slices().filter(is_own);
        let others = self.slices().filter(|slice| !is_own(slice));
        let mut relevant: Vec<&Slice> = Vec::new();
        for slice in own.chain(others).filter(is_known) {
            if slice.is_for(node)? {
                relevant.push(slice);
            }
        }
        let newest = relevant.iter().map(|slice| slice.generation).max();
        relevant.retain(|slice| Some(slice.generation) == newest);
        Ok(relevant)
    }

    /// The view of slices that belong together. `all` are all of the generation where these are not.
    fn built<'a>(
        &'a self,
        mut slices: Vec<&'a Slice>,
        all: Option<Vec<&'a Slice>>,
        counters: bool,
    ) -> View<'a> {
        slices.sort_by(|one, other| one.name.cmp(&other.name));
        let is_whole = slices.len() == self.slices.len();
        let problem = if is_whole {
            self.problem[usize::from(counters)].get_or_init(|| problem(&slices, counters)).clone()
        } else {
            problem(&slices, counters)
        };
        if let Some(problem) = problem {
            return View::Invalid(problem);
        }
        if !counters {
            return View::Usable(Usable { pool: self, slices, others: Vec::new(), counters: Vec::new() });
        }
        let sets: Vec<&Counters> = slices.iter().flat_map(|slice| &slice.counters).collect();
        let is_seen = |slice: &&Slice| slices.iter().any(|seen| std::ptr::eq(*seen, *slice));
        let others: Vec<&Slice> = all.into_iter().flatten().filter(|slice| !is_seen(slice)).collect();
        if !others.is_empty()
            && let Some(problem) = counter_problem(&sets, &others)
        {
            return View::Invalid(problem);
        }
        slices.retain(|slice| slice.counters.is_empty());
        View::Usable(Usable { pool: self, slices, others, counters: sets })
    }
}

/// What is wrong with slices that belong together.
fn problem(slices: &[&Slice], counters: bool) -> Option<String> {
    let mut names = HashSet::new();
    let with_devices = slices.iter().filter(|slice| !counters || slice.counters.is_empty());
    for device in with_devices.flat_map(|slice| &slice.devices) {
        if !names.insert(&device.name) {
            return Some(format!("two devices have the name {}", device.name));
        }
    }
    if !counters {
        return None;
    }
    let mut names = HashSet::new();
    let sets: Vec<&Counters> = slices.iter().flat_map(|slice| &slice.counters).collect();
    if let Some(twice) = sets.iter().find(|set| !names.insert(&set.set)) {
        return Some(format!("two sets of counters have the name {}", twice.set));
    }
    counter_problem(&sets, slices)
}

/// Devices that take from counters which are not there.
fn counter_problem(sets: &[&Counters], slices: &[&Slice]) -> Option<String> {
    let sets: HashMap<_, _> = sets.iter().map(|set| (&set.set, set)).collect();
    for device in slices.iter().flat_map(|slice| &slice.devices) {
        for taken in &device.shape.counters {
            let Some(set) = sets.get(&taken.set) else {
                return Some(format!(
                    "device {} takes from the set of counters {}, which is not there",
                    device.name, taken.set
                ));
            };
            let is_missing = |name: &Arc<str>| !set.amounts.iter().any(|(known, _)| known == name);
            if let Some((name, _)) = taken.amounts.iter().find(|(name, _)| is_missing(name)) {
                return Some(format!(
                    "device {} takes from the counter {name}, which the set {} lacks",
                    device.name, taken.set
                ));
            }
        }
    }
    None
}
