//! What the controller knows and what it has to do, as a machine without input and output: news go in, work comes out.
//!
//! ```text
//! watch ──▶ change ──▶ Cluster, Claims, Pools ──▶ metrics
//! time ───▶ due ─────▶ Task: explain a pod ──▶ (threads) ──▶ explained ──▶ Said: Events
//! Lease ──▶ lead
//! ```
//!
//! All replicas know the same. The one that leads explains, counts and speaks.

mod claims;
mod classes;
mod lists;
mod news;
mod pools;
mod schedule;
mod seen;
mod tallies;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::allocator::Features;
use crate::cel;
use crate::cluster::{Cluster, Name, Shared};
use crate::explain::{Audience, Blocker, Explanation};
use crate::model::object::Claim;
use crate::model::pod::Pod;
use crate::watch::Change;

use classes::Classes;
use schedule::Schedule;
use seen::PodsSeen;

pub use claims::{Claims, Pending};
pub use lists::{Line, Lists, RESOURCES};
pub use pools::Pools;
pub use seen::Now;
pub use tallies::{Durations, Tallies};

/// What the controller was told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The DRA driver's name.
    pub driver: Arc<str>,
    /// DeviceClasses that are the driver's, whatever they select.
    pub classes: BTreeSet<Arc<str>>,
    /// How long a pod waits before it is explained.
    pub grace: Duration,
}

/// A pod whose claims are to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The pod.
    pub pod: Name,
    /// Which of all pods that ever had the name it is.
    pub uid: Arc<str>,
    /// Which of all states of the cluster is explained.
    pub version: u64,
}

/// Something to be said to users, as an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it is about.
    pub about: Subject,
    /// The words: they name objects of the subject's namespace alone.
    pub note: String,
}

/// An object that Events are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Of which kind it is.
    pub kind: SubjectKind,
    /// Its name.
    pub name: Name,
    /// Its UID.
    pub uid: Arc<str>,
}

/// A kind of objects that Events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A ResourceClaim.
    Claim,
    /// A Pod.
    Pod,
}

impl SubjectKind {
    /// As the API calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "ResourceClaim",
            Self::Pod => "Pod",
        }
    }
}

/// What the controller knows.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    cache: Arc<cel::Cache>,
    cluster: Cluster,
    shared: Shared,
    lists: Lists,
    classes: Classes,
    pools: Pools,
    claims: Claims,
    pods: PodsSeen,
    schedule: Schedule,
    tallies: Tallies,
    leads: bool,
    /// Counts the states of the cluster, as far as they matter to explanations.
    version: u64,
}

impl Index {
    /// An index that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings, cache: Arc<cel::Cache>) -> Self {
        Self {
            schedule: Schedule::new(settings.grace),
            settings,
            cache,
            cluster: Cluster::default(),
            shared: Shared::default(),
            lists: Lists::default(),
            classes: Classes::default(),
            pools: Pools::default(),
            claims: Claims::default(),
            pods: PodsSeen::default(),
            tallies: Tallies::default(),
            leads: false,
            version: 0,
        }
    }

    /// The cluster as it is known now. A copy of it stays as it is.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The driver's name.
    #[must_use]
    pub fn driver(&self) -> &Arc<str> {
        &self.settings.driver
    }

    /// Whether this replica is the one that acts.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Whether all resources have been read at least once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.lists.are_synced()
    }

    /// How each resource is followed.
    #[must_use]
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What is counted.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What is measured of the driver's pools.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The claims that pods wait for.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the cluster's scheduler can do, as its version tells.
    pub fn set_features(&mut self, features: Features) {
        if self.cluster.features != features {
            self.cluster.features = features;
            self.version += 1;
        }
    }

    /// This replica is the one that acts now, or is so no longer.
    pub fn lead(&mut self, leads: bool) {
        if leads && !self.leads {
            // Another replica may have said other things in the meantime.
            self.schedule.forget_said();
            // What keeps claims that wait already was counted by that one.
            self.claims.are_old();
        }
        self.leads = leads;
    }

    /// Something was learned of the cluster.
    pub fn change(&mut self, change: Change, now: Now) {
        match change {
            Change::Slice(news) => self.slice(news, now),
            Change::Class(news) => self.class(news, now),
            Change::Node(news) => self.node(news),
            Change::Claim(news) => self.claim(news, now),
            Change::Pod(news) => self.pod(news, now),
        }
    }

    /// The pods that are to be explained now, no more than `room` of them.
    pub fn due(&mut self, now: Now, room: usize) -> Vec<Task> {
        if !self.leads || !self.is_synced() {
            return Vec::new();
        }
        let (pods, version) = (self.cluster.pods(), self.version);
        let tasks = self.schedule.due(now.ticks, version, room).into_iter();
        let task = |pod: Name| {
            let uid = Arc::clone(&pods.get(&pod)?.metadata.uid);
            Some(Task { pod, uid, version })
        };
        tasks.filter_map(task).collect()
    }

    /// A pod's claims were explained: what is to be said of it.
    pub fn explained(&mut self, task: &Task, explanation: &Explanation, now: Now) -> Vec<Said> {
        let blocker = explanation.blocker;
        let Some(pod) = self.cluster.pods().get(&task.pod).map(Arc::clone) else { return Vec::new() };
        if pod.metadata.uid != task.uid {
            return Vec::new();
        }
        let claims: Vec<(Name, Arc<Claim>)> = self
            .cluster
            .claims_of(&pod)
            .filter(|(name, _)| self.claims.is_pending(name) && self.is_first_of(&task.pod, name))
            .map(|(name, claim)| (name.clone(), Arc::clone(claim)))
            .collect();
        let was = self.schedule.done(&task.pod, task.version, blocker, now.ticks);
        for (name, _) in &claims {
            let class = explanation.claim.as_ref() == Some(name) && !explanation.device_class.is_empty();
            let class = class.then(|| Arc::clone(&explanation.device_class));
            if self.claims.reason(name, blocker, class) && self.leads {
                self.tallies.error(blocker);
            }
        }
        if !self.leads || !was || blocker == Blocker::Unexplained {
            return Vec::new();
        }
        let note = explanation.note(&Audience::Namespace(&task.pod.namespace));
        let claims =
            claims.iter().map(|(name, claim)| subject(SubjectKind::Claim, name, &claim.metadata.uid));
        let pod = subject(SubjectKind::Pod, &task.pod, &pod.metadata.uid);
        let all: Vec<Subject> = claims.chain([pod]).collect();
        let new = all.into_iter().filter(|about| self.schedule.is_new(about, &note));
        new.map(|about| Said { about, note: note.clone() }).collect()
    }

    /// Whether a pod is the one whose reasons a claim has: of several that wait for it, the first.
    fn is_first_of(&self, pod: &Name, claim: &Name) -> bool {
        let mut waiting = self.cluster.pods_of(claim).filter(|(_, pod)| pod.is_waiting());
        waiting.next().is_some_and(|(first, _)| first == pod)
    }

    /// Something could not be said: it is said again with the next explanation.
    pub fn unsaid(&mut self, about: &Subject) {
        self.schedule.unsaid(about);
    }

    /// Forgets what is not used any more.
    pub fn shrink(&mut self) {
        self.shared.shrink();
    }
}

fn subject(kind: SubjectKind, name: &Name, uid: &Arc<str>) -> Subject {
    Subject { kind, name: name.clone(), uid: Arc::clone(uid) }
}

/// What follows from what is known.
impl Index {
    /// Whether a claim has anything to do with the driver.
    fn concerns(&self, claim: &Claim) -> bool {
        if let Some(allocation) = &claim.status.allocation {
            return allocation.devices.results.iter().any(|one| one.driver == self.settings.driver);
        }
        claims::classes_of(claim).any(|class| self.classes.concerns(class, &self.cluster, &self.settings))
    }

    /// Decides of a claim whether somebody waits for it, and plans for those who do.
    fn settle(&mut self, name: &Name, now: Now) {
        let Some(claim) = self.cluster.claims().get(name).map(Arc::clone) else { return };
        let is_waited_for = self.cluster.pods_of(name).any(|(_, pod)| pod.is_waiting());
        let is_pending =
            claim.status.allocation.is_none() && claim.metadata.deletion_timestamp.is_none() && is_waited_for;
        let concerns = self.concerns(&claim);
        self.claims.settle(name, &claim, is_pending && concerns, concerns);
        let pods: Vec<Name> = self.cluster.pods_of(name).map(|(pod, _)| pod.clone()).collect();
        pods.iter().for_each(|pod| self.plan(pod, now));
    }

    /// Plans to explain a pod, if there is something to explain.
    fn plan(&mut self, name: &Name, now: Now) {
        let Some(pod) = self.cluster.pods().get(name) else { return self.schedule.forget(name) };
        let has_pending = self.cluster.claims_of(pod).any(|(claim, _)| self.claims.is_pending(claim));
        if pod.is_waiting() && has_pending {
            self.schedule.plan(name, self.pods.age(name, now), now.ticks);
        } else {
            self.schedule.forget(name);
        }
    }

    fn all_claims(&mut self, now: Now) {
        let names: Vec<Name> = self.claims.unallocated().cloned().collect();
        names.iter().for_each(|name| self.settle(name, now));
    }

    fn all_pools(&mut self) {
        let ids: Vec<_> = self.cluster.inventory().pools().map(|pool| pool.id.clone()).collect();
        ids.iter().for_each(|id| self.measure(id));
    }

    fn measure(&mut self, id: &crate::model::pool::PoolId) {
        if id.driver == self.settings.driver {
            self.pools.measure(id, &self.cluster, &self.classes, &self.cache);
        }
    }
}

fn claim_names(pod: &Pod) -> BTreeSet<Name> {
    pod.claims().map(|claim| Name::new(&pod.metadata.namespace, claim)).collect()
}
