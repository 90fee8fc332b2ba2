//! For how long things have been there.
//!
//! What is seen to come by a watch is timed by this process's own clock. What was there already when it was listed has
//! the age that its time of creation tells; clocks may differ, so it is never less than nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::cluster::Name;
use crate::model::pod::Pod;

/// The time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the process began, by a clock that does not jump.
    pub ticks: Duration,
    /// By the clock on the wall.
    pub wall: Timestamp,
}

/// Since when something is known, and how old it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    at: Duration,
    age: Duration,
}

impl Seen {
    /// It came just now.
    pub(super) fn live(now: Now) -> Self {
        Self { at: now.ticks, age: Duration::ZERO }
    }

    /// It was in a list.
    pub(super) fn listed(created: Option<&Time>, now: Now) -> Self {
        Self { at: now.ticks, age: created.map_or(Duration::ZERO, |created| between(created.0, now.wall)) }
    }

    /// How old it is.
    pub(super) fn age(self, now: Now) -> Duration {
        now.ticks.saturating_sub(self.at).saturating_add(self.age)
    }
}

/// From one time to another: nothing, where the second comes first.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The pods with claims, and since when they are known.
#[derive(Debug, Default)]
pub(super) struct PodsSeen(BTreeMap<Name, PodSeen>);

#[derive(Debug)]
struct PodSeen {
    uid: Arc<str>,
    seen: Seen,
    /// It waited for claims when it was seen first, and still does: so its time is measured once.
    waits: bool,
}

impl PodsSeen {
    pub(super) fn saw(&mut self, name: &Name, pod: &Pod, is_live: bool, now: Now) {
        if self.0.get(name).is_some_and(|known| known.uid == pod.metadata.uid) {
            return;
        }
        let created = pod.metadata.creation_timestamp.as_ref();
        let seen = if is_live { Seen::live(now) } else { Seen::listed(created, now) };
        let uid = Arc::clone(&pod.metadata.uid);
        self.0.insert(name.clone(), PodSeen { uid, seen, waits: pod.is_waiting() });
    }

    pub(super) fn forget(&mut self, name: &Name) {
        self.0.remove(name);
    }

    /// How old a pod is.
    pub(super) fn age(&self, name: &Name, now: Now) -> Duration {
        self.0.get(name).map_or(Duration::ZERO, |pod| pod.seen.age(now))
    }

    /// All claims of a pod are allocated: how long that took, the first time. Where it was not seen as it happened,
    /// `at` is when it did, if that is known.
    pub(super) fn has_all(
        &mut self,
        name: &Name,
        pod: &Pod,
        at: Option<Option<Timestamp>>,
        now: Now,
    ) -> Option<Duration> {
        let known = self.0.get_mut(name)?;
        if !std::mem::take(&mut known.waits) {
            return None;
        }
        match at {
            None => Some(known.seen.age(now)),
            Some(at) => Some(between(pod.metadata.creation_timestamp.as_ref()?.0, at?)),
        }
    }
}
