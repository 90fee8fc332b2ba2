//! What each kind of news does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::seen::Now;
use super::{Index, SubjectKind, claim_names, claims, pools, subject};
use crate::cluster::Name;
use crate::model::object::{Claim, Class, Node, Slice};
use crate::model::pod::Pod;
use crate::watch::News;

impl Index {
    pub(super) fn slice(&mut self, news: News<Slice>, now: Now) {
        let Self { cluster, shared, lists, .. } = self;
        let mut changed = Vec::new();
        match news {
            News::Listed(slice) | News::Changed(slice) => {
                lists.slices.saw(&slice.metadata.name);
                changed.push(cluster.apply_slice(slice, shared));
            }
            News::Deleted(slice) => {
                lists.slices.lost(&slice.metadata.name);
                changed.extend(cluster.delete_slice(&slice.metadata.name, shared));
            }
            News::ListBegan => lists.slices.began(),
            News::ListEnded => {
                for name in lists.slices.ended() {
                    changed.extend(cluster.delete_slice(&name, shared));
                }
            }
            News::Failed(error) => lists.slices.failed(&error),
        }
        if changed.is_empty() {
            return;
        }
        self.version += 1;
        for pool in changed {
            let is_ours = pool.driver == self.settings.driver;
            if is_ours && self.classes.learn(&self.cluster, &pool, &self.cache) {
                self.all_claims(now);
                self.all_pools();
            } else {
                self.measure(&pool);
            }
        }
    }

    pub(super) fn class(&mut self, news: News<Class>, now: Now) {
        let Self { cluster, lists, classes, cache, settings, .. } = self;
        let mut changed = true;
        match news {
            News::Listed(class) | News::Changed(class) => {
                let name = Arc::clone(&class.metadata.name);
                lists.classes.saw(&name);
                let known = cluster.classes().get(&name);
                // The types of the API's own crate cannot all be compared.
                if known.is_some_and(|known| format!("{:?}", known.spec) == format!("{:?}", class.spec)) {
                    return;
                }
                cluster.apply_class(class);
                classes.judge(&name, cluster, settings, cache);
            }
            News::Deleted(class) => {
                lists.classes.lost(&class.metadata.name);
                cluster.delete_class(&class.metadata.name);
                classes.forget(&class.metadata.name);
            }
            News::ListBegan => {
                lists.classes.began();
                changed = false;
            }
            News::ListEnded => {
                let gone = lists.classes.ended();
                changed = !gone.is_empty();
                for name in gone {
                    cluster.delete_class(&name);
                    classes.forget(&name);
                }
            }
            News::Failed(error) => {
                lists.classes.failed(&error);
                changed = false;
            }
        }
        if changed {
            self.version += 1;
            self.all_claims(now);
            self.all_pools();
        }
    }

    pub(super) fn node(&mut self, news: News<Node>) {
        let Self { cluster, lists, .. } = self;
        match news {
            News::Listed(node) | News::Changed(node) => {
                lists.nodes.saw(&node.metadata.name);
                let known = cluster.nodes().get(&node.metadata.name);
                let is_same = known.is_some_and(|known| {
                    known.spec == node.spec
                        && known.status == node.status
                        && known.metadata.labels == node.metadata.labels
                });
                // Nodes are written every few minutes, and mostly say the same.
                if !is_same {
                    cluster.apply_node(node);
                    self.version += 1;
                }
            }
            News::Deleted(node) => {
                lists.nodes.lost(&node.metadata.name);
                cluster.delete_node(&node.metadata.name);
                self.version += 1;
            }
            News::ListBegan => lists.nodes.began(),
            News::ListEnded => {
                for name in lists.nodes.ended() {
                    cluster.delete_node(&name);
                    self.version += 1;
                }
            }
            News::Failed(error) => lists.nodes.failed(&error),
        }
    }

    pub(super) fn claim(&mut self, news: News<Claim>, now: Now) {
        match news {
            News::Listed(claim) => self.claim_is(claim, false, now),
            News::Changed(claim) => self.claim_is(claim, true, now),
            News::Deleted(claim) => self.claim_is_gone(&Name::of(&claim.metadata)),
            News::ListBegan => self.lists.claims.began(),
            News::ListEnded => {
                self.lists.claims.ended().iter().for_each(|name| self.claim_is_gone(name));
            }
            News::Failed(error) => self.lists.claims.failed(&error),
        }
    }

    fn claim_is(&mut self, claim: Claim, is_live: bool, now: Now) {
        let name = Name::of(&claim.metadata);
        self.lists.claims.saw(&name);
        let before = self.cluster.apply_claim(claim, &mut self.shared);
        let Some(claim) = self.cluster.claims().get(&name).map(Arc::clone) else { return };
        let allocation = |claim: &Claim| claim.status.allocation.clone();
        let was = before.as_deref().and_then(allocation);
        if before.as_deref().is_none_or(|_| was != claim.status.allocation) {
            self.version += 1;
            let results = was.iter().chain(&claim.status.allocation).flat_map(|one| &one.devices.results);
            let pools: BTreeSet<_> = results.map(pools::pool_of).collect();
            pools.iter().for_each(|pool| self.measure(pool));
        }
        let took = self.claims.saw(&name, &claim, is_live, self.lists.claims.is_synced(), now);
        if let Some(took) = took
            && self.leads
            && self.concerns(&claim)
        {
            self.tallies.allocated(claims::class_of(&claim), took);
        }
        if claim.status.allocation.is_some() {
            let pods: Vec<Name> = self.cluster.pods_of(&name).map(|(pod, _)| pod.clone()).collect();
            pods.iter().for_each(|pod| self.pod_may_have_all(pod, is_live, now));
        }
        self.settle(&name, now);
    }

    /// Measures a pod once it has all that it waits for.
    fn pod_may_have_all(&mut self, name: &Name, is_live: bool, now: Now) {
        let Some(pod) = self.cluster.pods().get(name) else { return };
        let claims: Vec<&Arc<Claim>> = self.cluster.claims_of(pod).map(|(_, claim)| claim).collect();
        let has_all = claims.len() >= pod.spec.resource_claims.len()
            && !claims.is_empty()
            && claims.iter().all(|claim| claim.status.allocation.is_some());
        if !has_all {
            return;
        }
        // What a list tells has happened some time ago.
        let last = claims.iter().filter_map(|claim| claims::allocated_at(claim)).max();
        let took = self.pods.has_all(name, pod, (!is_live).then_some(last), now);
        let ours = claims.iter().find(|claim| self.concerns(claim));
        if let (Some(took), Some(claim)) = (took, ours)
            && self.leads
        {
            self.tallies.pod_allocated(claims::class_of(claim), took);
        }
    }

    fn claim_is_gone(&mut self, name: &Name) {
        self.lists.claims.lost(name);
        self.claims.forget(name);
        if let Some(claim) = self.cluster.delete_claim(name) {
            self.schedule.unsaid(&subject(SubjectKind::Claim, name, &claim.metadata.uid));
            if let Some(allocation) = &claim.status.allocation {
                self.version += 1;
                let pools: BTreeSet<_> = allocation.devices.results.iter().map(pools::pool_of).collect();
                pools.iter().for_each(|pool| self.measure(pool));
            }
        }
    }

    pub(super) fn pod(&mut self, news: News<Pod>, now: Now) {
        match news {
            News::Listed(pod) => self.pod_is(pod, false, now),
            News::Changed(pod) => self.pod_is(pod, true, now),
            News::Deleted(pod) => self.pod_is_gone(&Name::of(&pod.metadata), now),
            News::ListBegan => self.lists.pods.began(),
            News::ListEnded => {
                for name in self.lists.pods.ended() {
                    self.pod_is_gone(&name, now);
                }
            }
            News::Failed(error) => self.lists.pods.failed(&error),
        }
    }

    fn pod_is(&mut self, pod: Pod, is_live: bool, now: Now) {
        let name = Name::of(&pod.metadata);
        self.lists.pods.saw(&name);
        self.pods.saw(&name, &pod, is_live, now);
        let mut claims: BTreeSet<Name> = claim_names(&pod);
        let (uid, spec) = (Arc::clone(&pod.metadata.uid), pod.spec.clone());
        if let Some(before) = self.cluster.apply_pod(pod) {
            claims.extend(claim_names(&before));
            // Another pod, or other rules: nothing that was found of it holds.
            if before.metadata.uid != uid || before.spec != spec {
                self.schedule.forget(&name);
            }
        }
        claims.iter().for_each(|claim| self.settle(claim, now));
        self.plan(&name, now);
        // Its claims may have been told of before it names them.
        self.pod_may_have_all(&name, is_live, now);
    }

    fn pod_is_gone(&mut self, name: &Name, now: Now) {
        self.lists.pods.lost(name);
        self.pods.forget(name);
        self.schedule.forget(name);
        if let Some(pod) = self.cluster.delete_pod(name) {
            self.schedule.unsaid(&subject(SubjectKind::Pod, name, &pod.metadata.uid));
            claim_names(&pod).iter().for_each(|claim| self.settle(claim, now));
        }
    }
}
