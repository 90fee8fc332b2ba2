//! Which claims have devices of the driver, and what is said of them.

use std::fmt;

use dra_runtime::object_name::ObjectName;
use k8s_openapi::api::resource::v1::ResourceClaim;

/// A claim that has devices of the driver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) claim: ObjectName,
    /// The pods that may use it, in the claim's namespace.
    pub(super) pods: Vec<Reserved>,
}

/// A pod that a claim is reserved for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reserved {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Those of the claims to which a device of `driver` is allocated.
pub(super) fn held(driver: &str, claims: &[ResourceClaim]) -> Vec<Held> {
    let mut held: Vec<_> = claims.iter().filter(|claim| has_device(driver, claim)).map(one).collect();
    held.sort();
    held
}

fn has_device(driver: &str, claim: &ResourceClaim) -> bool {
    let devices = claim.status.as_ref().and_then(|status| status.allocation.as_ref()?.devices.as_ref());
    devices
        .and_then(|devices| devices.results.as_ref())
        .is_some_and(|results| results.iter().any(|result| result.driver == driver))
}

fn one(claim: &ResourceClaim) -> Held {
    let reserved = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    // Only pods are deleted. What else a claim may be reserved for, none of ours knows.
    let pods = reserved.filter(|consumer| {
        consumer.resource == "pods" && consumer.api_group.as_deref().unwrap_or_default().is_empty()
    });
    Held {
        claim: ObjectName {
            namespace: claim.metadata.namespace.clone().unwrap_or_default(),
            name: claim.metadata.name.clone().unwrap_or_default(),
        },
        pods: pods
            .map(|consumer| Reserved { name: consumer.name.clone(), uid: consumer.uid.clone() })
            .collect(),
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods: Vec<_> = self.pods.iter().map(|pod| pod.name.as_str()).collect();
        match pods.as_slice() {
            [] => write!(f, "claim {}, of no pod", self.claim),
            [pod] => write!(f, "claim {} of pod {pod}", self.claim),
            pods => write!(f, "claim {} of pods {}", self.claim, pods.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(name: &str, drivers: &[&str], reserved: Value) -> ResourceClaim {
        let results: Vec<_> = drivers
            .iter()
            .map(|driver| json!({"driver": driver, "pool": "p", "device": "d", "request": "gpu"}))
            .collect();
        let allocation =
            if drivers.is_empty() { Value::Null } else { json!({"devices": {"results": results}}) };
        serde_json::from_value(json!({
            "metadata": {"namespace": "team", "name": name},
            "spec": {},
            "status": {"allocation": allocation, "reservedFor": reserved},
        }))
        .unwrap()
    }

    #[test]
    fn claims_with_a_device_of_the_driver_count_and_no_others() {
        let pod = json!([{"resource": "pods", "name": "trainer", "uid": "1"}]);
        let two = json!([
            {"resource": "pods", "name": "a", "uid": "2"},
            {"resource": "pods", "name": "b", "uid": "3"},
            {"apiGroup": "scheduling.example.com", "resource": "pods", "name": "no pod", "uid": "4"},
        ]);
        let cases = [
            ("not allocated", claim("c", &[], json!([])), None),
            ("another driver's", claim("c", &["other"], pod.clone()), None),
            ("one pod", claim("c", &["ours"], pod.clone()), Some("claim team/c of pod trainer")),
            ("one of two drivers", claim("c", &["other", "ours"], pod), Some("claim team/c of pod trainer")),
            ("two pods and another thing", claim("c", &["ours"], two), Some("claim team/c of pods a, b")),
            ("allocated and unused", claim("c", &["ours"], json!([])), Some("claim team/c, of no pod")),
        ];
        for (what, claim, wanted) in cases {
            let said: Vec<_> = held("ours", &[claim]).iter().map(ToString::to_string).collect();
            assert_eq!(said, wanted.into_iter().collect::<Vec<_>>(), "{what}");
        }
    }
}
