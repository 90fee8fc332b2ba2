//! The parts of the CDI specification that the driver writes, in the order in which the fields are written.

use serde::{Deserialize, Serialize};

/// A spec file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The version of the specification that it keeps to.
    pub cdi_version: String,
    /// Vendor and class: "eks-hybrid-dra/claim".
    pub kind: String,
    /// The devices.
    pub devices: Vec<Device>,
    /// Edits for every container that gets a device of this spec, once.
    #[serde(default, skip_serializing_if = "Edits::is_empty")]
    pub container_edits: Edits,
}

/// A CDI device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// Its name in the spec's kind.
    pub name: String,
    /// Edits for a container that gets it. Never empty.
    pub container_edits: Edits,
}

/// Edits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edits {
    /// Variables, "NAME=value".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes to make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<DeviceNode>,
    /// Files and folders to mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
}

impl Edits {
    /// Whether there is nothing to edit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A device node to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceNode {
    /// Where in the container.
    pub path: String,
    /// Where on the host, if that is another path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// "c" for a character device.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Permission bits.
    pub file_mode: u32,
    /// What the container may do: a selection of "rwm".
    pub permissions: String,
    /// The group that owns it, if not root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A file or folder to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Where on the host.
    pub host_path: String,
    /// Where in the container.
    pub container_path: String,
    /// Mount options.
    pub options: Vec<String>,
}
