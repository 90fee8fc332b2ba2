//! What has to hold between the devices of a claim.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::HashMap;

use crate::model::attribute::{AttributeValue, QualifiedName};
use crate::model::intern::Device;
use crate::model::object;

use super::planted::{self, Planted};

/// A constraint of a claim.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    source: &'a object::Constraint,
    attribute: &'a Arc<str>,
    is_match: bool,
    /// Whether lists count as sets of values.
    lists: bool,
    /// The devices' values, by the device's number.
    values: Vec<OnceCell<Value>>,
    /// Numbers of values.
    numbers: RefCell<HashMap<String, u32>>,
}

/// A device's value of the attribute. Values are numbered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Value {
    /// It has none.
    Missing,
    /// It has one that cannot be compared.
    Unknown,
    /// One value.
    One(u32),
    /// Several values, sorted.
    Several(Rc<[u32]>),
}

/// What the devices chosen so far have made of a constraint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Chosen {
    /// The values in the order in which they came; of a match, what all devices so far have in common, each time.
    values: Vec<Value>,
}

impl Chosen {
    /// Takes back what was added last.
    pub(super) fn remove(&mut self) {
        if self.values.len() == 1 && planted::is(Planted::RememberedDevice) {
            return;
        }
        self.values.pop();
    }
}

impl<'a> Constraint<'a> {
    /// The constraint, or nothing where it says nothing that is known.
    pub(super) fn new(source: &'a object::Constraint, lists: bool, devices: usize) -> Option<Self> {
        let (attribute, is_match) = match (&source.match_attribute, &source.distinct_attribute) {
            (Some(attribute), _) => (attribute, true),
            (None, Some(attribute)) => (attribute, false),
            (None, None) => return None,
        };
        let values = std::iter::repeat_with(OnceCell::new).take(devices).collect();
        Some(Self { source, attribute, is_match, lists, values, numbers: RefCell::default() })
    }

    /// Whether it wants the devices to have something in common, instead of nothing.
    pub(super) fn is_match(&self) -> bool {
        self.is_match
    }

    /// Whether it is about a request, or a sub-request.
    pub(super) fn is_about(&self, request: &str, sub_request: Option<&str>) -> bool {
        let requests = &self.source.requests;
        let is_named = |name: &Arc<str>| match sub_request {
            _ if **name == *request => true,
            Some(_) if planted::is(Planted::NamesOfAlternatives) => false,
            Some(sub) => name.strip_prefix(request).and_then(|rest| rest.strip_prefix('/')) == Some(sub),
            None => false,
        };
        requests.is_empty() || requests.iter().any(is_named)
    }

    /// Adds a device if the constraint holds with it.
    pub(super) fn add(&self, chosen: &mut Chosen, number: usize, driver: &str, device: &Device) -> bool {
        let value = self.value(number, driver, device);
        let Some(next) = self.next(chosen, value) else { return false };
        chosen.values.push(next);
        true
    }

    /// What of the devices chosen so far matters to those that come.
    pub(super) fn memory(&self, chosen: &Chosen) -> Vec<Value> {
        if self.is_match {
            return chosen.values.last().cloned().into_iter().collect();
        }
        let mut values = chosen.values.clone();
        values.sort_unstable();
        values
    }

    /// Whether the constraint would hold with a device.
    pub(super) fn admits(&self, chosen: &Chosen, number: usize, driver: &str, device: &Device) -> bool {
        self.next(chosen, self.value(number, driver, device)).is_some()
    }

    /// What is to be remembered when a device with this value is added, if it may be.
    fn next(&self, chosen: &Chosen, value: &Value) -> Option<Value> {
        if *value == Value::Missing {
            return None;
        }
        if self.is_match {
            match chosen.values.last() {
                // A list without elements matches nothing, not even itself.
                None if self.lists && *value == Value::Unknown => None,
                None => Some(value.clone()),
                Some(common) => common_of(common, value),
            }
        } else if chosen.values.is_empty() {
            Some(value.clone())
        } else {
            let is_other = |other: &Value| common_of(other, value).is_none();
            (*value != Value::Unknown && chosen.values.iter().all(is_other)).then(|| value.clone())
        }
    }

    /// A device's value.
    pub(super) fn value(&self, number: usize, driver: &str, device: &Device) -> &Value {
        self.values[number].get_or_init(|| {
            let name = QualifiedName::resolve(self.attribute, driver);
            device.attribute(&name).map_or(Value::Missing, |value| self.numbered(&value))
        })
    }

    fn numbered(&self, value: &AttributeValue) -> Value {
        let mut numbers = self.numbers.borrow_mut();
        let mut number = |kind: &str, text: &dyn std::fmt::Display| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(format!("{kind} {text}")).or_insert(next)
        };
        // Versions are compared as they are written: their build metadata counts here.
        let several: Vec<u32> = match value {
            AttributeValue::Int(int) => return self.one(number("int", int)),
            AttributeValue::Bool(bool) => return self.one(number("bool", bool)),
            AttributeValue::String(text) => return self.one(number("string", text)),
            AttributeValue::Version(version) => return self.one(number("version", version)),
            _ if !self.lists => return Value::Unknown,
            AttributeValue::Ints(ints) => ints.iter().map(|int| number("int", int)).collect(),
            AttributeValue::Bools(bools) => bools.iter().map(|bool| number("bool", bool)).collect(),
            AttributeValue::Strings(texts) => texts.iter().map(|text| number("string", text)).collect(),
            AttributeValue::Versions(versions) => versions.iter().map(|one| number("version", one)).collect(),
            AttributeValue::Unreadable(_) => return Value::Unknown,
        };
        set_of(several).unwrap_or(Value::Unknown)
    }

    fn one(&self, number: u32) -> Value {
        if self.lists { Value::Several(Rc::new([number])) } else { Value::One(number) }
    }
}

fn set_of(mut numbers: Vec<u32>) -> Option<Value> {
    numbers.sort_unstable();
    numbers.dedup();
    (!numbers.is_empty()).then(|| Value::Several(numbers.into()))
}

/// What two values have in common, if they have anything.
fn common_of(one: &Value, other: &Value) -> Option<Value> {
    match (one, other) {
        (Value::One(a), Value::One(b)) if a == b => Some(Value::One(*a)),
        (Value::Several(a), Value::Several(b)) => {
            set_of(a.iter().filter(|number| b.binary_search(number).is_ok()).copied().collect())
        }
        _ => None,
    }
}
