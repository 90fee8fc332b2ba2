//! How a claim is prepared and unprepared: allocation and node view → plan → next effect, until it rests.
//!
//! ```text
//! ResourceClaim ─▶ allocation ─┐
//! View ────────────────────────┴▶ plan ─▶ next: Do(effect) │ Blocked │ Reply ◀─┐
//!                                             │                                │
//!                 attempt carries it out ─────┴─▶ journal, CDI folder ── read ─┘
//! ```
//!
//! Repeat, retry, recovery, takeover and undoing are one function, [`next::next`], because it decides from what
//! is read back from disk and hardware, never from memory. A process may be killed between any two effects: the
//! next attempt goes on from there.

pub mod allocation;
pub mod attempt;
mod file;
pub mod journal;
pub mod locks;
pub mod next;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod troubles;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod world;

use serde::{Deserialize, Serialize};

pub use file::StateError;

/// Whether a text can be the UID of a claim: such as can be part of a file's name.
#[must_use]
pub fn is_uid(text: &str) -> bool {
    file::plain(text)
}

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

impl ClaimRef {
    /// Namespace and name, for people.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
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
