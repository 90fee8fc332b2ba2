//! One case: all that an allocation depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::allocator::{Allocated, Classes, Features};
use crate::model::intern::Interner;
use crate::model::inventory::Inventory;
use crate::model::object::{Claim, Class, Node, Slice};
use crate::model::pool::PoolId;
use crate::model::written::{or_default, quantities};

/// A case as JSON has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Case {
    /// Whatever the caller knows it by: the answer has it, too.
    pub id: Option<Value>,
    /// What the scheduler can do.
    #[serde(deserialize_with = "or_default")]
    pub features: Features,
    /// All DeviceClasses.
    #[serde(deserialize_with = "or_default")]
    pub classes: Vec<Class>,
    /// All ResourceSlices.
    #[serde(deserialize_with = "or_default")]
    pub slices: Vec<Slice>,
    /// The pod's claims that have no devices yet.
    #[serde(deserialize_with = "or_default")]
    pub claims: Vec<Claim>,
    /// The node.
    pub node: Option<Node>,
    #[serde(deserialize_with = "or_default")]
    allocated_devices: Vec<DeviceName>,
    #[serde(deserialize_with = "or_default")]
    allocated_shared_devices: Vec<DeviceFields>,
    #[serde(deserialize_with = "or_default")]
    consumed_capacity: Vec<DeviceFields>,
}

/// A device, by its three names or by a text with slashes between them.
#[derive(Debug, Clone)]
struct DeviceName(DeviceFields);

/// A device, and what is taken of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeviceFields {
    #[serde(deserialize_with = "or_default")]
    driver: Arc<str>,
    #[serde(deserialize_with = "or_default")]
    pool: Arc<str>,
    #[serde(deserialize_with = "or_default")]
    device: Arc<str>,
    #[serde(deserialize_with = "quantities")]
    capacity: BTreeMap<Arc<str>, Quantity>,
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a device is an object with driver, pool and device, or \"driver/pool/device\""
        )]
        enum Written {
            Path(String),
            Fields(DeviceFields),
        }
        match Written::deserialize(deserializer)? {
            Written::Fields(fields) => Ok(Self(fields)),
            Written::Path(path) => {
                // The pool's name may have slashes.
                let parts = path.split_once('/').and_then(|(driver, rest)| {
                    let (pool, device) = rest.rsplit_once('/')?;
                    Some((driver.into(), pool.into(), device.into()))
                });
                let (driver, pool, device) = parts.ok_or_else(|| {
                    serde::de::Error::custom(format!("the device {path:?} is not driver/pool/device"))
                })?;
                Ok(Self(DeviceFields { driver, pool, device, ..DeviceFields::default() }))
            }
        }
    }
}

/// A case in the form that the allocator takes.
#[derive(Debug)]
pub struct Prepared {
    /// What the caller knows it by.
    pub id: Option<Value>,
    /// What the scheduler can do.
    pub features: Features,
    /// The classes.
    pub classes: Classes,
    /// The pools.
    pub inventory: Inventory,
    /// What other claims have.
    pub allocated: Allocated,
    /// The node.
    pub node: Option<Node>,
    /// The claims.
    pub claims: Vec<Claim>,
}

impl Case {
    /// The case in the form that the allocator takes.
    #[must_use]
    pub fn prepared(self) -> Prepared {
        let pool = |device: &DeviceFields| PoolId {
            driver: Arc::clone(&device.driver),
            name: Arc::clone(&device.pool),
        };
        let mut allocated = Allocated::default();
        for DeviceName(device) in self.allocated_devices {
            allocated.insert_device(pool(&device), device.device);
        }
        for device in self.allocated_shared_devices {
            allocated.insert_share(pool(&device), device.device);
        }
        for device in self.consumed_capacity {
            allocated.insert_capacity(pool(&device), device.device, device.capacity);
        }
        Prepared {
            id: self.id,
            features: self.features,
            classes: Classes::new(self.classes),
            inventory: Inventory::new(self.slices, &mut Interner::default()),
            allocated,
            node: self.node,
            claims: self.claims,
        }
    }
}
