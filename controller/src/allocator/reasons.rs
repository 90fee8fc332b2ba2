//! Why claims do not fit.

use std::collections::BTreeMap;

use serde::Serialize;

use super::field::Standing;
use super::problem::{Problem, Verdict};
use super::state::{Refusal, State};

/// How many reasons are given at most.
const MOST: usize = 256;

/// Why claims do not fit on a node: for each request, what keeps it from the devices of each pool.
///
/// A request is looked at by itself, as if it came first. Where each finds enough devices by itself, they do not fit
/// together, and the reason names the request at which the search ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    /// The reasons, in the order of claims and requests; the checks are in the order in which they are made.
    pub reasons: Vec<Reason>,
    /// How many reasons were left out because there are so many.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// Why a request does not get devices. Equal reasons of devices in one pool are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The claim, with its namespace.
    pub claim: String,
    /// The request, and the sub-request behind a slash.
    pub request: String,
    /// The pool, where the reason is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The first of the devices, where the reason is about some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What was checked.
    pub check: Check,
    /// For people.
    pub message: String,
    /// Of how many devices it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// What is checked before a request gets a device, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// All slices of the pool are there.
    PoolComplete,
    /// The node sees devices at all.
    Devices,
    /// The device belongs to no other claim.
    InUse,
    /// The feature for devices with binding conditions is on.
    BindingConditions,
    /// The class selects the device.
    ClassSelector,
    /// The request selects the device.
    RequestSelector,
    /// The selectors have an answer for the device.
    SelectorError,
    /// The device is for the node.
    Node,
    /// The device offers the capacity.
    CapacityPolicy,
    /// Other claims have left enough of the capacity.
    Capacity,
    /// Enough is left of the counters.
    Counters,
    /// The request tolerates the device's taints.
    Taints,
    /// The claim's constraints hold with the device.
    Constraint,
    /// There are as many devices as are asked for.
    Count,
    /// All claims fit together.
    Together,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Why nothing was found. `furthest` are the claim and the request at which the search ended.
pub(super) fn reasons(problem: &Problem<'_>, furthest: (usize, usize)) -> Reasons {
    let mut reasons = Reasons::default();
    let mut has_short = false;
    for ask in 0..problem.asks.len() {
        has_short |= explain(problem, ask, &mut reasons);
    }
    if !has_short {
        reasons.add(together(problem, furthest));
    }
    reasons
}

impl Reasons {
    fn add(&mut self, reason: Reason) {
        if self.reasons.len() < MOST {
            self.reasons.push(reason);
        } else {
            self.left_out += 1;
        }
    }
}

/// Explains one ask, if it does not find enough devices by itself.
fn explain(problem: &Problem<'_>, ask: usize, reasons: &mut Reasons) -> bool {
    let wanted = &problem.asks[ask];
    let state = State::new(problem);
    let mut refused: BTreeMap<(usize, Check), (usize, usize)> = BTreeMap::new();
    let mut fit = 0;
    for device in 0..problem.field.devices.len() {
        match refusal(problem, &state, ask, device) {
            None => fit += 1,
            Some(check) => {
                let pool = problem.field.device(device).pool;
                refused.entry((pool, check)).or_insert((device, 0)).1 += 1;
            }
        }
    }
    let is_short = match &wanted.all {
        None => fit < wanted.count,
        Some(all) => {
            all.is_empty() || all.iter().any(|device| refusal(problem, &state, ask, *device).is_some())
        }
    };
    if !is_short {
        return false;
    }
    let claim = problem.claims[wanted.claim].claim.full_name();
    let reason = |check, message| Reason {
        claim: claim.clone(),
        request: wanted.name(),
        pool: None,
        device: None,
        check,
        message,
        count: None,
    };
    if problem.field.devices.is_empty() {
        reasons.add(reason(Check::Devices, "no device can be had on this node".to_owned()));
    } else if wanted.all.is_some() {
        let message =
            format!("all {} devices that are selected have to be free, and {fit} are", wanted.count);
        reasons.add(reason(Check::Count, message));
    } else {
        let message = format!("{} devices are asked for, and {fit} can be had", wanted.count);
        reasons.add(reason(Check::Count, message));
    }
    for pool in problem.field.pools.iter().filter(|pool| matches!(pool.standing, Standing::Incomplete)) {
        let message = "not all of its slices are there: the driver is writing them".to_owned();
        reasons.add(Reason { pool: Some(pool.id.to_string()), ..reason(Check::PoolComplete, message) });
    }
    for ((_, check), (device, count)) in refused {
        reasons.add(Reason {
            pool: Some(problem.field.pool_of(device).id.to_string()),
            device: Some(problem.field.device(device).device.name.to_string()),
            count: Some(count),
            ..reason(check, check.message().to_owned())
        });
    }
    true
}

/// What keeps an ask from a device.
fn refusal(problem: &Problem<'_>, state: &State, ask: usize, device: usize) -> Option<Check> {
    match state.refusal(problem, ask, device)? {
        Refusal::InUse => Some(Check::InUse),
        Refusal::Counters => Some(Check::Counters),
        Refusal::Constraint => Some(Check::Constraint),
        Refusal::Capacity => Some(Check::Capacity),
        Refusal::Verdict(verdict) => match verdict {
            Verdict::Binding => Some(Check::BindingConditions),
            Verdict::Class => Some(Check::ClassSelector),
            Verdict::Request => Some(Check::RequestSelector),
            Verdict::Error => Some(Check::SelectorError),
            Verdict::Node => Some(Check::Node),
            Verdict::CapacityPolicy => Some(Check::CapacityPolicy),
            Verdict::CapacityTaken => Some(Check::Capacity),
            Verdict::Counters => Some(Check::Counters),
            Verdict::Taint => Some(Check::Taints),
            Verdict::Fit => None,
        },
    }
}

impl Check {
    fn message(self) -> &'static str {
        match self {
            Self::InUse => "other claims have them",
            Self::BindingConditions => {
                "they have binding conditions, and the feature DeviceBindingAndStatus is off"
            }
            Self::ClassSelector => "the DeviceClass does not select them",
            Self::RequestSelector => "the request's selectors do not select them",
            Self::SelectorError => "a selector has no answer for them, or their nodes cannot be told",
            Self::Node => "they are not for this node",
            Self::CapacityPolicy => "they lack a capacity that is asked for, or offer no such amount of it",
            Self::Capacity => "other claims have left too little of a capacity",
            Self::Counters => "other claims have left too little of what they share with other devices",
            Self::Taints => "they have taints that the request does not tolerate",
            Self::Constraint => "they lack an attribute that a constraint compares",
            Self::PoolComplete | Self::Devices | Self::Count | Self::Together => "",
        }
    }
}

/// The reason where each request finds enough devices by itself.
fn together(problem: &Problem<'_>, (claim, request): (usize, usize)) -> Reason {
    let claim = problem.claims.get(claim);
    let names = claim.map(|claim| {
        let last = claim.requests.len().saturating_sub(1);
        let request = claim.requests.get(request.min(last)).map(|one| one.request.name.to_string());
        (claim.claim.full_name(), request.unwrap_or_default())
    });
    let (claim, request) = names.unwrap_or_default();
    let message =
        "each request finds devices by itself, but not all together: what was chosen for the requests \
                   before this one, and the constraints, leave too few"
            .to_owned();
    Reason { claim, request, pool: None, device: None, check: Check::Together, message, count: None }
}
