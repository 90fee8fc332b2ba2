//! Changes that are needed before anything else is: for errors that end the search for devices. And the last look at a
//! remedy, on the whole cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply;
use super::look::{Selectors, seen};
use super::query::Query;
use super::remedy::{Change, Remedy};
use super::search;
use super::survey::{Outcome, Survey, survey};
use super::trial::Budget;
use crate::allocator::{AllocationError, MAX_RESULTS, SelectorOwner};
use crate::model::intern::Device;
use crate::model::object::{Node, Selector};
use crate::model::pool::PoolId;

/// How many ways are tried with further changes.
const BASES: usize = 10;
/// How many drivers are tried.
const DRIVERS: usize = 8;

/// What would end an error: several ways, each to be tried alone.
pub(super) fn of(query: &Query<'_>, error: &AllocationError) -> Vec<Vec<Change>> {
    match error {
        AllocationError::Compile { owner, index, .. } => whole(query, owner, *index)
            .map(|(part, _)| place(query, owner, *index, part, None, None))
            .into_iter()
            .collect(),
        AllocationError::Evaluate { owner, index, device, .. } => of_evaluation(query, owner, *index, device),
        AllocationError::IncompletePool { pool, .. } => {
            pool_named(query, pool).map(|pool| vec![Change::FinishPool { pool }]).into_iter().collect()
        }
        AllocationError::InvalidPool { pool, .. } => {
            pool_named(query, pool).map(|pool| vec![Change::MendPool { pool }]).into_iter().collect()
        }
        AllocationError::TooMany { .. } => {
            let mut ways = Vec::new();
            for ask in query.asks() {
                let others = query.asks().iter().map(|ask| ask.ask.count).sum::<i64>() - ask.ask.count;
                let room = i64::try_from(MAX_RESULTS).unwrap_or_default() - others;
                let room = usize::try_from(room).unwrap_or_default();
                let count =
                    |count| Change::Count { claim: ask.claim_name(), request: Arc::clone(&ask.name), count };
                ways.extend((1..=room).rev().map(|number| vec![count(number)]));
            }
            ways
        }
        AllocationError::ConstraintBars { .. } => {
            let constraints = query.open.iter().flat_map(|claim| {
                let of = claim.spec.devices.constraints.iter().enumerate();
                of.map(|(index, one)| Change::DropConstraint {
                    claim: crate::cluster::Name::of(&claim.metadata),
                    index,
                    attribute: one
                        .match_attribute
                        .as_ref()
                        .or(one.distinct_attribute.as_ref())
                        .cloned()
                        .unwrap_or_default(),
                })
            });
            vec![constraints.collect()]
        }
        _ => Vec::new(),
    }
}

/// The first of these ways that makes the claims fit, or the first with what else has to change.
pub(super) fn completed(query: &Query<'_>, bases: &[Vec<Change>]) -> Option<Remedy> {
    let budget = Budget::default();
    for base in bases {
        let (cluster, changed) = apply::all(base, query.cluster, &query.asked);
        let then = Query::new(&cluster, changed.asked(), query.cache, query.cancel);
        let survey = survey(&then);
        let open = survey.groups.iter().find(|group| group.is_open() && group.fits());
        if let Some(group) = open.filter(|_| !has_error(&survey) && then.full().is_none()) {
            return Some(Remedy {
                changes: base.clone(),
                node: Some(Arc::clone(&group.node().metadata.name)),
            });
        }
    }
    // With what else has to change.
    bases.iter().take(BASES).find_map(|base| {
        let (cluster, changed) = apply::all(base, query.cluster, &query.asked);
        let then = Query::new(&cluster, changed.asked(), query.cache, query.cancel);
        let survey = survey(&then);
        if has_error(&survey) {
            return None;
        }
        let way = search::search(&then, &survey, &budget).into_iter().next()?;
        let changes = base.iter().cloned().chain(way.changes).collect();
        verified(query, changes, &way.node)
    })
}

/// The remedy, if the claims fit with these changes, and on no node there is an error that would end the search.
pub(super) fn verified(query: &Query<'_>, changes: Vec<Change>, node: &Arc<Node>) -> Option<Remedy> {
    let remedy = Remedy { changes, node: Some(Arc::clone(&node.metadata.name)) };
    let (cluster, changed) = remedy.apply(query.cluster, &query.asked);
    let then = Query::new(&cluster, changed.asked(), query.cache, query.cancel);
    let node = cluster.nodes().get(&node.metadata.name).unwrap_or(node);
    let fits = then.fits_on(node).unwrap_or_default();
    let is_safe = || !may_fail(query, &remedy.changes) || !has_error(&survey(&then));
    (fits && is_safe()).then_some(remedy)
}

/// Whether changes may bring up errors on nodes that had none: where selectors are asked about other devices than
/// before, and where all devices are asked for.
fn may_fail(query: &Query<'_>, changes: &[Change]) -> bool {
    let is_other = |change: &Change| {
        matches!(
            change,
            Change::Selector { .. }
                | Change::UseClass { .. }
                | Change::FinishPool { .. }
                | Change::MendPool { .. }
        )
    };
    let asks = query.asks();
    asks.len() > 1
        || asks.iter().any(|ask| &*ask.ask.allocation_mode == "All")
        || changes.iter().any(is_other)
}

fn has_error(survey: &Survey) -> bool {
    survey.looked_at < survey.nodes
        || survey
            .groups
            .iter()
            .filter(|group| group.is_open())
            .any(|group| matches!(&group.outcome, Outcome::Error(error) if !error.is_about_one_node()))
}

/// A selector that has no answer for a device: it is asked only about its driver's devices, or lacks what fails.
fn of_evaluation(query: &Query<'_>, owner: &SelectorOwner, index: usize, device: &str) -> Vec<Vec<Change>> {
    let Some((text, selector)) = whole(query, owner, index) else { return Vec::new() };
    let mut ways = Vec::new();
    let drivers: BTreeSet<&Arc<str>> =
        query.cluster.inventory().pools().map(|pool| &pool.id.driver).collect();
    let mut drivers: Vec<&Arc<str>> = drivers.into_iter().collect();
    // Most selectors name the driver as the domain of its attributes.
    drivers.sort_by_key(|driver| !text.contains(&***driver));
    for driver in drivers.into_iter().take(DRIVERS) {
        let guarded: Arc<str> = format!("device.driver == {} && ({text})", crate::cel::quoted(driver)).into();
        ways.push(place(query, owner, index, Arc::clone(&text), Some(Arc::clone(&guarded)), Some(guarded)));
    }
    let anatomy = Selectors::default().anatomy(query, &selector);
    if let (Some(anatomy), Some((pool, device))) = (anatomy, device_named(query, device)) {
        let failing = seen(&pool, &device, |device| anatomy.false_parts(device));
        let without: Vec<_> = failing.iter().map(|part| (part.index, None)).collect();
        let parts: Vec<&str> = failing.iter().map(|part| &*part.text).collect();
        let rest = anatomy.with(&without).map(Arc::from);
        ways.push(place(query, owner, index, parts.join(" && ").into(), None, rest));
    }
    ways.push(place(query, owner, index, text, None, None));
    ways
}

/// The text of a selector, and the selector.
fn whole(query: &Query<'_>, owner: &SelectorOwner, index: usize) -> Option<(Arc<str>, Selector)> {
    let selector = match owner {
        SelectorOwner::Class(class) => query.cluster.classes().get(class)?.spec.selectors.get(index)?.clone(),
        SelectorOwner::Request { claim, request } => {
            let asks = query.asks();
            let ask = asks.iter().find(|ask| ask.claim.full_name() == *claim && *ask.name == **request)?;
            ask.ask.selectors.get(index)?.clone()
        }
    };
    Some((Arc::clone(&selector.cel.as_ref()?.expression), selector))
}

fn place(
    query: &Query<'_>,
    owner: &SelectorOwner,
    index: usize,
    part: Arc<str>,
    becomes: Option<Arc<str>>,
    expression: Option<Arc<str>>,
) -> Vec<Change> {
    let change = |claim, request, class| Change::Selector {
        claim,
        request,
        class,
        number: index + 1,
        part,
        becomes,
        expression,
    };
    match owner {
        SelectorOwner::Class(class) => vec![change(None, None, Some(Arc::clone(class)))],
        SelectorOwner::Request { claim, request } => {
            let asks = query.asks();
            let of = asks.iter().find(|ask| ask.claim.full_name() == *claim && *ask.name == **request);
            let Some(ask) = of else { return Vec::new() };
            vec![change(Some(ask.claim_name()), Some(Arc::clone(&ask.name)), None)]
        }
    }
}

fn pool_named(query: &Query<'_>, name: &str) -> Option<PoolId> {
    query.cluster.inventory().pools().map(|pool| &pool.id).find(|id| id.to_string() == name).cloned()
}

/// A device by its full name.
fn device_named(query: &Query<'_>, name: &str) -> Option<(PoolId, Device)> {
    let (pool, device) = name.rsplit_once('/')?;
    let pool = query.cluster.inventory().pool(&pool_named(query, pool)?)?;
    let mut devices = pool.slices().flat_map(|slice| &slice.devices);
    let device = devices.find(|one| *one.name == *device)?.clone();
    Some((pool.id.clone(), device))
}
