//! Pods that use GPUs of a release.

use std::collections::BTreeSet;

use e2e::api::{Space, log_until, make, phase, wait};
use e2e::gpu::IMAGE;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use kube::api::ListParams;
use serde_json::{Value, json};

/// Makes a template for claims of one GPU, `one`.
pub(crate) async fn template(space: &Space, class: &str) {
    let requests = json!([{"name": "gpu", "exactly": {"deviceClassName": class}}]);
    let manifest =
        json!({"metadata": {"name": "one"}, "spec": {"spec": {"devices": {"requests": requests}}}});
    make::<ResourceClaimTemplate>(&space.api(), manifest).await;
}

/// Makes a pod with a claim by the template, which says what it sees and then runs a script.
pub(crate) async fn pod(space: &Space, name: &str, then: &str) {
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}],
        "containers": [{
            "name": "main", "image": IMAGE,
            "command": ["sh", "-c", format!("nvidia-smi -L; echo end; {then}")],
            "resources": {"claims": [{"name": "gpu"}]},
        }],
    });
    space.pod(name, "", spec).await;
}

/// Waits until a container of a pod has listed its GPUs, and returns their UUIDs.
pub(crate) async fn sees(space: &Space, pod: &str, container: &str) -> BTreeSet<String> {
    wait(&space.api::<Pod>(), pod, "run", |pod: Option<&Pod>| {
        matches!(phase(pod), Some("Running" | "Succeeded" | "Failed"))
    })
    .await;
    let ended = |log: &str| log.lines().any(|line| line == "end");
    let log = log_until(space, pod, container, "its last line", ended).await;
    uuids(&log)
}

/// The UUIDs that nvidia-smi has listed.
pub(crate) fn uuids(log: &str) -> BTreeSet<String> {
    let gpus = log.lines().filter(|line| line.starts_with("GPU "));
    gpus.filter_map(|line| Some(line.split_once("(UUID: ")?.1.strip_suffix(')')?.to_owned())).collect()
}

/// The warnings of the kubelet about claims that could not be prepared.
pub(crate) async fn failed_prepares(space: &Space) -> Vec<String> {
    let params = ListParams::default().fields("reason=FailedPrepareDynamicResources");
    let events = space.api::<Event>().list(&params).await.unwrap();
    events.items.into_iter().filter_map(|event| event.message).collect()
}

/// The devices that are allocated to the claims of a namespace, by the claims' names.
pub(crate) async fn allocated(space: &Space) -> Vec<(String, Vec<String>)> {
    let claims = space.api::<ResourceClaim>().list(&ListParams::default()).await.unwrap();
    let of = |claim: ResourceClaim| {
        let allocation = claim.status.and_then(|status| status.allocation?.devices?.results);
        let devices: Vec<String> = allocation.into_iter().flatten().map(|result| result.device).collect();
        (claim.metadata.name.unwrap_or_default(), devices)
    };
    claims.items.into_iter().map(of).filter(|(_, devices)| !devices.is_empty()).collect()
}

/// What the API has of a pod's containers that a restart would change.
pub(crate) async fn containers(space: &Space, pod: &str) -> Value {
    let pod = space.api::<Pod>().get(pod).await.unwrap();
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let of = |status: k8s_openapi::api::core::v1::ContainerStatus| {
        json!([status.container_id, status.restart_count])
    };
    assert!(!statuses.is_empty(), "the pod has no container yet");
    Value::Array(statuses.into_iter().map(of).collect())
}
