//! How resources are followed: what is there, and what has vanished between two lists.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::cluster::Name;
use crate::watch::WatchError;

/// The resources that are followed, as they are called in metrics.
pub const RESOURCES: [&str; 5] = ["resourceslices", "deviceclasses", "nodes", "resourceclaims", "pods"];

/// All resources that are followed.
#[derive(Debug, Default)]
pub struct Lists {
    pub(super) slices: Followed<Arc<str>>,
    pub(super) classes: Followed<Arc<str>>,
    pub(super) nodes: Followed<Arc<str>>,
    pub(super) claims: Followed<Name>,
    pub(super) pods: Followed<Name>,
}

/// How one resource is followed.
#[derive(Debug, Clone)]
pub(super) struct Followed<K> {
    /// What is there, with the number of the list that had it, or during which it came.
    known: HashMap<K, u64>,
    list: u64,
    is_synced: bool,
    errors: u64,
}

/// Of a resource: its name, whether it was read, how many objects there are, and how often it could not be followed.
pub type Line = (&'static str, bool, usize, u64);

impl Lists {
    /// Whether each has been read once.
    pub(super) fn are_synced(&self) -> bool {
        self.lines().iter().all(|(_, is_synced, _, _)| *is_synced)
    }

    /// All of them, in the order of [`RESOURCES`].
    #[must_use]
    pub fn lines(&self) -> [Line; 5] {
        let [slices, classes, nodes, claims, pods] = RESOURCES;
        [
            self.slices.line(slices),
            self.classes.line(classes),
            self.nodes.line(nodes),
            self.claims.line(claims),
            self.pods.line(pods),
        ]
    }
}

impl<K> Default for Followed<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), list: 0, is_synced: false, errors: 0 }
    }
}

impl<K: Clone + Eq + Hash> Followed<K> {
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(super) fn saw(&mut self, key: &K) {
        self.known.insert(key.clone(), self.list);
    }

    pub(super) fn lost(&mut self, key: &K) {
        self.known.remove(key);
    }

    pub(super) fn began(&mut self) {
        self.list += 1;
    }

    /// A list has ended: what it did not have is gone.
    pub(super) fn ended(&mut self) -> Vec<K> {
        self.is_synced = true;
        let list = self.list;
        let gone: Vec<K> =
            self.known.iter().filter(|(_, of)| **of < list).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.lost(key));
        gone
    }

    pub(super) fn failed(&mut self, error: &WatchError) {
        self.errors += 1;
        tracing::warn!(%error, "cannot follow the cluster; it is being tried again");
    }

    fn line(&self, resource: &'static str) -> Line {
        (resource, self.is_synced, self.known.len(), self.errors)
    }
}
