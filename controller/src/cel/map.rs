//! Maps, with the keys in the order in which they came.

use std::collections::HashMap;
use std::sync::Arc;

use super::value::Value;

/// A map. Keys are equal as values are: `1`, `1u` and `1.0` are one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Map<'a> {
    entries: Vec<(Value<'a>, Value<'a>)>,
    positions: HashMap<Key, usize>,
}

/// What keys are found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Number(i128),
    /// A floating point number that is no integer, by its bits.
    Double(u64),
    String(Arc<str>),
    /// Anything else that may be a key, as text.
    Other(String),
}

fn key(of: &Value<'_>) -> Option<Key> {
    Some(match of {
        Value::Bool(value) => Key::Bool(*value),
        Value::Int(value) => Key::Number(i128::from(*value)),
        Value::Uint(value) => Key::Number(i128::from(*value)),
        Value::Double(value) => whole(*value).map_or_else(|| Key::Double(value.to_bits()), Key::Number),
        Value::String(text) => Key::String(Arc::clone(text)),
        Value::Null | Value::Duration(_) | Value::Timestamp(_) | Value::Type(_) => {
            Key::Other(format!("{of:?}"))
        }
        _ => return None,
    })
}

/// The integer that a floating point number is.
#[allow(clippy::cast_possible_truncation, reason = "within the bounds it is exact")]
pub(super) fn whole(double: f64) -> Option<i128> {
    const BOUND: f64 = 18_446_744_073_709_551_616.0;
    (double.fract() == 0.0 && double.abs() <= BOUND).then_some(double as i128)
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[(Value<'a>, Value<'a>)] {
        &self.entries
    }

    pub(super) fn get(&self, wanted: &Value<'_>) -> Option<&Value<'a>> {
        let position = *self.positions.get(&key(wanted)?)?;
        Some(&self.entries[position].1)
    }

    /// Adds or replaces an entry. `None` where the key can be none.
    pub(super) fn set(&mut self, with: Value<'a>, value: Value<'a>) -> Option<()> {
        let found = key(&with)?;
        if let Some(position) = self.positions.get(&found) {
            self.entries[*position].1 = value;
            return Some(());
        }
        self.positions.insert(found, self.entries.len());
        self.entries.push((with, value));
        Some(())
    }

    pub(super) fn remove(&mut self, without: &Value<'_>) {
        let Some(position) = key(without).and_then(|found| self.positions.remove(&found)) else { return };
        self.entries.remove(position);
        for after in self.positions.values_mut().filter(|after| **after > position) {
            *after -= 1;
        }
    }

    /// Adds an entry: whether the key was new. `None` where the key can be none.
    pub(super) fn insert(&mut self, with: Value<'a>, value: Value<'a>) -> Option<bool> {
        if self.positions.contains_key(&key(&with)?) {
            return Some(false);
        }
        self.set(with, value).map(|()| true)
    }
}
