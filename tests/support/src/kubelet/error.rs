//! What can go wrong, in the kubelet's words where users see them.

use std::{path::PathBuf, time::Duration};

use super::status::Status;

/// The stand-in cannot start, or what was waited for did not come.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry folder cannot be made.
    #[error("make the plugin registry folder {path}: {source}; give a folder that may be written")]
    Registry {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A driver did not register in time.
    #[error(
        "driver {driver} did not register and connect within {within:?}; failed registrations so far: {failed:?}"
    )]
    NotRegistered {
        /// The driver.
        driver: String,
        /// How long it was waited for.
        within: Duration,
        /// What [`registration_errors`](super::Kubelet::registration_errors) gives.
        failed: Vec<String>,
    },
    /// No pod of this UID was prepared here, or it has ended already.
    #[error("end the pod with UID {uid}: no such pod was prepared here, or it has ended already")]
    UnknownPod {
        /// The UID.
        uid: String,
    },
    /// A pod's claims cannot be unprepared; tried again until they are.
    #[error("unprepare dynamic resources: {0}")]
    Unprepare(#[from] UnprepareError),
}

/// Why a pod's claims cannot be prepared. The text is that of the pod's event `FailedPrepareDynamicResources`
/// after `Failed to prepare dynamic resources: prepare dynamic resources: `; [`PrepareError::event`] has both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The API server did not give the ResourceClaim.
    #[error("fetch ResourceClaim {claim}: {error}")]
    Fetch {
        /// The ResourceClaim's name.
        claim: String,
        /// The API server's answer.
        error: String,
    },
    /// The pod cannot be read, or its claims' names are not known yet.
    #[error("{0}")]
    Pod(String),
    /// The pod is not in the ResourceClaim's `status.reservedFor`.
    #[error("pod {pod} ({pod_uid}) is not allowed to use ResourceClaim {claim} ({claim_uid})")]
    NotReserved {
        /// The pod's name.
        pod: String,
        /// The pod's UID.
        pod_uid: String,
        /// The ResourceClaim's name.
        claim: String,
        /// The ResourceClaim's UID.
        claim_uid: String,
    },
    /// The ResourceClaim has no allocation.
    #[error("ResourceClaim {claim}: not allocated")]
    NotAllocated {
        /// The ResourceClaim's name.
        claim: String,
    },
    /// No plugin of the driver is registered.
    #[error("DRA driver {driver} is not registered")]
    NotRegistered {
        /// The driver.
        driver: String,
    },
    /// A ResourceClaim of the same name but another UID was prepared and not unprepared.
    #[error(
        "old ResourceClaim with same name {claim} and different UID {old_uid} still exists (previous pod force-deleted?!)"
    )]
    OldClaim {
        /// The name of both.
        claim: String,
        /// The UID of the one known here.
        old_uid: String,
    },
    /// The call failed.
    #[error("NodePrepareResources: {0}")]
    Call(Status),
    /// The plugin answered for a ResourceClaim that was not asked about.
    #[error("NodePrepareResources returned result for unknown claim UID {uid}")]
    UnknownClaim {
        /// The UID.
        uid: String,
    },
    /// The plugin could not prepare a ResourceClaim.
    #[error("NodePrepareResources failed for ResourceClaim {claim}: {error}")]
    Claim {
        /// The ResourceClaim's name.
        claim: String,
        /// The plugin's words.
        error: String,
    },
    /// The plugin's answer lacks ResourceClaims that were asked about.
    #[error("NodePrepareResources skipped {0} ResourceClaims")]
    Skipped(usize),
}

impl PrepareError {
    /// The message of the event that the kubelet makes of this.
    pub fn event(&self) -> String {
        format!("Failed to prepare dynamic resources: prepare dynamic resources: {self}")
    }
}

/// Why a pod's claims cannot be unprepared, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnprepareError {
    /// No plugin of the driver is registered.
    #[error("DRA driver {driver} is not registered")]
    NotRegistered {
        /// The driver.
        driver: String,
    },
    /// The call failed.
    #[error("NodeUnprepareResources: {0}")]
    Call(Status),
    /// The plugin answered for a ResourceClaim that was not asked about.
    #[error("NodeUnprepareResources returned result for unknown claim UID {uid}")]
    UnknownClaim {
        /// The UID.
        uid: String,
    },
    /// The plugin could not unprepare a ResourceClaim.
    #[error("NodeUnprepareResources failed for ResourceClaim {claim}: {error}")]
    Claim {
        /// The ResourceClaim's name.
        claim: String,
        /// The plugin's words.
        error: String,
    },
    /// The plugin's answer lacks ResourceClaims that were asked about.
    #[error("NodeUnprepareResources skipped {0} ResourceClaims")]
    Skipped(usize),
}
