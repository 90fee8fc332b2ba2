//! A metric whose set of series changes as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::list::Entry;

/// The labels of a series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// What a series shows.
pub(super) trait Shown: EncodeMetric + TypedMetric + Default + Debug + Send + Sync + 'static {
    fn show(&self, value: f64);
}

impl Shown for Gauge<f64, AtomicU64> {
    fn show(&self, value: f64) {
        self.set(value);
    }
}

impl Shown for Counter<f64, AtomicU64> {
    /// A counter goes up alone.
    fn show(&self, value: f64) {
        self.inc_by((value - self.get()).max(0.0));
    }
}

/// A metric whose set of series changes as a whole. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Table<M: Shown = Gauge<f64, AtomicU64>> {
    family: Family<Labels, M>,
    shown: Arc<Mutex<BTreeSet<Labels>>>,
}

impl<M: Shown> Table<M> {
    pub(super) fn register(registry: &mut Registry, entry: Entry) -> Self {
        let table = Self { family: Family::default(), shown: Arc::default() };
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
            self.family.get_or_create(labels).show(*value);
        }
        *shown = wanted.into_keys().collect();
    }
}
