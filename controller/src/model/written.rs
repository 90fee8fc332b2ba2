//! How values are written in objects: quantities as texts or numbers, and null for what is absent.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Null is the same as absent.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A quantity, written as a text or as a number.
struct Written(Quantity);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl Visitor<'_> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a quantity such as \"80Gi\" or 4")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
        text.trim()
            .parse()
            .map(Written)
            .map_err(|error| E::custom(format!("{text:?} is no quantity: {error}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Written, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Written, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Written, E> {
        self.visit_str(&number.to_string())
    }
}

pub(super) fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
    Ok(optional_quantity(deserializer)?.unwrap_or_default())
}

pub(super) fn optional_quantity<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Quantity>, D::Error> {
    Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
}

pub(super) fn optional_quantities<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Quantity>>, D::Error> {
    let written = Option::<Vec<Written>>::deserialize(deserializer)?;
    Ok(written.map(|all| all.into_iter().map(|one| one.0).collect()))
}

/// Amounts by name.
pub(crate) fn quantities<'de, D>(deserializer: D) -> Result<BTreeMap<Arc<str>, Quantity>, D::Error>
where
    D: Deserializer<'de>,
{
    let written = Option::<BTreeMap<Arc<str>, Written>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(written.into_iter().map(|(name, amount)| (name, amount.0)).collect())
}
