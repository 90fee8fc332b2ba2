//! What the kubelet remembers of the claims on its node.

use std::collections::{BTreeMap, BTreeSet};

use dra_kubelet_proto::dra::v1;

use super::{
    error::{PrepareError, UnprepareError},
    pods::{Container, Pod},
};

/// The claims of one call for each driver.
pub(super) type Batches = BTreeMap<String, Vec<v1::Claim>>;

/// All claims that pods use, or used and that are not unprepared yet; by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<(String, String), Entry>);

#[derive(Debug)]
struct Entry {
    uid: String,
    pods: BTreeSet<String>,
    /// The drivers of the claim's allocation, with the devices that each answered.
    drivers: BTreeMap<String, Vec<v1::Device>>,
    prepared: bool,
}

impl Claims {
    /// Notes that `pod` uses its claims, and says which of them must be prepared.
    ///
    /// # Errors
    ///
    /// [`PrepareError::OldClaim`]; the claims before it in the pod stay noted.
    pub(super) fn begin_prepare(&mut self, pod: &Pod) -> Result<Batches, PrepareError> {
        let mut batches = Batches::new();
        for claim in &pod.claims {
            let entry = self.0.entry((pod.namespace.clone(), claim.name.clone())).or_insert_with(|| Entry {
                uid: claim.uid.clone(),
                pods: BTreeSet::new(),
                drivers: claim.results.iter().map(|r| (r.driver.clone(), Vec::new())).collect(),
                prepared: false,
            });
            if entry.uid != claim.uid {
                return Err(PrepareError::OldClaim { claim: claim.name.clone(), old_uid: entry.uid.clone() });
            }
            entry.pods.insert(pod.uid.clone());
            if entry.prepared {
                continue;
            }
            for driver in entry.drivers.keys() {
                batches.entry(driver.clone()).or_default().push(v1::Claim {
                    namespace: pod.namespace.clone(),
                    uid: claim.uid.clone(),
                    name: claim.name.clone(),
                });
            }
        }
        Ok(batches)
    }

    /// Takes in a driver's answer. Devices are added to those of earlier answers, as the kubelet does: a claim
    /// that is prepared again has them twice.
    ///
    /// # Errors
    ///
    /// The first claim of the answer that failed or was not asked about, then too few answers; the claims before
    /// it stay noted.
    pub(super) fn answered(
        &mut self,
        driver: &str,
        asked: &[v1::Claim],
        answer: v1::NodePrepareResourcesResponse,
    ) -> Result<(), PrepareError> {
        let answers = answer.claims.len();
        for (uid, result) in answer.claims {
            let Some(claim) = asked.iter().find(|claim| claim.uid == uid) else {
                return Err(PrepareError::UnknownClaim { uid });
            };
            if !result.error.is_empty() {
                return Err(PrepareError::Claim { claim: claim.name.clone(), error: result.error });
            }
            if let Some(entry) = self.0.get_mut(&key(claim)) {
                entry.drivers.entry(driver.to_owned()).or_default().extend(result.devices);
            }
        }
        match asked.len() - answers {
            0 => Ok(()),
            skipped => Err(PrepareError::Skipped(skipped)),
        }
    }

    /// Notes that all drivers prepared the claims of `batches`.
    pub(super) fn prepared(&mut self, batches: &Batches) {
        for claim in batches.values().flatten() {
            if let Some(entry) = self.0.get_mut(&key(claim)) {
                entry.prepared = true;
            }
        }
    }

    /// The CDI devices of a container, in order of the pod's claims.
    pub(super) fn cdi_devices(&self, pod: &Pod, container: &Container) -> Vec<String> {
        let mut ids = Vec::new();
        for claim in &pod.claims {
            let Some(entry) = self.0.get(&(pod.namespace.clone(), claim.name.clone())) else { continue };
            for wanted in container.claims.iter().filter(|wanted| wanted.claim == claim.pod_claim_name) {
                let request = wanted.request.as_deref().unwrap_or_default();
                let devices = entry.drivers.values().flatten().filter(|device| {
                    request.is_empty()
                        || device.request_names.is_empty()
                        || device.request_names.iter().any(|name| name == request)
                });
                ids.extend(devices.flat_map(|device| device.cdi_device_ids.iter().cloned()));
            }
        }
        ids
    }

    /// Notes that the pod no longer uses `names`, but for the claims that no other pod uses: those must be
    /// unprepared first, and are answered.
    pub(super) fn begin_unprepare(&mut self, pod_uid: &str, namespace: &str, names: &[String]) -> Batches {
        let mut batches = Batches::new();
        for name in names {
            let Some(entry) = self.0.get_mut(&(namespace.to_owned(), name.clone())) else { continue };
            if entry.pods.len() > 1 {
                entry.pods.remove(pod_uid);
                continue;
            }
            for driver in entry.drivers.keys() {
                batches.entry(driver.clone()).or_default().push(v1::Claim {
                    namespace: namespace.to_owned(),
                    uid: entry.uid.clone(),
                    name: name.clone(),
                });
            }
        }
        batches
    }

    /// Forgets the claims of `batches`, which all drivers unprepared.
    pub(super) fn unprepared(&mut self, batches: &Batches) {
        for claim in batches.values().flatten() {
            self.0.remove(&key(claim));
        }
    }

    /// What a restart of the kubelet leaves: the claims with their pods and devices, none of them prepared.
    pub(super) fn restart(&mut self) {
        for entry in self.0.values_mut() {
            entry.prepared = false;
        }
    }
}

/// Looks at a driver's answer to `NodeUnprepareResources`.
///
/// # Errors
///
/// The first claim of the answer that failed or was not asked about, then too few answers.
pub(super) fn check_unprepare(
    asked: &[v1::Claim],
    answer: v1::NodeUnprepareResourcesResponse,
) -> Result<(), UnprepareError> {
    let answers = answer.claims.len();
    for (uid, result) in answer.claims {
        let Some(claim) = asked.iter().find(|claim| claim.uid == uid) else {
            return Err(UnprepareError::UnknownClaim { uid });
        };
        if !result.error.is_empty() {
            return Err(UnprepareError::Claim { claim: claim.name.clone(), error: result.error });
        }
    }
    match asked.len() - answers {
        0 => Ok(()),
        skipped => Err(UnprepareError::Skipped(skipped)),
    }
}

fn key(claim: &v1::Claim) -> (String, String) {
    (claim.namespace.clone(), claim.name.clone())
}
