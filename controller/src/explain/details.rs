//! What is told of an obstacle: its numbers, values and holders.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use dra_driver::quantity::Quantity;

use super::blocker::Blocker;
use super::finding::{Held, What};
use super::look::{Selectors, seen};
use super::query::{Ask, Query};
use super::survey::Group;
use crate::allocator::{AllocationError, InspectedDevice, SelectorOwner};
use crate::cluster::{Holder, Name};
use crate::model::attribute::{AttributeValue, QualifiedName};
use crate::model::intern::Device;
use crate::model::object::{Node, Selector};
use crate::model::pool::{PoolId, View};

/// How many claims are named.
const NAMED: usize = 20;
/// How many values of a constraint's attribute are shown.
const VALUES: usize = 8;

/// The claims of the namespace are named first.
pub(super) fn held(holders: BTreeSet<Name>, namespace: &str) -> Held {
    let all = holders.len();
    let (own, others): (Vec<Name>, Vec<Name>) =
        holders.into_iter().partition(|name| *name.namespace == *namespace);
    let by: BTreeSet<Name> = own.into_iter().chain(others).take(NAMED).collect();
    Held { others: all - by.len(), by }
}

/// The claims that have devices of a kind on the nodes of a group.
pub(super) fn holders(query: &Query<'_>, group: &Group, is_one: impl Fn(&Device) -> bool) -> BTreeSet<Name> {
    group.nodes.iter().flat_map(|node| holders_on(query, node, &is_one)).collect()
}

/// The claims that have devices of a kind on a node, less those that only look after them.
fn holders_on(query: &Query<'_>, node: &Node, is_one: &dyn Fn(&Device) -> bool) -> BTreeSet<Name> {
    let mut holders = BTreeSet::new();
    let Ok(views) = query.cluster.inventory().views(Some(node), query.cluster.features.partitionable_devices)
    else {
        return holders;
    };
    for (pool, view) in views {
        let View::Usable(usable) = view else { continue };
        let known: HashMap<&Arc<str>, &[Holder]> = query.cluster.holdings().of_pool(&pool.id).collect();
        if known.is_empty() {
            continue;
        }
        for device in usable.slices.iter().chain(&usable.others).flat_map(|slice| &slice.devices) {
            if let Some(of) = known.get(&device.name)
                && is_one(device)
            {
                let of = of.iter().filter(|holder| !holder.admin_access);
                holders.extend(of.map(|holder| holder.claim.clone()));
            }
        }
    }
    holders
}

pub(super) fn selector(
    query: &Query<'_>,
    selectors: &mut Selectors,
    class: Option<Arc<str>>,
    of: &[Selector],
    index: usize,
    one: Option<&InspectedDevice>,
) -> What {
    let parts = one.zip(of.get(index)).and_then(|(one, selector)| {
        let anatomy = selectors.anatomy(query, selector)?;
        Some(seen(&one.pool, &one.device, |device| anatomy.false_parts(device)))
    });
    let says: Vec<String> = parts.unwrap_or_default().into_iter().map(|part| part.says).collect();
    let parts = if says.is_empty() { Vec::new() } else { vec![(says.join(" and ").into(), 1)] };
    What::Selector { class, number: index + 1, of: of.len(), parts }
}

/// What a constraint compares, and the values of the devices that could be had.
pub(super) fn constraint<'d>(
    ask: &Ask<'_>,
    index: usize,
    devices: impl Iterator<Item = &'d InspectedDevice>,
) -> What {
    let of = ask.claim.spec.devices.constraints.get(index);
    let (rule, attribute) = match of.map(|of| (&of.match_attribute, &of.distinct_attribute)) {
        Some((Some(attribute), _)) => ("matchAttribute", Arc::clone(attribute)),
        Some((None, Some(attribute))) => ("distinctAttribute", Arc::clone(attribute)),
        _ => ("constraint", Arc::default()),
    };
    let mut values: Vec<(Option<Arc<str>>, usize)> = Vec::new();
    let mut seen = BTreeSet::new();
    for one in devices.filter(|one| seen.insert((one.pool.clone(), Arc::clone(&one.device.name)))) {
        let value = one.device.attribute(&QualifiedName::resolve(&attribute, &one.pool.driver));
        let value = value.map(|value| value_text(&value));
        match values.iter().position(|(known, _)| *known == value) {
            Some(known) => values[known].1 += 1,
            None if values.len() < VALUES => values.push((value, 1)),
            None => {}
        }
    }
    values.sort();
    What::Constraint { rule: rule.into(), attribute, values }
}

fn value_text(value: &AttributeValue) -> Arc<str> {
    let joined = |texts: Vec<String>| texts.join(", ").into();
    match value {
        AttributeValue::Int(value) => value.to_string().into(),
        AttributeValue::Bool(value) => value.to_string().into(),
        AttributeValue::String(text) => Arc::clone(text),
        AttributeValue::Version(version) => version.to_string().into(),
        AttributeValue::Ints(values) => joined(values.iter().map(ToString::to_string).collect()),
        AttributeValue::Bools(values) => joined(values.iter().map(ToString::to_string).collect()),
        AttributeValue::Strings(values) => joined(values.iter().map(ToString::to_string).collect()),
        AttributeValue::Versions(values) => joined(values.iter().map(ToString::to_string).collect()),
        AttributeValue::Unreadable(why) => Arc::clone(why),
    }
}

pub(super) fn fits_without_constraints(query: &Query<'_>, node: &Node) -> bool {
    let without = query.open.iter().map(|claim| {
        let mut claim = (*claim).clone();
        Arc::make_mut(&mut claim.spec).devices.constraints.clear();
        claim
    });
    let without: Vec<_> = without.collect();
    let claims: Vec<_> = without.iter().collect();
    let found = query.cluster.allocator(query.cache).fits(Some(node), &claims, query.cancel);
    matches!(found, Ok(Some(_)))
}

pub(super) fn incomplete(query: &Query<'_>, pool: &PoolId) -> What {
    let known = query.cluster.inventory().pool(pool);
    let newest = known.map(|pool| pool.slices().filter(|slice| slice.generation == pool.generation()));
    let newest: Vec<_> = newest.into_iter().flatten().collect();
    let of = newest.first().map_or(0, |slice| slice.count);
    What::PoolIncomplete { pool: pool.to_string().into(), there: newest.len(), of }
}

/// What kind of thing an error is.
pub(super) fn blocker_of(error: &AllocationError) -> Blocker {
    match error {
        AllocationError::NoClass { .. } => Blocker::ClassMissing,
        AllocationError::ConstraintBars { .. } => Blocker::Constraint,
        AllocationError::TooMany { .. } | AllocationError::AlwaysTooMany { .. } => Blocker::TooFewDevices,
        AllocationError::IncompletePool { .. } => Blocker::PoolIncomplete,
        AllocationError::InvalidPool { .. }
        | AllocationError::InvalidPools(_)
        | AllocationError::SliceNodes(_)
        | AllocationError::DeviceNodes { .. }
        | AllocationError::Terms { .. } => Blocker::PoolInvalid,
        AllocationError::Cancelled => Blocker::NoAnswer,
        AllocationError::Compile { .. }
        | AllocationError::Evaluate { .. }
        | AllocationError::NoFeature { .. }
        | AllocationError::Request { .. }
        | AllocationError::UnknownConstraint { .. } => Blocker::SelectorError,
    }
}

/// An error for people, who count selectors from one.
pub(super) fn what_of(error: &AllocationError) -> What {
    let of = |owner: &SelectorOwner, index: &usize| {
        let number = index + 1;
        match owner {
            SelectorOwner::Class(class) => format!("selector {number} of DeviceClass {class}"),
            SelectorOwner::Request { request, .. } => format!("selector {number} of request {request}"),
        }
    };
    let mut first = None;
    let message = match error {
        AllocationError::Compile { owner, index, source } => {
            format!("{} does not compile: {}", of(owner, index), source.message())
        }
        AllocationError::Evaluate { owner, index, device, source } => {
            first = Some(device.as_str().into());
            format!("{} has no answer: {source}", of(owner, index))
        }
        AllocationError::NoFeature { request, what, .. } => format!(
            "{what} of request {request} is something that this cluster's scheduler does not know; upgrade to \
             Kubernetes 1.36 or later"
        ),
        other => other.to_string(),
    };
    What::Error { message: message.into(), device: first }
}

pub(super) fn text(quantity: &Quantity) -> Arc<str> {
    quantity.to_string().into()
}
