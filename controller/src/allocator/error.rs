//! What ends an allocation.

use std::sync::Arc;

use crate::cel::{CompileError, EvaluationError};
use crate::model::node::NodeFilterError;
use crate::model::pool::Unreadable;

/// Where an expression stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorOwner {
    /// In a class.
    #[error("DeviceClass {0}")]
    Class(Arc<str>),
    /// In a request of a claim.
    #[error("claim {claim}, request {request}")]
    Request {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
    },
}

/// Why there is no answer. Only [`AllocationError::InvalidPools`] is about one node; the others end the scheduling of
/// the pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// An expression that the allocator does not understand.
    #[error("{owner}, selector {index}: the expression does not compile: {source}")]
    Compile {
        /// Where it stands.
        owner: SelectorOwner,
        /// Which selector it is, from zero.
        index: usize,
        /// What is wrong with it.
        source: CompileError,
    },
    /// An expression that has no answer for a device.
    #[error("{owner}, selector {index}, device {device}: {source}")]
    Evaluate {
        /// Where it stands.
        owner: SelectorOwner,
        /// Which selector it is, from zero.
        index: usize,
        /// The device, as driver/pool/device.
        device: String,
        /// What happened.
        source: EvaluationError,
    },
    /// A class that is not there.
    #[error(
        "claim {claim}, request {request}: there is no DeviceClass {class}; create it or correct the request"
    )]
    NoClass {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// The class.
        class: Arc<str>,
    },
    /// A request that needs a feature which is off.
    #[error("claim {claim}, request {request}: {what} needs the feature {feature}, which is off")]
    NoFeature {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// What it asks for.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// A request that nobody can understand.
    #[error("claim {claim}, request {request}: {problem}")]
    Request {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// What is wrong.
        problem: String,
    },
    /// A constraint of a kind that is not known.
    #[error("claim {claim}, constraint {index}: it has neither matchAttribute nor distinctAttribute")]
    UnknownConstraint {
        /// The claim.
        claim: String,
        /// Which constraint it is, from zero.
        index: usize,
    },
    /// A request for all devices with a constraint that bars one.
    #[error(
        "claim {claim}, request {request}: it asks for all devices, but a constraint of the claim bars {device}; \
         narrow the request's selectors"
    )]
    ConstraintBars {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// The device.
        device: String,
    },
    /// More devices than a claim can hold.
    #[error(
        "claim {claim}: it asks for {count} devices or more, and a claim holds {} at most",
        super::MAX_RESULTS
    )]
    TooMany {
        /// The claim.
        claim: String,
        /// The least number.
        count: usize,
    },
    /// Whatever sub-requests are taken, there are more devices than a claim can hold.
    #[error(
        "claim {claim}: whatever is chosen, it gets more than the {} devices that a claim holds",
        super::MAX_RESULTS
    )]
    AlwaysTooMany {
        /// The claim.
        claim: String,
    },
    /// A request for all devices while a pool is not there as a whole.
    #[error(
        "claim {claim}, request {request}: it asks for all devices, but the pool {pool} is being updated"
    )]
    IncompletePool {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// The pool.
        pool: String,
    },
    /// A request for all devices while a pool contradicts itself.
    #[error(
        "claim {claim}, request {request}: it asks for all devices, but the pool {pool} is invalid: {reason}"
    )]
    InvalidPool {
        /// The claim.
        claim: String,
        /// The request.
        request: String,
        /// The pool.
        pool: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The claims do not fit, and there are pools that contradict themselves. Other nodes may be better.
    #[error("the claims do not fit, and these pools are invalid: {0}")]
    InvalidPools(String),
    /// A slice whose nodes cannot be told.
    #[error(transparent)]
    SliceNodes(#[from] Unreadable),
    /// A device whose nodes cannot be told.
    #[error("device {device}: {source}; mend the slice, or the driver that publishes it")]
    DeviceNodes {
        /// The device.
        device: String,
        /// What is wrong.
        source: NodeFilterError,
    },
    /// Node selectors of devices with other than one term, which no allocation can hold.
    #[error("claim {claim}: the node selector of {device} has {terms} terms, and an allocation holds one")]
    Terms {
        /// The claim.
        claim: String,
        /// The device.
        device: String,
        /// How many terms it has.
        terms: usize,
    },
    /// The caller wants no answer any more.
    #[error("the allocation was cancelled")]
    Cancelled,
}

impl AllocationError {
    /// A name for what kind of error it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compile { .. } | Self::Evaluate { .. } => "cel",
            Self::NoClass { .. } => "class",
            Self::NoFeature { .. } => "feature",
            Self::Request { .. } => "request",
            Self::UnknownConstraint { .. } | Self::ConstraintBars { .. } => "constraint",
            Self::TooMany { .. } | Self::AlwaysTooMany { .. } => "limit",
            Self::IncompletePool { .. } => "incompletePool",
            Self::InvalidPool { .. } => "invalidPool",
            Self::InvalidPools(_) => "invalidPools",
            Self::SliceNodes(_) | Self::DeviceNodes { .. } | Self::Terms { .. } => "nodeSelector",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it is about this node alone, so that others may be tried.
    #[must_use]
    pub fn is_about_one_node(&self) -> bool {
        matches!(self, Self::InvalidPools(_))
    }
}
