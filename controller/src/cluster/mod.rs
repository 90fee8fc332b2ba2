//! A cluster at one moment: its pools, classes, nodes, claims and pods, and who has which device.
//!
//! The controller makes it of watches and keeps it up to date; `kubectl-dra` makes it of lists. A copy is cheap, and
//! stays as it is while the original goes on: that is what claims are explained from.
//!
//! ```text
//! slices ──▶ Inventory ─┐
//! classes ──▶ Classes ──┼──▶ Allocator
//! claims ──▶ Holdings ──┘ (Allocated)
//! pods ──▶ who waits for which claim
//! nodes
//! ```

mod holdings;
mod name;
mod part;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::allocator::{Allocated, Allocator, Classes, Features};
use crate::cel;
use crate::model::intern::Interner;
use crate::model::inventory::Inventory;
use crate::model::object::{Claim, ClaimSpec, Class, Node, Slice};
use crate::model::pod::Pod;
use crate::model::pool::PoolId;

pub use holdings::{Holder, Holdings};
pub use name::Name;

/// A cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// What its scheduler can do.
    pub features: Features,
    inventory: Inventory,
    classes: Arc<Classes>,
    nodes: Arc<BTreeMap<Arc<str>, Arc<Node>>>,
    claims: Arc<BTreeMap<Name, Arc<Claim>>>,
    pods: Arc<BTreeMap<Name, Arc<Pod>>>,
    /// The pods of each claim.
    pods_by_claim: Arc<BTreeMap<Name, BTreeSet<Name>>>,
    holdings: Arc<Holdings>,
}

/// What is there once for many objects. It belongs to the one who changes a [`Cluster`].
#[derive(Debug, Default)]
pub struct Shared {
    interner: Interner,
    /// What claims ask for, by all that it says.
    specs: HashMap<Box<str>, Arc<ClaimSpec>>,
    /// The pools of slices, by their names.
    pools: HashMap<Arc<str>, PoolId>,
}

/// All objects of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// All ResourceSlices.
    pub slices: Vec<Slice>,
    /// All DeviceClasses.
    pub classes: Vec<Class>,
    /// All Nodes.
    pub nodes: Vec<Node>,
    /// All ResourceClaims.
    pub claims: Vec<Claim>,
    /// All Pods, or those with claims.
    pub pods: Vec<Pod>,
}

impl Cluster {
    /// The cluster that has these objects.
    #[must_use]
    pub fn of(features: Features, lists: Lists) -> Self {
        let (mut cluster, mut shared) = (Self { features, ..Self::default() }, Shared::default());
        lists.slices.into_iter().for_each(|slice| drop(cluster.apply_slice(slice, &mut shared)));
        lists.classes.into_iter().for_each(|class| cluster.apply_class(class));
        lists.nodes.into_iter().for_each(|node| cluster.apply_node(node));
        lists.claims.into_iter().for_each(|claim| drop(cluster.apply_claim(claim, &mut shared)));
        lists.pods.into_iter().for_each(|pod| drop(cluster.apply_pod(pod)));
        cluster
    }

    /// Its pools.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Its DeviceClasses.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Its nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<Arc<str>, Arc<Node>> {
        &self.nodes
    }

    /// Its claims.
    #[must_use]
    pub fn claims(&self) -> &BTreeMap<Name, Arc<Claim>> {
        &self.claims
    }

    /// Its pods, as far as they have claims.
    #[must_use]
    pub fn pods(&self) -> &BTreeMap<Name, Arc<Pod>> {
        &self.pods
    }

    /// The pods that name a claim, and have not ended.
    pub fn pods_of(&self, claim: &Name) -> impl Iterator<Item = (&Name, &Arc<Pod>)> {
        let names = self.pods_by_claim.get(claim).into_iter().flatten();
        names.filter_map(|name| self.pods.get_key_value(name))
    }

    /// The claims that a pod names, as far as they are there.
    pub fn claims_of(&self, pod: &Pod) -> impl Iterator<Item = (&Name, &Arc<Claim>)> {
        let names = pod.claims().map(|claim| Name::new(&pod.metadata.namespace, claim));
        names.filter_map(|name| self.claims.get_key_value(&name))
    }

    /// Who has which device.
    #[must_use]
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// What is taken, as the allocator wants it.
    #[must_use]
    pub fn allocated(&self) -> &Allocated {
        self.holdings.allocated()
    }

    /// An allocator for this moment.
    #[must_use]
    pub fn allocator<'a>(&'a self, cache: &'a cel::Cache) -> Allocator<'a> {
        Allocator::new(self.features, &self.inventory, &self.classes, self.allocated(), cache)
    }
}

/// Changes. Each takes the object as the API has it, whether it is new or not.
impl Cluster {
    /// A slice came, or changed. The pool that it is a part of.
    pub fn apply_slice(&mut self, slice: Slice, shared: &mut Shared) -> PoolId {
        let name = Arc::clone(&slice.metadata.name);
        let pool = self.inventory.apply_slice(slice, &mut shared.interner);
        // A slice that was deleted and made again may be a part of another pool now.
        if let Some(before) = shared.pools.insert(Arc::clone(&name), pool.clone())
            && before != pool
        {
            self.inventory.delete_slice(&before, &name);
        }
        pool
    }

    /// A slice is gone. The pool that it was a part of.
    pub fn delete_slice(&mut self, name: &str, shared: &mut Shared) -> Option<PoolId> {
        let pool = shared.pools.remove(name)?;
        self.inventory.delete_slice(&pool, name);
        Some(pool)
    }

    /// A DeviceClass came, or changed.
    pub fn apply_class(&mut self, class: Class) {
        Arc::make_mut(&mut self.classes).insert(class);
    }

    /// A DeviceClass is gone.
    pub fn delete_class(&mut self, name: &str) {
        Arc::make_mut(&mut self.classes).remove(name);
    }

    /// A node came, or changed.
    pub fn apply_node(&mut self, node: Node) {
        Arc::make_mut(&mut self.nodes).insert(Arc::clone(&node.metadata.name), Arc::new(node));
    }

    /// A node is gone.
    pub fn delete_node(&mut self, name: &str) {
        Arc::make_mut(&mut self.nodes).remove(name);
    }

    /// A claim came, or changed. The claim as it was before.
    pub fn apply_claim(&mut self, mut claim: Claim, shared: &mut Shared) -> Option<Arc<Claim>> {
        claim.metadata.labels.clear();
        claim.spec = shared.spec(claim.spec);
        let name = Name::of(&claim.metadata);
        let claim = Arc::new(claim);
        let before = Arc::make_mut(&mut self.claims).insert(name.clone(), Arc::clone(&claim));
        self.hold(&name, before.as_deref(), Some(&claim));
        before
    }

    /// A claim is gone. The claim as it was.
    pub fn delete_claim(&mut self, name: &Name) -> Option<Arc<Claim>> {
        let before = Arc::make_mut(&mut self.claims).remove(name)?;
        self.hold(name, Some(&before), None);
        Some(before)
    }

    /// A pod came, or changed. The pod as it was before. A pod without claims, and one that has ended, is not kept.
    pub fn apply_pod(&mut self, mut pod: Pod) -> Option<Arc<Pod>> {
        let name = Name::of(&pod.metadata);
        if !pod.has_claims() || pod.has_ended() {
            return self.delete_pod(&name);
        }
        pod.metadata.labels.clear();
        let before = self.delete_pod(&name);
        let by_claim = Arc::make_mut(&mut self.pods_by_claim);
        for claim in pod.claims() {
            by_claim.entry(Name::new(&name.namespace, claim)).or_default().insert(name.clone());
        }
        Arc::make_mut(&mut self.pods).insert(name, Arc::new(pod));
        before
    }

    /// A pod is gone. The pod as it was.
    pub fn delete_pod(&mut self, name: &Name) -> Option<Arc<Pod>> {
        // What is not there makes no copy.
        self.pods.get(name)?;
        let before = Arc::make_mut(&mut self.pods).remove(name)?;
        let by_claim = Arc::make_mut(&mut self.pods_by_claim);
        for claim in before.claims() {
            let claim = Name::new(&name.namespace, claim);
            if let Some(pods) = by_claim.get_mut(&claim) {
                pods.remove(name);
                if pods.is_empty() {
                    by_claim.remove(&claim);
                }
            }
        }
        Some(before)
    }

    fn hold(&mut self, name: &Name, before: Option<&Claim>, now: Option<&Claim>) {
        let allocation = |claim: Option<&Claim>| claim.and_then(|claim| claim.status.allocation.clone());
        let (before, now) = (allocation(before), allocation(now));
        if before != now {
            Arc::make_mut(&mut self.holdings).change(name, before.as_deref(), now.as_deref());
        }
    }
}

impl Shared {
    /// The one copy of what claims ask for.
    fn spec(&mut self, spec: Arc<ClaimSpec>) -> Arc<ClaimSpec> {
        // The types of the API's own crate have no order and no hash.
        let said = format!("{spec:?}").into_boxed_str();
        Arc::clone(self.specs.entry(said).or_insert(spec))
    }

    /// Forgets what no [`Cluster`] uses any more.
    pub fn shrink(&mut self) {
        self.interner.shrink();
        self.specs.retain(|_, spec| Arc::strong_count(spec) > 1);
    }
}

#[cfg(test)]
mod tests;
