//! What is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::explain::Blocker;

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 17] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Times by DeviceClass.
pub type Durations = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

/// What is counted since this replica leads.
#[derive(Debug)]
pub struct Tallies {
    /// From the time at which a claim is seen to its allocation.
    pub allocations: Durations,
    /// From the time at which a pod is seen to the allocation of the last of its claims.
    pub pods: Durations,
    errors: BTreeMap<Blocker, u64>,
}

impl Default for Tallies {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self {
            allocations: Family::new_with_constructor(histogram),
            pods: Family::new_with_constructor(histogram),
            // All that can come is there from the start, so that the first one is seen as an increase.
            errors: counted().map(|reason| (reason, 0)).collect(),
        }
    }
}

/// The reasons that are counted.
fn counted() -> impl Iterator<Item = Blocker> {
    Blocker::ALL.into_iter().filter(|reason| *reason != Blocker::Unexplained)
}

impl Tallies {
    /// How often claims have come to wait for each reason.
    pub fn errors(&self) -> impl Iterator<Item = (Blocker, u64)> {
        self.errors.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Has a class's series from the start, so that its first allocation is seen as an increase.
    pub fn know(&self, class: &str) {
        for durations in [&self.allocations, &self.pods] {
            drop(durations.get_or_create(&[("device_class", class.to_owned())]));
        }
    }

    pub(super) fn allocated(&self, class: Arc<str>, took: Duration) {
        observe(&self.allocations, &class, took);
    }

    pub(super) fn pod_allocated(&self, class: Arc<str>, took: Duration) {
        observe(&self.pods, &class, took);
    }

    pub(super) fn error(&mut self, reason: Blocker) {
        *self.errors.entry(reason).or_default() += 1;
    }
}

fn observe(durations: &Durations, class: &str, took: Duration) {
    durations.get_or_create(&[("device_class", class.to_owned())]).observe(took.as_secs_f64());
}
