//! Looks for the nearest change that makes claims fit.
//!
//! Changes are tried by how near they are, on the nodes that come closest. On a node, all changes of one distance are
//! made together with all that are nearer; where the claims fit then, changes that are not needed are taken back one by
//! one, the farthest first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::blocker::Blocker;
use super::edits;
use super::look::{by_request, free, is_of_others};
use super::query::Query;
use super::remedy::Change;
use super::rules::Rule;
use super::survey::{Group, Survey};
use super::trial::{Budget, Trial};
use crate::allocator::{Allocated, Allocator, Obstacle};
use crate::cluster::Cluster;
use crate::model::object::Node;

/// On how many kinds of nodes changes are tried.
const NODES: usize = 8;
/// How many kinds of nodes are compared before.
const COMPARED: usize = 128;
/// How many changes may have to be made one after the other, because one shows what the next has to be.
const DEPTH: usize = 3;
/// How many first changes are compared, and how many of them are followed.
const COMPARED_FIRST: usize = 16;
const FIRST: usize = 3;
/// How many claims are tried one by one.
const ONE_BY_ONE: usize = 64;

/// A way to make the claims fit.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) changes: Vec<Change>,
    pub(super) node: Arc<Node>,
    /// What was in the way.
    pub(super) blocker: Blocker,
}

impl Way {
    /// How far the farthest change is, and how many there are.
    pub(super) fn distance(&self) -> (u8, usize) {
        let farthest = self.changes.iter().map(Change::distance).max();
        (farthest.unwrap_or_default(), self.changes.len())
    }
}

/// The ways that are found, the nearest first.
pub(super) fn search(query: &Query<'_>, survey: &Survey, budget: &Budget) -> Vec<Way> {
    let mut ways = Vec::new();
    for group in candidates(query, survey, budget) {
        if query.cancel.is_set() {
            break;
        }
        let trial = Trial::new(query, group.node(), &group.rules, budget);
        let Some(changes) = nearest(&trial, DEPTH) else { continue };
        let blocker = blocker(&trial, &changes);
        ways.push(Way { changes, node: Arc::clone(group.node()), blocker });
    }
    ways.sort_by_key(Way::distance);
    ways
}

/// The kinds of nodes that come closest: those on which fewest devices are missing; those first where the pod may run.
fn candidates<'g>(query: &Query<'_>, survey: &'g Survey, budget: &Budget) -> Vec<&'g Group> {
    let mut groups: Vec<&Group> =
        survey.groups.iter().filter(|group| !(group.is_open() && group.fits())).collect();
    if groups.len() > COMPARED {
        // Those first where it is only others that are in the way.
        let nobody = Allocated::default();
        let Cluster { features, .. } = *query.cluster;
        let (inventory, classes) = (query.cluster.inventory(), query.cluster.classes());
        let allocator = Allocator::new(features, inventory, classes, &nobody, query.cache);
        groups.sort_by_cached_key(|group| {
            let found = allocator.fits(Some(group.node()), &query.open, query.cancel);
            (!matches!(found, Ok(Some(_))), !group.is_open())
        });
        groups.truncate(COMPARED);
    }
    let rank = |group: &'g Group| {
        let trial = Trial::new(query, group.node(), &group.rules, budget);
        (missing(&trial), group)
    };
    let mut ranked: Vec<_> = groups.into_iter().map(rank).collect();
    ranked.sort_by_key(|(missing, group)| (!group.fits(), *missing));
    let (open, barred): (Vec<_>, Vec<_>) =
        ranked.into_iter().map(|(_, group)| group).partition(|group| group.is_open());
    open.into_iter().take(NODES).chain(barred.into_iter().take(NODES / 2)).collect()
}

/// How many devices are missing on a node: if taints went and others gave back what they have; if the requests asked
/// for anything of their classes; and as it is.
fn missing(trial: &Trial<'_>) -> [usize; 3] {
    // What the missing slices hold is not known.
    let may_have = trial.inspection.unusable.iter().any(|(pool, _)| trial.query.is_of_pool(pool));
    if trial.inspection.asks.is_empty() {
        return [usize::MAX, if may_have { 0 } else { usize::MAX }, usize::MAX];
    }
    let is_removable = |one: &Obstacle| is_of_others(one) || matches!(one, Obstacle::Taints(_));
    let is_of_request = |one: &Obstacle| {
        !matches!(one, Obstacle::Feature(_) | Obstacle::ClassSelector(_) | Obstacle::OtherNodes)
    };
    let mut sums = [0; 3];
    for request in by_request(&trial.inspection) {
        let of = |could: &dyn Fn(&[Obstacle]) -> bool| {
            let missing = request.iter().map(|ask| {
                let found = ask.devices.iter().filter(|one| could(&one.obstacles)).count();
                ask.wanted.max(1).saturating_sub(found)
            });
            missing.min().unwrap_or_default()
        };
        sums[0] += of(&|obstacles| obstacles.iter().all(is_removable));
        sums[1] += if may_have { 0 } else { of(&|obstacles| obstacles.iter().all(is_of_request)) };
        sums[2] += of(&|obstacles| obstacles.is_empty());
    }
    sums
}

/// The nearest changes that make the claims fit on a node.
fn nearest(trial: &Trial<'_>, depth: usize) -> Option<Vec<Change>> {
    // Without these the pod cannot run there, whatever else changes.
    let rules: Vec<Change> = trial.rules.iter().filter_map(|rule| of_rule(trial, rule)).collect();
    if trial.fits(&rules) {
        return Some(trial.least(rules));
    }
    let mut near = rules.clone();
    let holders = trial.holders();
    let is_own = |change: &Change| matches!(change, Change::Release { is_own: true, .. });
    let releases: Vec<Change> = holders.iter().map(|name| trial.release(name)).collect();
    let (own, others): (Vec<Change>, Vec<Change>) = releases.into_iter().partition(is_own);
    for nearer in [pools(trial), tolerations(trial)] {
        if add(trial, &mut near, nearer) {
            return Some(trial.least(near));
        }
    }
    for releases in [own, others] {
        let before = near.clone();
        if !add(trial, &mut near, releases.clone()) {
            continue;
        }
        // One claim alone, rather than several small ones.
        let with = |release: &Change| [before.as_slice(), std::slice::from_ref(release)].concat();
        let alone = releases.iter().take(ONE_BY_ONE).map(with).find(|changes| trial.fits(changes));
        return Some(trial.least(alone.unwrap_or(near)));
    }
    let is_constrained = !trial.is_short() && trial.fits(&edits::constraints(trial));
    let sets = if is_constrained {
        vec![edits::constraints(trial)]
    } else {
        edits::values(trial).into_iter().chain(edits::drops(trial)).collect()
    };
    for also in [&rules, &near] {
        for set in &sets {
            let changes = [also.as_slice(), set].concat();
            if trial.fits(&changes) {
                return Some(trial.least(changes));
            }
        }
        if rules == near {
            break;
        }
    }
    let pools = pools(trial);
    let firsts = if pools.is_empty() { sets } else { vec![pools] };
    step_by_step(trial, firsts, depth)
}

/// Makes first one change, and looks then for the rest. Those are made first that leave fewest devices missing.
fn step_by_step(trial: &Trial<'_>, firsts: Vec<Vec<Change>>, depth: usize) -> Option<Vec<Change>> {
    let depth = depth.checked_sub(1)?;
    let rank = |first: Vec<Change>| Some((trial.after(&first, missing)?, first));
    let mut ranked: Vec<_> = firsts.into_iter().take(COMPARED_FIRST).filter_map(rank).collect();
    ranked.sort_by_key(|(missing, _)| *missing);
    for (_, first) in ranked.into_iter().take(FIRST) {
        if let Some(rest) = trial.after(&first, |then| nearest(then, depth)).flatten() {
            let changes: Vec<Change> = first.into_iter().chain(rest).collect();
            return Some(trial.least(changes));
        }
    }
    None
}

/// Adds changes; whether the claims fit then.
fn add(trial: &Trial<'_>, near: &mut Vec<Change>, changes: Vec<Change>) -> bool {
    if changes.is_empty() {
        return false;
    }
    near.extend(changes);
    trial.fits(near)
}

/// What was in the way of claims that fit with these changes.
fn blocker(trial: &Trial<'_>, changes: &[Change]) -> Blocker {
    // What the missing slices hold is not known: all else can wait.
    if changes.iter().any(|change| matches!(change, Change::FinishPool { .. })) {
        return Blocker::PoolIncomplete;
    }
    let farthest = changes.iter().max_by_key(|change| change.distance());
    let of_rule = |change: &&Change| matches!(change.blocker(), Blocker::NodeRules | Blocker::ClaimElsewhere);
    let is_of_rules = farthest.filter(of_rule).is_some();
    if !is_of_rules && !trial.is_short() {
        let is_constraint = trial.fits(&edits::constraints(trial));
        return if is_constraint { Blocker::Constraint } else { Blocker::Together };
    }
    match farthest {
        Some(Change::Release { claim, .. }) => {
            let is_asked = claim.as_ref().is_some_and(|name| {
                trial.query.asked.claims.iter().any(|one| one.metadata.name == name.name)
                    && name.namespace == trial.query.namespace()
            });
            if is_asked {
                return Blocker::ClaimElsewhere;
            }
            trial.freed(changes).unwrap_or(Blocker::InUse)
        }
        Some(change) => change.blocker(),
        None => Blocker::Scheduler,
    }
}

/// Drivers that complete or mend their pools.
fn pools(trial: &Trial<'_>) -> Vec<Change> {
    let change = |(pool, problem): &(_, Option<String>)| {
        let pool = crate::model::pool::PoolId::clone(pool);
        if problem.is_some() { Change::MendPool { pool } } else { Change::FinishPool { pool } }
    };
    trial.inspection.unusable.iter().filter(|(pool, _)| trial.query.is_of_pool(pool)).map(change).collect()
}

/// Tolerations of all taints that are in the way.
fn tolerations(trial: &Trial<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut seen = BTreeSet::new();
    for (ask, inspected) in edits::asks(trial) {
        if free(inspected) >= inspected.wanted && inspected.wanted > 0 {
            continue;
        }
        for obstacle in inspected.devices.iter().flat_map(|one| &one.obstacles) {
            let Obstacle::Taints(taints) = obstacle else { continue };
            for taint in taints {
                let key = (ask.number, &ask.name, &taint.key, &taint.value, &taint.effect);
                if seen.insert(format!("{key:?}")) {
                    changes.push(Change::Tolerate {
                        claim: ask.claim_name(),
                        request: Arc::clone(&ask.name),
                        key: Arc::clone(&taint.key),
                        value: Arc::clone(&taint.value),
                        effect: Arc::clone(&taint.effect),
                    });
                }
            }
        }
    }
    changes
}

/// What ends a rule.
fn of_rule(trial: &Trial<'_>, rule: &Rule) -> Option<Change> {
    let node = Arc::clone(&trial.node.metadata.name);
    Some(match rule {
        Rule::Label(key, _) => Change::DropNodeRule { label: Some(Arc::clone(key)) },
        Rule::Affinity => Change::DropNodeRule { label: None },
        Rule::NotReady => Change::NodeReady { node },
        Rule::Cordoned => Change::Uncordon { node },
        Rule::Taint(key, value, effect) => Change::TolerateNode {
            key: Arc::clone(key),
            value: Arc::clone(value),
            effect: Arc::clone(effect),
        },
        Rule::Elsewhere(index) => {
            let claim = trial.query.asked.claims.get(*index)?;
            trial.release(&crate::cluster::Name::of(&claim.metadata))
        }
    })
}
