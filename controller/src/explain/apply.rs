//! Applies changes to a copy of the cluster.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::api::resource::v1::DeviceToleration;

use super::Asked;
use super::remedy::{Change, Changed};
use super::rules::{Rule, is_of};
use crate::cluster::{Cluster, Name, Shared};
use crate::model::intern::{Counters, Device};
use crate::model::object::{CelSelector, Claim, DeviceRequest, Node, Selector};
use crate::model::pod::Pod;
use crate::model::pool::{PoolId, Slice};

/// The cluster, and what is asked about, with all changes.
pub(super) fn all(changes: &[Change], cluster: &Cluster, asked: &Asked<'_>) -> (Cluster, Changed) {
    let mut cluster = cluster.clone();
    let mut changed =
        Changed { pod: asked.pod.cloned(), claims: asked.claims.iter().copied().cloned().collect() };
    // Those behind others first: the numbers of the others stay what they are.
    let mut dropped: Vec<(&Name, usize)> = Vec::new();
    for change in changes {
        match change {
            Change::DropConstraint { claim, index, .. } => dropped.push((claim, *index)),
            other => one(other, &mut cluster, &mut changed),
        }
    }
    dropped.sort_by_key(|(_, index)| std::cmp::Reverse(*index));
    for (name, index) in dropped {
        if let Some(claim) = claim_of(&mut changed, name) {
            let constraints = &mut Arc::make_mut(&mut claim.spec).devices.constraints;
            if index < constraints.len() {
                constraints.remove(index);
            }
        }
    }
    (cluster, changed)
}

fn one(change: &Change, cluster: &mut Cluster, changed: &mut Changed) {
    match change {
        Change::FinishPool { pool } => set_newest(cluster, pool, |_| {}),
        Change::MendPool { pool } => set_newest(cluster, pool, mend),
        Change::Tolerate { claim, request, key, value, effect } => {
            let toleration = DeviceToleration {
                key: Some(key.to_string()),
                operator: Some("Equal".to_owned()),
                value: Some(value.to_string()),
                effect: Some(effect.to_string()),
                ..DeviceToleration::default()
            };
            in_request(changed, claim, request, |ask| {
                ask.tolerations.get_or_insert_default().push(toleration.clone());
            });
        }
        Change::Release { claim: Some(claim), .. } => release(claim, cluster, changed),
        // Who may not be named cannot be found.
        Change::Release { claim: None, .. } | Change::DropConstraint { .. } => {}
        Change::UseClass { claim, request, class } => {
            in_request(changed, claim, request, |ask| ask.device_class_name = Arc::clone(class));
        }
        Change::Count { claim, request, count } => {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            in_request(changed, claim, request, |ask| ask.count = count);
        }
        Change::Capacity { claim, request, capacity, amount } => {
            let Ok(amount) = amount.parse() else { return };
            in_request(changed, claim, request, |ask| {
                if let Some(capacities) = &mut ask.capacity {
                    capacities.requests.insert(Arc::clone(capacity), amount);
                }
            });
        }
        Change::Selector { claim: Some(claim), request: Some(request), number, expression, .. } => {
            in_request(changed, claim, request, |ask| set_selector(&mut ask.selectors, *number, expression));
        }
        Change::Selector { class, number, expression, .. } => {
            let class = class.as_ref().and_then(|class| cluster.classes().get(class)).cloned();
            if let Some(mut class) = class {
                set_selector(&mut class.spec.selectors, *number, expression);
                cluster.apply_class(class);
            }
        }
        Change::FreeReservation { claim } => {
            if let Some(claim) = claim_of(changed, claim) {
                claim.status.reserved_for.pop();
            }
        }
        Change::Uncordon { node } => heal(cluster, node, &Rule::Cordoned),
        Change::NodeReady { node } => heal(cluster, node, &Rule::NotReady),
        Change::DropNodeRule { .. } | Change::TolerateNode { .. } | Change::OpenGates => {
            if let Some(pod) = &mut changed.pod {
                in_pod(change, pod);
            }
        }
    }
}

fn in_pod(change: &Change, pod: &mut Pod) {
    match change {
        Change::DropNodeRule { label: Some(label) } => {
            pod.spec.node_selector.remove(&**label);
        }
        Change::DropNodeRule { label: None } => {
            pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution = None;
        }
        Change::TolerateNode { key, value, effect } => pod.spec.tolerations.push(Toleration {
            key: Some(key.to_string()),
            operator: Some("Equal".to_owned()),
            value: Some(value.to_string()),
            effect: Some(effect.to_string()),
            ..Toleration::default()
        }),
        Change::OpenGates => pod.spec.scheduling_gates.clear(),
        _ => {}
    }
}

fn claim_of<'c>(changed: &'c mut Changed, name: &Name) -> Option<&'c mut Claim> {
    changed
        .claims
        .iter_mut()
        .find(|claim| claim.metadata.name == name.name && claim.metadata.namespace == name.namespace)
}

/// Changes what a request, or a sub-request, asks for.
fn in_request(changed: &mut Changed, claim: &Name, name: &str, change: impl FnOnce(&mut DeviceRequest)) {
    let Some(claim) = claim_of(changed, claim) else { return };
    let spec = Arc::make_mut(&mut claim.spec);
    let (name, sub) = name.split_once('/').map_or((name, None), |(name, sub)| (name, Some(sub)));
    let Some(request) = spec.devices.requests.iter_mut().find(|request| *request.name == *name) else {
        return;
    };
    let ask = match sub {
        Some(sub) => request.first_available.iter_mut().find(|ask| *ask.name == *sub),
        None => request.exactly.as_mut(),
    };
    if let Some(ask) = ask {
        change(ask);
    }
}

/// Puts something else in a selector's place: what says nothing, where it is to go. So others keep their numbers.
fn set_selector(selectors: &mut [Selector], number: usize, expression: &Option<Arc<str>>) {
    let expression = expression.clone().unwrap_or_else(|| "true".into());
    if let Some(selector) = number.checked_sub(1).and_then(|index| selectors.get_mut(index)) {
        selector.cel = Some(CelSelector { expression });
    }
}

fn release(name: &Name, cluster: &mut Cluster, changed: &mut Changed) {
    if let Some(held) = cluster.claims().get(name) {
        let mut claim = Claim::clone(held);
        claim.status = Default::default();
        cluster.apply_claim(claim, &mut Shared::default());
    }
    if let Some(claim) = claim_of(changed, name) {
        claim.status = Default::default();
    }
}

fn heal(cluster: &mut Cluster, node: &str, rule: &Rule) {
    let Some(node) = cluster.nodes().get(node) else { return };
    let mut node = Node::clone(node);
    node.spec.taints.retain(|taint| !is_of(rule, taint));
    if *rule == Rule::Cordoned {
        node.spec.unschedulable = false;
    }
    cluster.apply_node(node);
}

/// Puts the slices of a pool's newest generation in place of all, as if they were all that there are.
fn set_newest(cluster: &mut Cluster, pool: &PoolId, change: impl FnOnce(&mut [Slice])) {
    let Some(known) = cluster.inventory().pool(pool) else { return };
    let newest = known.slices().filter(|slice| slice.generation == known.generation());
    let mut slices: Vec<Slice> = newest.cloned().collect();
    change(&mut slices);
    let count = i64::try_from(slices.len()).unwrap_or(i64::MAX);
    slices.iter_mut().for_each(|slice| slice.count = count);
    cluster.set_pool(pool.clone(), slices.into_iter().map(Arc::new).collect());
}

/// Takes out what contradicts: devices and sets of counters whose names are there already, and devices that take from
/// counters which are not there.
fn mend(slices: &mut [Slice]) {
    let mut sets = HashSet::new();
    for slice in slices.iter_mut() {
        let counters = std::mem::take(&mut slice.counters).into_vec().into_iter();
        slice.counters = counters.filter(|set| sets.insert(Arc::clone(&set.set))).collect();
    }
    let known: BTreeMap<Arc<str>, Counters> = slices
        .iter()
        .flat_map(|slice| slice.counters.iter().map(|set| (Arc::clone(&set.set), set.clone())))
        .collect();
    let is_known = |taken: &Counters| {
        known.get(&taken.set).is_some_and(|set| {
            taken.amounts.iter().all(|(name, _)| set.amounts.iter().any(|(other, _)| other == name))
        })
    };
    let mut names = HashSet::new();
    for slice in slices.iter_mut() {
        let devices = std::mem::take(&mut slice.devices).into_vec().into_iter();
        let stays = |device: &Device| {
            device.shape.counters.iter().all(is_known) && names.insert(Arc::clone(&device.name))
        };
        slice.devices = devices.filter(stays).collect();
    }
}
