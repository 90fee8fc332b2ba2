//! One case: what the scheduler knows when it asks for an allocation.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A case as both programs read it, one JSON object on one line. The objects stay JSON: what is compared is what two
/// programs make of the same text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// Names of upstream's features that are on.
    pub features: Vec<String>,
    /// DeviceClasses.
    pub classes: Vec<Value>,
    /// ResourceSlices, in no order.
    pub slices: Vec<Value>,
    /// ResourceClaims without an allocation, in the pod's order.
    pub claims: Vec<Value>,
    /// The node that is asked about.
    pub node: Value,
    /// Devices that belong to other claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocated_devices: Vec<Value>,
    /// Shares of devices that belong to other claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocated_shared_devices: Vec<Value>,
    /// What those shares take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumed_capacity: Vec<Value>,
}

impl Case {
    /// The line by which programs are asked.
    pub fn line(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
