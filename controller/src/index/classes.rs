//! Which DeviceClasses are the driver's: those that select a device of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Settings;
use crate::allocator::{Features, class_selects};
use crate::cel;
use crate::cluster::Cluster;
use crate::model::intern::Device;
use crate::model::object::Class;
use crate::model::pool::{Pool, PoolId};

/// The classes that select a device of the driver, or that have no answer for one: the scheduler meets that, too.
///
/// A class stays the driver's when its last device goes, until it says something else.
#[derive(Debug, Default)]
pub(super) struct Classes {
    ours: BTreeSet<Arc<str>>,
}

impl Classes {
    /// Their names.
    pub(super) fn ours(&self) -> &BTreeSet<Arc<str>> {
        &self.ours
    }

    /// Whether claims for a class have to do with the driver. A class that does not exist may be misspelt.
    pub(super) fn concerns(&self, class: &Arc<str>, cluster: &Cluster, settings: &Settings) -> bool {
        self.ours.contains(class)
            || settings.classes.contains(class)
            || cluster.classes().get(class).is_none()
    }

    /// A class came or changed.
    pub(super) fn judge(
        &mut self,
        name: &Arc<str>,
        cluster: &Cluster,
        settings: &Settings,
        cache: &cel::Cache,
    ) {
        let Some(class) = cluster.classes().get(name) else { return };
        let mut pools = cluster.inventory().pools().filter(|pool| pool.id.driver == settings.driver);
        if pools.any(|pool| meets(class, pool, cluster.features, cache)) {
            self.ours.insert(Arc::clone(name));
        } else {
            self.ours.remove(name);
        }
    }

    /// A pool of the driver's came or changed. Whether a class is found to be the driver's now.
    pub(super) fn learn(&mut self, cluster: &Cluster, pool: &PoolId, cache: &cel::Cache) -> bool {
        let Some(pool) = cluster.inventory().pool(pool) else { return false };
        let before = self.ours.len();
        for class in cluster.classes().all() {
            let name = &class.metadata.name;
            if !self.ours.contains(name) && meets(class, pool, cluster.features, cache) {
                self.ours.insert(Arc::clone(name));
            }
        }
        self.ours.len() > before
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.ours.remove(name);
    }
}

/// Whether a class selects a device of a pool, or has no answer for one.
fn meets(class: &Class, pool: &Pool, features: Features, cache: &cel::Cache) -> bool {
    let mut devices = pool.slices().flat_map(|slice| &slice.devices);
    let meets = |device: &Device| class_selects(class, &pool.id.driver, device, features, cache);
    devices.any(|device| meets(device).unwrap_or(true))
}
