//! What is prepared now, in memory: for the metrics alone. What counts is on disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dra_driver::claim::ClaimRef;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::metrics::{ClaimedDevice, Metrics};

/// Joining devices with claims costs time for each claim, so that it is not done more often than this.
const PAUSE: Duration = Duration::from_millis(250);

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
    known: Mutex<Known>,
    changed: Notify,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Known {
    prepared: BTreeMap<String, Prepared>,
    /// How many devices they have together.
    devices: usize,
}

impl Index {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { known: Mutex::default(), changed: Notify::new(), metrics }
    }

    /// All that is prepared.
    pub(super) fn replace(&self, all: Vec<Prepared>) {
        self.change(|known| {
            *known = Known::default();
            for one in all {
                known.insert(one);
            }
        });
    }

    /// A claim is prepared. Where its pods are not known, they are as before.
    pub(super) fn insert(&self, mut one: Prepared) {
        self.change(|known| {
            if let Some(before) = known.remove(&one.claim.uid)
                && one.pods.is_empty()
            {
                one.pods = before.pods;
            }
            known.insert(one);
        });
    }

    /// A claim is prepared no more.
    pub(super) fn remove(&self, uid: &str) {
        self.change(|known| {
            known.remove(uid);
        });
    }

    /// Keeps the metric up that joins devices with claims. Never ends.
    pub(super) async fn show(&self) {
        loop {
            self.changed.notified().await;
            let claimed: Vec<_> = {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.prepared.values().flat_map(claimed).collect()
            };
            self.metrics.claim_devices(&claimed);
            sleep(PAUSE).await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.metrics.prepared(known.prepared.len(), known.devices);
        self.changed.notify_one();
    }
}

impl Known {
    fn insert(&mut self, one: Prepared) {
        self.devices += one.devices.len();
        self.prepared.insert(one.claim.uid.clone(), one);
    }

    fn remove(&mut self, uid: &str) -> Option<Prepared> {
        let one = self.prepared.remove(uid)?;
        self.devices -= one.devices.len();
        Some(one)
    }
}

fn claimed(one: &Prepared) -> impl Iterator<Item = ClaimedDevice> {
    one.devices.iter().map(|(pool, device)| ClaimedDevice {
        namespace: one.claim.namespace.clone(),
        claim: one.claim.name.clone(),
        pool: pool.clone(),
        device: device.clone(),
        pods: one.pods.clone(),
    })
}
