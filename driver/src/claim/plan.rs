//! What is to be done for a claim, or why it is refused: the last line of defence.

use serde::{Deserialize, Serialize};

use super::allocation::{Access, Allocation, Asked};
use super::refusal::{Cause, Refusal};
use super::{ClaimRef, PreparedDevice};
use crate::cdi;
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

impl Plan {
    /// The plan for a claim that is prepared for the first time.
    ///
    /// # Errors
    /// The first device that cannot be given.
    pub fn new(allocation: &Allocation, view: &View) -> Result<Self, Refusal> {
        let devices = allocation.devices.iter().map(|asked| {
            planned(asked, view).map_err(|cause| Refusal::device(&allocation.claim, &asked.device, cause))
        });
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
        if view.without_nvml.is_none() {
            for planned in &mut plan.devices {
                verify(planned, view).map_err(|cause| Refusal::device(claim, &planned.device, cause))?;
            }
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

fn planned(asked: &Asked, view: &View) -> Result<PlannedDevice, Cause> {
    let device = asked.device.clone();
    let Some(gpu) = view.gpu(&device) else {
        return Err(match &view.without_nvml {
            Some(reason) => Cause::NoNvml { reason: reason.clone() },
            None => Cause::Gone,
        });
    };
    refuse_fault(&device, &asked.tolerated, view, Class::Reset)?;
    let borne = asked.access == Access::Admin || !view.faults_of(&device).is_empty();
    let (Some(uuid), Some(minor), true) = (&gpu.uuid, gpu.minor, gpu.usable || borne) else {
        return Err(Cause::Unusable { reason: why_unusable(gpu, &device, view) });
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

/// Checks that a device is still the one that was prepared.
fn verify(planned: &mut PlannedDevice, view: &View) -> Result<(), Cause> {
    let gpu = view.gpu(&planned.device).ok_or(Cause::Gone)?;
    if let Some(uuid) = &gpu.uuid
        && *uuid != planned.uuid
    {
        return Err(Cause::Replaced { was: planned.uuid.clone(), is: uuid.clone() });
    }
    refuse_fault(&planned.device, &planned.tolerated, view, Class::Lost)?;
    planned.minor = gpu.minor.unwrap_or(planned.minor);
    Ok(())
}

/// Refuses a device whose worst fault is of at least this class and not tolerated.
fn refuse_fault(device: &str, tolerated: &[Class], view: &View, least: Class) -> Result<(), Cause> {
    match view.faults_of(device).iter().max_by_key(|fault| fault.class) {
        Some(fault) if fault.class >= least && !tolerated.contains(&fault.class) => {
            Err(Cause::Fault { class: fault.class, reason: fault.message.clone() })
        }
        _ => Ok(()),
    }
}

fn why_unusable(gpu: &Gpu, device: &str, view: &View) -> String {
    let problem = view.inventory.problems.iter().find(|problem| problem.subject == device);
    match (problem, gpu.unread.first()) {
        (Some(problem), _) => problem.message.clone(),
        (None, Some(unread)) => format!("its {} cannot be read: {}", unread.field, unread.reason),
        (None, None) => {
            "its UUID or minor number is not known; look at 'dra-kubelet-plugin inspect'".to_owned()
        }
    }
}
