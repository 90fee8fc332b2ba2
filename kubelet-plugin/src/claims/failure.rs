//! Why a claim was not prepared or unprepared.

use dra_driver::cdi::FilesError;
use dra_driver::claim::allocation::AllocationError;
use dra_driver::claim::attempt::AttemptError;
use dra_driver::claim::refusal::{Cause, Refusal};
use dra_driver::claim::{ClaimRef, StateError};
use thiserror::Error;

use crate::metrics::Reason;

/// Why a claim was not prepared or unprepared. The text is for the kubelet's Event in the claim's namespace.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// A refusal of the core.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The allocation.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// The claim is gone.
    #[error("claim {claim} does not exist any more; delete the pod")]
    ClaimGone { claim: String },
    /// The API server.
    #[error("claim {claim}: cannot get the claim, {reason}")]
    Api { claim: String, reason: String },
    /// Files of the state or CDI specs.
    #[error("claim {claim}: {source}")]
    Attempt { claim: String, source: AttemptError },
    /// The driver's files for containers.
    #[error("claim {claim}: {source}")]
    Files { claim: String, source: FilesError },
    /// The UID.
    #[error("claim {claim}: '{uid}' is no UID of a claim")]
    Uid { claim: String, uid: String },
    /// Another call for the same claim came, or the plugin stops.
    #[error("{reason}; given up since the plugin is being stopped or another call for the claim came")]
    GaveWay { reason: String },
    /// A panic.
    #[error(
        "claim {claim}: a defect of the driver: its log on this node has the panic; please report it. The \
         kubelet's next call tries again"
    )]
    Defect { claim: String },
}

impl Failure {
    /// A file of the state.
    pub(super) fn state(claim: &ClaimRef, error: StateError) -> Self {
        Self::Attempt { claim: claim.full_name(), source: error.into() }
    }

    /// Whether it may pass within seconds.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.may_pass(),
            Self::Api { .. } | Self::Attempt { .. } | Self::Files { .. } => true,
            Self::Allocation(_)
            | Self::ClaimGone { .. }
            | Self::Uid { .. }
            | Self::GaveWay { .. }
            | Self::Defect { .. } => false,
        }
    }

    /// How it is counted.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => match &*refusal.cause {
                Cause::NoNvml { .. } | Cause::Yielding { .. } | Cause::Unseen { .. } => Reason::Nvml,
                Cause::Gone | Cause::Replaced { .. } | Cause::Unusable { .. } => Reason::DeviceGone,
                Cause::Fault { .. } => Reason::DeviceFault,
                Cause::Node(_) => Reason::DeviceNode,
                Cause::Held { .. } => Reason::DeviceHeld,
                Cause::Busy { .. } => Reason::DeviceBusy,
                Cause::Newer { .. } => Reason::Files,
            },
            Self::Allocation(error) => match error {
                AllocationError::Replaced { .. } | AllocationError::NotAllocated { .. } => {
                    Reason::ClaimChanged
                }
                AllocationError::Config { .. } => Reason::Config,
                AllocationError::OtherNode { .. } | AllocationError::NoName { .. } => Reason::Allocation,
            },
            Self::ClaimGone { .. } | Self::GaveWay { .. } => Reason::ClaimChanged,
            Self::Api { .. } => Reason::Api,
            Self::Attempt { .. } | Self::Files { .. } => Reason::Files,
            Self::Uid { .. } => Reason::Allocation,
            Self::Defect { .. } => Reason::Internal,
        }
    }

    /// The device that it is about, for the log.
    pub(super) fn device(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.device.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    /// The UID of the claim that stands in the way, for the log. Its name is another tenant's, perhaps.
    pub(super) fn holder_uid(&self) -> &str {
        let Self::Refused(refusal) = self else { return "" };
        let Cause::Held { holder } = &*refusal.cause else { return "" };
        &holder.uid
    }
}
