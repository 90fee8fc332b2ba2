//! When which pod is explained, and what was said of what.
//!
//! A pod is explained after a grace, and again when the cluster has changed since; the longer the reason is the same, the
//! longer the wait until then, up to a minute. While nothing changes, nothing is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::Subject;
use crate::cluster::Name;
use crate::explain::Blocker;

/// The waits between two explanations of a pod.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// After what time the same is said again: the API server forgets Events after an hour.
const SAID: Duration = Duration::from_secs(20 * 60);
/// How often is looked for what was said long ago.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Schedule {
    grace: Duration,
    plans: BTreeMap<Name, Plan>,
    /// Pods that are explained at a time, however the cluster is then.
    queue: BTreeSet<(Duration, Name)>,
    /// Pods that are explained when the cluster has changed.
    idle: BTreeSet<Name>,
    said: HashMap<Subject, (u64, Duration)>,
    now: Duration,
    /// For which state of the cluster, and when, the idle ones were looked through.
    looked: Option<(u64, Duration)>,
}

#[derive(Debug)]
struct Plan {
    not_before: Duration,
    wait: Duration,
    blocker: Option<Blocker>,
    /// Which state of the cluster was explained.
    explained: Option<u64>,
    is_running: bool,
}

impl Schedule {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            plans: BTreeMap::new(),
            queue: BTreeSet::new(),
            idle: BTreeSet::new(),
            said: HashMap::new(),
            now: Duration::ZERO,
            looked: None,
        }
    }

    /// A pod of this age waits.
    pub(super) fn plan(&mut self, name: &Name, age: Duration, now: Duration) {
        if self.plans.contains_key(name) {
            return;
        }
        let not_before = now.saturating_add(self.grace.saturating_sub(age));
        let plan = Plan { not_before, wait: SHORTEST, blocker: None, explained: None, is_running: false };
        self.plans.insert(name.clone(), plan);
        self.queue.insert((not_before, name.clone()));
    }

    /// A pod does not wait any more.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some(plan) = self.plans.remove(name) {
            self.queue.remove(&(plan.not_before, name.clone()));
            self.idle.remove(name);
        }
    }

    /// The pods that are to be explained now, no more than `room`.
    pub(super) fn due(&mut self, now: Duration, version: u64, room: usize) -> Vec<Name> {
        self.now = now;
        self.wake(now, version);
        let plans = &mut self.plans;
        let mut due = Vec::new();
        while due.len() < room && self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.queue.pop_first() else { break };
            if let Some(plan) = plans.get_mut(&name).filter(|plan| !plan.is_running) {
                plan.is_running = true;
                due.push(name);
            }
        }
        due
    }

    /// Plans for those whose cluster has changed, and those of whom nothing was said for long.
    fn wake(&mut self, now: Duration, version: u64) {
        let is_new = |(looked, at): (u64, Duration)| looked != version || now.saturating_sub(at) > LOOK;
        if !self.looked.is_none_or(is_new) {
            return;
        }
        self.looked = Some((version, now));
        let is_due =
            |plan: &Plan| plan.explained != Some(version) || plan.not_before.saturating_add(SAID) <= now;
        let plans = &self.plans;
        let woken = self.idle.iter().filter(|name| plans.get(*name).is_some_and(is_due));
        let woken: Vec<Name> = woken.cloned().collect();
        for name in woken {
            self.idle.remove(&name);
            if let Some(plan) = self.plans.get(&name) {
                self.queue.insert((plan.not_before, name));
            }
        }
    }

    /// A pod was explained. Whether it still waits.
    pub(super) fn done(&mut self, name: &Name, version: u64, blocker: Blocker, now: Duration) -> bool {
        let Some(plan) = self.plans.get_mut(name) else { return false };
        let is_same = plan.blocker.replace(blocker) == Some(blocker);
        plan.wait = if is_same { (plan.wait * 2).min(LONGEST) } else { SHORTEST };
        plan.not_before = now.saturating_add(plan.wait);
        plan.explained = Some(version);
        plan.is_running = false;
        self.idle.insert(name.clone());
        self.looked = None;
        true
    }

    /// Whether a note about something is another one than the last, or that is long ago.
    pub(super) fn is_new(&mut self, about: &Subject, note: &str) -> bool {
        let hash = FixedState::default().hash_one(note);
        let now = self.now;
        let known = self.said.get(about);
        if known.is_some_and(|(said, at)| *said == hash && now.saturating_sub(*at) < SAID) {
            return false;
        }
        self.said.insert(about.clone(), (hash, now));
        true
    }

    pub(super) fn unsaid(&mut self, about: &Subject) {
        self.said.remove(about);
    }

    pub(super) fn forget_said(&mut self) {
        self.said.clear();
    }
}
