//! Why a claim cannot be prepared or unprepared.

use std::fmt;

use thiserror::Error;

use super::ClaimRef;
use crate::cdi::nodes::NodeError;
use crate::health::Class;

/// Why a claim cannot be prepared or unprepared now. Its text goes to the kubelet and so to the claim's namespace: it
/// names nothing of others.
#[derive(Debug)]
pub struct Refusal {
    /// Namespace and name of the claim.
    pub claim: String,
    /// The device, if it is about one.
    pub device: Option<String>,
    /// Why, with what to do.
    pub cause: Box<Cause>,
}

/// Why, with what to do.
#[derive(Debug, Error)]
pub enum Cause {
    /// Nothing is known of the node's GPUs.
    #[error("nothing is known of this node's GPUs: {reason}")]
    NoNvml {
        /// Why, with what to do.
        reason: String,
    },
    /// The driver was asked to keep away from the GPUs.
    #[error("the driver keeps away from this node's GPUs: {reason}")]
    Yielding {
        /// Who asked for it and how it ends.
        reason: String,
    },
    /// There is no such GPU.
    #[error("its GPU is gone from this node; delete the pod, and look after the GPU")]
    Gone,
    /// The GPU cannot be used.
    #[error("it cannot be used: {reason}")]
    Unusable {
        /// Why, with what to do.
        reason: String,
    },
    /// The device has a fault that the claim does not tolerate.
    #[error(
        "it has a fault of the class {}: {reason}; delete the pod to get another device, or let the claim tolerate \
         the device's taint",
        class.as_str()
    )]
    Fault {
        /// What cures it.
        class: Class,
        /// What is wrong, with what to do.
        reason: String,
    },
    /// Another GPU sits in the slot since the claim was prepared.
    #[error("its GPU was replaced since the claim was prepared (it was {was} and is {is}); delete the pod")]
    Replaced {
        /// The UUID that it had.
        was: String,
        /// The UUID that it has.
        is: String,
    },
    /// A device node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Another claim has the device.
    #[error("it is still prepared for {}; it gets free when the pods of that claim have ended", holder.name)]
    Held {
        /// Who has it.
        holder: HolderName,
    },
    /// Processes use the device.
    #[error("it is still used by {}; end what runs there on the node", processes(pids))]
    Busy {
        /// The processes, as the host numbers them.
        pids: Vec<u32>,
    },
    /// It cannot be seen whether processes use the device.
    #[error("cannot see whether it is in use: {reason}")]
    Unseen {
        /// Why, with what to do.
        reason: String,
    },
    /// The record is of a newer version of the driver.
    #[error(
        "it was prepared by a newer version of the driver (record schema {schema}, this version knows {known}); run \
         that version on this node again"
    )]
    Newer {
        /// The record's schema.
        schema: u32,
        /// The newest schema that this version knows.
        known: u32,
    },
}

/// A claim that has a device that another claim wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderName {
    /// As it is called in a text for the other claim's namespace.
    name: String,
    /// The claim, if it is known. Not for texts.
    pub claim: Option<ClaimRef>,
    /// Its UID. Not for texts.
    pub uid: String,
}

impl HolderName {
    /// The holder, as the `asking` claim may know it.
    #[must_use]
    pub fn new(asking: &ClaimRef, claim: Option<ClaimRef>, uid: &str) -> Self {
        let name = match &claim {
            Some(holder) if holder.namespace == asking.namespace => format!("claim {}", holder.full_name()),
            _ => "another claim".to_owned(),
        };
        Self { name, claim, uid: uid.to_owned() }
    }
}

impl Refusal {
    /// About a device of a claim.
    #[must_use]
    pub fn device(claim: &ClaimRef, device: &str, cause: impl Into<Cause>) -> Self {
        Self { claim: claim.full_name(), device: Some(device.to_owned()), cause: Box::new(cause.into()) }
    }

    /// About a claim.
    #[must_use]
    pub fn claim(claim: &ClaimRef, cause: Cause) -> Self {
        Self { claim: claim.full_name(), device: None, cause: Box::new(cause) }
    }

    /// Whether it may pass within seconds, so that waiting is better than an answer that the kubelet acts on only
    /// after a minute.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match &*self.cause {
            Cause::NoNvml { .. }
            | Cause::Yielding { .. }
            | Cause::Gone
            | Cause::Unusable { .. }
            | Cause::Node(_)
            | Cause::Held { .. }
            | Cause::Busy { .. }
            | Cause::Unseen { .. } => true,
            Cause::Fault { class, .. } => *class == Class::Lost,
            Cause::Replaced { .. } | Cause::Newer { .. } => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "claim {}: ", self.claim)?;
        if let Some(device) = &self.device {
            write!(formatter, "device {device}: ")?;
        }
        self.cause.fmt(formatter)
    }
}

impl std::error::Error for Refusal {}

/// A few process ids, for people.
fn processes(pids: &[u32]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if pids.len() > SHOWN { ", …" } else { "" };
    let process = if pids.len() == 1 { "process" } else { "processes" };
    format!("{process} {}{more}", shown.join(", "))
}
