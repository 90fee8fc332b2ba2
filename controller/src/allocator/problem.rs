//! What is asked for, checked and ready to be searched for.

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use dra_driver::quantity::Quantity;
use foldhash::HashMap;
use k8s_openapi::api::resource::v1::DeviceToleration;

use crate::cel::Expression;
use crate::model::intern::Shape;
use crate::model::object::{Capacity, Claim, Class, DeviceRequest, Node, Request, Selector, Taint};
use crate::model::pool::reaches;

use super::constraint::Constraint;
use super::error::SelectorOwner;
use super::field::{Field, Standing};
use super::planted::{self, Planted};
use super::selectors::{Selectors, selects};
use super::{AllocationError, Cancel, Classes, Features, MAX_RESULTS, capacity};

/// Claims and the devices that may meet them.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) given: Given<'a>,
    pub(super) field: Field<'a>,
    pub(super) claims: Vec<ClaimProblem<'a>>,
    /// What requests ask for, in the order of claims, requests and sub-requests.
    pub(super) asks: Vec<Ask<'a>>,
}

/// What is there beside devices and claims.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) features: Features,
    pub(super) selectors: &'a Selectors<'a>,
    pub(super) node: Option<&'a Node>,
    pub(super) cancel: &'a Cancel,
}

/// One claim.
#[derive(Debug)]
pub(super) struct ClaimProblem<'a> {
    pub(super) claim: &'a Claim,
    pub(super) requests: Vec<RequestProblem<'a>>,
    pub(super) constraints: Vec<Constraint<'a>>,
}

/// One request: the first of its asks that can be met, with all that follows, is taken.
#[derive(Debug)]
pub(super) struct RequestProblem<'a> {
    pub(super) request: &'a Request,
    pub(super) asks: Range<usize>,
    pub(super) is_prioritized: bool,
}

/// What a request, or a sub-request, asks for.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The claim's number, and the claim.
    pub(super) claim: usize,
    of: &'a Claim,
    /// The request's number in the claim.
    pub(super) number: usize,
    pub(super) request: &'a Arc<str>,
    pub(super) sub_request: Option<&'a Arc<str>>,
    pub(super) source: &'a DeviceRequest,
    pub(super) class: &'a Class,
    pub(super) is_admin: bool,
    /// How many devices.
    pub(super) count: usize,
    /// Exactly these devices.
    pub(super) all: Option<Vec<usize>>,
    /// The claim's constraints that are about it.
    pub(super) constraints: Vec<usize>,
    expressions: OnceCell<[Vec<Arc<Expression>>; 2]>,
    /// What was found out of each device so far.
    verdicts: OnceCell<Vec<Cell<Option<Verdict>>>>,
    /// What is taken of the capacities of devices that say the same, by the shape's number.
    amounts: RefCell<HashMap<u64, Option<Rc<[Quantity]>>>>,
}

/// What a device is for an ask, whatever else is chosen. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    /// It has binding conditions, and the feature is off.
    Binding,
    /// The class does not select it.
    Class,
    /// The request does not select it.
    Request,
    /// A selector has no answer, or the device's nodes cannot be told.
    Error,
    /// It is not for the node.
    Node,
    /// It lacks a capacity that is asked for, or its policy offers nothing that is enough.
    CapacityPolicy,
    /// Other claims have left too little of a capacity.
    CapacityTaken,
    /// It takes from counters, and the feature is off.
    Counters,
    /// It has a taint that the request does not tolerate.
    Taint,
    /// It may be chosen.
    Fit,
}

impl Verdict {
    /// Whether "all devices" are meant to have it. What stands in the way after that is no reason to leave it out.
    fn is_selected(self) -> bool {
        self >= Self::Counters
    }
}

impl<'a> Problem<'a> {
    /// Checks what is asked for. The errors are those that upstream finds, in the same order.
    pub(super) fn new(
        given: Given<'a>,
        field: Field<'a>,
        classes: &'a Classes,
        claims: &[&'a Claim],
    ) -> Result<Self, AllocationError> {
        let mut problem = Self { given, field, claims: Vec::new(), asks: Vec::new() };
        for (number, claim) in claims.iter().enumerate() {
            problem.add_claim(number, claim, classes)?;
        }
        Ok(problem)
    }

    /// What a device is for an ask. Only [`Verdict::Error`] comes as an error.
    pub(super) fn verdict(&self, ask: usize, device: usize) -> Result<Verdict, AllocationError> {
        let known = self.asks[ask].verdicts.get_or_init(|| vec![Cell::new(None); self.field.devices.len()]);
        match known[device].get() {
            Some(verdict) if verdict != Verdict::Error => Ok(verdict),
            _ => {
                let verdict = self.judge(ask, device);
                known[device].set(Some(*verdict.as_ref().unwrap_or(&Verdict::Error)));
                verdict
            }
        }
    }

    /// What an ask takes of a device's capacities, in their order.
    pub(super) fn amounts(&self, ask: usize, shape: &Arc<Shape>) -> Option<Rc<[Quantity]>> {
        let ask = &self.asks[ask];
        let mut known = ask.amounts.borrow_mut();
        let amounts = known.entry(shape.number).or_insert_with(|| {
            let requests = ask.source.capacity.as_ref().map(|capacity| &capacity.requests);
            let is_there = |name: &Arc<str>| shape.capacity.iter().any(|(known, _)| known == name);
            if !requests.is_none_or(|requests| requests.keys().all(is_there)) {
                return None;
            }
            let taken = |(name, one): &(Arc<str>, Capacity)| {
                capacity::taken(requests.and_then(|requests| requests.get(name)), one)
            };
            shape.capacity.iter().map(taken).collect()
        });
        amounts.clone()
    }

    fn add_claim(
        &mut self,
        number: usize,
        claim: &'a Claim,
        classes: &'a Classes,
    ) -> Result<(), AllocationError> {
        let mut requests = Vec::new();
        let mut least = 0_usize;
        for request in &claim.spec.devices.requests {
            let place = Place { claim, request: request.name.to_string() };
            check_features(self.given.features, &place, request)?;
            let first = self.asks.len();
            let is_prioritized = !request.first_available.is_empty();
            for sub in &request.first_available {
                self.add_ask((number, requests.len()), claim, request, Some(&sub.name), sub, classes)?;
            }
            if !is_prioritized {
                let nothing = || place.unclear("it has neither exactly nor firstAvailable".to_owned());
                let exactly = request.exactly.as_ref().ok_or_else(nothing)?;
                self.add_ask((number, requests.len()), claim, request, None, exactly, classes)?;
            }
            let asks = first..self.asks.len();
            let fewest = self.asks[asks.clone()].iter().map(|ask| ask.count).min().unwrap_or_default();
            least = least.saturating_add(fewest);
            requests.push(RequestProblem { request, asks, is_prioritized });
        }
        if least > MAX_RESULTS {
            return Err(AllocationError::TooMany { claim: claim.full_name(), count: least });
        }
        let mut constraints = Vec::new();
        for (index, source) in claim.spec.devices.constraints.iter().enumerate() {
            let constraint =
                Constraint::new(source, self.given.features.list_attributes, self.field.devices.len());
            let unknown = || AllocationError::UnknownConstraint { claim: claim.full_name(), index };
            constraints.push(constraint.ok_or_else(unknown)?);
        }
        for ask in requests.iter().flat_map(|request| request.asks.clone()) {
            let ask = &mut self.asks[ask];
            let sub_request = ask.sub_request.map(|name| &**name);
            let is_about = |index: &usize| constraints[*index].is_about(ask.request, sub_request);
            ask.constraints = (0..constraints.len()).filter(is_about).collect();
        }
        self.claims.push(ClaimProblem { claim, requests, constraints });
        Ok(())
    }

    fn add_ask(
        &mut self,
        (number, request_number): (usize, usize),
        claim: &'a Claim,
        request: &'a Request,
        sub_request: Option<&'a Arc<str>>,
        source: &'a DeviceRequest,
        classes: &'a Classes,
    ) -> Result<(), AllocationError> {
        let place = Place { claim, request: named(&request.name, sub_request) };
        if let Some(index) = source.selectors.iter().position(|selector| selector.cel.is_none()) {
            return Err(place.unclear(format!("selector {index} is of no kind that is known here")));
        }
        let admin_access = source.admin_access.filter(|_| sub_request.is_none());
        if !self.given.features.admin_access && admin_access.is_some() {
            return Err(place.lacks("adminAccess", "AdminAccess"));
        }
        if source.device_class_name.is_empty() {
            return Err(place.unclear("it names no DeviceClass".to_owned()));
        }
        let class = classes.get(&source.device_class_name).ok_or_else(|| AllocationError::NoClass {
            claim: claim.full_name(),
            request: place.request.clone(),
            class: Arc::clone(&source.device_class_name),
        })?;
        let is_all = match &*source.allocation_mode {
            "ExactCount" => false,
            "All" => true,
            other => return Err(place.unclear(format!("the allocation mode {other:?} is not known here"))),
        };
        let count = usize::try_from(source.count)
            .map_err(|_| place.unclear(format!("it asks for {} devices", source.count)))?;
        let ask = self.asks.len();
        self.asks.push(Ask {
            claim: number,
            of: claim,
            number: request_number,
            request: &request.name,
            sub_request,
            source,
            class,
            is_admin: admin_access.unwrap_or_default(),
            count,
            all: None,
            constraints: Vec::new(),
            expressions: OnceCell::new(),
            verdicts: OnceCell::new(),
            amounts: RefCell::default(),
        });
        if is_all {
            let all = self.all_of(ask, &place)?;
            self.asks[ask].count = all.len();
            self.asks[ask].all = Some(all);
        }
        Ok(())
    }

    /// All devices that an ask selects. A pool that cannot be used might have more of them.
    fn all_of(&self, ask: usize, place: &Place<'_>) -> Result<Vec<usize>, AllocationError> {
        let (mut all, mut next) = (Vec::new(), 0);
        for (number, pool) in self.field.pools.iter().enumerate() {
            let (claim, request, name) =
                (place.claim.full_name(), place.request.clone(), pool.id.to_string());
            match &pool.standing {
                Standing::Usable => {}
                Standing::Incomplete => {
                    return Err(AllocationError::IncompletePool { claim, request, pool: name });
                }
                Standing::Invalid(reason) => {
                    let reason = reason.clone();
                    return Err(AllocationError::InvalidPool { claim, request, pool: name, reason });
                }
            }
            while self.field.devices.get(next).is_some_and(|device| device.pool == number) {
                if self.verdict(ask, next)?.is_selected() {
                    all.push(next);
                }
                next += 1;
            }
        }
        Ok(all)
    }

    fn judge(&self, number: usize, device: usize) -> Result<Verdict, AllocationError> {
        let ask = &self.asks[number];
        let candidate = self.field.device(device);
        let shape = &candidate.device.shape;
        let conditions = shape.binding_conditions.as_deref().unwrap_or_default();
        if !self.given.features.device_binding && !conditions.is_empty() {
            return Ok(Verdict::Binding);
        }
        let [class, request] = ask.expressions.get_or_init(|| {
            let compiled = |selectors: &[Selector]| {
                let expressions = selectors.iter().map(|selector| match &selector.cel {
                    Some(cel) => self.given.selectors.expression(&cel.expression),
                    None => self.given.selectors.expression(""),
                });
                expressions.collect()
            };
            [compiled(&ask.class.spec.selectors), compiled(&ask.source.selectors)]
        });
        let of_class = || SelectorOwner::Class(Arc::clone(&ask.class.metadata.name));
        if !self.all_match(class, device, &of_class)? {
            return Ok(Verdict::Class);
        }
        let of_request = || SelectorOwner::Request { claim: ask.of.full_name(), request: ask.name() };
        if !self.all_match(request, device, &of_request)? {
            return Ok(Verdict::Request);
        }
        if candidate.slice.is_per_device() {
            let reached = reaches(&shape.reach, self.given.node).map_err(|source| {
                AllocationError::DeviceNodes { device: self.field.name_of(device), source }
            })?;
            if !reached {
                return Ok(Verdict::Node);
            }
        }
        if self.given.features.consumable_capacity {
            let Some(amounts) = self.amounts(number, shape) else { return Ok(Verdict::CapacityPolicy) };
            if !self.has_capacity(device, &amounts, None) {
                return Ok(Verdict::CapacityTaken);
            }
        }
        if !self.given.features.partitionable_devices && !shape.counters.is_empty() {
            return Ok(Verdict::Counters);
        }
        if self.given.features.device_taints && shape.taints.iter().any(|taint| ask.is_barred_by(taint)) {
            return Ok(Verdict::Taint);
        }
        Ok(Verdict::Fit)
    }

    /// Whether a device has so much left of each capacity, beside what is being taken already.
    pub(super) fn has_capacity(
        &self,
        device: usize,
        amounts: &[Quantity],
        being_taken: Option<&[i128]>,
    ) -> bool {
        let candidate = self.field.device(device);
        candidate.device.shape.capacity.iter().zip(amounts).enumerate().all(
            |(index, ((name, capacity), amount))| {
                let before =
                    candidate.capacity_taken.and_then(|taken| taken.get(name)).map_or(0, Quantity::nanos);
                let beside = being_taken.map_or(0, |taken| taken[index]);
                let sum = before.saturating_add(amount.nanos()).saturating_add(beside);
                sum <= capacity.value.nanos()
            },
        )
    }

    fn all_match(
        &self,
        expressions: &[Arc<Expression>],
        device: usize,
        owner: &dyn Fn() -> SelectorOwner,
    ) -> Result<bool, AllocationError> {
        for (index, expression) in expressions.iter().enumerate() {
            let program = expression.program().map_err(|source| AllocationError::Compile {
                owner: owner(),
                index,
                source: source.clone(),
            })?;
            let driver = &self.field.pool_of(device).id.driver;
            match selects(expression, program, driver, self.field.device(device).device, self.given.cancel) {
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Ok(false),
                None => return Err(AllocationError::Cancelled),
                Some(Err(source)) => {
                    let device = self.field.name_of(device);
                    return Err(AllocationError::Evaluate { owner: owner(), index, device, source });
                }
            }
        }
        Ok(true)
    }
}

impl Ask<'_> {
    /// The request's name, and the sub-request's behind a slash.
    pub(super) fn name(&self) -> String {
        named(self.request, self.sub_request)
    }

    pub(super) fn is_barred_by(&self, taint: &Taint) -> bool {
        // Effects that are not known bar nobody.
        matches!(&*taint.effect, "NoSchedule" | "NoExecute")
            && !self.source.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
    }
}

fn tolerates(toleration: &DeviceToleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    (effect.is_empty() || *effect == *taint.effect || planted::is(Planted::EffectOfToleration))
        && (key.is_empty() || *key == *taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => *text(&toleration.value) == *taint.value,
            other => other == "Exists",
        }
}

/// A request of a claim, for messages.
struct Place<'a> {
    claim: &'a Claim,
    request: String,
}

impl Place<'_> {
    fn unclear(&self, problem: String) -> AllocationError {
        AllocationError::Request { claim: self.claim.full_name(), request: self.request.clone(), problem }
    }

    fn lacks(&self, what: &'static str, feature: &'static str) -> AllocationError {
        let (claim, request) = (self.claim.full_name(), self.request.clone());
        AllocationError::NoFeature { claim, request, what, feature }
    }
}

fn named(request: &str, sub_request: Option<&Arc<str>>) -> String {
    match sub_request {
        Some(sub) => format!("{request}/{sub}"),
        None => request.to_owned(),
    }
}

fn check_features(features: Features, place: &Place<'_>, request: &Request) -> Result<(), AllocationError> {
    if !features.prioritized_list && !request.first_available.is_empty() {
        return Err(place.lacks("firstAvailable", "PrioritizedList"));
    }
    let mut asks = request.exactly.iter().chain(&request.first_available);
    if !features.consumable_capacity && asks.any(|ask| ask.capacity.is_some()) {
        return Err(place.lacks("capacity", "ConsumableCapacity"));
    }
    Ok(())
}
