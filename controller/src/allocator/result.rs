//! What a claim's status gets.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::model::object::Configuration;

use super::AllocationError;
use super::planted::{self, Planted};
use super::problem::{ClaimProblem, Problem, RequestProblem};
use super::search::Solution;
use super::state::Choice;

/// The allocations of all claims.
pub(super) fn results(
    problem: &Problem<'_>,
    solution: &Solution,
) -> Result<Vec<AllocationResult>, AllocationError> {
    let claims = problem.claims.iter().zip(&solution.state.results).enumerate();
    claims
        .map(|(number, (claim, choices))| {
            let asks = chosen_asks(number, claim, solution);
            let config = configurations(problem, claim, &asks);
            Ok(AllocationResult {
                allocation_timestamp: None,
                devices: Some(DeviceAllocationResult {
                    config: (!config.is_empty()).then_some(config),
                    results: Some(choices.iter().map(|choice| result(problem, choice)).collect()),
                }),
                node_selector: node_selector(problem, claim, choices)?,
            })
        })
        .collect()
}

/// The ask that was taken of each request.
fn chosen_asks(number: usize, claim: &ClaimProblem<'_>, solution: &Solution) -> Vec<usize> {
    let chosen = |(index, request): (usize, &RequestProblem<'_>)| {
        let taken = solution.taken.iter().find(|(claim, request, _)| (*claim, *request) == (number, index));
        let first = request.asks.start;
        taken.filter(|_| !planted::is(Planted::FirstConfiguration)).map_or(first, |(_, _, ask)| *ask)
    };
    claim.requests.iter().enumerate().map(chosen).collect()
}

fn result(problem: &Problem<'_>, choice: &Choice) -> DeviceRequestAllocationResult {
    let ask = &problem.asks[choice.ask];
    let id = problem.field.pool_of(choice.device).id;
    let device = problem.field.device(choice.device).device;
    let shape = &device.shape;
    let taken = choice.amounts.iter().flat_map(|amounts| shape.capacity.iter().zip(&**amounts));
    let consumed: BTreeMap<String, Quantity> =
        taken.map(|((name, _), amount)| (name.to_string(), Quantity(amount.to_string()))).collect();
    let conditions = |conditions: &Option<Vec<String>>| {
        conditions.clone().filter(|all| problem.given.features.device_binding && !all.is_empty())
    };
    DeviceRequestAllocationResult {
        request: ask.name(),
        driver: id.driver.to_string(),
        pool: id.name.to_string(),
        device: device.name.to_string(),
        admin_access: ask.is_admin.then_some(true),
        tolerations: ask.source.tolerations.clone().filter(|all| !all.is_empty()),
        binding_conditions: conditions(&shape.binding_conditions),
        binding_failure_conditions: conditions(&shape.binding_failure_conditions),
        share_id: choice.amounts.is_some().then(share_id),
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        ..Default::default()
    }
}

/// A random UUID, of version 4.
fn share_id() -> String {
    let random =
        fastrand::u128(..) & !(0xf000_u128 << 64 | 0xc000_u128 << 48) | 0x4000_u128 << 64 | 0x8000_u128 << 48;
    let text = format!("{random:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// What drivers are told: by each class once, then by the claim.
fn configurations(
    problem: &Problem<'_>,
    claim: &ClaimProblem<'_>,
    asks: &[usize],
) -> Vec<DeviceAllocationConfiguration> {
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut classes: Vec<(&str, std::ops::Range<usize>)> = Vec::new();
    for ask in asks.iter().map(|ask| &problem.asks[*ask]) {
        let class = &*ask.class.metadata.name;
        if let Some((_, range)) = classes.iter().find(|(known, _)| *known == class) {
            for configuration in &mut all[range.clone()] {
                configuration.requests.get_or_insert_default().push(ask.name());
            }
            continue;
        }
        let first = all.len();
        all.extend(ask.class.spec.config.iter().map(|configuration| DeviceAllocationConfiguration {
            source: "FromClass".to_owned(),
            requests: Some(vec![ask.name()]),
            opaque: configuration.opaque.clone(),
        }));
        classes.push((class, first..all.len()));
    }
    for configuration in &claim.claim.spec.devices.config {
        let requests = configuration.requests.as_deref().unwrap_or_default();
        let of_claim = from_claim(configuration);
        if requests.is_empty() {
            all.push(of_claim);
            continue;
        }
        // Once for each request that is named, as upstream has it.
        let is_named = |(request, ask): &(&RequestProblem<'_>, &usize)| {
            let is_in = |name: &str| requests.iter().any(|request| request == name);
            is_in(&request.request.name) || (request.is_prioritized && is_in(&problem.asks[**ask].name()))
        };
        let named = claim.requests.iter().zip(asks).filter(is_named).count();
        all.extend(std::iter::repeat_n(of_claim, named));
    }
    all
}

fn from_claim(configuration: &Configuration) -> DeviceAllocationConfiguration {
    DeviceAllocationConfiguration {
        source: "FromClaim".to_owned(),
        requests: configuration.requests.clone().filter(|requests| !requests.is_empty()),
        opaque: configuration.opaque.clone(),
    }
}

/// The nodes from which all devices of a claim are reached; none where that is all.
fn node_selector(
    problem: &Problem<'_>,
    claim: &ClaimProblem<'_>,
    choices: &[Choice],
) -> Result<Option<NodeSelector>, AllocationError> {
    let (mut fields, mut labels) = (Vec::new(), Vec::new());
    for choice in choices {
        let candidate = problem.field.device(choice.device);
        let shape = &candidate.device.shape;
        let reach = if candidate.slice.is_per_device() { &shape.reach } else { &candidate.slice.reach };
        if reach.node_name.is_some() || shape.binds_to_node {
            return Ok(Some(only(problem.given.node.map_or("", |node| &node.metadata.name))));
        }
        let Some(selector) = &reach.selector else { continue };
        match selector.source().node_selector_terms.as_slice() {
            [] => {}
            [term] => {
                add_new(&term.match_fields, &mut fields);
                add_new(&term.match_expressions, &mut labels);
            }
            terms => {
                return Err(AllocationError::Terms {
                    claim: claim.claim.full_name(),
                    device: problem.field.name_of(choice.device),
                    terms: terms.len(),
                });
            }
        }
    }
    if fields.is_empty() && labels.is_empty() {
        return Ok(None);
    }
    let some = |all: Vec<NodeSelectorRequirement>| (!all.is_empty()).then_some(all);
    let term = NodeSelectorTerm { match_fields: some(fields), match_expressions: some(labels) };
    Ok(Some(NodeSelector { node_selector_terms: vec![term] }))
}

/// The selector of one node.
fn only(node: &str) -> NodeSelector {
    let name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
    NodeSelector { node_selector_terms: vec![term] }
}

fn add_new(from: &Option<Vec<NodeSelectorRequirement>>, to: &mut Vec<NodeSelectorRequirement>) {
    let values = |requirement: &NodeSelectorRequirement| {
        let mut values = requirement.values.clone().unwrap_or_default();
        values.sort();
        values.dedup();
        values
    };
    for new in from.iter().flatten() {
        let is_same = |known: &NodeSelectorRequirement| {
            known.key == new.key && known.operator == new.operator && values(known) == values(new)
        };
        if !to.iter().any(is_same) || planted::is(Planted::RepeatedRequirement) {
            to.push(new.clone());
        }
    }
}
