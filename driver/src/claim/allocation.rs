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
    Class::ALL.into_iter().filter(bears).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DRIVER: &str = "test.example";
    const POOL: &str = "node-1/gpu";

    fn wanted() -> ClaimRef {
        ClaimRef { namespace: "ns".to_owned(), name: "c".to_owned(), uid: "u".to_owned() }
    }

    fn result(request: &str, device: &str) -> Value {
        json!({ "request": request, "driver": DRIVER, "pool": POOL, "device": device })
    }

    fn claim(results: &Value, config: &Value) -> ResourceClaim {
        serde_json::from_value(json!({
            "metadata": { "namespace": "ns", "name": "c", "uid": "u" },
            "spec": {},
            "status": {
                "allocation": { "devices": { "results": results, "config": config } },
                "reservedFor": [
                    { "resource": "pods", "name": "p", "uid": "1" },
                    { "apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "g", "uid": "2" },
                ],
            },
        }))
        .unwrap()
    }

    fn asked(results: &Value) -> Allocation {
        read(&claim(results, &json!([])), &wanted(), DRIVER, POOL).unwrap()
    }

    #[test]
    fn only_our_results_count() {
        let other = json!({ "request": "nic", "driver": "other.example", "pool": "x", "device": "Y_1" });
        let allocation = asked(&json!([other, result("main/sub", "gpu-a"), result("two", "gpu-b")]));
        let devices: Vec<_> = allocation
            .devices
            .iter()
            .map(|asked| (asked.device.as_str(), asked.requests.join(","), asked.access))
            .collect();
        assert_eq!(
            devices,
            [("gpu-a", "main".to_owned(), Access::Exclusive), ("gpu-b", "two".to_owned(), Access::Exclusive)]
        );
        assert_eq!(allocation.pods, ["p"]);
        assert_eq!(asked(&json!([other])).devices, []);
        assert_eq!(asked(&json!([])).devices, []);
    }

    #[test]
    fn results_of_one_device_are_merged_per_share() {
        let with = |request, fields: Value| {
            let mut result = result(request, "gpu-a");
            result.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            result
        };
        let admin = || with("a", json!({ "adminAccess": true }));
        let share = |request, id: &str| with(request, json!({ "shareID": id }));
        let cases = [
            ("admin alone", json!([admin()]), vec![("a", Access::Admin, None)]),
            ("admin, then exclusive", json!([admin(), result("b", "gpu-a")]), {
                vec![("a,b", Access::Exclusive, None)]
            }),
            ("exclusive, then admin", json!([result("b", "gpu-a"), admin()]), {
                vec![("b,a", Access::Exclusive, None)]
            }),
            ("the same request twice", json!([result("b/x", "gpu-a"), result("b/y", "gpu-a")]), {
                vec![("b", Access::Exclusive, None)]
            }),
            ("two shares", json!([share("b", "1"), share("c", "2")]), {
                vec![("b", Access::Shared, Some("1")), ("c", Access::Shared, Some("2"))]
            }),
        ];
        for (name, results, want) in cases {
            let got = asked(&results);
            let got: Vec<_> = got
                .devices
                .iter()
                .map(|asked| (asked.requests.join(","), asked.access, asked.share_id.as_deref()))
                .collect();
            let want: Vec<_> =
                want.into_iter().map(|(requests, access, id)| (requests.to_owned(), access, id)).collect();
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn faults_are_tolerated_only_by_all_requests_of_a_device() {
        let tolerant = |value: &str| {
            let mut result = result("t", "gpu-a");
            result["tolerations"] = json!([{ "key": "test.example/fault", "value": value }]);
            result
        };
        let mut all = result("t", "gpu-a");
        all["tolerations"] = json!([{ "operator": "Exists", "effect": "NoSchedule" }]);
        let cases = [
            ("none", json!([result("r", "gpu-a")]), vec![]),
            ("one class", json!([tolerant("reset")]), vec![Class::Reset]),
            ("everything", json!([all.clone()]), Class::ALL.to_vec()),
            ("one of two requests", json!([all.clone(), tolerant("lost")]), vec![Class::Lost]),
            ("one not at all", json!([all, result("r", "gpu-a")]), vec![]),
        ];
        for (name, results, want) in cases {
            assert_eq!(asked(&results).devices[0].tolerated, want, "{name}");
        }
    }

    #[test]
    fn the_hash_is_of_what_is_ours_and_of_nothing_else() {
        let config = |driver: &str, parameters: Value| json!([{ "source": "FromClaim", "opaque": { "driver": driver, "parameters": parameters } }]);
        let hash_of = |results: &Value, configs: &Value| {
            let claim = claim(results, configs);
            let devices = claim.status.unwrap().allocation.unwrap().devices.unwrap();
            let ours: Vec<_> =
                devices.results.unwrap().into_iter().filter(|result| result.driver == DRIVER).collect();
            hash(DRIVER, &ours, &devices.config.unwrap())
        };
        let base = json!([result("r", "gpu-a")]);
        let other = json!({ "request": "nic", "driver": "other.example", "pool": "x", "device": "y" });
        let plain = hash_of(&base, &json!([]));
        assert_eq!(plain.len(), 64);
        let same = [
            hash_of(&json!([result("r", "gpu-a"), other]), &json!([])),
            hash_of(&base, &config("other.example", json!({ "a": 1 }))),
        ];
        assert!(same.iter().all(|hash| *hash == plain), "{same:?}");
        let ours: Value = serde_json::from_str("{\"b\":{\"d\":1,\"c\":[2]},\"a\":1}").unwrap();
        let sorted: Value = serde_json::from_str("{\"a\":1,\"b\":{\"c\":[2],\"d\":1}}").unwrap();
        assert_eq!(hash_of(&base, &config(DRIVER, ours.clone())), hash_of(&base, &config(DRIVER, sorted)));
        let mut share = result("r", "gpu-a");
        share["shareID"] = json!("s");
        let different = [
            hash_of(&json!([result("r", "gpu-b")]), &json!([])),
            hash_of(&json!([result("q", "gpu-a")]), &json!([])),
            hash_of(&json!([share]), &json!([])),
            hash_of(&base, &config(DRIVER, ours)),
            hash_of(&json!([]), &json!([])),
        ];
        for (number, hash) in different.iter().enumerate() {
            assert_ne!(*hash, plain, "{number}");
        }
    }

    #[test]
    fn the_canonical_form_is_that_of_json() {
        let value: Value =
            serde_json::from_str("{ \"b\\\"\": [1, {\"y\": null, \"x\": \"é\"}], \"a\": 1.5 }").unwrap();
        assert_eq!(canonical(&value), "{\"a\":1.5,\"b\\\"\":[1,{\"x\":\"é\",\"y\":null}]}");
    }

    #[test]
    fn which_access_excludes_which() {
        use Access::{Admin, Exclusive, Shared};
        for (one, other, excludes) in [
            (Exclusive, Exclusive, true),
            (Exclusive, Shared, true),
            (Shared, Shared, false),
            (Admin, Exclusive, false),
            (Admin, Shared, false),
            (Admin, Admin, false),
        ] {
            assert_eq!(one.excludes(other), excludes, "{one:?} {other:?}");
            assert_eq!(other.excludes(one), excludes, "{other:?} {one:?}");
        }
    }

    #[test]
    fn a_claim_gives_a_device_only_under_its_uid() {
        let claim = claim(&json!([result("r", "gpu-a")]), &json!([]));
        for (name, uid, driver, pool, device, want) in [
            ("as it is", "u", DRIVER, POOL, "gpu-a", true),
            ("another UID", "v", DRIVER, POOL, "gpu-a", false),
            ("another device", "u", DRIVER, POOL, "gpu-b", false),
            ("another node", "u", DRIVER, "node-2/gpu", "gpu-a", false),
            ("another driver", "u", "other.example", POOL, "gpu-a", false),
        ] {
            assert_eq!(gives(&claim, uid, driver, pool, device), want, "{name}");
        }
        assert!(!gives(&ResourceClaim::default(), "u", DRIVER, POOL, "gpu-a"));
    }
}
