//! Pods, less what has nothing to do with their claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, PodSchedulingGate, Toleration};
use serde::Deserialize;

use super::object::{Condition, Metadata};
use super::written::or_default;

/// A Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// Where it may run, and with which claims.
    #[serde(deserialize_with = "or_default")]
    pub spec: PodSpec,
    /// How far it is.
    #[serde(deserialize_with = "or_default")]
    pub status: PodStatus,
}

/// Where a pod may run, and with which claims.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The node that it was given.
    pub node_name: Option<Arc<str>>,
    /// Labels that its node has to have.
    #[serde(deserialize_with = "or_default")]
    pub node_selector: BTreeMap<String, String>,
    /// What it wants of nodes.
    #[serde(deserialize_with = "or_default")]
    pub affinity: Affinity,
    /// Which taints of nodes do not matter.
    #[serde(deserialize_with = "or_default")]
    pub tolerations: Vec<Toleration>,
    /// Its claims.
    #[serde(deserialize_with = "or_default")]
    pub resource_claims: Vec<PodClaim>,
    /// What has to be taken away before it is scheduled at all.
    #[serde(deserialize_with = "or_default")]
    pub scheduling_gates: Vec<PodSchedulingGate>,
    /// Who schedules it.
    #[serde(deserialize_with = "or_default")]
    pub scheduler_name: Arc<str>,
}

/// What a pod wants of nodes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    /// By what the nodes are.
    #[serde(deserialize_with = "or_default")]
    pub node_affinity: NodeAffinity,
}

/// What a pod wants of nodes, by what they are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinity {
    /// What it insists on.
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// A claim of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodClaim {
    /// What the pod calls it.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// A ResourceClaim.
    pub resource_claim_name: Option<Arc<str>>,
    /// The template of which one is made for the pod.
    pub resource_claim_template_name: Option<Arc<str>>,
}

/// How far a pod is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(deserialize_with = "or_default")]
    pub phase: Arc<str>,
    /// What is known of it.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    /// The claims that were made of templates.
    #[serde(deserialize_with = "or_default")]
    pub resource_claim_statuses: Vec<PodClaimStatus>,
    /// The claim that was made for extended resources.
    #[serde(deserialize_with = "or_default")]
    pub extended_resource_claim_status: ExtendedResourceClaimStatus,
}

/// A claim that was made of a template.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodClaimStatus {
    /// What the pod calls it.
    #[serde(deserialize_with = "or_default")]
    pub name: Arc<str>,
    /// The ResourceClaim: none where the pod needs none.
    pub resource_claim_name: Option<Arc<str>>,
}

/// The claim that was made for a pod's extended resources.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtendedResourceClaimStatus {
    /// The ResourceClaim.
    pub resource_claim_name: Option<Arc<str>>,
}

impl Pod {
    /// The names of its ResourceClaims that are made already, in its namespace.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<str>> {
        let named = self.spec.resource_claims.iter().filter_map(|claim| claim.resource_claim_name.as_ref());
        let made = self.status.resource_claim_statuses.iter();
        let made = made.filter_map(|claim| claim.resource_claim_name.as_ref());
        let extended = self.status.extended_resource_claim_status.resource_claim_name.as_ref();
        named.chain(made).chain(extended)
    }

    /// Whether claims have anything to do with it.
    #[must_use]
    pub fn has_claims(&self) -> bool {
        !self.spec.resource_claims.is_empty() || self.claims().next().is_some()
    }

    /// Whether it is still to be given a node.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.spec.node_name.as_ref().is_none_or(|name| name.is_empty()) && !self.has_ended()
    }

    /// Whether it has run.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }
}
