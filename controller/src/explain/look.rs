//! What is in the way on each kind of node, counted for all devices and nodes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::blocker::Blocker;
use super::details::{
    blocker_of, constraint, fits_without_constraints, held, holders, incomplete, selector, text, what_of,
};
use super::finding::{Finding, Held, What};
use super::query::{Ask, Query};
use super::rules::taint_text;
use super::survey::{Group, Outcome};
use crate::allocator::{AllocationError, Inspected, InspectedDevice, Inspection, MAX_RESULTS, Obstacle};
use crate::cel::{self, Anatomy};
use crate::cluster::Name;
use crate::model::intern::Device;
use crate::model::object::Selector;
use crate::model::pool::PoolId;

/// How many different findings are kept.
const MOST: usize = 64;
/// How many kinds of nodes are looked at.
const GROUPS: usize = 20_000;
/// On how many of them it is asked which part of a selector is false.
const TAKEN_APART: usize = 128;
/// How many ways in which a selector is false are kept.
const PARTS: usize = 16;

/// What is in the way on nodes, as it is found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Found>,
    by_key: HashMap<(Option<usize>, Arc<str>, What), usize>,
    /// How many kinds of nodes were looked at.
    looked_at: usize,
}

#[derive(Debug)]
struct Found {
    finding: Finding,
    holders: BTreeSet<Name>,
    /// The first node of the group that was counted last.
    last: Option<Arc<str>>,
}

/// Selectors taken apart, by their texts.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    known: HashMap<Arc<str>, Option<Arc<Anatomy>>>,
}

impl Selectors {
    pub(super) fn anatomy(&mut self, query: &Query<'_>, selector: &Selector) -> Option<Arc<Anatomy>> {
        let text = &selector.cel.as_ref()?.expression;
        let known = self.known.entry(Arc::clone(text));
        known.or_insert_with(|| Anatomy::of(query.environment(), text).ok().map(Arc::new)).clone()
    }
}

/// A device as selectors see it.
pub(super) fn seen<T>(pool: &PoolId, device: &Device, see: impl FnOnce(&cel::Device<'_>) -> T) -> T {
    see(&cel::Device {
        driver: &pool.driver,
        allow_multiple_allocations: device.shape.allow_multiple_allocations,
        attributes: &device.attributes(),
        capacity: &device.shape.amounts,
    })
}

/// What is in the way on these nodes.
pub(super) fn look(query: &Query<'_>, groups: &[&Group]) -> Vec<Finding> {
    let mut findings = Findings::default();
    let mut selectors = Selectors::default();
    let asks = query.asks();
    for group in groups.iter().filter(|group| !group.fits()).take(GROUPS) {
        if query.cancel.is_set() {
            break;
        }
        let inspection =
            query.cluster.allocator(query.cache).inspect(Some(group.node()), &query.open, query.cancel);
        match (&group.outcome, &inspection) {
            // Each device that fails is told of.
            (Outcome::Error(AllocationError::Compile { .. } | AllocationError::Evaluate { .. }), Ok(_)) => {}
            (Outcome::Error(error), _) | (_, Err(error)) => findings.error(query, group, error),
            _ => {}
        }
        findings.looked_at += 1;
        if let Ok(inspection) = &inspection {
            findings.node(query, group, &asks, inspection, &mut selectors);
        }
    }
    findings.finished(&query.namespace())
}

/// Whether a request does not find enough devices by itself.
pub(super) fn is_short(asks: &[&Inspected]) -> bool {
    asks.iter().all(|ask| free(ask) < ask.wanted || ask.wanted == 0)
}

/// How many devices an ask could have.
pub(super) fn free(ask: &Inspected) -> usize {
    ask.devices.iter().filter(|device| device.obstacles.is_empty()).count()
}

/// Whether an obstacle is what others have of a device, instead of what the device is.
pub(super) fn is_of_others(obstacle: &Obstacle) -> bool {
    match obstacle {
        Obstacle::InUse | Obstacle::Counter { .. } => true,
        Obstacle::Capacity { wanted, there, .. } => wanted <= there,
        _ => false,
    }
}

/// The asks of an inspection, by requests.
pub(super) fn by_request(inspection: &Inspection) -> Vec<Vec<&Inspected>> {
    let mut requests: Vec<Vec<&Inspected>> = Vec::new();
    for ask in &inspection.asks {
        match requests.last_mut() {
            Some(last) if (last[0].claim, last[0].number) == (ask.claim, ask.number) => last.push(ask),
            _ => requests.push(vec![ask]),
        }
    }
    requests
}

impl Findings {
    fn node(
        &mut self,
        query: &Query<'_>,
        group: &Group,
        asks: &[Ask<'_>],
        inspection: &Inspection,
        selectors: &mut Selectors,
    ) {
        for (pool, problem) in inspection.unusable.iter().filter(|(pool, _)| query.is_of_pool(pool)) {
            let what = match problem {
                None => incomplete(query, pool),
                Some(problem) => {
                    What::PoolInvalid { pool: pool.to_string().into(), problem: problem.as_str().into() }
                }
            };
            let reason = if problem.is_some() { Blocker::PoolInvalid } else { Blocker::PoolIncomplete };
            self.add(group, None, reason, what, 0, &nobody);
        }
        let has_devices = inspection.asks.iter().any(|ask| !ask.devices.is_empty());
        if !has_devices {
            if inspection.unusable.is_empty() {
                self.add(group, None, Blocker::NoDevices, What::NoDevices, 0, &nobody);
            }
            return;
        }
        let requests = by_request(inspection);
        let mut has_short = false;
        let is_error = matches!(group.outcome, Outcome::Error(_));
        for request in &requests {
            let is_short = is_short(request);
            has_short |= is_short;
            for inspected in request.iter().filter(|_| is_short || is_error) {
                let ask = asks.iter().find(|ask| {
                    ask.number == inspected.claim
                        && ask.request == inspected.number
                        && ask.name == inspected.request
                });
                match ask {
                    Some(ask) if is_short => self.short(query, group, ask, inspected, selectors),
                    Some(ask) => self.errors(group, ask, inspected),
                    None => {}
                }
            }
        }
        if !has_short && group.is_no_fit() {
            self.together(query, group, asks, inspection, requests.len());
        }
    }

    /// An ask that does not find enough devices.
    fn short(
        &mut self,
        query: &Query<'_>,
        group: &Group,
        ask: &Ask<'_>,
        inspected: &Inspected,
        selectors: &mut Selectors,
    ) {
        let matching = inspected.devices.iter().filter(|device| device.obstacles.iter().all(is_of_others));
        let (most, free) = (matching.count(), free(inspected));
        if inspected.wanted > most && most > 0 && !inspected.is_all {
            let what = What::TooFew { wanted: inspected.wanted, most, free };
            self.add(group, Some(ask), Blocker::TooFewDevices, what, 0, &nobody);
        }
        let mut in_use = BTreeSet::new();
        let mut used = 0;
        // Devices of drivers that have nothing to do with the class are no news.
        for one in inspected.devices.iter().filter(|one| query.is_of_driver(&one.pool.driver)) {
            match one.obstacles.first() {
                None => {}
                Some(Obstacle::InUse) => {
                    used += 1;
                    in_use.insert(one.device.shape.number);
                }
                Some(obstacle) => self.obstacle(query, group, ask, one, obstacle, selectors),
            }
        }
        if used > 0 {
            let is_one = |device: &Device| in_use.contains(&device.shape.number);
            let holders = || holders(query, group, is_one);
            self.add(group, Some(ask), Blocker::InUse, What::InUse(Held::default()), used, &holders);
        }
    }

    /// What has no answer, though there are enough devices without it.
    fn errors(&mut self, group: &Group, ask: &Ask<'_>, inspected: &Inspected) {
        for obstacle in inspected.devices.iter().filter_map(|one| one.obstacles.first()) {
            if let Obstacle::Error(error) = obstacle {
                self.add(group, Some(ask), blocker_of(error), what_of(error), 1, &nobody);
            }
        }
    }

    fn obstacle(
        &mut self,
        query: &Query<'_>,
        group: &Group,
        ask: &Ask<'_>,
        one: &InspectedDevice,
        obstacle: &Obstacle,
        selectors: &mut Selectors,
    ) {
        let shape = one.device.shape.number;
        let told = Some(one).filter(|_| self.looked_at <= TAKEN_APART);
        let (reason, what) = match obstacle {
            Obstacle::Feature(feature) => {
                let why = format!(
                    "need the feature {feature}, which this cluster's scheduler does not have; upgrade to \
                     Kubernetes 1.36 or later"
                );
                (Blocker::SelectorError, What::Unusable { why: why.into() })
            }
            Obstacle::ClassSelector(index) => {
                let class = query.cluster.classes().get(&ask.ask.device_class_name);
                let of = class.map_or(&[][..], |class| &class.spec.selectors);
                let class = Some(Arc::clone(&ask.ask.device_class_name));
                (Blocker::ClassSelector, selector(query, selectors, class, of, *index, told))
            }
            Obstacle::RequestSelector(index) => {
                let of = &ask.ask.selectors;
                (Blocker::RequestSelector, selector(query, selectors, None, of, *index, told))
            }
            Obstacle::Error(error) => (blocker_of(error), what_of(error)),
            Obstacle::OtherNodes => {
                (Blocker::NoDevices, What::Unusable { why: "are for other nodes".into() })
            }
            Obstacle::CapacityPolicy { name, wanted, there } => {
                let there = there.as_ref().map(text);
                let (capacity, wanted) = (Arc::clone(name), text(wanted));
                let held = Held::default();
                (Blocker::Capacity, What::Capacity { capacity, wanted, there, left: None, held })
            }
            Obstacle::Capacity { name, wanted, there, taken } => {
                let is_taken = !taken.is_zero();
                let what = What::Capacity {
                    capacity: Arc::clone(name),
                    wanted: text(wanted),
                    there: Some(text(there)),
                    left: is_taken.then(|| text(&there.sub(taken))),
                    held: Held::default(),
                };
                (Blocker::Capacity, what)
            }
            Obstacle::Taints(taints) => {
                for taint in taints {
                    let taint = taint_text(&taint.key, &taint.value, &taint.effect).into();
                    self.add(group, Some(ask), Blocker::DeviceTaint, What::Taint { taint }, 1, &nobody);
                }
                return;
            }
            Obstacle::Counter { set, name, wanted, left } => {
                let what = What::Counter {
                    counter: Arc::clone(name),
                    set: Arc::clone(set),
                    short: text(&wanted.sub(left)),
                    needed: text(wanted),
                    held: Held::default(),
                };
                (Blocker::Counters, what)
            }
            Obstacle::Constraint(index) => {
                let what = constraint(ask, *index, std::iter::empty());
                (Blocker::Constraint, what)
            }
            Obstacle::InUse => return,
        };
        let has_it = |device: &Device| match obstacle {
            Obstacle::Capacity { .. } => device.shape.number == shape,
            Obstacle::Counter { set, .. } => device.shape.counters.iter().any(|taken| taken.set == *set),
            _ => false,
        };
        self.add(group, Some(ask), reason, what, 1, &|| match obstacle {
            Obstacle::Capacity { .. } | Obstacle::Counter { .. } => holders(query, group, has_it),
            _ => nobody(),
        });
    }

    /// Requests that each find enough devices by themselves.
    fn together(
        &mut self,
        query: &Query<'_>,
        group: &Group,
        asks: &[Ask<'_>],
        inspection: &Inspection,
        requests: usize,
    ) {
        let constrained = asks.iter().filter(|ask| !ask.claim.spec.devices.constraints.is_empty());
        let constrained: Vec<&Ask<'_>> = constrained.collect();
        if !constrained.is_empty() && fits_without_constraints(query, group.node()) {
            let mut told = BTreeSet::new();
            for ask in constrained {
                for index in 0..ask.claim.spec.devices.constraints.len() {
                    if !told.insert((ask.number, index)) {
                        continue;
                    }
                    let free = inspection.asks.iter().filter(|one| one.claim == ask.number);
                    let free = free.flat_map(|one| &one.devices).filter(|one| one.obstacles.is_empty());
                    let what = constraint(ask, index, free);
                    self.add(group, Some(ask), Blocker::Constraint, what, 0, &nobody);
                }
            }
            return;
        }
        self.add(group, None, Blocker::Together, What::Together { requests }, 0, &nobody);
    }

    fn error(&mut self, query: &Query<'_>, group: &Group, error: &AllocationError) {
        let reason = blocker_of(error);
        let what = match error {
            // The pools are told of one by one.
            AllocationError::InvalidPools(_) | AllocationError::Cancelled => return,
            AllocationError::IncompletePool { pool, .. } => {
                let pools = query.cluster.inventory().pools();
                match pools.map(|known| &known.id).find(|id| id.to_string() == *pool) {
                    Some(id) => incomplete(query, id),
                    None => what_of(error),
                }
            }
            AllocationError::InvalidPool { pool, reason, .. } => {
                What::PoolInvalid { pool: pool.as_str().into(), problem: reason.as_str().into() }
            }
            AllocationError::TooMany { count, .. } => What::TooMany { wanted: *count, most: MAX_RESULTS },
            _ => what_of(error),
        };
        self.add(group, None, reason, what, 0, &nobody);
    }

    /// Adds what is true of so many devices on each node of a group. Who has them is asked once for a group.
    fn add(
        &mut self,
        group: &Group,
        ask: Option<&Ask<'_>>,
        reason: Blocker,
        what: What,
        devices: usize,
        holders: &dyn Fn() -> BTreeSet<Name>,
    ) {
        // How many are there differs from node to node: the node that has most is told of.
        let in_key = match &what {
            What::TooFew { wanted, .. } => What::TooFew { wanted: *wanted, most: 0, free: 0 },
            What::Selector { class, number, of, .. } => {
                What::Selector { class: class.clone(), number: *number, of: *of, parts: Vec::new() }
            }
            What::Error { message, .. } => What::Error { message: Arc::clone(message), device: None },
            other => other.clone(),
        };
        let request = ask.map(|ask| Arc::clone(&ask.name)).unwrap_or_default();
        let key = (ask.map(|ask| ask.number), request, in_key.clone());
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None if self.found.len() >= MOST => return,
            None => {
                self.found.push(Found::new(reason, ask, in_key));
                self.by_key.insert(key, self.found.len() - 1);
                self.found.len() - 1
            }
        };
        let Found { finding, holders: known, last } = &mut self.found[index];
        match (&mut finding.what, what) {
            (What::TooFew { most, free, .. }, What::TooFew { most: more, free: freer, .. }) => {
                (*most, *free) = (*most, *free).max((more, freer));
            }
            (What::Error { device: first, .. }, What::Error { device, .. }) => {
                *first = first.take().or(device);
            }
            (What::Selector { parts: known, .. }, What::Selector { parts, .. }) => {
                for (part, _) in parts {
                    let devices = devices * group.nodes.len();
                    match known.iter().position(|(other, _)| *other == part) {
                        Some(other) => known[other].1 += devices,
                        None if known.len() < PARTS => known.push((part, devices)),
                        None => {}
                    }
                }
            }
            _ => {}
        }
        finding.devices += devices * group.nodes.len();
        let first = &group.node().metadata.name;
        if last.as_ref() != Some(first) {
            *last = Some(Arc::clone(first));
            finding.nodes += group.nodes.len();
            finding.node.get_or_insert_with(|| Arc::clone(first));
            known.extend(holders());
        }
    }

    fn finished(self, namespace: &str) -> Vec<Finding> {
        let finished = |found: Found| {
            let mut finding = found.finding;
            let held = held(found.holders, namespace);
            match &mut finding.what {
                What::InUse(known) => *known = held,
                What::Selector { parts, .. } => parts.sort_by_key(|(_, devices)| std::cmp::Reverse(*devices)),
                What::Counter { held: known, .. } | What::Capacity { held: known, .. } => *known = held,
                _ => {}
            }
            finding
        };
        self.found.into_iter().map(finished).collect()
    }
}

impl Found {
    fn new(reason: Blocker, ask: Option<&Ask<'_>>, what: What) -> Self {
        let finding = Finding {
            reason,
            claim: ask.map(Ask::claim_name),
            request: ask.map(|ask| Arc::clone(&ask.name)),
            what,
            devices: 0,
            nodes: 0,
            node: None,
        };
        Self { finding, holders: BTreeSet::new(), last: None }
    }
}

/// Nobody.
fn nobody() -> BTreeSet<Name> {
    BTreeSet::new()
}
