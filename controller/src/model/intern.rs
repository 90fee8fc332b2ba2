//! Equal texts, and what equal devices say, are there once.
//!
//! A cluster has two million devices, but they say few different things: what a device says is its [`Shape`], shared
//! by all that say the same. A device's own are its name and the few texts (UUIDs, addresses) that tell devices apart;
//! which attributes those are is seen from the number of different values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dra_driver::quantity::Quantity;
use foldhash::{HashMap, HashSet};

use super::attribute::{AttributeValue, QualifiedName, Version};
use super::key::Key;
use super::node::NodeFilter;
use super::object::{self, Attribute, Capacity, Taint};

/// How many different texts an attribute may have before they belong to the devices instead of the shapes.
const FEW: usize = 64;

/// How many shapes the process has had.
static SHAPES: AtomicU64 = AtomicU64::new(0);

/// What several devices say.
#[derive(Debug)]
pub struct Shape {
    /// Its number: no other shape of the process has it, or ever had it.
    pub number: u64,
    /// The attributes, sorted by name. Those in `individual` have an empty text here.
    pub attributes: Box<[(QualifiedName, AttributeValue)]>,
    /// Which attributes each device has a text of its own for.
    pub individual: Box<[usize]>,
    /// The capacities, by the names as they are written.
    pub capacity: Box<[(Arc<str>, Capacity)]>,
    /// How much of each capacity there is, sorted by name.
    pub amounts: Box<[(QualifiedName, Quantity)]>,
    /// What a device takes from counters.
    pub counters: Box<[Counters]>,
    /// What keeps claims away.
    pub taints: Box<[Taint]>,
    /// Which nodes reach a device, where its slice leaves that to devices.
    pub reach: Reach,
    /// Whoever gets a device has to run on the node for which it was chosen.
    pub binds_to_node: bool,
    /// What has to be true before a pod may be bound.
    pub binding_conditions: Option<Vec<String>>,
    /// What ends the wait for that.
    pub binding_failure_conditions: Option<Vec<String>>,
    /// Several claims may have a device at once.
    pub allow_multiple_allocations: Option<bool>,
}

/// A set of counters: what there is, or what a device takes.
#[derive(Debug, Clone)]
pub struct Counters {
    /// The set's name.
    pub set: Arc<str>,
    /// The amounts by name.
    pub amounts: Box<[(Arc<str>, Quantity)]>,
}

/// Which nodes reach devices.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// One node. An empty name is none.
    pub node_name: Option<Arc<str>>,
    /// All nodes.
    pub all_nodes: bool,
    /// Those that are selected.
    pub selector: Option<Arc<NodeFilter>>,
}

/// A device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name in the pool.
    pub name: Arc<str>,
    /// What it says.
    pub shape: Arc<Shape>,
    /// Its own texts, in the order of [`Shape::individual`].
    pub own: Box<[Arc<str>]>,
}

impl Device {
    /// An attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &QualifiedName) -> Option<AttributeValue> {
        let index = self.shape.attributes.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
        Some(self.value(index))
    }

    /// All attributes, sorted by name.
    #[must_use]
    pub fn attributes(&self) -> Vec<(QualifiedName, AttributeValue)> {
        let names = self.shape.attributes.iter().map(|(name, _)| name.clone());
        names.enumerate().map(|(index, name)| (name, self.value(index))).collect()
    }

    fn value(&self, index: usize) -> AttributeValue {
        let own = self.shape.individual.iter().position(|individual| *individual == index);
        match own.and_then(|own| self.own.get(own)) {
            Some(text) => AttributeValue::String(Arc::clone(text)),
            None => self.shape.attributes[index].1.clone(),
        }
    }
}

/// Keeps equal things once.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    shapes: HashMap<Box<[u8]>, Arc<Shape>>,
    /// The key that was looked up last: its memory is used again.
    key: Key,
    /// The texts that attributes have, until they are more than [`FEW`]: by driver, and by the name as it is written.
    spread: HashMap<Arc<str>, HashMap<Arc<str>, Spread>>,
}

#[derive(Debug)]
enum Spread {
    Few(HashSet<Arc<str>>),
    Many,
}

impl Interner {
    /// The one copy of a text.
    pub fn text(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        self.texts.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// A device of a driver.
    pub fn device(&mut self, driver: &Arc<str>, mut device: object::Device) -> Device {
        let name = self.text(&std::mem::take(&mut device.name));
        let mut own = Vec::new();
        for (written, attribute) in &mut device.attributes {
            let Some(text) = &mut attribute.string else { continue };
            if self.is_individual(driver, written, text) {
                own.push((QualifiedName::resolve(written, driver), std::mem::take(text)));
            }
        }
        own.sort();
        let individual: Vec<&QualifiedName> = own.iter().map(|(name, _)| name).collect();
        let key = self.key.of(driver, &individual, &device);
        let shape = match self.shapes.get(key) {
            Some(shape) => Arc::clone(shape),
            None => {
                let key = key.into();
                let shape = Arc::new(self.shape(driver, device, &individual));
                self.shapes.insert(key, Arc::clone(&shape));
                shape
            }
        };
        // Of two attributes that resolve to one name, one is kept, and so is its text.
        let kept = |index: &usize| {
            let name = &shape.attributes[*index].0;
            own.iter().find(|(own, _)| own == name).map(|(_, text)| text)
        };
        let own = shape.individual.iter().filter_map(kept).map(|text| self.text(text)).collect();
        Device { name, shape, own }
    }

    /// Forgets what nothing uses any more.
    pub fn shrink(&mut self) {
        self.shapes.retain(|_, shape| Arc::strong_count(shape) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }

    /// How many shapes there are.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }

    fn is_individual(&mut self, driver: &Arc<str>, name: &Arc<str>, text: &Arc<str>) -> bool {
        let of_driver = self.spread.entry(Arc::clone(driver)).or_default();
        let spread = of_driver.entry(Arc::clone(name)).or_insert_with(|| Spread::Few(HashSet::default()));
        if let Spread::Few(texts) = spread {
            if texts.len() < FEW || texts.contains(text) {
                texts.insert(Arc::clone(text));
                return false;
            }
            *spread = Spread::Many;
        }
        true
    }

    fn shape(&mut self, driver: &Arc<str>, device: object::Device, individual: &[&QualifiedName]) -> Shape {
        let mut attributes = BTreeMap::new();
        for (written, attribute) in &device.attributes {
            let value = value_of(attribute, self);
            let name = self.resolved(written, driver);
            // An attribute that says its domain goes before one that has it from the driver.
            if written.contains('/') || !attributes.contains_key(&name) {
                attributes.insert(name, value);
            }
        }
        let attributes: Box<[_]> = attributes.into_iter().collect();
        let mut amounts: Vec<_> = device
            .capacity
            .iter()
            .map(|(written, capacity)| (self.resolved(written, driver), capacity.value))
            .collect();
        amounts.sort_by(|(one, _), (other, _)| one.cmp(other));
        Shape {
            number: SHAPES.fetch_add(1, Ordering::Relaxed),
            individual: (0..attributes.len()).filter(|i| individual.contains(&&attributes[*i].0)).collect(),
            attributes,
            capacity: device.capacity.into_iter().map(|(name, one)| (self.text(&name), one)).collect(),
            amounts: amounts.into(),
            counters: device
                .consumes_counters
                .iter()
                .map(|consumed| self.counters(&consumed.counter_set, &consumed.counters))
                .collect(),
            taints: device.taints.into(),
            reach: Reach {
                node_name: device.node_name,
                all_nodes: device.all_nodes.unwrap_or_default(),
                selector: device.node_selector.map(|selector| Arc::new(NodeFilter::new(selector))),
            },
            binds_to_node: device.binds_to_node,
            binding_conditions: device.binding_conditions,
            binding_failure_conditions: device.binding_failure_conditions,
            allow_multiple_allocations: device.allow_multiple_allocations,
        }
    }

    /// A set of counters.
    pub fn counters(&mut self, set: &Arc<str>, amounts: &BTreeMap<Arc<str>, object::Amount>) -> Counters {
        let amounts = amounts.iter().map(|(name, amount)| (self.text(name), amount.value)).collect();
        Counters { set: self.text(set), amounts }
    }

    fn resolved(&mut self, written: &str, driver: &Arc<str>) -> QualifiedName {
        let QualifiedName { domain, name } = QualifiedName::resolve(written, driver);
        QualifiedName { domain: self.text(&domain), name: self.text(&name) }
    }
}

fn value_of(attribute: &Attribute, interner: &mut Interner) -> AttributeValue {
    let Attribute { int, bool, string, version, ints, bools, strings, versions } = attribute;
    let unreadable = |error: &dyn std::error::Error| AttributeValue::Unreadable(error.to_string().into());
    if let Some(int) = int {
        return AttributeValue::Int(*int);
    }
    if let Some(bool) = bool {
        return AttributeValue::Bool(*bool);
    }
    if let Some(text) = string {
        return AttributeValue::String(interner.text(text));
    }
    if let Some(text) = version {
        return text.parse().map_or_else(|error| unreadable(&error), AttributeValue::Version);
    }
    if let Some(ints) = ints {
        return AttributeValue::Ints(ints.as_slice().into());
    }
    if let Some(bools) = bools {
        return AttributeValue::Bools(bools.as_slice().into());
    }
    if let Some(strings) = strings {
        return AttributeValue::Strings(strings.iter().map(|text| interner.text(text)).collect());
    }
    if let Some(texts) = versions {
        let versions: Result<Vec<Version>, _> = texts.iter().map(|text| text.parse()).collect();
        return versions.map_or_else(|error| unreadable(&error), |all| AttributeValue::Versions(all.into()));
    }
    AttributeValue::Unreadable("it has no value that is known here".into())
}
