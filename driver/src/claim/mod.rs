//! How a claim is prepared and unprepared: allocation and node view → plan → next effect, until it rests.

use serde::{Deserialize, Serialize};

/// Which ResourceClaim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A device that was prepared for a claim, as the kubelet is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedDevice {
    /// The claim's requests that it was allocated for, without sub-request.
    pub requests: Vec<String>,
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub device: String,
    /// The CDI devices that make it usable in a container.
    pub cdi_ids: Vec<String>,
    /// The share, where a device is given to several claims in shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_id: Option<String>,
}
