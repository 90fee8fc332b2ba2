//! What a ResourceClaim has: devices, and those for whom it is reserved.

use std::collections::BTreeMap;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::written::{or_default, quantities};

/// What a ResourceClaim has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimStatus {
    /// The devices, once they are allocated.
    pub allocation: Option<Arc<Allocation>>,
    /// Who may use them.
    #[serde(deserialize_with = "or_default")]
    pub reserved_for: Vec<Consumer>,
}

/// An allocation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Allocation {
    /// The devices.
    #[serde(deserialize_with = "or_default")]
    pub devices: AllocatedDevices,
    /// Where they can be used: anywhere, where there is none.
    pub node_selector: Option<NodeSelector>,
    /// When the scheduler allocated them, where it says so.
    pub allocation_timestamp: Option<Time>,
}

/// The devices of an allocation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AllocatedDevices {
    /// One for each device.
    #[serde(deserialize_with = "or_default")]
    pub results: Vec<DeviceResult>,
}

/// A device of an allocation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceResult {
    /// The request, and the sub-request behind a slash.
    #[serde(deserialize_with = "or_default")]
    pub request: Arc<str>,
    /// The driver.
    #[serde(deserialize_with = "or_default")]
    pub driver: Arc<str>,
    /// The pool.
    #[serde(deserialize_with = "or_default")]
    pub pool: Arc<str>,
    /// The device.
    #[serde(deserialize_with = "or_default")]
    pub device: Arc<str>,
    /// The device may belong to others at the same time.
    #[serde(deserialize_with = "or_default")]
    pub admin_access: bool,
    /// Which share of the device, where it is shared.
    #[serde(rename = "shareID")]
    pub share_id: Option<Arc<str>>,
    /// How much of the device's capacities.
    #[serde(deserialize_with = "quantities")]
    pub consumed_capacity: BTreeMap<Arc<str>, Quantity>,
}

/// Who may use a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Consumer {
    /// The group of its API: empty for pods.
    #[serde(deserialize_with = "or_default")]
    pub api_group: Arc<str>,
    /// Of what kind it is: `pods`.
    #[serde(deserialize_with = "or_default")]
    pub resource: Arc<str>,
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// Its UID.
    #[serde(deserialize_with = "or_default")]
    pub uid: Arc<str>,
}

impl Consumer {
    /// Whether it is a pod.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.api_group.is_empty() && &*self.resource == "pods"
    }
}
