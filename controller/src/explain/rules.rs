//! Where a pod may run, whatever devices there are: its own rules, the nodes' taints, and claims that bind it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Toleration;

use crate::model::node::NodeFilter;
use crate::model::object::{Claim, Node, Taint};
use crate::model::pod::Pod;

use super::Asked;

/// The taint of a node that takes no new pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taints of a node that does not answer.
const NOT_READY: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// What keeps a pod from a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rule {
    /// The node lacks a label of the pod's node selector.
    Label(Arc<str>, Arc<str>),
    /// The pod's required node affinity does not hold.
    Affinity,
    /// The node does not answer.
    NotReady,
    /// The node takes no new pods.
    Cordoned,
    /// A taint: its key, value and effect.
    Taint(Arc<str>, Arc<str>, Arc<str>),
    /// An allocated claim can only be used on other nodes: which of those that are asked about.
    Elsewhere(usize),
}

impl Rule {
    /// What people are told of a node.
    pub(super) fn says(&self) -> String {
        match self {
            Self::Label(key, value) => format!("lacks the label {key}={value} of the pod's nodeSelector"),
            Self::Affinity => "is excluded by the pod's required node affinity".to_owned(),
            Self::NotReady => "is not Ready".to_owned(),
            Self::Cordoned => "is cordoned".to_owned(),
            Self::Taint(key, value, effect) => {
                format!("has the taint {}, which the pod does not tolerate", taint_text(key, value, effect))
            }
            Self::Elsewhere(_) => "is not where an allocated claim of the pod can be used".to_owned(),
        }
    }
}

/// A taint as people write it.
pub(super) fn taint_text(key: &str, value: &str, effect: &str) -> String {
    if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") }
}

/// Rules that are read once for all nodes.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pod: Option<&'a Pod>,
    affinity: Option<NodeFilter>,
    /// By the claims that are asked about.
    bound: Vec<Option<NodeFilter>>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(asked: &Asked<'a>) -> Self {
        let affinity = asked.pod.and_then(|pod| {
            let affinity = &pod.spec.affinity.node_affinity;
            affinity.required_during_scheduling_ignored_during_execution.clone().map(NodeFilter::new)
        });
        let bound = |claim: &&Claim| {
            let selector = claim.status.allocation.as_ref()?.node_selector.clone()?;
            Some(NodeFilter::new(selector))
        };
        Self { pod: asked.pod, affinity, bound: asked.claims.iter().map(bound).collect() }
    }

    /// All that keeps the pod from a node.
    pub(super) fn against(&self, node: &Node) -> Vec<Rule> {
        let mut rules = Vec::new();
        if let Some(pod) = self.pod {
            for (key, value) in &pod.spec.node_selector {
                if node.metadata.labels.get(key) != Some(value) {
                    rules.push(Rule::Label(key.as_str().into(), value.as_str().into()));
                }
            }
            if let Some(affinity) = &self.affinity
                && !affinity.selects(Some(node)).unwrap_or_default()
            {
                rules.push(Rule::Affinity);
            }
            rules.extend(taints(pod, node));
        }
        for (index, bound) in self.bound.iter().enumerate() {
            if bound.as_ref().is_some_and(|bound| !bound.selects(Some(node)).unwrap_or_default()) {
                rules.push(Rule::Elsewhere(index));
            }
        }
        rules
    }
}

fn taints(pod: &Pod, node: &Node) -> Vec<Rule> {
    let mut rules = Vec::new();
    let cordon = Taint { key: UNSCHEDULABLE.into(), value: "".into(), effect: "NoSchedule".into() };
    let cordon = Some(&cordon).filter(|_| node.spec.unschedulable);
    for taint in node.spec.taints.iter().chain(cordon) {
        let counts = matches!(&*taint.effect, "NoSchedule" | "NoExecute");
        if !counts || pod.spec.tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            continue;
        }
        let rule = match &*taint.key {
            UNSCHEDULABLE => Rule::Cordoned,
            key if NOT_READY.contains(&key) => Rule::NotReady,
            _ => Rule::Taint(Arc::clone(&taint.key), Arc::clone(&taint.value), Arc::clone(&taint.effect)),
        };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

/// Whether a taint keeps no pods away any more when a node is ready again, or takes pods again.
pub(super) fn is_of(rule: &Rule, taint: &Taint) -> bool {
    match rule {
        Rule::Cordoned => &*taint.key == UNSCHEDULABLE,
        Rule::NotReady => NOT_READY.contains(&&*taint.key),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    (effect.is_empty() || *effect == *taint.effect)
        && match text(&toleration.operator).as_str() {
            "Exists" => key.is_empty() || *key == *taint.key,
            "" | "Equal" => *key == *taint.key && *text(&toleration.value) == *taint.value,
            _ => false,
        }
}
