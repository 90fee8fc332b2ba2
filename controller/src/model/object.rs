//! Objects of the API as JSON has them, less what nobody here reads.
//!
//! They are read as the API server's clients read them: unknown fields are skipped, and null is the same as absent.
//! Nothing is defaulted: what comes from an API server has its defaults already.

use std::collections::BTreeMap;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{DeviceToleration, OpaqueDeviceConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::status::ClaimStatus;
use super::written::{optional_quantities, optional_quantity, or_default, quantities, quantity};

/// What every object is called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The name.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// The namespace: empty where the object has none.
    #[serde(deserialize_with = "or_default")]
    pub namespace: Arc<str>,
    /// Which of all objects that ever had the name it is.
    #[serde(deserialize_with = "or_default")]
    pub uid: Arc<str>,
    /// The labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// When the API server made it.
    pub creation_timestamp: Option<Time>,
    /// When it was asked to go.
    pub deletion_timestamp: Option<Time>,
    /// With what it goes.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<Owner>,
}

/// What an object goes with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    /// Its kind.
    #[serde(deserialize_with = "or_default")]
    pub kind: Arc<str>,
    /// Its name, in the same namespace if it has one.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// Its UID.
    #[serde(deserialize_with = "or_default")]
    pub uid: Arc<str>,
}

/// A Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Its name and labels.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// What keeps pods away from it.
    #[serde(deserialize_with = "or_default")]
    pub spec: NodeSpec,
    /// How it is.
    #[serde(deserialize_with = "or_default")]
    pub status: NodeStatus,
}

/// What keeps pods away from a node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Taints.
    #[serde(deserialize_with = "or_default")]
    pub taints: Vec<Taint>,
    /// It was cordoned.
    #[serde(deserialize_with = "or_default")]
    pub unschedulable: bool,
}

/// How a node is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// What is known of it.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// Something that is known of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// What.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: Arc<str>,
    /// Whether it is so: `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "or_default")]
    pub status: Arc<str>,
}

/// A ResourceSlice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Slice {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// What it says.
    #[serde(deserialize_with = "or_default")]
    pub spec: SliceSpec,
}

/// What a ResourceSlice says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SliceSpec {
    /// The driver.
    #[serde(deserialize_with = "or_default")]
    pub driver: Arc<str>,
    /// The pool that the slice is a part of.
    #[serde(deserialize_with = "or_default")]
    pub pool: SlicePool,
    /// The one node that the devices are on.
    pub node_name: Option<Arc<str>>,
    /// Which nodes reach the devices.
    pub node_selector: Option<NodeSelector>,
    /// All nodes reach the devices.
    pub all_nodes: Option<bool>,
    /// Each device says for itself which nodes reach it.
    pub per_device_node_selection: Option<bool>,
    /// The devices.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// What several devices take from.
    #[serde(deserialize_with = "or_default")]
    pub shared_counters: Vec<CounterSet>,
}

/// Which pool a slice is a part of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SlicePool {
    /// The pool's name.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// Slices of the highest generation count.
    #[serde(deserialize_with = "or_default")]
    pub generation: i64,
    /// How many slices the pool has in this generation.
    #[serde(deserialize_with = "or_default")]
    pub resource_slice_count: i64,
}

/// Counters that several devices take from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CounterSet {
    /// The set's name.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// How much there is of each.
    #[serde(deserialize_with = "or_default")]
    pub counters: BTreeMap<Arc<str>, Amount>,
}

/// What a device takes from a set of counters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CounterConsumption {
    /// The set's name.
    #[serde(deserialize_with = "or_default")]
    pub counter_set: Arc<str>,
    /// How much of each.
    #[serde(deserialize_with = "or_default")]
    pub counters: BTreeMap<Arc<str>, Amount>,
}

/// A counter.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Amount {
    /// How much.
    #[serde(deserialize_with = "quantity")]
    pub value: Quantity,
}

/// A device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Device {
    /// Its name, the only one of it in the pool.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// What it says of itself.
    #[serde(deserialize_with = "or_default")]
    pub attributes: BTreeMap<Arc<str>, Attribute>,
    /// What it has.
    #[serde(deserialize_with = "or_default")]
    pub capacity: BTreeMap<Arc<str>, Capacity>,
    /// What it takes from counters.
    #[serde(deserialize_with = "or_default")]
    pub consumes_counters: Vec<CounterConsumption>,
    /// The one node that it is on.
    pub node_name: Option<Arc<str>>,
    /// Which nodes reach it.
    pub node_selector: Option<NodeSelector>,
    /// All nodes reach it.
    pub all_nodes: Option<bool>,
    /// What keeps claims away from it.
    #[serde(deserialize_with = "or_default")]
    pub taints: Vec<Taint>,
    /// Whoever gets it has to run on the node for which it was chosen.
    #[serde(deserialize_with = "or_default")]
    pub binds_to_node: bool,
    /// What has to be true before a pod may be bound. A list without content is a list.
    pub binding_conditions: Option<Vec<String>>,
    /// What ends the wait for that.
    pub binding_failure_conditions: Option<Vec<String>>,
    /// Several claims may have it at once.
    pub allow_multiple_allocations: Option<bool>,
}

/// What a device says of itself: one of these.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Attribute {
    /// A number.
    pub int: Option<i64>,
    /// Yes or no.
    pub bool: Option<bool>,
    /// A text.
    pub string: Option<Arc<str>>,
    /// A version.
    pub version: Option<Arc<str>>,
    /// Several numbers.
    pub ints: Option<Vec<i64>>,
    /// Several times yes or no.
    pub bools: Option<Vec<bool>>,
    /// Several texts.
    pub strings: Option<Vec<Arc<str>>>,
    /// Several versions.
    pub versions: Option<Vec<Arc<str>>>,
}

/// What a device has of something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capacity {
    /// How much.
    #[serde(deserialize_with = "quantity")]
    pub value: Quantity,
    /// How much of it a claim may get.
    pub request_policy: Option<CapacityPolicy>,
}

/// How much of a capacity a claim may get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityPolicy {
    /// What a claim gets that does not say.
    #[serde(deserialize_with = "optional_quantity")]
    pub default: Option<Quantity>,
    /// The amounts there are, rising.
    #[serde(deserialize_with = "optional_quantities")]
    pub valid_values: Option<Vec<Quantity>>,
    /// The range in which amounts are.
    pub valid_range: Option<CapacityRange>,
}

/// The range in which amounts of a capacity are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityRange {
    /// The least.
    #[serde(deserialize_with = "optional_quantity")]
    pub min: Option<Quantity>,
    /// The most.
    #[serde(deserialize_with = "optional_quantity")]
    pub max: Option<Quantity>,
    /// What lies between two amounts.
    #[serde(deserialize_with = "optional_quantity")]
    pub step: Option<Quantity>,
}

/// What keeps claims away from a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    /// What it is about.
    #[serde(deserialize_with = "or_default")]
    pub key: Arc<str>,
    /// More about it.
    #[serde(deserialize_with = "or_default")]
    pub value: Arc<str>,
    /// What it does.
    #[serde(deserialize_with = "or_default")]
    pub effect: Arc<str>,
}

/// A DeviceClass.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Class {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// What it says.
    #[serde(deserialize_with = "or_default")]
    pub spec: ClassSpec,
}

/// What a DeviceClass says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClassSpec {
    /// Which devices belong to it: those that match all.
    #[serde(deserialize_with = "or_default")]
    pub selectors: Vec<Selector>,
    /// What drivers are told about its devices.
    #[serde(deserialize_with = "or_default")]
    pub config: Vec<Configuration>,
}

/// Which devices are meant.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Selector {
    /// An expression.
    pub cel: Option<CelSelector>,
}

/// Which devices are meant: those for which an expression is true.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CelSelector {
    /// The expression.
    #[serde(deserialize_with = "or_default")]
    pub expression: Arc<str>,
}

/// What a driver is told about devices.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    /// Which requests it is about: all, where there is none. Classes do not say.
    pub requests: Option<Vec<String>>,
    /// The driver and what it is told.
    pub opaque: Option<OpaqueDeviceConfiguration>,
}

/// A ResourceClaim.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Claim {
    /// Its name and namespace.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// What it asks for. Claims of one template share it.
    #[serde(deserialize_with = "or_default")]
    pub spec: Arc<ClaimSpec>,
    /// What it has.
    #[serde(deserialize_with = "or_default")]
    pub status: ClaimStatus,
}

impl Claim {
    /// Namespace and name, as people name it.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &*self.metadata.namespace {
            "" => self.metadata.name.to_string(),
            namespace => format!("{namespace}/{}", self.metadata.name),
        }
    }
}

/// What a ResourceClaim asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimSpec {
    /// The devices.
    #[serde(deserialize_with = "or_default")]
    pub devices: ClaimDevices,
}

/// Which devices a ResourceClaim asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimDevices {
    /// The requests, all of which are to be met.
    #[serde(deserialize_with = "or_default")]
    pub requests: Vec<Request>,
    /// What has to hold between the devices.
    #[serde(deserialize_with = "or_default")]
    pub constraints: Vec<Constraint>,
    /// What drivers are told.
    #[serde(deserialize_with = "or_default")]
    pub config: Vec<Configuration>,
}

/// One request of a claim: for one thing, or for the first of several that can be had.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Request {
    /// Its name in the claim.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// One thing.
    pub exactly: Option<DeviceRequest>,
    /// Several things, the best first.
    #[serde(deserialize_with = "or_default")]
    pub first_available: Vec<DeviceRequest>,
}

/// What a request, or a sub-request, asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceRequest {
    /// A sub-request's name in its request.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// The class of the devices.
    #[serde(deserialize_with = "or_default")]
    pub device_class_name: Arc<str>,
    /// Which devices of the class: those that match all.
    #[serde(deserialize_with = "or_default")]
    pub selectors: Vec<Selector>,
    /// `ExactCount` or `All`.
    #[serde(deserialize_with = "or_default")]
    pub allocation_mode: Arc<str>,
    /// How many, with `ExactCount`.
    #[serde(deserialize_with = "or_default")]
    pub count: i64,
    /// Devices that others have, to look after them. Sub-requests have no such field.
    pub admin_access: Option<bool>,
    /// Which taints do not matter.
    pub tolerations: Option<Vec<DeviceToleration>>,
    /// How much of each capacity.
    pub capacity: Option<CapacityRequests>,
}

/// How much of each capacity is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CapacityRequests {
    /// The amounts.
    #[serde(deserialize_with = "quantities")]
    pub requests: BTreeMap<Arc<str>, Quantity>,
}

/// What has to hold between the devices of a claim.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Constraint {
    /// Which requests it is about: all, where there is none.
    #[serde(deserialize_with = "or_default")]
    pub requests: Vec<Arc<str>>,
    /// All devices have the same value of this attribute.
    pub match_attribute: Option<Arc<str>>,
    /// No two devices have the same value of this attribute.
    pub distinct_attribute: Option<Arc<str>>,
}
