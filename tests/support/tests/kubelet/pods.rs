//! Pods for the tests.

use support::kubelet::{AllocationResult, Container, ContainerClaim, Pod, PodClaim};

/// A pod named `name`, of UID `<name>-uid`, with one container that uses all its claims.
pub(crate) fn pod(name: &str, claims: Vec<PodClaim>) -> Pod {
    let uid = format!("{name}-uid");
    let uses =
        claims.iter().map(|claim| ContainerClaim { claim: claim.pod_claim_name.clone(), request: None });
    let containers = vec![Container { name: "main".to_owned(), init: false, claims: uses.collect() }];
    let claims = claims.into_iter().map(|mut claim| {
        claim.reserved_for.push(uid.clone());
        claim
    });
    Pod { namespace: "ns".to_owned(), name: name.to_owned(), claims: claims.collect(), containers, uid }
}

/// A claim named `name`, of UID `<name>-uid`, allocated from `drivers`.
pub(crate) fn claim(name: &str, drivers: &[&str]) -> PodClaim {
    let results = drivers.iter().map(|&driver| AllocationResult {
        driver: driver.to_owned(),
        pool: "pool".to_owned(),
        device: "device".to_owned(),
        request: "gpu".to_owned(),
        ..AllocationResult::default()
    });
    PodClaim {
        pod_claim_name: format!("my-{name}"),
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        reserved_for: Vec::new(),
        results: results.collect(),
    }
}
