//! The device that an expression looks at, as the maps that the expression sees.

use std::sync::Arc;

use dra_driver::quantity::Quantity;

use super::Device;
use super::value::Value;
use crate::model::attribute::{AttributeValue, QualifiedName};

/// What a device has by qualified name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named<'a> {
    Attributes(&'a [(QualifiedName, AttributeValue)]),
    Capacity(&'a [(QualifiedName, Quantity)]),
}

/// A map from domain to what has names in it. A domain that nothing has a name in is an empty map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domains<'a>(pub(super) Named<'a>);

/// A map from the names in one domain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domain<'a>(Named<'a>);

impl<'a> Named<'a> {
    fn len(self) -> usize {
        match self {
            Self::Attributes(attributes) => attributes.len(),
            Self::Capacity(capacity) => capacity.len(),
        }
    }

    fn name(self, index: usize) -> &'a QualifiedName {
        match self {
            Self::Attributes(attributes) => &attributes[index].0,
            Self::Capacity(capacity) => &capacity[index].0,
        }
    }

    fn value(self, index: usize) -> Value<'a> {
        match self {
            Self::Attributes(attributes) => value(&attributes[index].1),
            Self::Capacity(capacity) => Value::Quantity(capacity[index].1),
        }
    }

    fn part(self, from: usize, to: usize) -> Self {
        match self {
            Self::Attributes(attributes) => Self::Attributes(&attributes[from..to]),
            Self::Capacity(capacity) => Self::Capacity(&capacity[from..to]),
        }
    }

    /// Where the names of the domain begin and end.
    fn domain(self, domain: &str) -> Self {
        let count = self.len();
        let from = (0..count).find(|index| *self.name(*index).domain == *domain).unwrap_or(count);
        let to = (from..count).find(|index| *self.name(*index).domain != *domain).unwrap_or(count);
        self.part(from, to)
    }
}

/// An attribute's value as expressions see it.
fn value<'a>(of: &AttributeValue) -> Value<'a> {
    match of {
        AttributeValue::Int(value) => Value::Int(*value),
        AttributeValue::Bool(value) => Value::Bool(*value),
        AttributeValue::String(value) => Value::String(Arc::clone(value)),
        AttributeValue::Version(version) => Value::Version(Arc::new(version.clone())),
        AttributeValue::Ints(values) => Value::list(values.iter().map(|value| Value::Int(*value)).collect()),
        AttributeValue::Bools(values) => {
            Value::list(values.iter().map(|value| Value::Bool(*value)).collect())
        }
        AttributeValue::Strings(values) => {
            Value::list(values.iter().map(|value| Value::String(Arc::clone(value))).collect())
        }
        AttributeValue::Versions(versions) => {
            Value::list(versions.iter().map(|version| Value::Version(Arc::new(version.clone()))).collect())
        }
        AttributeValue::Unreadable(_) => Value::Null,
    }
}

impl<'a> Device<'a> {
    /// The value of one of its fields.
    pub(super) fn field(&'a self, key: &Value<'_>) -> Option<Value<'a>> {
        let Value::String(name) = key else { return None };
        self.fields().into_iter().find_map(|(field, value)| match field {
            Value::String(field) if field == *name => Some(value),
            _ => None,
        })
    }

    pub(super) fn fields(&'a self) -> Vec<(Value<'a>, Value<'a>)> {
        ["allowMultipleAllocations", "attributes", "capacity", "driver"]
            .into_iter()
            .filter_map(|name| self.named_field(name).map(|value| (Value::string(name), value)))
            .collect()
    }

    pub(super) fn named_field(&'a self, name: &str) -> Option<Value<'a>> {
        Some(match name {
            "allowMultipleAllocations" => Value::Bool(self.allow_multiple_allocations.unwrap_or_default()),
            "attributes" => Value::Domains(Domains(Named::Attributes(self.attributes))),
            "capacity" => Value::Domains(Domains(Named::Capacity(self.capacity))),
            "driver" => Value::string(self.driver),
            _ => return None,
        })
    }
}

impl<'a> Domains<'a> {
    pub(super) fn len(&self) -> usize {
        self.each().count()
    }

    /// The domain, empty where nothing has a name in it.
    pub(super) fn get(&self, domain: &str) -> Domain<'a> {
        Domain(self.0.domain(domain))
    }

    /// The domain where something has a name in it.
    pub(super) fn present(&self, key: &Value<'_>) -> Option<Value<'a>> {
        let Value::String(domain) = key else { return None };
        let found = self.get(domain);
        (found.len() > 0).then_some(Value::Domain(found))
    }

    pub(super) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        self.each().map(|(domain, names)| (Value::String(Arc::clone(domain)), Value::Domain(names))).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&'a Arc<str>, Domain<'a>)> {
        let named = self.0;
        let mut next = 0;
        std::iter::from_fn(move || {
            let from = next;
            let domain = &(from < named.len()).then(|| named.name(from))?.domain;
            next =
                (from..named.len()).find(|index| named.name(*index).domain != *domain).unwrap_or(named.len());
            Some((domain, Domain(named.part(from, next))))
        })
    }
}

impl<'a> Domain<'a> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        let Value::String(name) = key else { return None };
        self.named(name)
    }

    pub(super) fn named(&self, name: &str) -> Option<Value<'a>> {
        let index = (0..self.0.len()).find(|index| *self.0.name(*index).name == *name)?;
        Some(self.0.value(index))
    }

    pub(super) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        (0..self.0.len())
            .map(|index| (Value::String(Arc::clone(&self.0.name(index).name)), self.0.value(index)))
            .collect()
    }
}
