//! A pod of the API server with its ResourceClaims.

use k8s_openapi::{
    api::{
        core::v1::{self as core, PodResourceClaim},
        resource::v1::ResourceClaim,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client};

use super::{
    error::PrepareError,
    pods::{AllocationResult, Container, ContainerClaim, Pod, PodClaim},
};

/// Reads a pod and its ResourceClaims from the API server, as the kubelet does before it prepares them.
///
/// # Errors
///
/// The pod or a ResourceClaim cannot be read, a ResourceClaim was not made yet or belongs to another pod; in the
/// kubelet's words where it has some.
pub async fn read_pod(client: &Client, namespace: &str, name: &str) -> Result<Pod, PrepareError> {
    let pod = Api::<core::Pod>::namespaced(client.clone(), namespace)
        .get(name)
        .await
        .map_err(|error| PrepareError::Pod(format!("get pod {namespace}/{name}: {error}")))?;
    let api: Api<ResourceClaim> = Api::namespaced(client.clone(), namespace);
    let mut claims = Vec::new();
    for entry in entries(&pod) {
        let Some((claim_name, from_template)) = claim_name(&pod, &entry)? else { continue };
        let claim = api
            .get(&claim_name)
            .await
            .map_err(|error| PrepareError::Fetch { claim: claim_name.clone(), error: words(error) })?;
        if from_template && !is_owner(&pod.metadata, &claim.metadata) {
            return Err(PrepareError::Pod(format!(
                "ResourceClaim {namespace}/{claim_name} was not created for Pod {namespace}/{name} (Pod is not owner)"
            )));
        }
        claims.push(pod_claim(entry.name, claim));
    }
    Ok(Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        claims,
        containers: containers(&pod),
    })
}

/// The pod's `spec.resourceClaims`, then the claim that was made for extended resources, which has no name here.
fn entries(pod: &core::Pod) -> Vec<PodResourceClaim> {
    let mut entries = pod.spec.as_ref().and_then(|spec| spec.resource_claims.clone()).unwrap_or_default();
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    entries.extend(extended.map(|extended| PodResourceClaim {
        resource_claim_name: Some(extended.resource_claim_name.clone()),
        ..PodResourceClaim::default()
    }));
    entries
}

/// The name of an entry's ResourceClaim, and whether it was made from a template. `None` if none is needed.
fn claim_name(pod: &core::Pod, entry: &PodResourceClaim) -> Result<Option<(String, bool)>, PrepareError> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some((name.clone(), false)));
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    match statuses.into_iter().flatten().find(|status| status.name == entry.name) {
        Some(status) => Ok(status.resource_claim_name.clone().map(|name| (name, true))),
        None => Err(PrepareError::Pod(format!(
            "pod \"{}/{}\": ResourceClaim not created yet",
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default()
        ))),
    }
}

fn is_owner(pod: &ObjectMeta, claim: &ObjectMeta) -> bool {
    let mut owners = claim.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.uid.as_ref())
}

fn pod_claim(pod_claim_name: String, claim: ResourceClaim) -> PodClaim {
    let status = claim.status.unwrap_or_default();
    let devices = status.allocation.and_then(|allocation| allocation.devices);
    let results = devices.and_then(|devices| devices.results).unwrap_or_default();
    PodClaim {
        pod_claim_name,
        name: claim.metadata.name.unwrap_or_default(),
        uid: claim.metadata.uid.unwrap_or_default(),
        reserved_for: status.reserved_for.into_iter().flatten().map(|consumer| consumer.uid).collect(),
        results: results
            .into_iter()
            .map(|result| AllocationResult {
                driver: result.driver,
                pool: result.pool,
                device: result.device,
                request: result.request,
                share_id: result.share_id,
                admin_access: result.admin_access.unwrap_or_default(),
            })
            .collect(),
    }
}

fn containers(pod: &core::Pod) -> Vec<Container> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let extended = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    let init = spec.init_containers.iter().flatten().map(|container| (true, container));
    init.chain(spec.containers.iter().map(|container| (false, container)))
        .map(|(init, container)| {
            let named = container.resources.iter().flat_map(|resources| resources.claims.iter().flatten());
            let mut claims: Vec<ContainerClaim> = named
                .map(|claim| ContainerClaim { claim: claim.name.clone(), request: claim.request.clone() })
                .collect();
            let mappings = extended.iter().flat_map(|extended| &extended.request_mappings);
            claims.extend(mappings.filter(|mapping| mapping.container_name == container.name).map(
                |mapping| ContainerClaim {
                    claim: String::new(),
                    request: Some(mapping.request_name.clone()),
                },
            ));
            Container { name: container.name.clone(), init, claims }
        })
        .collect()
}

/// The API server's words, without the client's around them.
fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
