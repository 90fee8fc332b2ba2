//! A gauge whose set of series changes as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::list::Entry;

/// The labels of a series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A gauge whose set of series changes as a whole. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    family: Family<Labels, Gauge<f64, AtomicU64>>,
    shown: Arc<Mutex<BTreeSet<Labels>>>,
}

impl Table {
    pub(super) fn register(registry: &mut Registry, entry: Entry) -> Self {
        let table = Self::default();
        registry.register(entry.registered(), entry.help, table.family.clone());
        table
    }

    /// Shows these series, and no others. A scrape meanwhile sees each series with its old or its new value.
    pub(super) fn show(&self, wanted: BTreeMap<Labels, f64>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|labels| !wanted.contains_key(*labels)) {
            self.family.remove(gone);
        }
        for (labels, value) in &wanted {
            self.family.get_or_create(labels).set(*value);
        }
        *shown = wanted.into_keys().collect();
    }
}
