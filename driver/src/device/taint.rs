//! Device taints: how faults keep claims away, and which claims bear them.

use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::health::Fault;
use crate::node::Yielding;

/// The effect of our taints: no new claim gets the device, and pods that have it go on.
const NO_SCHEDULE: &str = "NoSchedule";

/// The key of the taint of a device with a fault; its value is the class of the fault.
#[must_use]
pub fn fault_key(driver: &str) -> String {
    format!("{driver}/fault")
}

/// The key of the taint of devices that the driver was asked to keep away from.
#[must_use]
pub fn yielding_key(driver: &str) -> String {
    format!("{driver}/yielding")
}

/// The taint of a node's devices while the driver keeps away from them.
#[must_use]
pub fn of_yielding(driver: &str, yielding: &Yielding) -> DeviceTaint {
    DeviceTaint {
        key: yielding_key(driver),
        value: None,
        effect: NO_SCHEDULE.to_owned(),
        time_added: Some(Time(yielding.since)),
    }
}

/// The taint of a device with these faults: that of the worst. None if there are none.
#[must_use]
pub fn of_faults(driver: &str, faults: &[Fault]) -> Option<DeviceTaint> {
    let worst = faults.iter().max_by_key(|fault| fault.class)?;
    Some(DeviceTaint {
        key: fault_key(driver),
        value: Some(worst.class.as_str().to_owned()),
        effect: NO_SCHEDULE.to_owned(),
        time_added: Some(Time(worst.since)),
    })
}

/// Whether one of the tolerations bears the taint, as the scheduler decides it
/// (`k8s.io/dynamic-resource-allocation/resourceclaim`, `ToleratesTaint`).
#[must_use]
pub fn tolerated(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}
