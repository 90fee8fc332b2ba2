//! What is remembered of claims: since when they are known, who waits for them, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::seen::{Now, Seen, between};
use crate::cluster::Name;
use crate::explain::Blocker;
use crate::model::object::Claim;

/// What is remembered of claims.
#[derive(Debug, Default)]
pub struct Claims {
    known: BTreeMap<Name, Known>,
    pending: BTreeMap<Name, Pending>,
    /// Allocated, and nobody may use them.
    unreserved: BTreeSet<Name>,
}

#[derive(Debug)]
struct Known {
    uid: Arc<str>,
    /// Nothing, once it is allocated.
    since: Option<Seen>,
    /// It was there, without devices, before this process was: what keeps it was counted by another one.
    is_old: bool,
}

/// A claim that a pod waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    since: Seen,
    is_old: bool,
    /// The DeviceClass that matters.
    pub class: Arc<str>,
    /// Why it waits.
    pub reason: Blocker,
}

impl Claims {
    /// The claims that pods wait for.
    pub fn pending(&self) -> impl Iterator<Item = (&Name, &Pending)> {
        self.pending.iter()
    }

    /// For how long the oldest of them is known.
    #[must_use]
    pub fn oldest(&self, now: Now) -> Duration {
        self.pending.values().map(|claim| claim.since.age(now)).max().unwrap_or_default()
    }

    /// How many claims have devices that nobody may use.
    #[must_use]
    pub fn unreserved(&self) -> usize {
        self.unreserved.len()
    }

    pub(super) fn is_pending(&self, name: &Name) -> bool {
        self.pending.contains_key(name)
    }

    /// The claims without devices.
    pub(super) fn unallocated(&self) -> impl Iterator<Item = &Name> {
        self.known.iter().filter(|(_, known)| known.since.is_some()).map(|(name, _)| name)
    }

    /// A claim came or changed: how long its allocation took, if it has it now and that can be told.
    ///
    /// `is_live` is whether a watch told, as it happened. `is_later` is whether claims have been listed before: what is
    /// new in a later list has happened while the watch was broken.
    pub(super) fn saw(
        &mut self,
        name: &Name,
        claim: &Claim,
        is_live: bool,
        is_later: bool,
        now: Now,
    ) -> Option<Duration> {
        let known = self.known.get(name).filter(|known| known.uid == claim.metadata.uid);
        let is_allocated = claim.status.allocation.is_some();
        let (since, took) = match (known, is_allocated) {
            (Some(Known { since: Some(since), .. }), false) => (Some(*since), None),
            (Some(Known { since: Some(since), .. }), true) if is_live => (None, Some(since.age(now))),
            (Some(Known { since: Some(_), .. }), true) => (None, by_its_own_times(claim)),
            (Some(Known { since: None, .. }), true) => (None, None),
            // It lost its devices, and waits anew.
            (Some(Known { since: None, .. }), false) => (Some(Seen::live(now)), None),
            (None, true) => (None, by_its_own_times(claim).filter(|_| !is_live && is_later)),
            (None, false) if is_live => (Some(Seen::live(now)), None),
            (None, false) => (Some(Seen::listed(claim.metadata.creation_timestamp.as_ref(), now)), None),
        };
        let is_old = known.map_or(!is_live && !is_later, |known| known.is_old && known.since.is_some());
        let uid = Arc::clone(&claim.metadata.uid);
        if known.is_none() {
            self.pending.remove(name);
        }
        self.known.insert(name.clone(), Known { uid, since, is_old });
        took
    }

    /// Notes whether somebody waits for a claim, and whether somebody may use it.
    pub(super) fn settle(&mut self, name: &Name, claim: &Claim, is_pending: bool, concerns: bool) {
        let known = self.known.get(name);
        match known.and_then(|known| Some((known.since?, known.is_old))) {
            Some((since, is_old)) if is_pending => {
                self.pending.entry(name.clone()).or_insert_with(|| Pending {
                    since,
                    is_old,
                    class: class_of(claim),
                    reason: Blocker::Unexplained,
                });
            }
            _ => drop(self.pending.remove(name)),
        }
        if concerns && claim.status.allocation.is_some() && claim.status.reserved_for.is_empty() {
            self.unreserved.insert(name.clone());
        } else {
            self.unreserved.remove(name);
        }
    }

    /// Why a claim waits, and the class that matters. Whether it is something new, which counts.
    pub(super) fn reason(&mut self, name: &Name, reason: Blocker, class: Option<Arc<str>>) -> bool {
        let Some(claim) = self.pending.get_mut(name) else { return false };
        if let Some(class) = class {
            claim.class = class;
        }
        let before = std::mem::replace(&mut claim.reason, reason);
        let is_known_to_others = claim.is_old && before == Blocker::Unexplained;
        before != reason && reason != Blocker::Unexplained && !is_known_to_others
    }

    /// Another replica has counted why the claims wait that nothing is known of here.
    pub(super) fn are_old(&mut self) {
        for claim in self.pending.values_mut().filter(|claim| claim.reason == Blocker::Unexplained) {
            claim.is_old = true;
        }
    }

    pub(super) fn forget(&mut self, name: &Name) {
        self.known.remove(name);
        self.pending.remove(name);
        self.unreserved.remove(name);
    }
}

/// How long an allocation took, by the times that the API server and the scheduler wrote.
fn by_its_own_times(claim: &Claim) -> Option<Duration> {
    let created = claim.metadata.creation_timestamp.as_ref()?;
    Some(between(created.0, allocated_at(claim)?))
}

/// When a claim was allocated, where the scheduler wrote it.
pub(super) fn allocated_at(claim: &Claim) -> Option<Timestamp> {
    Some(claim.status.allocation.as_ref()?.allocation_timestamp.as_ref()?.0)
}

/// The classes that a claim names, in order.
pub(super) fn classes_of(claim: &Claim) -> impl Iterator<Item = &Arc<str>> {
    let requests = claim.spec.devices.requests.iter();
    let asked = requests.flat_map(|request| request.exactly.iter().chain(&request.first_available));
    asked.map(|asked| &asked.device_class_name)
}

/// The first class that a claim names.
pub(super) fn class_of(claim: &Claim) -> Arc<str> {
    classes_of(claim).next().map(Arc::clone).unwrap_or_default()
}
