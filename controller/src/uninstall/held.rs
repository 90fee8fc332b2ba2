//! Which claims hold devices of the driver, and what is to be done about them.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::resource::v1::ResourceClaim;

/// A claim to which devices of the driver are allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// The pods that it is reserved for, by UID; they are of its namespace.
    pub(super) pods: BTreeMap<String, String>,
    /// What else it is reserved for.
    pub(super) others: Vec<String>,
}

/// A pod that has to end before the driver may go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pod {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
}

/// The claims to which devices of this driver are allocated, in the order given.
pub(super) fn held(driver: &str, claims: &[ResourceClaim]) -> Vec<Held> {
    claims.iter().filter(|claim| holds(driver, claim)).map(Held::of).collect()
}

fn holds(driver: &str, claim: &ResourceClaim) -> bool {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let results = allocation.and_then(|allocation| allocation.devices.as_ref()?.results.as_deref());
    results.unwrap_or_default().iter().any(|result| result.driver == driver)
}

impl Held {
    fn of(claim: &ResourceClaim) -> Self {
        let status = claim.status.as_ref();
        let consumers = status.and_then(|status| status.reserved_for.as_deref()).unwrap_or_default();
        let (mut pods, mut others) = (BTreeMap::new(), Vec::new());
        for consumer in consumers {
            if consumer.resource == "pods" && consumer.api_group.as_deref().unwrap_or_default().is_empty() {
                pods.insert(consumer.uid.clone(), consumer.name.clone());
            } else {
                others.push(format!("{}/{}", consumer.resource, consumer.name));
            }
        }
        Self {
            namespace: claim.metadata.namespace.clone().unwrap_or_default(),
            name: claim.metadata.name.clone().unwrap_or_default(),
            pods,
            others,
        }
    }

    /// "team-a/training: reserved for pod trainer-0".
    fn line(&self) -> String {
        let pods = self.pods.values().map(|pod| format!("pod {pod}"));
        let consumers: Vec<String> = pods.chain(self.others.iter().cloned()).collect();
        let reserved = if consumers.is_empty() {
            "reserved for no pod".to_owned()
        } else {
            format!("reserved for {}", consumers.join(", "))
        };
        format!("{}/{}: {reserved}", self.namespace, self.name)
    }
}

/// The pods that the claims are reserved for, each once.
pub(super) fn pods(held: &[Held]) -> Vec<Pod> {
    let mut pods: Vec<Pod> = held.iter().flat_map(pods_of).collect();
    pods.sort();
    pods.dedup();
    pods
}

fn pods_of(held: &Held) -> impl Iterator<Item = Pod> {
    held.pods.iter().map(|(uid, name)| Pod {
        namespace: held.namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
    })
}

/// What the user is told where the driver is in use and nothing is forced.
pub(super) fn refusal(driver: &str, held: &[Held]) -> String {
    format!(
        "devices of the driver {driver} are allocated to {}\n\
         Nothing was deleted. Delete these pods, and the claims that are reserved for no pod; then uninstall again. \
         Or have the pods deleted for you: set `uninstall.force=true` with `helm upgrade`, then uninstall again.",
        listed(held)
    )
}

/// What the user is told where claims are still held when the time is over.
pub(super) fn too_late(driver: &str, held: &[Held]) -> String {
    format!(
        "devices of the driver {driver} are still allocated to {}\n\
         The plugins go on running. A pod that does not end: see `kubectl describe pod`, and delete what makes it anew. \
         A claim that is reserved for no pod: delete it. Then uninstall again.",
        listed(held)
    )
}

fn listed(held: &[Held]) -> String {
    let claims = if held.len() == 1 { "claim" } else { "claims" };
    let mut text = format!("{} {claims}:", held.len());
    for held in held {
        let _ = write!(text, "\n  {}", held.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DRIVER: &str = "gpu.example.com";

    fn claim(name: &str, drivers: &[&str], consumers: Value) -> ResourceClaim {
        let results: Vec<Value> = drivers
            .iter()
            .map(|driver| json!({"request": "gpu", "driver": driver, "pool": "p", "device": "d"}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "team", "name": name},
            "spec": {},
            "status": {"allocation": {"devices": {"results": results}}, "reservedFor": consumers},
        }))
        .unwrap()
    }

    fn pod(name: &str) -> Value {
        json!({"resource": "pods", "name": name, "uid": format!("uid-{name}")})
    }

    #[test]
    fn claims_with_a_result_of_the_driver_are_held() {
        let unallocated: ResourceClaim =
            serde_json::from_value(json!({"metadata": {"namespace": "team", "name": "new"}, "spec": {}}))
                .unwrap();
        let without_devices: ResourceClaim = serde_json::from_value(json!({
            "metadata": {"namespace": "team", "name": "empty"}, "spec": {}, "status": {"allocation": {}},
        }))
        .unwrap();
        let cases = [
            ("allocated", claim("c", &[DRIVER], json!([])), true),
            ("of several drivers", claim("c", &["nic.example.com", DRIVER], json!([])), true),
            ("another driver's", claim("c", &["nic.example.com"], json!([pod("p")])), false),
            ("a name that begins alike", claim("c", &["gpu.example.com.au"], json!([])), false),
            ("not allocated", unallocated, false),
            ("an allocation without devices", without_devices, false),
        ];
        for (name, claim, wanted) in cases {
            assert_eq!(!held(DRIVER, &[claim]).is_empty(), wanted, "{name}");
        }
    }

    #[test]
    fn each_pod_is_ended_once() {
        let claims = [
            claim("two", &[DRIVER], json!([pod("b"), pod("a")])),
            claim("one", &[DRIVER], json!([pod("a")])),
            claim("other", &["nic.example.com"], json!([pod("c")])),
            claim(
                "job",
                &[DRIVER],
                json!([{"apiGroup": "batch", "resource": "jobs", "name": "j", "uid": "u"}]),
            ),
        ];
        let wanted: Vec<Pod> = ["a", "b"]
            .map(|name| Pod { namespace: "team".into(), name: name.into(), uid: format!("uid-{name}") })
            .into();
        assert_eq!(pods(&held(DRIVER, &claims)), wanted);
    }

    #[test]
    fn the_refusal_names_each_claim_and_what_to_do() {
        let claims = [
            claim("training", &[DRIVER], json!([pod("trainer-0"), pod("trainer-1")])),
            claim("left", &[DRIVER], json!([])),
            claim(
                "job",
                &[DRIVER],
                json!([{"apiGroup": "batch", "resource": "jobs", "name": "j", "uid": "u"}]),
            ),
        ];
        let text = refusal(DRIVER, &held(DRIVER, &claims));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "devices of the driver gpu.example.com are allocated to 3 claims:",
                "  team/training: reserved for pod trainer-0, pod trainer-1",
                "  team/left: reserved for no pod",
                "  team/job: reserved for jobs/j",
            ]
        );
        assert!(
            lines[4].starts_with("Nothing was deleted.") && lines[4].contains("uninstall.force=true"),
            "{text}"
        );
        let late = too_late(DRIVER, &held(DRIVER, &claims[..1]));
        assert!(late.contains("still allocated to 1 claim:\n  team/training: "), "{late}");
    }
}
