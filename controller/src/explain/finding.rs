//! What was found in the way of claims, as data. [`super::text`] says it in words.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::blocker::Blocker;
use crate::cluster::Name;

/// One thing that is in the way, with all devices and nodes of which it is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Of which kind it is.
    pub reason: Blocker,
    /// The claim that is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Name>,
    /// Its request, and the sub-request behind a slash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// What it is.
    pub what: What,
    /// Of how many devices it is true.
    pub devices: usize,
    /// On how many nodes.
    pub nodes: usize,
    /// The first of these nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

/// What is in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// There is no such class.
    ClassMissing {
        /// The class.
        class: Arc<str>,
        /// The existing name that is nearest.
        #[serde(skip_serializing_if = "Option::is_none")]
        nearest: Option<Arc<str>>,
    },
    /// A selector is false.
    Selector {
        /// The class whose selector it is: none for the request's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<Arc<str>>,
        /// Which selector it is, from one.
        number: usize,
        /// How many selectors there are.
        of: usize,
        /// Which parts of it are false, and the values that make them so: each with the number of its devices, those
        /// with most devices first.
        parts: Vec<(Arc<str>, usize)>,
    },
    /// Nothing can be made of a selector, a request or a constraint.
    Error {
        /// What is wrong.
        message: Arc<str>,
        /// The first device of which it is true, with its driver and pool.
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<Arc<str>>,
    },
    /// Other claims have the devices.
    InUse(Held),
    /// A taint is not tolerated.
    Taint {
        /// The taint, as `key=value:effect`.
        taint: Arc<str>,
    },
    /// Too little is left of a counter that several devices take from.
    Counter {
        /// The counter.
        counter: Arc<str>,
        /// The set that it belongs to.
        set: Arc<str>,
        /// How much there is too little.
        short: Arc<str>,
        /// How much the device takes.
        needed: Arc<str>,
        /// Who has it.
        #[serde(flatten)]
        held: Held,
    },
    /// There is too little of a capacity.
    Capacity {
        /// The capacity.
        capacity: Arc<str>,
        /// How much is asked for.
        wanted: Arc<str>,
        /// How much there is: nothing, where the devices have no such capacity.
        #[serde(skip_serializing_if = "Option::is_none")]
        there: Option<Arc<str>>,
        /// How much other claims leave of it, where they have taken some.
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<Arc<str>>,
        /// Who has taken some.
        #[serde(flatten)]
        held: Held,
    },
    /// A constraint does not hold.
    Constraint {
        /// `matchAttribute` or `distinctAttribute`.
        rule: Arc<str>,
        /// The attribute.
        attribute: Arc<str>,
        /// The values that the devices have which could be had, each with how many have it. Nothing for no value.
        values: Vec<(Option<Arc<str>>, usize)>,
    },
    /// There are fewer devices than are asked for.
    TooFew {
        /// How many are asked for.
        wanted: usize,
        /// How many match on the node that has most, in use or not.
        most: usize,
        /// How many can be had there.
        free: usize,
    },
    /// More devices are asked for than a claim can hold.
    TooMany {
        /// How many are asked for.
        wanted: usize,
        /// How many a claim can hold.
        most: usize,
    },
    /// A pool's slices are not all there.
    PoolIncomplete {
        /// The pool.
        pool: Arc<str>,
        /// How many slices are there.
        there: usize,
        /// How many it says it has.
        of: i64,
    },
    /// A pool contradicts itself.
    PoolInvalid {
        /// The pool or slice.
        pool: Arc<str>,
        /// What is wrong.
        problem: Arc<str>,
    },
    /// Devices are for other nodes, or need a feature that is off.
    Unusable {
        /// Why.
        why: Arc<str>,
    },
    /// There are no devices.
    NoDevices,
    /// The pod cannot run on nodes.
    Node {
        /// Why, as it is said of one node.
        rules: Vec<Arc<str>>,
        /// Whether the claims would fit there.
        has_devices: bool,
    },
    /// A claim that is allocated binds the pod.
    Elsewhere {
        /// The claim.
        bound: Name,
        /// The nodes on which it can be used, the first of them.
        nodes: Vec<Arc<str>>,
    },
    /// What fits alone does not fit together.
    Together {
        /// How many requests there are.
        requests: usize,
    },
    /// A claim has as many consumers as it can have.
    ReservedFull {
        /// The claim.
        full: Name,
    },
    /// The devices fit.
    Fits {
        /// What else holds the pod back, where that can be seen.
        held_by: Vec<Arc<str>>,
    },
    /// The time was over.
    NoAnswer {
        /// How many nodes were looked at.
        looked_at: usize,
    },
}

/// Claims that have what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// The claims that may be named.
    pub by: BTreeSet<Name>,
    /// How many more there are.
    pub others: usize,
}

impl Held {
    /// How many claims.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.by.len().saturating_add(self.others)
    }
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("claims", &self.claims())?;
        map.serialize_entry("heldBy", &self.by)?;
        map.end()
    }
}
