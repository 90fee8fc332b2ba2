//! Changes of what claims ask for: other values, and less.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::look::{Selectors, free, is_of_others, seen};
use super::query::Ask;
use super::remedy::Change;
use super::trial::Trial;
use crate::allocator::{Inspected, InspectedDevice, Obstacle};
use crate::model::object::Selector;

/// How many different changes are tried on a node.
const MOST: usize = 24;
/// How many other classes are tried.
const CLASSES: usize = 16;

/// All that is asked for, with what was found about it.
pub(super) fn asks<'t>(trial: &'t Trial<'_>) -> Vec<(Ask<'t>, &'t Inspected)> {
    let is_of = |ask: &Ask<'_>, inspected: &Inspected| {
        (ask.number, ask.request, &ask.name) == (inspected.claim, inspected.number, &inspected.request)
    };
    let mut found = Vec::new();
    for ask in trial.query.asks() {
        let inspected = trial.inspection.asks.iter().find(|inspected| is_of(&ask, inspected));
        found.extend(inspected.map(|inspected| (ask, inspected)));
    }
    found
}

/// Lower numbers and other values, the nearest first.
pub(super) fn values(trial: &Trial<'_>) -> Vec<Vec<Change>> {
    let mut selectors = Selectors::default();
    let mut by_ask = Vec::new();
    for (ask, inspected) in asks(trial) {
        if free(inspected) >= inspected.wanted && inspected.wanted > 0 && trial.is_short() {
            continue;
        }
        let is_match = |one: &&InspectedDevice| one.obstacles.iter().all(is_of_others);
        let has_some = inspected.devices.iter().any(|one| is_match(&one));
        let mut sets = of_selectors(trial, &mut selectors, &ask, inspected, false);
        sets.extend(of_capacities(&ask, inspected));
        let counts = of_counts(&ask, inspected);
        let sets = if has_some {
            counts.into_iter().chain(sets).collect::<Vec<_>>()
        } else {
            sets.into_iter().chain(counts).collect()
        };
        by_ask.push(sets);
    }
    together(by_ask)
}

/// What goes: parts of selectors, constraints; and other classes.
pub(super) fn drops(trial: &Trial<'_>) -> Vec<Vec<Change>> {
    let mut sets = Vec::new();
    let constraints = constraints(trial);
    if !constraints.is_empty() {
        sets.push(constraints);
    }
    let mut selectors = Selectors::default();
    let mut by_ask = Vec::new();
    for (ask, inspected) in asks(trial) {
        if free(inspected) >= inspected.wanted && inspected.wanted > 0 {
            continue;
        }
        let mut of_ask = of_selectors(trial, &mut selectors, &ask, inspected, true);
        of_ask.extend(of_classes(trial, &ask));
        of_ask.extend(of_class_selectors(trial, &mut selectors, &ask, inspected));
        by_ask.push(of_ask);
    }
    sets.extend(together(by_ask));
    sets
}

/// All constraints go.
pub(super) fn constraints(trial: &Trial<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    for claim in &trial.query.open {
        for (index, constraint) in claim.spec.devices.constraints.iter().enumerate() {
            let attribute = constraint.match_attribute.as_ref().or(constraint.distinct_attribute.as_ref());
            changes.push(Change::DropConstraint {
                claim: crate::cluster::Name::of(&claim.metadata),
                index,
                attribute: attribute.cloned().unwrap_or_default(),
            });
        }
    }
    changes
}

/// The first changes of all asks together, then the second, and so on.
fn together(by_ask: Vec<Vec<Vec<Change>>>) -> Vec<Vec<Change>> {
    let longest = by_ask.iter().map(Vec::len).max().unwrap_or_default().min(MOST);
    let at = |index: usize| {
        let of_ask = by_ask.iter().filter_map(|sets| sets.get(index.min(sets.len().checked_sub(1)?)));
        of_ask.flatten().cloned().collect()
    };
    (0..longest).map(at).collect()
}

/// Selectors that say what devices have, or no longer say what they lack.
fn of_selectors(
    trial: &Trial<'_>,
    selectors: &mut Selectors,
    ask: &Ask<'_>,
    inspected: &Inspected,
    may_drop: bool,
) -> Vec<Vec<Change>> {
    let mut sets: Vec<(usize, f64, Vec<Change>)> = Vec::new();
    let is_one = |one: &&InspectedDevice| matches!(one.obstacles.first(), Some(Obstacle::RequestSelector(_)));
    let mut shapes = BTreeMap::new();
    for one in inspected.devices.iter().filter(is_one) {
        // Devices of one kind are alike but for their own texts.
        let alike: &mut usize = shapes.entry(one.device.shape.number).or_default();
        *alike += 1;
        if *alike > 2 {
            continue;
        }
        if let Some(set) = edited(trial, selectors, &ask.ask.selectors, one, may_drop, &Owner::Request(ask))
            && !sets.iter().any(|(_, _, known)| *known == set.2)
        {
            sets.push(set);
        }
    }
    sets.sort_by(|(edits, distance, _), (others, farther, _)| {
        edits.cmp(others).then(distance.total_cmp(farther))
    });
    sets.into_iter().map(|(_, _, changes)| changes).take(MOST).collect()
}

/// Whose selectors they are.
enum Owner<'o> {
    Request(&'o Ask<'o>),
    Class(&'o Arc<str>),
}

impl Owner<'_> {
    fn change(
        &self,
        index: usize,
        part: Arc<str>,
        becomes: Option<Arc<str>>,
        expression: Option<Arc<str>>,
    ) -> Change {
        let (claim, request, class) = match self {
            Self::Request(ask) => (Some(ask.claim_name()), Some(Arc::clone(&ask.name)), None),
            Self::Class(class) => (None, None, Some(Arc::clone(class))),
        };
        Change::Selector { claim, request, class, number: index + 1, part, becomes, expression }
    }
}

/// What selectors would have to say so that they select a device: how many parts change, how far, and the changes.
fn edited(
    trial: &Trial<'_>,
    selectors: &mut Selectors,
    of: &[Selector],
    one: &InspectedDevice,
    may_drop: bool,
    owner: &Owner<'_>,
) -> Option<(usize, f64, Vec<Change>)> {
    let (mut parts, mut farness, mut changes) = (0, 0.0, Vec::new());
    for (index, selector) in of.iter().enumerate() {
        let anatomy = selectors.anatomy(trial.query, selector)?;
        let failing = seen(&one.pool, &one.device, |device| anatomy.false_parts(device));
        if failing.is_empty() {
            continue;
        }
        let mut becomes = Vec::new();
        for part in &failing {
            match &part.edit {
                Some(edit) => {
                    farness += edit.distance;
                    becomes.push((part.index, Some(Arc::clone(&edit.becomes))));
                }
                None if may_drop => becomes.push((part.index, None)),
                None => return None,
            }
        }
        parts += failing.len();
        let expression = anatomy.with(&becomes).map(Arc::from);
        let joined = |texts: Vec<Arc<str>>| -> Option<Arc<str>> {
            (!texts.is_empty()).then(|| texts.join(" && ").into())
        };
        let part = joined(failing.iter().map(|part| Arc::clone(&part.text)).collect());
        let now = joined(becomes.into_iter().filter_map(|(_, becomes)| becomes).collect());
        changes.push(owner.change(index, part.unwrap_or_default(), now, expression));
    }
    (!changes.is_empty()).then_some((parts, farness, changes))
}

/// Less of capacities: what there is, or what is left of it, the most first.
fn of_capacities(ask: &Ask<'_>, inspected: &Inspected) -> Vec<Vec<Change>> {
    let mut sets = Vec::new();
    for one in &inspected.devices {
        let mut changes = Vec::new();
        for obstacle in &one.obstacles {
            let (name, amount) = match obstacle {
                Obstacle::Capacity { name, there, taken, .. } => (name, there.sub(taken)),
                Obstacle::CapacityPolicy { name, there: Some(there), .. } => (name, *there),
                _ => continue,
            };
            let is_asked = |one: &crate::model::object::CapacityRequests| one.requests.contains_key(name);
            if amount.sign() > 0 && ask.ask.capacity.as_ref().is_some_and(is_asked) {
                changes.push((Arc::clone(name), amount));
            }
        }
        if !changes.is_empty() && !sets.contains(&changes) {
            sets.push(changes);
        }
    }
    sets.sort_by(|one, other| other[0].1.cmp(&one[0].1));
    let change = |(capacity, amount): (Arc<str>, dra_driver::quantity::Quantity)| Change::Capacity {
        claim: ask.claim_name(),
        request: Arc::clone(&ask.name),
        capacity,
        amount: amount.to_string().into(),
    };
    sets.into_iter().take(MOST).map(|changes| changes.into_iter().map(change).collect()).collect()
}

/// Fewer devices, the most first.
fn of_counts(ask: &Ask<'_>, inspected: &Inspected) -> Vec<Vec<Change>> {
    if inspected.is_all {
        return Vec::new();
    }
    let most = inspected.wanted.saturating_sub(1).min(MOST);
    let count = |count| Change::Count { claim: ask.claim_name(), request: Arc::clone(&ask.name), count };
    (1..=most).rev().map(|number| vec![count(number)]).collect()
}

/// Other classes, those with the most similar names first.
fn of_classes(trial: &Trial<'_>, ask: &Ask<'_>) -> Vec<Vec<Change>> {
    let wanted = &ask.ask.device_class_name;
    let names = trial.query.cluster.classes().all().map(|class| &class.metadata.name);
    let mut others: Vec<&Arc<str>> = names.filter(|name| *name != wanted).collect();
    others.sort_by_cached_key(|name| (super::nearest::distance(name, wanted), Arc::clone(name)));
    let change = |class: &Arc<str>| Change::UseClass {
        claim: ask.claim_name(),
        request: Arc::clone(&ask.name),
        class: Arc::clone(class),
    };
    others.into_iter().take(CLASSES).map(|class| vec![change(class)]).collect()
}

/// The class's selectors say something else.
fn of_class_selectors(
    trial: &Trial<'_>,
    selectors: &mut Selectors,
    ask: &Ask<'_>,
    inspected: &Inspected,
) -> Vec<Vec<Change>> {
    let name = &ask.ask.device_class_name;
    let Some(class) = trial.query.cluster.classes().get(name) else { return Vec::new() };
    let mut shapes = Vec::new();
    let mut sets: Vec<(usize, f64, Vec<Change>)> = Vec::new();
    for one in &inspected.devices {
        let is_one = matches!(one.obstacles.first(), Some(Obstacle::ClassSelector(_)));
        if !is_one || shapes.contains(&one.device.shape.number) {
            continue;
        }
        shapes.push(one.device.shape.number);
        let owner = Owner::Class(name);
        sets.extend(edited(trial, selectors, &class.spec.selectors, one, true, &owner));
    }
    sets.sort_by(|(edits, distance, _), (others, farther, _)| {
        edits.cmp(others).then(distance.total_cmp(farther))
    });
    sets.into_iter().map(|(_, _, changes)| changes).take(MOST).collect()
}
