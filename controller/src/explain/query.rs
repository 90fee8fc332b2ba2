//! A question, and all that is needed to answer it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::Asked;
use super::rules::{Rule, Rules};
use super::survey::NodeKeys;
use crate::allocator::{AllocationError, Cancel, class_selects};
use crate::cel::{self, Environment};
use crate::cluster::{Cluster, Name};
use crate::model::intern::Device;
use crate::model::object::{Claim, DeviceRequest, Metadata, Node};
use crate::model::pool::{Pool, PoolId};

/// The most consumers that a claim can be reserved for.
pub(super) const RESERVED_MOST: usize = 256;

/// A question, and all that is needed to answer it.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) asked: Asked<'a>,
    /// The claims that have no devices yet.
    pub(super) open: Vec<&'a Claim>,
    pub(super) rules: Rules<'a>,
    pub(super) cache: &'a cel::Cache,
    pub(super) cancel: &'a Cancel,
    /// The drivers that have devices of the classes that are asked for.
    pub(super) drivers: OnceCell<BTreeSet<Arc<str>>>,
    /// What tells nodes apart, where it was asked before.
    pub(super) nodes_known: Option<&'a OnceLock<NodeKeys>>,
}

impl<'a> Query<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        asked: Asked<'a>,
        cache: &'a cel::Cache,
        cancel: &'a Cancel,
    ) -> Self {
        let open = asked.claims.iter().copied().filter(|claim| claim.status.allocation.is_none()).collect();
        let rules = Rules::of(&asked);
        let (drivers, nodes_known) = (OnceCell::new(), None);
        Self { cluster, asked, open, rules, cache, cancel, drivers, nodes_known }
    }

    /// The nodes: where none are known, those that slices name.
    pub(super) fn nodes(&self) -> BTreeMap<Arc<str>, Arc<Node>> {
        if !self.cluster.nodes().is_empty() {
            return self.cluster.nodes().clone();
        }
        let slices = self.cluster.inventory().pools().flat_map(|pool| pool.slices());
        let names = slices.filter_map(|slice| slice.reach.node_name.clone()).filter(|name| !name.is_empty());
        let node = |name: Arc<str>| {
            let metadata = Metadata { name: Arc::clone(&name), ..Metadata::default() };
            (name, Arc::new(Node { metadata, ..Node::default() }))
        };
        names.map(node).collect()
    }

    /// Whether the claims get devices on a node, and the pod may run there.
    pub(super) fn fits_on(&self, node: &Node) -> Result<bool, AllocationError> {
        if self.full().is_some() || !self.rules.against(node).is_empty() {
            return Ok(false);
        }
        self.has_devices(node)
    }

    /// Whether the claims get devices on a node.
    pub(super) fn has_devices(&self, node: &Node) -> Result<bool, AllocationError> {
        let found = self.cluster.allocator(self.cache).fits(Some(node), &self.open, self.cancel)?;
        Ok(found.is_some())
    }

    /// A claim that has as many consumers as it can have, and the pod is not among them.
    pub(super) fn full(&self) -> Option<&'a Claim> {
        let uid = self.asked.pod.map(|pod| &pod.metadata.uid);
        let is_full = |claim: &&Claim| {
            let reserved = &claim.status.reserved_for;
            reserved.len() >= RESERVED_MOST && !reserved.iter().any(|one| Some(&one.uid) == uid)
        };
        self.asked.claims.iter().copied().find(is_full)
    }

    /// What rules keep the pod from a node, less claims that bind it elsewhere.
    pub(super) fn own_rules(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
        rules.iter().filter(|rule| !matches!(rule, Rule::Elsewhere(_)))
    }

    /// Whether devices of a driver may be meant: it has a device of a class that is asked for, or no driver has.
    pub(super) fn is_of_driver(&self, driver: &Arc<str>) -> bool {
        let drivers = self.drivers.get_or_init(|| {
            let mut drivers = BTreeSet::new();
            for pool in self.cluster.inventory().pools() {
                let driver = &pool.id.driver;
                if !drivers.contains(driver) && self.is_selected(pool, false) {
                    drivers.insert(Arc::clone(driver));
                }
            }
            drivers
        });
        drivers.is_empty() || drivers.contains(driver)
    }

    /// Whether a pool of which nothing can be had may matter, as far as its devices can be seen.
    pub(super) fn is_of_pool(&self, id: &PoolId) -> bool {
        let Some(pool) = self.cluster.inventory().pool(id) else { return true };
        let is_empty = pool.slices().all(|slice| slice.devices.is_empty());
        self.is_of_driver(&id.driver) && (is_empty || self.is_selected(pool, true))
    }

    /// Whether a class that is asked for selects a device of a pool. `unknown` is what no answer counts as.
    fn is_selected(&self, pool: &Pool, unknown: bool) -> bool {
        let asks = self.asks();
        let classes = asks.iter().filter_map(|ask| self.cluster.classes().get(&ask.ask.device_class_name));
        let classes: Vec<_> = classes.collect();
        let (driver, features) = (&pool.id.driver, self.cluster.features);
        let is_selected = |device: &Device| {
            let mut answers =
                classes.iter().map(|class| class_selects(class, driver, device, features, self.cache));
            answers.any(|answer| answer.unwrap_or(unknown))
        };
        pool.slices().flat_map(|slice| &slice.devices).any(is_selected)
    }

    pub(super) fn environment(&self) -> Environment {
        Environment { list_attributes: self.cluster.features.list_attributes }
    }

    /// The namespace of what is asked about.
    pub(super) fn namespace(&self) -> Arc<str> {
        let of_pod = self.asked.pod.map(|pod| &pod.metadata.namespace);
        let of_claim = self.asked.claims.first().map(|claim| &claim.metadata.namespace);
        of_pod.or(of_claim).cloned().unwrap_or_default()
    }

    /// All that is asked for, with the claim and the request's name.
    pub(super) fn asks(&self) -> Vec<Ask<'a>> {
        let mut asks = Vec::new();
        for (number, claim) in self.open.iter().enumerate() {
            for (request_number, request) in claim.spec.devices.requests.iter().enumerate() {
                let whole = request.exactly.iter().map(|ask| (Arc::clone(&request.name), ask));
                let parts = request.first_available.iter();
                let parts = parts.map(|ask| (format!("{}/{}", request.name, ask.name).into(), ask));
                for (name, ask) in whole.chain(parts) {
                    asks.push(Ask { claim, number, request: request_number, name, ask });
                }
            }
        }
        asks
    }
}

/// What a request, or a sub-request, asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) claim: &'a Claim,
    /// The number of the claim among those without devices.
    pub(super) number: usize,
    /// The number of the request in the claim.
    pub(super) request: usize,
    /// The request's name, and the sub-request's behind a slash.
    pub(super) name: Arc<str>,
    pub(super) ask: &'a DeviceRequest,
}

impl Ask<'_> {
    pub(super) fn claim_name(&self) -> Name {
        Name::of(&self.claim.metadata)
    }
}
