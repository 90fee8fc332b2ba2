//! What would make claims fit: changes that can be applied to a copy of the cluster.

use std::sync::Arc;

use serde::Serialize;

use crate::cluster::{Cluster, Name};
use crate::model::object::Claim;
use crate::model::pod::Pod;
use crate::model::pool::PoolId;

use super::{Asked, Blocker, apply};

/// The nearest change that makes the claims fit. It was tried: with all changes applied, the allocator finds devices on
/// the node, and the pod may run there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// All that has to change.
    pub changes: Vec<Change>,
    /// Where the claims fit then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// The driver publishes the rest of a pool.
    FinishPool {
        /// The pool.
        #[serde(serialize_with = "as_text")]
        pool: PoolId,
    },
    /// The driver publishes a pool that does not contradict itself.
    MendPool {
        /// The pool.
        #[serde(serialize_with = "as_text")]
        pool: PoolId,
    },
    /// A taint goes, or a request tolerates it.
    Tolerate {
        /// The claim.
        claim: Name,
        /// Its request.
        request: Arc<str>,
        /// The taint's key.
        key: Arc<str>,
        /// Its value.
        value: Arc<str>,
        /// Its effect.
        effect: Arc<str>,
    },
    /// A claim gives its devices back.
    Release {
        /// The claim: nothing where it may not be named.
        claim: Option<Name>,
        /// It belongs to the namespace that is asked about.
        is_own: bool,
        /// Nobody uses it.
        is_unreserved: bool,
    },
    /// A request names another class.
    UseClass {
        /// The claim.
        claim: Name,
        /// Its request.
        request: Arc<str>,
        /// The class.
        class: Arc<str>,
    },
    /// A request asks for fewer devices.
    Count {
        /// The claim.
        claim: Name,
        /// Its request.
        request: Arc<str>,
        /// How many.
        count: usize,
    },
    /// A request asks for less of a capacity.
    Capacity {
        /// The claim.
        claim: Name,
        /// Its request.
        request: Arc<str>,
        /// The capacity.
        capacity: Arc<str>,
        /// How much.
        amount: Arc<str>,
    },
    /// A selector says something else.
    Selector {
        /// The claim, of a request's selector.
        #[serde(skip_serializing_if = "Option::is_none")]
        claim: Option<Name>,
        /// Its request.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<Arc<str>>,
        /// The class, of a class's selector.
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<Arc<str>>,
        /// Which selector it is, from one.
        number: usize,
        /// The part that changes.
        part: Arc<str>,
        /// What stands there then: nothing, where the part goes.
        becomes: Option<Arc<str>>,
        /// The whole selector then: nothing, where nothing is left of it.
        expression: Option<Arc<str>>,
    },
    /// A constraint goes.
    DropConstraint {
        /// The claim.
        claim: Name,
        /// Which constraint it is, from zero.
        index: usize,
        /// The attribute.
        attribute: Arc<str>,
    },
    /// The pod does not ask for a label of nodes, or its affinity does not.
    DropNodeRule {
        /// The label of the node selector: nothing for the required affinity.
        label: Option<Arc<str>>,
    },
    /// The pod tolerates a taint of a node.
    TolerateNode {
        /// The taint's key.
        key: Arc<str>,
        /// Its value.
        value: Arc<str>,
        /// Its effect.
        effect: Arc<str>,
    },
    /// A node takes pods again.
    Uncordon {
        /// The node.
        node: Arc<str>,
    },
    /// A node answers again.
    NodeReady {
        /// The node.
        node: Arc<str>,
    },
    /// A claim of the pod loses a consumer.
    FreeReservation {
        /// The claim.
        claim: Name,
    },
    /// The pod's scheduling gates go.
    OpenGates,
}

impl Change {
    /// How far it is from what there is: of two remedies, the one whose farthest change is nearer is told.
    #[must_use]
    pub fn distance(&self) -> u8 {
        match self {
            Self::FinishPool { .. } | Self::MendPool { .. } => 0,
            Self::Tolerate { .. } | Self::OpenGates => 1,
            Self::Release { is_own: true, .. } | Self::FreeReservation { .. } => 2,
            Self::Release { .. } => 3,
            Self::Count { .. } | Self::Capacity { .. } => 4,
            Self::Selector { class: None, becomes: Some(_), .. } => 4,
            Self::Selector { .. } | Self::DropConstraint { .. } | Self::UseClass { .. } => 5,
            Self::DropNodeRule { .. }
            | Self::TolerateNode { .. }
            | Self::Uncordon { .. }
            | Self::NodeReady { .. } => 6,
        }
    }

    /// What is in the way where this is what has to change.
    #[must_use]
    pub fn blocker(&self) -> Blocker {
        match self {
            Self::FinishPool { .. } => Blocker::PoolIncomplete,
            Self::MendPool { .. } => Blocker::PoolInvalid,
            Self::Tolerate { .. } => Blocker::DeviceTaint,
            Self::Release { .. } => Blocker::InUse,
            Self::UseClass { .. } | Self::Selector { class: Some(_), .. } => Blocker::ClassSelector,
            Self::Selector { .. } => Blocker::RequestSelector,
            Self::Count { .. } => Blocker::TooFewDevices,
            Self::Capacity { .. } => Blocker::Capacity,
            Self::DropConstraint { .. } => Blocker::Constraint,
            Self::DropNodeRule { .. }
            | Self::TolerateNode { .. }
            | Self::Uncordon { .. }
            | Self::NodeReady { .. } => Blocker::NodeRules,
            Self::FreeReservation { .. } => Blocker::ReservedFull,
            Self::OpenGates => Blocker::Scheduler,
        }
    }
}

/// What is asked about, in a copy that was changed.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    /// The pod.
    pub pod: Option<Pod>,
    /// The claims.
    pub claims: Vec<Claim>,
}

impl Changed {
    /// The same, to be explained.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked { pod: self.pod.as_ref(), claims: self.claims.iter().collect() }
    }
}

impl Remedy {
    /// The cluster, and what is asked about, with all changes.
    #[must_use]
    pub fn apply(&self, cluster: &Cluster, asked: &Asked<'_>) -> (Cluster, Changed) {
        apply::all(&self.changes, cluster, asked)
    }
}

fn as_text<S: serde::Serializer>(pool: &PoolId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(pool)
}
