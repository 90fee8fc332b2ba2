//! The part of a cluster that matters to one node, and pools that are put in place of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cluster, Name};
use crate::model::object::Node;
use crate::model::pool::{PoolId, Slice};

impl Cluster {
    /// The cluster as if there were no other nodes: the pools that the node sees, and the claims that have devices of
    /// them. Small, so that many changes can be tried on copies of it.
    #[must_use]
    pub fn part_of(&self, node: &Arc<Node>) -> Self {
        let inventory = self.inventory.part_of(node);
        let pools: Vec<PoolId> = inventory.pools().map(|pool| pool.id.clone()).collect();
        let holdings = self.holdings.part_of(&pools);
        let holders = pools.iter().flat_map(|pool| holdings.of_pool(pool)).flat_map(|(_, holders)| holders);
        let claims: BTreeMap<Name, _> = holders
            .filter_map(|holder| Some((holder.claim.clone(), Arc::clone(self.claims.get(&holder.claim)?))))
            .collect();
        Self {
            features: self.features,
            inventory,
            classes: Arc::clone(&self.classes),
            nodes: Arc::new(BTreeMap::from([(Arc::clone(&node.metadata.name), Arc::clone(node))])),
            claims: Arc::new(claims),
            pods: Arc::default(),
            pods_by_claim: Arc::default(),
            holdings: Arc::new(holdings),
        }
    }

    /// Gives a pool these slices, and no others.
    pub fn set_pool(&mut self, pool: PoolId, slices: Vec<Arc<Slice>>) {
        self.inventory.set(pool, slices);
    }
}
