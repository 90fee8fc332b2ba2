//! Who has which device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use foldhash::HashMap;

use super::Name;
use crate::allocator::{Allocated, InPool};
use crate::model::pool::PoolId;
use crate::model::status::{Allocation, DeviceResult};

type ByDevice = BTreeMap<Arc<str>, Vec<Holder>>;

/// Who has which device.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// By pool and device. A pool's part is shared by all copies until it changes.
    pools: HashMap<PoolId, Arc<ByDevice>>,
    /// The same, as the allocator wants it.
    allocated: Allocated,
}

/// A claim that has a device, or a share of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// The claim.
    pub claim: Name,
    /// The request that got it, and the sub-request behind a slash.
    pub request: Arc<str>,
    /// It looks after a device that may belong to others at the same time.
    pub admin_access: bool,
    /// Which share, where the device is shared.
    pub share_id: Option<Arc<str>>,
    /// How much of the device's capacities.
    pub consumed_capacity: BTreeMap<Arc<str>, Quantity>,
}

impl Holdings {
    /// The claims that have a device, or shares of it.
    #[must_use]
    pub fn of(&self, pool: &PoolId, device: &str) -> &[Holder] {
        self.pools.get(pool).and_then(|devices| devices.get(device)).map_or(&[], Vec::as_slice)
    }

    /// The devices of a pool that claims have.
    pub fn of_pool(&self, pool: &PoolId) -> impl Iterator<Item = (&Arc<str>, &[Holder])> {
        let devices = self.pools.get(pool).into_iter().flat_map(|devices| devices.iter());
        devices.map(|(device, holders)| (device, holders.as_slice()))
    }

    /// The same, as the allocator wants it: adminAccess takes nothing from others.
    #[must_use]
    pub fn allocated(&self) -> &Allocated {
        &self.allocated
    }

    /// What is held of some pools, and nothing else.
    pub(super) fn part_of(&self, pools: &[PoolId]) -> Self {
        let mut part = Self::default();
        for pool in pools {
            if let Some(devices) = self.pools.get(pool) {
                part.pools.insert(pool.clone(), Arc::clone(devices));
            }
            if let Some(taken) = self.allocated.in_pool(pool) {
                part.allocated.set_pool(pool.clone(), taken.clone());
            }
        }
        part
    }

    /// A claim has another allocation than before.
    pub(super) fn change(&mut self, claim: &Name, before: Option<&Allocation>, now: Option<&Allocation>) {
        let mut changed = BTreeSet::new();
        for result in before.into_iter().flat_map(|allocation| &allocation.devices.results) {
            let pool = pool_of(result);
            if let Some(devices) = self.pools.get_mut(&pool)
                && let Some(holders) = Arc::make_mut(devices).get_mut(&result.device)
            {
                holders.retain(|holder| holder.claim != *claim);
            }
            changed.insert(pool);
        }
        for result in now.into_iter().flat_map(|allocation| &allocation.devices.results) {
            let pool = pool_of(result);
            let devices = Arc::make_mut(self.pools.entry(pool.clone()).or_default());
            devices.entry(Arc::clone(&result.device)).or_default().push(holder(claim, result));
            changed.insert(pool);
        }
        changed.into_iter().for_each(|pool| self.settle(pool));
    }

    /// Forgets devices that nobody has, and tells the allocator what is taken of a pool.
    fn settle(&mut self, pool: PoolId) {
        let mut taken = InPool::default();
        if let Some(devices) = self.pools.get_mut(&pool) {
            let devices = Arc::make_mut(devices);
            devices.retain(|_, holders| !holders.is_empty());
            for (device, holders) in devices.iter() {
                for holder in holders.iter().filter(|holder| !holder.admin_access) {
                    if holder.share_id.is_none() {
                        taken.insert_device(Arc::clone(device));
                        continue;
                    }
                    taken.insert_share(Arc::clone(device));
                    if !holder.consumed_capacity.is_empty() {
                        taken.insert_capacity(Arc::clone(device), holder.consumed_capacity.clone());
                    }
                }
            }
            if devices.is_empty() {
                self.pools.remove(&pool);
            }
        }
        self.allocated.set_pool(pool, taken);
    }
}

fn pool_of(result: &DeviceResult) -> PoolId {
    PoolId { driver: Arc::clone(&result.driver), name: Arc::clone(&result.pool) }
}

fn holder(claim: &Name, result: &DeviceResult) -> Holder {
    Holder {
        claim: claim.clone(),
        request: Arc::clone(&result.request),
        admin_access: result.admin_access,
        share_id: result.share_id.clone(),
        consumed_capacity: result.consumed_capacity.clone(),
    }
}
