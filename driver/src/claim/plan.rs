//! What is to be done for a claim, or why it is refused: the last line of defence.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::allocation::{Access, Allocation, Asked};
use super::{ClaimRef, PreparedDevice};
use crate::cdi;
use crate::cdi::nodes::NodeError;
use crate::config::Settings;
use crate::health::Class;
use crate::inventory::Gpu;
use crate::node::View;

/// What is to be done for a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The devices, each once per share.
    pub devices: Vec<PlannedDevice>,
}

/// A device in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedDevice {
    /// Its name.
    pub device: String,
    /// Its pool.
    pub pool: String,
    /// The claim's requests that it is for, without sub-request.
    pub requests: Vec<String>,
    /// The UUID of the GPU that has this name.
    pub uuid: String,
    /// N of `/dev/nvidia<N>`. May change with a driver reload.
    pub minor: u32,
    /// Who else may have it.
    pub access: Access,
    /// The share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_id: Option<String>,
    /// The classes of faults that do not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerated: Vec<Class>,
    /// How it is set up.
    #[serde(default)]
    pub settings: Settings,
}

/// Why a claim cannot be prepared, for the kubelet's Event: it names nothing of other namespaces.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Nothing is known of the node's GPUs.
    #[error(
        "claim {claim}: device {device} cannot be prepared, since nothing is known of this node's GPUs: {reason}"
    )]
    NoNvml {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// Why, with what to do.
        reason: String,
    },
    /// There is no such GPU.
    #[error(
        "claim {claim}: the GPU of device {device} is gone from this node; delete the pod, and look after the GPU"
    )]
    Gone {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
    },
    /// The GPU cannot be used.
    #[error("claim {claim}: device {device} cannot be used: {reason}")]
    Unusable {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// Why, with what to do.
        reason: String,
    },
    /// The device has a fault that the claim does not tolerate.
    #[error(
        "claim {claim}: device {device} has a fault of class {}: {reason}; delete the pod to get another device, \
         or tolerate the device's taint in the claim",
        class.as_str()
    )]
    Fault {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// What cures it.
        class: Class,
        /// What is wrong, with what to do.
        reason: String,
    },
    /// Another GPU sits in the slot since the claim was prepared.
    #[error(
        "claim {claim}: the GPU of device {device} was replaced since the claim was prepared (it was {was} and is \
         {is}); delete the pod"
    )]
    Replaced {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// The UUID that it had.
        was: String,
        /// The UUID that it has.
        is: String,
    },
    /// A device node.
    #[error("claim {claim}: device {device}: {source}")]
    Node {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// What is wrong with the node, with what to do.
        source: NodeError,
    },
    /// Another claim has the device.
    #[error(
        "claim {claim}: device {device} is still prepared for {}; it gets free when the pods of that claim have \
         ended",
        other(claim, by.as_ref())
    )]
    Held {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// Who has it, if that is known. In the text only if it is of the same namespace.
        by: Option<ClaimRef>,
        /// The UID of the claim that has it.
        uid: String,
    },
    /// Processes use the device.
    #[error(
        "claim {claim}: device {device} is still used by {}; end {} on the node", processes(pids),
        if pids.len() == 1 { "it" } else { "them" }
    )]
    Busy {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// The processes, as the host numbers them.
        pids: Vec<u32>,
    },
    /// It cannot be seen whether processes use the device.
    #[error("claim {claim}: cannot see whether device {device} is in use: {reason}")]
    Unseen {
        /// Namespace and name of the claim.
        claim: String,
        /// The device.
        device: String,
        /// Why, with what to do.
        reason: String,
    },
    /// The record is of a newer version of the driver.
    #[error(
        "claim {claim} was prepared by a newer version of the driver (record schema {schema}, this version knows \
         {known}); run that version on this node again"
    )]
    Newer {
        /// Namespace and name of the claim.
        claim: String,
        /// The record's schema.
        schema: u32,
        /// The newest schema that this version knows.
        known: u32,
    },
}

impl Refusal {
    /// Whether it may pass within seconds, so that waiting is better than an answer that the kubelet acts on only
    /// after a minute.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoNvml { .. }
            | Self::Gone { .. }
            | Self::Unusable { .. }
            | Self::Node { .. }
            | Self::Held { .. }
            | Self::Busy { .. }
            | Self::Unseen { .. } => true,
            Self::Fault { class, .. } => *class == Class::Lost,
            Self::Replaced { .. } | Self::Newer { .. } => false,
        }
    }
}

/// How another claim is called in a text for this claim's namespace.
fn other(claim: &str, by: Option<&ClaimRef>) -> String {
    let namespace = claim.split('/').next();
    match by {
        Some(by) if Some(by.namespace.as_str()) == namespace => format!("claim {}/{}", by.namespace, by.name),
        _ => "another claim".to_owned(),
    }
}

/// A few process ids, for people.
fn processes(pids: &[u32]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = pids.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if pids.len() > SHOWN { ", …" } else { "" };
    format!("process{} {}{more}", if pids.len() == 1 { "" } else { "es" }, shown.join(", "))
}

impl ClaimRef {
    /// Namespace and name, for people.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Plan {
    /// The plan for a claim that is prepared for the first time.
    ///
    /// # Errors
    /// The first device that cannot be given.
    pub fn new(allocation: &Allocation, view: &View) -> Result<Self, Refusal> {
        let claim = allocation.claim.full_name();
        let devices = allocation.devices.iter().map(|asked| planned(&claim, asked, view));
        Ok(Self { devices: devices.collect::<Result<_, _>>()? })
    }

    /// The plan for a claim that is prepared: the same devices, if they are still there. A fault that came later
    /// changes nothing as long as the GPU answers: the pods have it already. Where nothing is known of the GPUs,
    /// the plan stays.
    ///
    /// # Errors
    /// A device is gone, lost or replaced.
    pub fn again(&self, claim: &ClaimRef, view: &View) -> Result<Self, Refusal> {
        let mut plan = self.clone();
        if view.without_nvml.is_some() {
            return Ok(plan);
        }
        for planned in &mut plan.devices {
            let (claim, device) = (claim.full_name(), planned.device.clone());
            let Some(gpu) = view.gpu(&device) else { return Err(Refusal::Gone { claim, device }) };
            if let Some(uuid) = &gpu.uuid
                && *uuid != planned.uuid
            {
                let (was, is) = (planned.uuid.clone(), uuid.clone());
                return Err(Refusal::Replaced { claim, device, was, is });
            }
            refuse_fault(&claim, &device, &planned.tolerated, view, Class::Lost)?;
            planned.minor = gpu.minor.unwrap_or(planned.minor);
        }
        Ok(plan)
    }

    /// What the kubelet is told once the plan is carried out.
    #[must_use]
    pub fn answer(&self, driver: &str, claim_uid: &str) -> Vec<PreparedDevice> {
        let answer = |planned: &PlannedDevice| PreparedDevice {
            requests: planned.requests.clone(),
            pool: planned.pool.clone(),
            device: planned.device.clone(),
            cdi_ids: vec![
                cdi::claim_device_id(driver, claim_uid, &planned.device),
                cdi::driver_files_id(driver),
            ],
            share_id: planned.share_id.clone(),
        };
        self.devices.iter().map(answer).collect()
    }
}

fn planned(claim: &str, asked: &Asked, view: &View) -> Result<PlannedDevice, Refusal> {
    let (claim, device) = (claim.to_owned(), asked.device.clone());
    let Some(gpu) = view.gpu(&device) else {
        return Err(match &view.without_nvml {
            Some(reason) => Refusal::NoNvml { claim, device, reason: reason.clone() },
            None => Refusal::Gone { claim, device },
        });
    };
    refuse_fault(&claim, &device, &asked.tolerated, view, Class::Reset)?;
    let borne = asked.access == Access::Admin || !view.faults_of(&device).is_empty();
    let (Some(uuid), Some(minor), true) = (&gpu.uuid, gpu.minor, gpu.usable || borne) else {
        return Err(Refusal::Unusable { claim, reason: why_unusable(gpu, &device, view), device });
    };
    Ok(PlannedDevice {
        device,
        pool: asked.pool.clone(),
        requests: asked.requests.clone(),
        uuid: uuid.clone(),
        minor,
        access: asked.access,
        share_id: asked.share_id.clone(),
        tolerated: asked.tolerated.clone(),
        settings: asked.settings.clone(),
    })
}

/// Refuses a device whose worst fault is of at least this class and not tolerated.
fn refuse_fault(claim: &str, device: &str, tolerated: &[Class], view: &View, least: Class) -> Result<(), Refusal> {
    match view.faults_of(device).iter().max_by_key(|fault| fault.class) {
        Some(fault) if fault.class >= least && !tolerated.contains(&fault.class) => Err(Refusal::Fault {
            claim: claim.to_owned(),
            device: device.to_owned(),
            class: fault.class,
            reason: fault.message.clone(),
        }),
        _ => Ok(()),
    }
}

fn why_unusable(gpu: &Gpu, device: &str, view: &View) -> String {
    let problem = view.inventory.problems.iter().find(|problem| problem.subject == device);
    match (problem, gpu.unread.first()) {
        (Some(problem), _) => problem.message.clone(),
        (None, Some(unread)) => format!("its {} cannot be read: {}", unread.field, unread.reason),
        (None, None) => "its UUID or minor number is not known; look at 'dra-kubelet-plugin inspect'".to_owned(),
    }
}
