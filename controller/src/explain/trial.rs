//! One node, on which changes are tried.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply;
use super::blocker::Blocker;
use super::look::{by_request, is_of_others, is_short};
use super::query::Query;
use super::remedy::{Change, Changed};
use super::rules::Rule;
use crate::allocator::{Answer, Inspection, Obstacle};
use crate::cluster::{Cluster, Name};
use crate::model::object::Node;

/// How often changes are tried for one question.
const TRIES: usize = 3_000;

/// How often changes may still be tried.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(TRIES))
    }
}

/// One node, on which changes are tried.
#[derive(Debug)]
pub(super) struct Trial<'q> {
    pub(super) query: &'q Query<'q>,
    pub(super) node: Arc<Node>,
    pub(super) rules: Vec<Rule>,
    pub(super) inspection: Inspection,
    part: Cluster,
    budget: &'q Budget,
}

impl<'q> Trial<'q> {
    pub(super) fn new(query: &'q Query<'q>, node: &Arc<Node>, rules: &[Rule], budget: &'q Budget) -> Self {
        let part = query.cluster.part_of(node);
        // What cannot be inspected has nothing to be changed in it but rules.
        let inspection = part.allocator(query.cache).inspect(Some(node), &query.open, query.cancel);
        Self {
            query,
            node: Arc::clone(node),
            rules: rules.to_vec(),
            inspection: inspection.unwrap_or_default(),
            part,
            budget,
        }
    }

    /// Whether the claims fit on the node with these changes.
    pub(super) fn fits(&self, changes: &[Change]) -> bool {
        let left = self.budget.0.get();
        if left == 0 || self.query.cancel.is_set() {
            return false;
        }
        self.budget.0.set(left - 1);
        let (cluster, changed) = self.changed(changes);
        let Some(node) = cluster.nodes().get(&self.node.metadata.name) else { return false };
        let query = Query::new(&cluster, changed.asked(), self.query.cache, self.query.cancel);
        query.fits_on(node).unwrap_or_default()
    }

    /// Does something on the node as it is after these changes.
    pub(super) fn after<T>(&self, changes: &[Change], then: impl FnOnce(&Trial<'_>) -> T) -> Option<T> {
        if self.query.cancel.is_set() {
            return None;
        }
        let (cluster, changed) = self.changed(changes);
        let node = cluster.nodes().get(&self.node.metadata.name)?;
        let query = Query::new(&cluster, changed.asked(), self.query.cache, self.query.cancel);
        let rules = query.rules.against(node);
        Some(then(&Trial::new(&query, node, &rules, self.budget)))
    }

    /// Takes out changes that are not needed, the farthest first.
    pub(super) fn least(&self, mut changes: Vec<Change>) -> Vec<Change> {
        changes.sort_by_key(Change::distance);
        for index in (0..changes.len()).rev() {
            let change = changes.remove(index);
            if !self.fits(&changes) {
                changes.insert(index, change);
            }
        }
        changes
    }

    /// Whether each request finds enough devices by itself.
    pub(super) fn is_short(&self) -> bool {
        let requests = by_request(&self.inspection);
        requests.is_empty() || requests.iter().any(|request| is_short(request))
    }

    /// What is in the way of the devices that the claims get with these changes, as far as others have them.
    pub(super) fn freed(&self, changes: &[Change]) -> Option<Blocker> {
        let (cluster, changed) = self.changed(changes);
        let asked = changed.asked();
        let query = Query::new(&cluster, asked, self.query.cache, self.query.cancel);
        let allocator = cluster.allocator(self.query.cache);
        let answer = allocator.allocate(Some(&self.node), &query.open, self.query.cancel);
        let Ok(Answer::Fits(results)) = answer else { return None };
        let chosen: BTreeSet<(String, String)> = results
            .into_iter()
            .filter_map(|result| result.devices?.results)
            .flatten()
            .map(|result| (result.pool, result.device))
            .collect();
        let is_chosen = |pool: &str, device: &str| chosen.contains(&(pool.to_owned(), device.to_owned()));
        let devices = self.inspection.asks.iter().flat_map(|ask| &ask.devices);
        let chosen = devices.filter(|one| is_chosen(&one.pool.name, &one.device.name));
        let mut obstacles = chosen.flat_map(|one| &one.obstacles).filter(|obstacle| is_of_others(obstacle));
        obstacles.next().map(|obstacle| match obstacle {
            Obstacle::Counter { .. } => Blocker::Counters,
            Obstacle::Capacity { .. } => Blocker::Capacity,
            _ => Blocker::InUse,
        })
    }

    /// The claims that have devices which the node sees, those first that are nearest: of the own namespace, used by
    /// nobody, with few devices.
    pub(super) fn holders(&self) -> Vec<Name> {
        let namespace = self.query.namespace();
        let own: BTreeSet<Name> =
            self.query.asked.claims.iter().map(|claim| Name::of(&claim.metadata)).collect();
        let mut holders: Vec<_> = self
            .part
            .claims()
            .iter()
            .filter(|(name, claim)| {
                let results = claim.status.allocation.as_ref().map(|allocation| &allocation.devices.results);
                !own.contains(name) && results.into_iter().flatten().any(|result| !result.admin_access)
            })
            .map(|(name, claim)| {
                let devices = claim.status.allocation.as_ref().map_or(0, |one| one.devices.results.len());
                let is_used = !claim.status.reserved_for.is_empty();
                ((name.namespace != namespace, is_used, devices), name.clone())
            })
            .collect();
        holders.sort();
        holders.into_iter().map(|(_, name)| name).collect()
    }

    /// A claim's release.
    pub(super) fn release(&self, name: &Name) -> Change {
        let claim = self.part.claims().get(name).or_else(|| self.query.cluster.claims().get(name));
        Change::Release {
            claim: Some(name.clone()),
            is_own: name.namespace == self.query.namespace(),
            is_unreserved: claim.is_some_and(|claim| claim.status.reserved_for.is_empty()),
        }
    }

    fn changed(&self, changes: &[Change]) -> (Cluster, Changed) {
        apply::all(changes, &self.part, &self.query.asked)
    }
}
