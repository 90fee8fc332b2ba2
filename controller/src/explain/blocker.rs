//! What keeps claims from being allocated, in one word.

use serde::{Serialize, Serializer};

/// What keeps claims from being allocated. The list is closed: metrics have it as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocker {
    /// A request names a DeviceClass that does not exist.
    ClassMissing,
    /// The DeviceClass selects no device that could be had.
    ClassSelector,
    /// The request's selectors select no device that could be had.
    RequestSelector,
    /// A selector or a request cannot be understood.
    SelectorError,
    /// Other claims have the devices.
    InUse,
    /// Devices have a taint that is not tolerated.
    DeviceTaint,
    /// Other claims have what the devices share with others.
    Counters,
    /// Too little of a capacity is there, or left.
    Capacity,
    /// A constraint does not hold.
    Constraint,
    /// No node has as many devices.
    TooFewDevices,
    /// Slices of a pool are missing.
    PoolIncomplete,
    /// A pool contradicts itself.
    PoolInvalid,
    /// There are no devices.
    NoDevices,
    /// The pod's rules and the nodes' taints.
    NodeRules,
    /// Allocated claims bind the pod to other nodes.
    ClaimElsewhere,
    /// Each request fits alone.
    Together,
    /// A claim has as many consumers as it can have.
    ReservedFull,
    /// The devices fit.
    Scheduler,
    /// The time was over.
    NoAnswer,
    /// Not looked at yet.
    Unexplained,
}

impl Blocker {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::ClassMissing,
        Self::ClassSelector,
        Self::RequestSelector,
        Self::SelectorError,
        Self::InUse,
        Self::DeviceTaint,
        Self::Counters,
        Self::Capacity,
        Self::Constraint,
        Self::TooFewDevices,
        Self::PoolIncomplete,
        Self::PoolInvalid,
        Self::NoDevices,
        Self::NodeRules,
        Self::ClaimElsewhere,
        Self::Together,
        Self::ReservedFull,
        Self::Scheduler,
        Self::NoAnswer,
        Self::Unexplained,
    ];

    /// The word, as metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClassMissing => "class_missing",
            Self::ClassSelector => "class_selector",
            Self::RequestSelector => "request_selector",
            Self::SelectorError => "selector_error",
            Self::InUse => "in_use",
            Self::DeviceTaint => "device_taint",
            Self::Counters => "counters",
            Self::Capacity => "capacity",
            Self::Constraint => "constraint",
            Self::TooFewDevices => "too_few_devices",
            Self::PoolIncomplete => "pool_incomplete",
            Self::PoolInvalid => "pool_invalid",
            Self::NoDevices => "no_devices",
            Self::NodeRules => "node_rules",
            Self::ClaimElsewhere => "claim_elsewhere",
            Self::Together => "together",
            Self::ReservedFull => "reserved_full",
            Self::Scheduler => "scheduler",
            Self::NoAnswer => "no_answer",
            Self::Unexplained => "unexplained",
        }
    }

    /// What the word means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ClassMissing => "a request names a DeviceClass that does not exist",
            Self::ClassSelector => "the DeviceClass selects no device that could be had",
            Self::RequestSelector => "the request's own selectors select no device that could be had",
            Self::SelectorError => {
                "a selector does not compile or has no answer for a device, or a request asks for what this \
                 cluster's scheduler does not know"
            }
            Self::InUse => "devices that would do are held by other claims",
            Self::DeviceTaint => "devices that would do have a taint that the request does not tolerate",
            Self::Counters => "devices that would do share memory or other parts with devices in use",
            Self::Capacity => "no device has, or has left, the capacity that is asked for",
            Self::Constraint => "devices that would do lack an attribute, or its values break a constraint",
            Self::TooFewDevices => "no node has as many matching devices as are asked for, in use or not",
            Self::PoolIncomplete => "a driver has not published all slices of its pool yet",
            Self::PoolInvalid => "a pool contradicts itself, or its nodes cannot be told",
            Self::NoDevices => "no node has any device",
            Self::NodeRules => "the pod's own rules, or the nodes' taints, keep it from nodes with devices",
            Self::ClaimElsewhere => "claims of the pod that are allocated already bind it to other nodes",
            Self::Together => "each request finds devices by itself, but not all of them together",
            Self::ReservedFull => "a claim of the pod is reserved for 256 consumers, which is the most",
            Self::Scheduler => "the devices fit: something else holds the pod back",
            Self::NoAnswer => "the time for an answer was over",
            Self::Unexplained => "not looked at yet",
        }
    }
}

impl Serialize for Blocker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
