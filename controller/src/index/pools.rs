//! What is measured of the driver's pools, kept up to date.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classes::Classes;
use crate::allocator::class_selects;
use crate::cel;
use crate::cluster::Cluster;
use crate::model::pool::PoolId;
use crate::model::status::DeviceResult;
use crate::observe::pool::{PoolFigures, figures};

/// What is measured of the driver's pools.
#[derive(Debug, Default)]
pub struct Pools(BTreeMap<PoolId, PoolFigures>);

impl Pools {
    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = (&PoolId, &PoolFigures)> {
        self.0.iter()
    }

    /// What is measured of one.
    #[must_use]
    pub fn get(&self, pool: &PoolId) -> Option<&PoolFigures> {
        self.0.get(pool)
    }

    pub(super) fn measure(&mut self, id: &PoolId, cluster: &Cluster, classes: &Classes, cache: &cel::Cache) {
        let Some(pool) = cluster.inventory().pool(id) else {
            self.0.remove(id);
            return;
        };
        let figures = figures(cluster, pool, classes.ours(), |class, device| {
            let class = cluster.classes().get(class);
            class.is_some_and(|class| {
                // A class without an answer selects nothing.
                class_selects(class, &id.driver, device, cluster.features, cache).unwrap_or(false)
            })
        });
        self.0.insert(id.clone(), figures);
    }
}

/// The pool of an allocated device.
pub(super) fn pool_of(result: &DeviceResult) -> PoolId {
    PoolId { driver: Arc::clone(&result.driver), name: Arc::clone(&result.pool) }
}
