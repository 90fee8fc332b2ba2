//! What is to be done for a claim, or why it is refused: the last line of defence.

use serde::{Deserialize, Serialize};

use super::allocation::{Access, Allocation, Asked};
use super::refusal::{Cause, Refusal};
use super::{ClaimRef, PreparedDevice};
use crate::cdi;
use crate::config::Settings;
use crate::health::Class;
use crate::inventory::Gpu;
use crate::node::{View, Yielding};

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
    if let Some(Yielding { reason, .. }) = &view.yielding {
        return Err(Cause::Yielding { reason: reason.clone() });
    }
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::health::Fault;
    use crate::inventory::{Inventory, Problem, Severity};

    const DEVICE: &str = "gpu-0000-1b-00-0";

    fn claim() -> ClaimRef {
        ClaimRef { namespace: "ns".to_owned(), name: "c".to_owned(), uid: "u".to_owned() }
    }

    fn asked(access: Access, tolerated: &[Class]) -> Allocation {
        let asked = Asked {
            device: DEVICE.to_owned(),
            pool: "n/gpu".to_owned(),
            requests: vec!["r".to_owned()],
            access,
            share_id: None,
            tolerated: tolerated.to_vec(),
            settings: Settings::default(),
        };
        Allocation { claim: claim(), pods: Vec::new(), hash: "h".to_owned(), devices: vec![asked] }
    }

    fn gpu() -> Gpu {
        Gpu {
            name: Some(DEVICE.to_owned()),
            usable: true,
            uuid: Some("GPU-1".to_owned()),
            minor: Some(4),
            ..Gpu::default()
        }
    }

    fn view(gpus: Vec<Gpu>) -> View {
        View { inventory: Inventory { gpus, ..Inventory::default() }, ..View::default() }
    }

    fn sick(classes: &[Class]) -> View {
        let fault = |class: &Class| Fault {
            class: *class,
            cause: "xid-95".to_owned(),
            message: format!("sick in class {}", class.as_str()),
            since: Timestamp::UNIX_EPOCH,
        };
        let mut view = view(vec![gpu()]);
        view.faults.insert(DEVICE.to_owned(), classes.iter().map(fault).collect());
        view
    }

    /// What becomes of a claim: "ok", or how the refusal's text ends.
    fn told(plan: Result<Plan, Refusal>) -> String {
        match plan {
            Ok(_) => "ok".to_owned(),
            Err(refusal) => {
                let text = refusal.to_string();
                text.strip_prefix(&format!("claim ns/c: device {DEVICE}: ")).expect("names both").to_owned()
            }
        }
    }

    #[test]
    fn a_first_preparation_needs_a_healthy_gpu() {
        use Access::{Admin, Exclusive};
        let unusable = Gpu { usable: false, ..gpu() };
        let mut told_why = view(vec![unusable.clone()]);
        told_why.inventory.problems.push(Problem {
            subject: DEVICE.to_owned(),
            severity: Severity::Unusable,
            message: "it burns; put it out".to_owned(),
        });
        let mut no_nvml = view(vec![]);
        no_nvml.without_nvml = Some("no driver; install it".to_owned());
        let mut yielding = view(vec![gpu()]);
        yielding.yielding =
            Some(Yielding { reason: "ask the admin".to_owned(), since: Timestamp::UNIX_EPOCH });
        let kept_away = "the driver keeps away from this node's GPUs: ask the admin".to_owned();
        let mut sick_and_unusable = sick(&[Class::Lost]);
        sick_and_unusable.inventory.gpus = vec![unusable.clone()];
        let fault = |class: &str| {
            format!(
                "it has a fault of the class {class}: sick in class {class}; delete the pod to get another device, \
                 or let the claim tolerate the device's taint"
            )
        };
        let gone = "its GPU is gone from this node; delete the pod, and look after the GPU";
        let unknown =
            "it cannot be used: its UUID or minor number is not known; look at 'dra-kubelet-plugin inspect'";
        let cases = [
            ("healthy", view(vec![gpu()]), Exclusive, &[][..], "ok".to_owned()),
            ("gone", view(vec![]), Exclusive, &[], gone.to_owned()),
            ("gone, administrator", view(vec![]), Admin, &Class::ALL, gone.to_owned()),
            ("no NVML", no_nvml, Exclusive, &[], {
                "nothing is known of this node's GPUs: no driver; install it".to_owned()
            }),
            ("yielding", yielding.clone(), Exclusive, &Class::ALL, kept_away.clone()),
            ("yielding, administrator", yielding, Admin, &Class::ALL, kept_away),
            (
                "unusable",
                told_why.clone(),
                Exclusive,
                &[],
                "it cannot be used: it burns; put it out".to_owned(),
            ),
            ("unusable, administrator", told_why, Admin, &Class::ALL, "ok".to_owned()),
            ("no minor", view(vec![Gpu { minor: None, ..gpu() }]), Admin, &Class::ALL, unknown.to_owned()),
            ("to be reset", sick(&[Class::Reset]), Exclusive, &[], fault("reset")),
            ("to be reset, tolerated", sick(&[Class::Reset]), Exclusive, &[Class::Reset], "ok".to_owned()),
            ("worse than tolerated", sick(&[Class::Reset, Class::Reboot]), Exclusive, &[Class::Reset], {
                fault("reboot")
            }),
            ("lost", sick(&[Class::Lost]), Exclusive, &[Class::Reset], fault("lost")),
            ("lost, tolerated", sick_and_unusable, Exclusive, &[Class::Lost], "ok".to_owned()),
        ];
        for (name, view, access, tolerated, want) in cases {
            assert_eq!(told(Plan::new(&asked(access, tolerated), &view)), want, "{name}");
        }
    }

    #[test]
    fn a_repeated_preparation_needs_the_same_gpu() {
        let plan = Plan::new(&asked(Access::Exclusive, &[]), &view(vec![gpu()])).unwrap();
        let mut no_nvml = view(vec![]);
        no_nvml.without_nvml = Some("no driver".to_owned());
        let cases = [
            ("as it was", view(vec![gpu()]), "ok"),
            ("no NVML", no_nvml, "ok"),
            ("does not answer", view(vec![Gpu { uuid: None, minor: None, usable: false, ..gpu() }]), "ok"),
            ("sick, and its pods have it", sick(&[Class::Reset, Class::Reboot]), "ok"),
            ("lost", sick(&[Class::Lost]), {
                "it has a fault of the class lost: sick in class lost; delete the pod to get another device, or let \
                 the claim tolerate the device's taint"
            }),
            ("gone", view(vec![]), "its GPU is gone from this node; delete the pod, and look after the GPU"),
            ("replaced", view(vec![Gpu { uuid: Some("GPU-2".to_owned()), ..gpu() }]), {
                "its GPU was replaced since the claim was prepared (it was GPU-1 and is GPU-2); delete the pod"
            }),
        ];
        for (name, view, want) in cases {
            assert_eq!(told(plan.again(&claim(), &view)), want, "{name}");
        }
        let moved = plan.again(&claim(), &view(vec![Gpu { minor: Some(9), ..gpu() }])).unwrap();
        assert_eq!(moved.devices[0].minor, 9);
    }

    #[test]
    fn what_may_pass_is_waited_for() {
        let refused = |view: &View| Plan::new(&asked(Access::Exclusive, &[]), view).unwrap_err();
        assert!(refused(&view(vec![])).may_pass());
        assert!(refused(&sick(&[Class::Lost])).may_pass());
        assert!(!refused(&sick(&[Class::Reset])).may_pass());
        let plan = Plan::new(&asked(Access::Exclusive, &[]), &view(vec![gpu()])).unwrap();
        let other = view(vec![Gpu { uuid: Some("GPU-2".to_owned()), ..gpu() }]);
        assert!(!plan.again(&claim(), &other).unwrap_err().may_pass());
    }
}
