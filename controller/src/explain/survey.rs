//! All nodes, in groups that cannot be told apart by the claims and the pod: each group is looked at once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::query::Query;
use super::rules::Rule;
use crate::allocator::{AllocationError, InPool};
use crate::cel::{Read, Reads};
use crate::model::attribute::QualifiedName;
use crate::model::intern::{Counters, Device};
use crate::model::object::Node;
use crate::model::pool::{PoolId, View, reaches};

/// Nodes that are alike.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) nodes: Vec<Arc<Node>>,
    /// What keeps the pod from them.
    pub(super) rules: Vec<Rule>,
    pub(super) outcome: Outcome,
}

/// What the allocator says of a node.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Fits,
    NoFit,
    Error(AllocationError),
}

impl Group {
    /// The node that stands for all.
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.nodes[0]
    }

    pub(super) fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the claims do not fit, and nothing ended the search. Pools that contradict themselves may be others'.
    pub(super) fn is_no_fit(&self) -> bool {
        match &self.outcome {
            Outcome::Fits => false,
            Outcome::NoFit => true,
            Outcome::Error(error) => error.is_about_one_node(),
        }
    }

    pub(super) fn fits(&self) -> bool {
        matches!(self.outcome, Outcome::Fits)
    }
}

/// What was found of all nodes.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) groups: Vec<Group>,
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// How many of them were looked at before the time was over.
    pub(super) looked_at: usize,
}

/// What tells nodes apart for claims that read nothing of what devices have of their own.
#[derive(Debug)]
pub(super) struct NodeKeys {
    by_node: HashMap<Arc<str>, u64>,
    /// What devices have of their own.
    own: HashSet<QualifiedName>,
}

impl NodeKeys {
    fn of(query: &Query<'_>) -> Self {
        let none = Keys { read: Some(BTreeSet::new()), compared: Vec::new() };
        let nodes = query.nodes();
        let key = |(name, node): (&Arc<str>, &Arc<Node>)| (Arc::clone(name), none.of_node(query, node));
        let slices = query.cluster.inventory().pools().flat_map(|pool| pool.slices());
        let shapes = slices.flat_map(|slice| &slice.devices).map(|device| &device.shape);
        let mut own = HashSet::new();
        let mut last = None;
        for shape in shapes {
            if last != Some(shape.number) {
                last = Some(shape.number);
                own.extend(shape.individual.iter().map(|index| shape.attributes[*index].0.clone()));
            }
        }
        Self { by_node: nodes.iter().map(key).collect(), own }
    }
}

/// Looks at all nodes.
pub(super) fn survey(query: &Query<'_>) -> Survey {
    let nodes = query.nodes();
    let mut survey = Survey { nodes: nodes.len(), ..Survey::default() };
    let keys = Keys::of(query);
    let known = query.nodes_known.map(|known| known.get_or_init(|| NodeKeys::of(query)));
    let known = known.filter(|known| !keys.read_any(&known.own));
    let mut outcomes: HashMap<u64, Outcome> = HashMap::new();
    let mut groups: HashMap<(u64, Vec<Rule>), usize> = HashMap::new();
    for node in nodes.values() {
        if query.cancel.is_set() {
            return survey;
        }
        let key = known.and_then(|known| known.by_node.get(&node.metadata.name));
        let key = key.copied().unwrap_or_else(|| keys.of_node(query, node));
        let outcome = outcomes.entry(key).or_insert_with(|| match query.has_devices(node) {
            Ok(true) => Outcome::Fits,
            Ok(false) => Outcome::NoFit,
            // What is wrong with pools matters only if nothing else would do.
            Err(error) => Outcome::Error(error),
        });
        if let Outcome::Error(AllocationError::Cancelled) = outcome {
            return survey;
        }
        let rules = query.rules.against(node);
        let group = *groups.entry((key, rules.clone())).or_insert_with(|| {
            survey.groups.push(Group { nodes: Vec::new(), rules, outcome: outcome.clone() });
            survey.groups.len() - 1
        });
        survey.groups[group].nodes.push(Arc::clone(node));
        survey.looked_at += 1;
    }
    survey
}

/// What of devices' own texts matters to the claims.
struct Keys {
    /// Attributes whose texts selectors read: nothing, where they may read all.
    read: Option<BTreeSet<(Arc<str>, Arc<str>)>>,
    /// Attributes that constraints compare, as they are written.
    compared: Vec<Arc<str>>,
}

impl Keys {
    fn of(query: &Query<'_>) -> Self {
        let mut read = Some(BTreeSet::new());
        let asks = query.asks();
        let classes = asks.iter().filter_map(|ask| query.cluster.classes().get(&ask.ask.device_class_name));
        let of_classes = classes.flat_map(|class| &class.spec.selectors);
        let selectors = asks.iter().flat_map(|ask| &ask.ask.selectors).chain(of_classes);
        for cel in selectors.filter_map(|selector| selector.cel.as_ref()) {
            let expression = query.cache.get(query.environment(), &cel.expression);
            match expression.program().map(|program| program.reads()) {
                Ok(Reads::Everything) => read = None,
                Ok(Reads::Only(reads)) => {
                    let attributes = reads.iter().filter_map(|read| match read {
                        Read::Attribute { domain, name } => Some((Arc::clone(domain), Arc::clone(name))),
                        _ => None,
                    });
                    if let Some(read) = &mut read {
                        read.extend(attributes);
                    }
                }
                Err(_) => {}
            }
        }
        let constraints = query.open.iter().flat_map(|claim| &claim.spec.devices.constraints);
        let compared = constraints
            .flat_map(|constraint| [&constraint.match_attribute, &constraint.distinct_attribute])
            .flatten()
            .map(Arc::clone);
        Self { read, compared: compared.collect() }
    }

    /// Whether any of these attributes matters.
    fn read_any(&self, own: &HashSet<QualifiedName>) -> bool {
        own.iter().any(|name| {
            // The driver's name is the domain where a constraint names none.
            self.is_read(name)
                || self
                    .compared
                    .iter()
                    .any(|compared| QualifiedName::resolve(compared, &name.domain) == *name)
        })
    }

    fn is_read(&self, name: &QualifiedName) -> bool {
        self.read
            .as_ref()
            .is_none_or(|read| read.iter().any(|(domain, read)| *domain == name.domain && *read == name.name))
    }

    /// What tells nodes apart: two with the same key get the same answer.
    fn of_node(&self, query: &Query<'_>, node: &Arc<Node>) -> u64 {
        let mut hash = std::hash::DefaultHasher::new();
        let partitions = query.cluster.features.partitionable_devices;
        let views = match query.cluster.inventory().views(Some(node), partitions) {
            Ok(views) => views,
            Err(error) => {
                error.to_string().hash(&mut hash);
                return hash.finish();
            }
        };
        let mut values = HashMap::new();
        for (pool, view) in views {
            pool.id.driver.hash(&mut hash);
            match view {
                View::Incomplete => "incomplete".hash(&mut hash),
                View::Invalid(why) => why.hash(&mut hash),
                View::Usable(usable) => {
                    let taken = query.cluster.allocated().in_pool(&pool.id);
                    usable.counters.iter().for_each(|set| hash_counters(set, &mut hash));
                    for slice in &usable.slices {
                        slice.has_binding_conditions.hash(&mut hash);
                        for device in &slice.devices {
                            self.device(device, &pool.id, &mut values, &mut hash);
                            hash_taken(device, taken, &mut hash);
                            if slice.is_per_device() {
                                reaches(&device.shape.reach, Some(node)).ok().hash(&mut hash);
                            }
                        }
                    }
                    for device in usable.others.iter().flat_map(|slice| &slice.devices) {
                        if taken.is_some_and(|taken| taken.has(&device.name)) {
                            device.shape.number.hash(&mut hash);
                        }
                    }
                }
            }
        }
        hash.finish()
    }

    fn device<'n>(
        &self,
        device: &'n Device,
        pool: &PoolId,
        values: &mut HashMap<(usize, &'n str), usize>,
        hash: &mut impl Hasher,
    ) {
        let shape = &device.shape;
        shape.number.hash(hash);
        for (own, index) in device.own.iter().zip(&shape.individual) {
            let name = &shape.attributes[*index].0;
            if self.is_read(name) {
                own.hash(hash);
            }
            // Which devices have the same value matters here, not which value that is.
            for (number, compared) in self.compared.iter().enumerate() {
                if QualifiedName::resolve(compared, &pool.driver) == *name {
                    let next = values.len();
                    values.entry((number, own)).or_insert(next).hash(hash);
                }
            }
        }
    }
}

fn hash_counters(set: &Counters, hash: &mut impl Hasher) {
    set.set.hash(hash);
    for (name, amount) in &set.amounts {
        name.hash(hash);
        amount.nanos().hash(hash);
    }
}

fn hash_taken(device: &Device, taken: Option<&InPool>, hash: &mut impl Hasher) {
    let Some(taken) = taken else { return };
    (taken.devices.contains(&device.name), taken.shared.contains(&device.name)).hash(hash);
    if let Some(capacity) = taken.capacity.get(&device.name) {
        let mut amounts: Vec<_> = capacity.iter().map(|(name, amount)| (name, amount.nanos())).collect();
        amounts.sort_unstable();
        amounts.hash(hash);
    }
}
