//! Why claims are not allocated, and what would make them fit.
//!
//! ```text
//! Cluster, Asked ──▶ Explanation ──▶ text, for the eyes of a namespace or of those who may see everything
//!                      │
//!                      └──▶ Remedy ──apply──▶ a copy of the cluster in which the allocator finds devices
//! ```

mod answer;
mod apply;
mod blocker;
mod details;
mod edits;
mod finding;
mod look;
mod nearest;
mod query;
mod remedy;
mod repair;
mod rules;
mod search;
mod survey;
mod text;
mod trial;

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::allocator::Cancel;
use crate::cel;
use crate::cluster::{Cluster, Name};
use crate::model::object::Claim;
use crate::model::pod::Pod;

pub use blocker::Blocker;
pub use finding::{Finding, Held, What};
pub use remedy::{Change, Changed, Remedy};

/// What is asked about: all claims of one pod, those included that are allocated; or one claim without a pod.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// The pod.
    pub pod: Option<&'a Pod>,
    /// The claims.
    pub claims: Vec<&'a Claim>,
}

impl<'a> Asked<'a> {
    /// A pod with all its claims that are there.
    #[must_use]
    pub fn of_pod(cluster: &'a Cluster, pod: &'a Pod) -> Self {
        Self { pod: Some(pod), claims: cluster.claims_of(pod).map(|(_, claim)| &**claim).collect() }
    }

    /// A claim for which no pod waits.
    #[must_use]
    pub fn of_claim(claim: &'a Claim) -> Self {
        Self { pod: None, claims: vec![claim] }
    }
}

/// For whose eyes a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// Whoever reads a namespace: no other namespace, and nothing in one, is named.
    Namespace(&'a str),
    /// Those who may see the whole cluster.
    Everything,
}

/// Why claims are not allocated.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// In one word.
    #[serde(rename = "reason")]
    pub blocker: Blocker,
    /// The claim that it is about, the first of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Name>,
    /// The DeviceClass of its request, the first of several. Empty where there is none.
    pub device_class: Arc<str>,
    /// How many nodes there are.
    pub nodes: usize,
    /// All that is in the way, the most important first.
    pub findings: Vec<Finding>,
    /// The nearest change that makes the claims fit, where one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Explanation {
    /// What is said before anything was looked at.
    #[must_use]
    pub fn unexplained(asked: &Asked<'_>) -> Self {
        let claim = asked.claims.iter().find(|claim| claim.status.allocation.is_none());
        let request = claim.and_then(|claim| claim.spec.devices.requests.first());
        let asks = request.and_then(|request| request.exactly.as_ref().or(request.first_available.first()));
        Self {
            blocker: Blocker::Unexplained,
            claim: claim.map(|claim| Name::of(&claim.metadata)),
            device_class: asks.map(|ask| Arc::clone(&ask.device_class_name)).unwrap_or_default(),
            nodes: 0,
            findings: Vec::new(),
            remedy: None,
        }
    }
}

/// Says of many claims of one moment why they are not allocated: what tells nodes apart is found once for all.
#[derive(Debug)]
pub struct Explainer<'a> {
    cluster: &'a Cluster,
    cache: &'a cel::Cache,
    nodes: OnceLock<survey::NodeKeys>,
}

impl<'a> Explainer<'a> {
    /// For a cluster at one moment.
    #[must_use]
    pub fn new(cluster: &'a Cluster, cache: &'a cel::Cache) -> Self {
        Self { cluster, cache, nodes: OnceLock::new() }
    }

    /// Says why claims are not allocated, and what would make them fit.
    #[must_use]
    pub fn explain(&self, asked: &Asked<'_>, cancel: &Cancel) -> Explanation {
        let query = query::Query::new(self.cluster, asked.clone(), self.cache, cancel);
        answer::answer(&query::Query { nodes_known: Some(&self.nodes), ..query })
    }
}

/// Says why claims are not allocated, and what would make them fit.
#[must_use]
pub fn explain(cluster: &Cluster, asked: &Asked<'_>, cache: &cel::Cache, cancel: &Cancel) -> Explanation {
    Explainer::new(cluster, cache).explain(asked, cancel)
}

/// Whether the claims get devices on some node where the pod may run.
#[must_use]
pub fn fits(cluster: &Cluster, asked: &Asked<'_>, cache: &cel::Cache, cancel: &Cancel) -> bool {
    let query = query::Query::new(cluster, asked.clone(), cache, cancel);
    query.nodes().values().any(|node| query.fits_on(node).unwrap_or_default())
}

#[cfg(test)]
mod tests;
