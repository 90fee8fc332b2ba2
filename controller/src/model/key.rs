//! What tells shapes apart, as bytes: two devices say the same when their keys are equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use dra_driver::quantity::{Format, Quantity};

use super::attribute::QualifiedName;
use super::object::{
    Amount, Attribute, Capacity, CapacityPolicy, CapacityRange, CounterConsumption, Device, Taint,
};

/// A key that is being written: every part with its length or its kind, so that no two different things read the same.
#[derive(Debug, Default)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Begins anew, and writes all that a device says but its name and its own texts.
    pub(super) fn of(&mut self, driver: &str, individual: &[&QualifiedName], device: &Device) -> &[u8] {
        let Device {
            name: _,
            attributes,
            capacity,
            consumes_counters,
            node_name,
            node_selector,
            all_nodes,
            taints,
            binds_to_node,
            binding_conditions,
            binding_failure_conditions,
            allow_multiple_allocations,
        } = device;
        self.0.clear();
        self.text(driver);
        self.all(individual, |key, name| {
            key.text(&name.domain);
            key.text(&name.name);
        });
        self.map(attributes, Self::attribute);
        self.map(capacity, Self::capacity);
        self.all(consumes_counters, |key, CounterConsumption { counter_set, counters }| {
            key.text(counter_set);
            key.map(counters, |key, Amount { value }| key.quantity(value));
        });
        self.option(node_name.as_ref(), |key, name| key.text(name));
        // Selectors are rare, and their fields are another crate's.
        self.option(node_selector.as_ref(), |key, selector| key.text(&format!("{selector:?}")));
        self.option(all_nodes.as_ref(), |key, all| key.bool(*all));
        self.all(taints, |key, Taint { key: of, value, effect }| {
            [of, value, effect].into_iter().for_each(|text| key.text(text));
        });
        self.bool(*binds_to_node);
        for conditions in [binding_conditions, binding_failure_conditions] {
            self.option(conditions.as_ref(), |key, all| key.all(all, |key, text| key.text(text)));
        }
        self.option(allow_multiple_allocations.as_ref(), |key, allow| key.bool(*allow));
        &self.0
    }

    fn attribute(&mut self, attribute: &Attribute) {
        let Attribute { int, bool, string, version, ints, bools, strings, versions } = attribute;
        self.option(int.as_ref(), |key, int| key.number(*int));
        self.option(bool.as_ref(), |key, bool| key.bool(*bool));
        for text in [string, version] {
            self.option(text.as_ref(), |key, text| key.text(text));
        }
        self.option(ints.as_ref(), |key, all| key.all(all, |key, int| key.number(*int)));
        self.option(bools.as_ref(), |key, all| key.all(all, |key, bool| key.bool(*bool)));
        for texts in [strings, versions] {
            self.option(texts.as_ref(), |key, all| key.all(all, |key, text| key.text(text)));
        }
    }

    fn capacity(&mut self, capacity: &Capacity) {
        let Capacity { value, request_policy } = capacity;
        self.quantity(value);
        self.option(request_policy.as_ref(), |key, policy| {
            let CapacityPolicy { default, valid_values, valid_range } = policy;
            key.option(default.as_ref(), Self::quantity);
            key.option(valid_values.as_ref(), |key, all| key.all(all, Self::quantity));
            key.option(valid_range.as_ref(), |key, CapacityRange { min, max, step }| {
                for bound in [min, max, step] {
                    key.option(bound.as_ref(), Self::quantity);
                }
            });
        });
    }

    /// Exactly as it is: equal amounts may be written in different ways.
    fn quantity(&mut self, quantity: &Quantity) {
        self.0.extend(quantity.nanos().to_le_bytes());
        self.0.push(match quantity.format() {
            Format::DecimalSi => 0,
            Format::DecimalExponent => 1,
            Format::BinarySi => 2,
        });
        self.option(quantity.power().as_ref(), |key, power| key.0.extend(power.to_le_bytes()));
    }

    fn map<V>(&mut self, map: &BTreeMap<Arc<str>, V>, mut write: impl FnMut(&mut Self, &V)) {
        self.length(map.len());
        for (name, value) in map {
            self.text(name);
            write(self, value);
        }
    }

    fn all<T>(&mut self, all: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.length(all.len());
        all.iter().for_each(|one| write(self, one));
    }

    fn option<T>(&mut self, option: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.bool(option.is_some());
        if let Some(value) = option {
            write(self, value);
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0.extend(length.to_le_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bool(&mut self, bool: bool) {
        self.0.push(u8::from(bool));
    }
}
