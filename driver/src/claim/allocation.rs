//! What a ResourceClaim asks of this node: its allocation, as far as it is this driver's.

use k8s_openapi::api::resource::v1::{
    DeviceAllocationConfiguration, DeviceRequestAllocationResult, ResourceClaim,
};
use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::ClaimRef;
use super::file::plain;
use crate::config::{self, Settings, Target};
use crate::device::taint;
use crate::health::Class;

/// The classes of faults that a result may tolerate.
const CLASSES: [Class; 3] = [Class::Reset, Class::Reboot, Class::Lost];

/// Why a claim asks nothing that this node can do.
#[derive(Debug, Error)]
pub enum AllocationError {
    /// The claim has another UID.
    #[error(
        "claim {claim} was deleted and created anew: it has the UID {found}, not {wanted}; delete the pod"
    )]
    Replaced {
        /// Namespace and name.
        claim: String,
        /// The UID that it has now.
        found: String,
        /// The UID that was asked for.
        wanted: String,
    },
    /// The claim is not allocated.
    #[error("claim {claim} is not allocated; it was deallocated after its pod was scheduled: delete the pod")]
    NotAllocated {
        /// Namespace and name.
        claim: String,
    },
    /// A result is for another node.
    #[error(
        "claim {claim}: device {device} is of pool {pool}, and this node has only pool {ours}; the result is for \
         another node: delete the pod"
    )]
    OtherNode {
        /// Namespace and name.
        claim: String,
        /// The device.
        device: String,
        /// Its pool.
        pool: String,
        /// This node's pool.
        ours: String,
    },
    /// A device name that no device has.
    #[error("claim {claim}: '{device}' is no name of a device of this driver; delete the pod")]
    NoName {
        /// Namespace and name.
        claim: String,
        /// The name.
        device: String,
    },
    /// The configuration.
    #[error("claim {claim}: {source}")]
    Config {
        /// Namespace and name.
        claim: String,
        /// What is wrong.
        source: config::Error,
    },
}

/// Who else may have a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// Nobody, apart from administrators.
    Exclusive,
    /// Whoever has a share of it.
    Shared,
    /// Everybody: adminAccess.
    Admin,
}

impl Access {
    /// Whether two claims cannot both have a device in these ways.
    #[must_use]
    pub fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admin, _) | (_, Self::Admin) | (Self::Shared, Self::Shared) => false,
            (Self::Exclusive, _) | (_, Self::Exclusive) => true,
        }
    }
}

/// What a claim asks of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The claim.
    pub claim: ClaimRef,
    /// The pods that may use it, as far as it is known.
    pub pods: Vec<String>,
    /// As long as this is the same, the same is asked.
    pub hash: String,
    /// The devices, each once per share. Empty if no result is this driver's.
    pub devices: Vec<Asked>,
}

/// A device that a claim asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub device: String,
    /// Its pool.
    pub pool: String,
    /// The requests it is for, without sub-request.
    pub requests: Vec<String>,
    /// Who else may have it.
    pub access: Access,
    /// The share.
    pub share_id: Option<String>,
    /// The faults that all of its requests tolerate.
    pub tolerated: Vec<Class>,
    /// How it is to be set up.
    pub settings: Settings,
}

/// Reads what the claim asks of this driver on the node with this pool. `wanted` is the claim that the kubelet
/// named.
///
/// # Errors
/// Any [`AllocationError`]: it does not go away by waiting.
pub fn read(
    claim: &ResourceClaim,
    wanted: &ClaimRef,
    driver: &str,
    pool: &str,
) -> Result<Allocation, AllocationError> {
    let name = || format!("{}/{}", wanted.namespace, wanted.name);
    let found = claim.metadata.uid.clone().unwrap_or_default();
    if found != wanted.uid {
        return Err(AllocationError::Replaced { claim: name(), found, wanted: wanted.uid.clone() });
    }
    let status = claim.status.as_ref();
    let Some(allocation) = status.and_then(|status| status.allocation.as_ref()) else {
        return Err(AllocationError::NotAllocated { claim: name() });
    };
    let devices = allocation.devices.clone().unwrap_or_default();
    let results: Vec<_> =
        devices.results.unwrap_or_default().into_iter().filter(|result| result.driver == driver).collect();
    let configs: Vec<_> = devices.config.unwrap_or_default();
    for DeviceRequestAllocationResult { device, pool: of, .. } in &results {
        if of != pool {
            return Err(AllocationError::OtherNode {
                claim: name(),
                device: device.clone(),
                pool: of.clone(),
                ours: pool.to_owned(),
            });
        }
        if !plain(device) {
            return Err(AllocationError::NoName { claim: name(), device: device.clone() });
        }
    }
    let targets: Vec<_> = results.iter().map(|result| Target { request: result.request.clone() }).collect();
    let settings = config::resolve(driver, &targets, &configs)
        .map_err(|source| AllocationError::Config { claim: name(), source })?;
    let reserved = status.and_then(|status| status.reserved_for.as_ref()).into_iter().flatten();
    Ok(Allocation {
        claim: wanted.clone(),
        pods: reserved
            .filter(|consumer| consumer.resource == "pods")
            .map(|consumer| consumer.name.clone())
            .collect(),
        hash: hash(driver, &results, &configs),
        devices: merged(driver, results, settings),
    })
}

/// Whether the claim, as the API server has it, still gives this device of ours to the claim with this UID.
#[must_use]
pub fn gives(claim: &ResourceClaim, uid: &str, driver: &str, pool: &str, device: &str) -> bool {
    let results = claim
        .status
        .as_ref()
        .and_then(|status| status.allocation.as_ref())
        .and_then(|allocation| allocation.devices.as_ref().and_then(|devices| devices.results.as_ref()));
    claim.metadata.uid.as_deref() == Some(uid)
        && results
            .into_iter()
            .flatten()
            .any(|result| result.driver == driver && result.pool == pool && result.device == device)
}

/// One entry per device, share and settings: a device that several requests were given is prepared once, and
/// exclusively as soon as one of them has it so.
fn merged(driver: &str, results: Vec<DeviceRequestAllocationResult>, settings: Vec<Settings>) -> Vec<Asked> {
    let mut devices: Vec<Asked> = Vec::new();
    for (result, settings) in results.into_iter().zip(settings) {
        let access = match (result.admin_access, &result.share_id) {
            (Some(true), _) => Access::Admin,
            (_, Some(_)) => Access::Shared,
            (_, None) => Access::Exclusive,
        };
        let tolerated = tolerated(driver, access, result.tolerations.as_deref().unwrap_or_default());
        let request = match result.request.split_once('/') {
            Some((main, _sub)) => main.to_owned(),
            None => result.request,
        };
        let same = devices.iter_mut().find(|other| {
            other.device == result.device && other.share_id == result.share_id && other.settings == settings
        });
        let Some(same) = same else {
            devices.push(Asked {
                device: result.device,
                pool: result.pool,
                requests: vec![request],
                access,
                share_id: result.share_id,
                tolerated,
                settings,
            });
            continue;
        };
        if !same.requests.contains(&request) {
            same.requests.push(request);
        }
        if same.access == Access::Admin {
            same.access = access;
        }
        same.tolerated.retain(|class| tolerated.contains(class));
    }
    devices
}

/// The classes of faults that a result bears. Administrators come to look at sick devices.
fn tolerated(driver: &str, access: Access, tolerations: &[DeviceToleration]) -> Vec<Class> {
    let bears = |class: &Class| {
        let taint = DeviceTaint {
            key: taint::fault_key(driver),
            value: Some(class.as_str().to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        };
        access == Access::Admin || taint::tolerated(&taint, tolerations)
    };
    CLASSES.into_iter().filter(bears).collect()
}

/// SHA-256, in hexadecimal, over our results and configurations as JSON with sorted keys.
fn hash(
    driver: &str,
    results: &[DeviceRequestAllocationResult],
    configs: &[DeviceAllocationConfiguration],
) -> String {
    let ours: Vec<_> = configs
        .iter()
        .filter(|config| config.opaque.as_ref().is_some_and(|opaque| opaque.driver == driver))
        .collect();
    let text = canonical(&serde_json::json!({ "results": results, "configs": ours }));
    hex(&Sha256::digest(text))
}

/// JSON with sorted keys, whatever order the map keeps.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(canonical).collect();
            format!("[{}]", values.join(","))
        }
        plain => plain.to_string(),
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
