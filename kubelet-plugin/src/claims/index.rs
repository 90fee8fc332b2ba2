//! What is prepared now, in memory: for the metrics alone. What counts is on disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dra_driver::claim::ClaimRef;

use crate::metrics::Metrics;

/// A prepared claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) claim: ClaimRef,
    pub(super) pods: Vec<String>,
    /// Pools and names of its devices.
    pub(super) devices: Vec<(String, String)>,
}

/// The prepared claims, by UID.
#[derive(Debug)]
pub(super) struct Index {
    prepared: Mutex<BTreeMap<String, Prepared>>,
    metrics: Metrics,
}

impl Index {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { prepared: Mutex::default(), metrics }
    }

    /// All that is prepared.
    pub(super) fn replace(&self, all: Vec<Prepared>) {
        self.change(|prepared| {
            *prepared = all.into_iter().map(|one| (one.claim.uid.clone(), one)).collect();
            true
        });
    }

    /// A claim is prepared.
    pub(super) fn insert(&self, one: Prepared) {
        self.change(|prepared| {
            let new = prepared.get(&one.claim.uid) != Some(&one);
            if new {
                prepared.insert(one.claim.uid.clone(), one);
            }
            new
        });
    }

    /// A claim is prepared no more.
    pub(super) fn remove(&self, uid: &str) {
        self.change(|prepared| prepared.remove(uid).is_some());
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Prepared>) -> bool) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut prepared) {
            let devices = prepared.values().map(|one| one.devices.len()).sum();
            self.metrics.prepared(prepared.len(), devices);
        }
    }
}
