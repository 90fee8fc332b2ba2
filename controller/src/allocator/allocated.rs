//! What other claims have already.

use std::collections::BTreeMap;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use foldhash::{HashMap, HashSet};

use crate::model::pool::PoolId;

/// The devices and shares that other claims have.
///
/// A copy is cheap: what is taken of a pool is shared by all copies until it changes.
#[derive(Debug, Clone, Default)]
pub struct Allocated {
    pools: HashMap<PoolId, Arc<InPool>>,
}

/// What other claims have of one pool.
#[derive(Debug, Clone, Default)]
pub struct InPool {
    /// Devices that belong to one claim.
    pub devices: HashSet<Arc<str>>,
    /// Devices that several claims may have, and at least one has.
    pub shared: HashSet<Arc<str>>,
    /// What is taken of such devices' capacities, by the names that slices use.
    pub capacity: HashMap<Arc<str>, HashMap<Arc<str>, Quantity>>,
}

impl InPool {
    /// Whether some claim has a device or a share of it.
    #[must_use]
    pub fn has(&self, device: &Arc<str>) -> bool {
        self.devices.contains(device) || self.shared.contains(device) || self.capacity.contains_key(device)
    }

    /// A device belongs to a claim.
    pub fn insert_device(&mut self, device: Arc<str>) {
        self.devices.insert(device);
    }

    /// A claim has a share of a device.
    pub fn insert_share(&mut self, device: Arc<str>) {
        self.shared.insert(device);
    }

    /// A claim has so much of a device's capacity.
    pub fn insert_capacity(&mut self, device: Arc<str>, amounts: BTreeMap<Arc<str>, Quantity>) {
        let taken = self.capacity.entry(device).or_default();
        for (name, amount) in amounts {
            let sum = taken.get(&name).map_or(amount, |before| before.add(&amount));
            taken.insert(name, sum);
        }
    }
}

impl Allocated {
    /// A device belongs to a claim.
    pub fn insert_device(&mut self, pool: PoolId, device: Arc<str>) {
        self.of(pool).insert_device(device);
    }

    /// A claim has a share of a device.
    pub fn insert_share(&mut self, pool: PoolId, device: Arc<str>) {
        self.of(pool).insert_share(device);
    }

    /// A claim has so much of a device's capacity.
    pub fn insert_capacity(&mut self, pool: PoolId, device: Arc<str>, amounts: BTreeMap<Arc<str>, Quantity>) {
        self.of(pool).insert_capacity(device, amounts);
    }

    /// All that is taken of a pool, in place of what was taken before.
    pub fn set_pool(&mut self, pool: PoolId, taken: InPool) {
        if taken.devices.is_empty() && taken.shared.is_empty() && taken.capacity.is_empty() {
            self.pools.remove(&pool);
        } else {
            self.pools.insert(pool, Arc::new(taken));
        }
    }

    /// What is taken of a pool.
    #[must_use]
    pub fn in_pool(&self, pool: &PoolId) -> Option<&InPool> {
        self.pools.get(pool).map(|taken| &**taken)
    }

    fn of(&mut self, pool: PoolId) -> &mut InPool {
        Arc::make_mut(self.pools.entry(pool).or_default())
    }
}
