//! Puts an explanation together.

use std::sync::Arc;

use super::blocker::Blocker;
use super::details::blocker_of;
use super::finding::{Finding, What};
use super::look::look;
use super::query::{Ask, Query};
use super::remedy::{Change, Remedy};
use super::repair::{self, completed};
use super::rules::Rule;
use super::survey::{Group, Outcome, Survey, survey};
use super::trial::Budget;
use super::{Explanation, search};
use crate::allocator::AllocationError;
use crate::cluster::Name;

/// How many ways are tried on the whole cluster.
const WAYS: usize = 3;
/// How many nodes are named.
const NODES: usize = 5;

/// The answer to a question.
pub(super) fn answer(query: &Query<'_>) -> Explanation {
    let explanation = answered(query);
    let claim = explanation.findings.iter().find(|one| one.reason == explanation.blocker);
    let of = |claim: &Option<Name>, request: &Option<Arc<str>>| {
        let asks = query.asks();
        let found = asks.into_iter().find(|ask| {
            Some(ask.claim_name()) == *claim && request.as_ref().is_none_or(|name| *name == ask.name)
        });
        found.map(|ask| (ask.claim_name(), Arc::clone(&ask.ask.device_class_name)))
    };
    match claim.and_then(|finding| of(&finding.claim, &finding.request)) {
        Some((claim, class)) => Explanation { claim: Some(claim), device_class: class, ..explanation },
        None => explanation,
    }
}

fn answered(query: &Query<'_>) -> Explanation {
    let nodes = query.nodes().len();
    let start = Explanation { nodes, ..Explanation::unexplained(&query.asked) };
    let said =
        |blocker, findings: Vec<Finding>, remedy| Explanation { blocker, findings, remedy, ..start.clone() };
    let missing = unmade(query);
    if !missing.is_empty() {
        return said(Blocker::Scheduler, vec![fits(0, None, missing)], None);
    }
    if let Some(full) = query.full() {
        let full = Name::of(&full.metadata);
        let base = vec![vec![Change::FreeReservation { claim: full.clone() }]];
        let finding = plain(Blocker::ReservedFull, What::ReservedFull { full });
        return said(Blocker::ReservedFull, vec![finding], completed(query, &base));
    }
    let (classes, base) = classes_missing(query);
    if !classes.is_empty() {
        let remedy = base.and_then(|base| completed(query, &[base]));
        return said(Blocker::ClassMissing, classes, remedy);
    }
    let survey = survey(query);
    if survey.looked_at < survey.nodes {
        let finding = plain(Blocker::NoAnswer, What::NoAnswer { looked_at: survey.looked_at });
        return said(Blocker::NoAnswer, vec![finding], None);
    }
    let findings = || all_findings(query, &survey);
    if let Some(error) = hard_error(&survey) {
        let blocker = blocker_of(error);
        let findings = sorted(findings(), Some(blocker));
        return said(blocker, findings, completed(query, &repair::of(query, error)));
    }
    let open = survey.groups.iter().filter(|group| group.is_open() && group.fits());
    let open: Vec<&Group> = open.collect();
    if let Some(first) = open.first() {
        let held_by = held_back(query);
        let count = open.iter().map(|group| group.nodes.len()).sum();
        let node = Arc::clone(&first.node().metadata.name);
        let has_gates = query.asked.pod.is_some_and(|pod| !pod.spec.scheduling_gates.is_empty());
        let remedy =
            has_gates.then(|| Remedy { changes: vec![Change::OpenGates], node: Some(Arc::clone(&node)) });
        return said(Blocker::Scheduler, vec![fits(count, Some(node), held_by)], remedy);
    }
    // First what is in the way: the search for what would help may need all the time that is left.
    let findings = findings();
    if findings.is_empty() {
        let finding = plain(Blocker::NoAnswer, What::NoAnswer { looked_at: survey.looked_at });
        return said(Blocker::NoAnswer, vec![finding], None);
    }
    let budget = Budget::default();
    let ways = search::search(query, &survey, &budget);
    let blocker = blocker(query, &survey, ways.first());
    // What is told to help has to be about what is told to be in the way.
    let ways = ways.into_iter().filter(|way| Some(way.blocker) == blocker).take(WAYS);
    let remedy = ways.filter_map(|way| repair::verified(query, way.changes, &way.node)).next();
    let findings = sorted(findings, blocker);
    let blocker = blocker.unwrap_or_else(|| findings.first().map_or(Blocker::NoAnswer, |one| one.reason));
    said(blocker, findings, remedy)
}

/// What keeps the claims from being allocated, as far as the nearest way tells.
fn blocker(query: &Query<'_>, survey: &Survey, way: Option<&search::Way>) -> Option<Blocker> {
    let is_elsewhere =
        |group: &&Group| group.fits() && !group.is_open() && Query::own_rules(&group.rules).next().is_none();
    let is_bound = survey.groups.iter().any(|group| is_elsewhere(&group));
    // Devices that only the pod's own claims keep it from are nearer than other devices.
    if is_bound && way.is_none_or(|way| way.distance().0 > 2) {
        return Some(Blocker::ClaimElsewhere);
    }
    if let Some(way) = way {
        return Some(way.blocker);
    }
    if query.open.is_empty() && survey.groups.iter().any(|group| has_elsewhere(&group.rules)) {
        return Some(Blocker::ClaimElsewhere);
    }
    let is_barred = survey.groups.iter().any(|group| group.fits());
    is_barred.then_some(Blocker::NodeRules)
}

fn has_elsewhere(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| matches!(rule, Rule::Elsewhere(_)))
}

/// All that is in the way.
fn all_findings(query: &Query<'_>, survey: &Survey) -> Vec<Finding> {
    let open: Vec<&Group> = survey.groups.iter().filter(|group| group.is_open()).collect();
    let mut findings = if !open.is_empty() {
        look(query, &open)
    } else if survey.groups.iter().any(Group::fits) {
        Vec::new()
    } else {
        look(query, &survey.groups.iter().collect::<Vec<_>>())
    };
    findings.extend(rules(query, survey));
    findings
}

/// First what is told to be the reason, then what comes closest.
fn sorted(mut findings: Vec<Finding>, blocker: Option<Blocker>) -> Vec<Finding> {
    findings.sort_by_key(|finding| {
        let is_other = Some(finding.reason) != blocker;
        let is_bare = !matches!(finding.what, What::Node { has_devices: true, .. });
        (is_other, place(finding.reason), is_bare, std::cmp::Reverse(finding.devices))
    });
    findings
}

/// How close it comes when this is all that is in the way.
fn place(blocker: Blocker) -> usize {
    const ORDER: [Blocker; 15] = [
        Blocker::InUse,
        Blocker::Counters,
        Blocker::Capacity,
        Blocker::DeviceTaint,
        Blocker::PoolIncomplete,
        Blocker::PoolInvalid,
        Blocker::Constraint,
        Blocker::Together,
        Blocker::TooFewDevices,
        Blocker::RequestSelector,
        Blocker::ClassSelector,
        Blocker::SelectorError,
        Blocker::ClaimElsewhere,
        Blocker::NodeRules,
        Blocker::NoDevices,
    ];
    ORDER.iter().position(|one| *one == blocker).unwrap_or(ORDER.len())
}

/// What keeps the pod from nodes.
fn rules(query: &Query<'_>, survey: &Survey) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut add = |reason, what: What, group: &Group| match findings.iter_mut().find(|one| one.what == what) {
        Some(known) => known.nodes += group.nodes.len(),
        None => {
            let node = Some(Arc::clone(&group.node().metadata.name));
            findings.push(Finding { nodes: group.nodes.len(), node, ..plain(reason, what) });
        }
    };
    for group in survey.groups.iter().filter(|group| !group.is_open()) {
        let rules: Vec<Arc<str>> = Query::own_rules(&group.rules).map(|rule| rule.says().into()).collect();
        if !rules.is_empty() {
            add(Blocker::NodeRules, What::Node { rules, has_devices: group.fits() }, group);
        }
        for rule in &group.rules {
            let Rule::Elsewhere(index) = rule else { continue };
            let Some(claim) = query.asked.claims.get(*index) else { continue };
            let nodes = survey.groups.iter().filter(|other| !other.rules.contains(rule));
            let nodes = nodes.flat_map(|other| &other.nodes).map(|node| Arc::clone(&node.metadata.name));
            let bound = Name::of(&claim.metadata);
            let what = What::Elsewhere { bound, nodes: nodes.take(NODES).collect() };
            add(Blocker::ClaimElsewhere, what, group);
        }
    }
    findings
}

/// What ends the scheduling of the pod, wherever else it might run.
fn hard_error(survey: &Survey) -> Option<&AllocationError> {
    survey.groups.iter().filter(|group| group.is_open()).find_map(|group| match &group.outcome {
        Outcome::Error(error) if !error.is_about_one_node() => Some(error),
        _ => None,
    })
}

/// Classes that are not there, and what the requests would have to name instead.
fn classes_missing(query: &Query<'_>) -> (Vec<Finding>, Option<Vec<Change>>) {
    let classes = query.cluster.classes();
    let mut findings = Vec::new();
    let mut changes = Some(Vec::new());
    for ask in query.asks() {
        let class = &ask.ask.device_class_name;
        if class.is_empty() || classes.get(class).is_some() {
            continue;
        }
        let nearest = super::nearest::nearest(class, classes.all().map(|class| &class.metadata.name));
        let what = What::ClassMissing { class: Arc::clone(class), nearest: nearest.cloned() };
        let finding = plain(Blocker::ClassMissing, what);
        findings.push(Finding {
            claim: Some(ask.claim_name()),
            request: Some(Arc::clone(&ask.name)),
            ..finding
        });
        changes = changes.zip(nearest).map(|(mut changes, class)| {
            changes.push(use_class(&ask, class));
            changes
        });
    }
    (findings, changes)
}

fn use_class(ask: &Ask<'_>, class: &Arc<str>) -> Change {
    Change::UseClass { claim: ask.claim_name(), request: Arc::clone(&ask.name), class: Arc::clone(class) }
}

/// Claims of the pod that are not there: the scheduler waits for them.
fn unmade(query: &Query<'_>) -> Vec<Arc<str>> {
    let Some(pod) = query.asked.pod else { return Vec::new() };
    let is_there = |name: &Arc<str>| query.asked.claims.iter().any(|claim| claim.metadata.name == *name);
    let made = &pod.status.resource_claim_statuses;
    let unmade = pod.spec.resource_claims.iter().filter_map(|claim| {
        if let Some(name) = &claim.resource_claim_name {
            return (!is_there(name)).then(|| format!("ResourceClaim {name} does not exist"));
        }
        match made.iter().find(|made| made.name == claim.name) {
            Some(made) => {
                let name = made.resource_claim_name.as_ref()?;
                (!is_there(name)).then(|| format!("ResourceClaim {name} does not exist"))
            }
            None => {
                let template = claim.resource_claim_template_name.as_deref().unwrap_or_default();
                Some(format!("no ResourceClaim was made of the ResourceClaimTemplate {template} yet"))
            }
        }
    });
    unmade.map(Arc::from).collect()
}

/// What else is seen to hold a pod back.
fn held_back(query: &Query<'_>) -> Vec<Arc<str>> {
    let Some(pod) = query.asked.pod else {
        return vec!["no pod that uses the claim is waiting, and claims are allocated for pods only".into()];
    };
    let mut held_by = Vec::new();
    let gates: Vec<&str> = pod.spec.scheduling_gates.iter().map(|gate| gate.name.as_str()).collect();
    if !gates.is_empty() {
        held_by.push(format!("the pod has the scheduling gates {}", gates.join(", ")));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        held_by.push("the pod is being deleted".to_owned());
    }
    if let Some(node) = pod.spec.node_name.as_ref().filter(|node| !node.is_empty()) {
        held_by.push(format!("the pod has the node {node} already, so no scheduler allocates its claims"));
    }
    if !matches!(&*pod.spec.scheduler_name, "" | "default-scheduler") {
        held_by.push(format!("the pod waits for the scheduler {}", pod.spec.scheduler_name));
    }
    held_by.into_iter().map(Arc::from).collect()
}

fn plain(reason: Blocker, what: What) -> Finding {
    Finding { reason, claim: None, request: None, what, devices: 0, nodes: 0, node: None }
}

fn fits(nodes: usize, node: Option<Arc<str>>, held_by: Vec<Arc<str>>) -> Finding {
    Finding { nodes, node, ..plain(Blocker::Scheduler, What::Fits { held_by }) }
}
