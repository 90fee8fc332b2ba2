//! What is wrong with devices: NVIDIA's XID catalogue, recovery actions and lost GPUs, made into [`Fault`]s.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that is wrong with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What has to be done to cure it.
    pub class: Class,
    /// A short name for what was seen, of letters, digits and `-`: "xid-79", "lost", "recovery-action".
    pub cause: String,
    /// For people: what is wrong, and what to do.
    pub message: String,
    /// When it was seen first, in whole seconds.
    pub since: Timestamp,
}

/// What cures a fault, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// The GPU has to be reset.
    Reset,
    /// The node has to be rebooted.
    Reboot,
    /// The GPU does not answer or is gone.
    Lost,
}

impl Class {
    /// The word for it in taints, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Reboot => "reboot",
            Self::Lost => "lost",
        }
    }
}
