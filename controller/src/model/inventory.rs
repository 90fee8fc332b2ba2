//! All pools of a cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::intern::Interner;
use super::object::{self, Node};
use super::pool::{Pool, PoolId, Slice, Unreadable, View};

/// All pools of a cluster, as they are at one moment.
///
/// A copy costs nothing; a change of a pool makes a new inventory, which shares all other pools with the old one.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pools: Arc<BTreeMap<PoolId, Arc<Pool>>>,
    /// The pools with slices for one node.
    by_node: Arc<HashMap<Arc<str>, BTreeSet<PoolId>>>,
    /// The pools that any node may see something of.
    everywhere: Arc<BTreeSet<PoolId>>,
}

impl Inventory {
    /// The pools of these slices.
    #[must_use]
    pub fn new(slices: Vec<object::Slice>, interner: &mut Interner) -> Self {
        let mut by_pool: BTreeMap<PoolId, Vec<object::Slice>> = BTreeMap::new();
        for slice in slices {
            let driver = interner.text(&slice.spec.driver);
            let name = interner.text(&slice.spec.pool.name);
            by_pool.entry(PoolId { driver, name }).or_default().push(slice);
        }
        let mut inventory = Self::default();
        for (id, slices) in by_pool {
            inventory.apply(id, slices, interner);
        }
        inventory
    }

    /// The inventory in which a pool has these slices, of whatever generation, and no others.
    #[must_use]
    pub fn with_pool(&self, id: PoolId, slices: Vec<object::Slice>, interner: &mut Interner) -> Self {
        let mut changed = self.clone();
        changed.apply(id, slices, interner);
        changed
    }

    /// Gives a pool these slices, of whatever generation, and no others.
    pub fn apply(&mut self, id: PoolId, slices: Vec<object::Slice>, interner: &mut Interner) {
        let slices = slices.into_iter().map(|slice| Arc::new(Slice::new(slice, interner))).collect();
        self.set(id, slices);
    }

    /// A slice came, or changed.
    pub fn apply_slice(&mut self, slice: object::Slice, interner: &mut Interner) -> PoolId {
        let driver = interner.text(&slice.spec.driver);
        let id = PoolId { driver, name: interner.text(&slice.spec.pool.name) };
        let slice = Slice::new(slice, interner);
        let slices = match self.pools.get(&id) {
            Some(pool) => pool.with(slice),
            None => vec![Arc::new(slice)],
        };
        self.set(id.clone(), slices);
        id
    }

    /// A slice of a pool is gone.
    pub fn delete_slice(&mut self, id: &PoolId, slice: &str) {
        let Some(pool) = self.pools.get(id) else { return };
        let slices = pool.without(slice);
        self.set(id.clone(), slices);
    }

    /// Gives a pool these slices, which may be another inventory's.
    pub fn set(&mut self, id: PoolId, slices: Vec<Arc<Slice>>) {
        self.remove(&id);
        if slices.is_empty() {
            return;
        }
        let pool = Arc::new(Pool::new(id.clone(), slices));
        let by_node = Arc::make_mut(&mut self.by_node);
        for node in pool.slices().filter_map(Slice::node) {
            by_node.entry(Arc::clone(node)).or_default().insert(id.clone());
        }
        if is_seen_everywhere(&pool) {
            Arc::make_mut(&mut self.everywhere).insert(id.clone());
        }
        Arc::make_mut(&mut self.pools).insert(id, pool);
    }

    /// A pool.
    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<&Arc<Pool>> {
        self.pools.get(id)
    }

    /// All pools, in order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// The pools with slices for one node alone.
    pub fn pools_of(&self, node: &str) -> impl Iterator<Item = &Arc<Pool>> {
        let ids = self.by_node.get(node).into_iter().flatten();
        ids.filter_map(|id| self.pools.get(id))
    }

    /// What a node sees of all pools, in the order of drivers and pools. See [`Pool::view`].
    pub fn views(
        &self,
        node: Option<&Node>,
        counters: bool,
    ) -> Result<Vec<(&Arc<Pool>, View<'_>)>, Unreadable> {
        let own = node.and_then(|node| self.by_node.get(&node.metadata.name));
        let ids: BTreeSet<&PoolId> = own.into_iter().flatten().chain(self.everywhere.iter()).collect();
        let mut views = Vec::new();
        for pool in ids.into_iter().filter_map(|id| self.pools.get(id)) {
            if let Some(view) = pool.view(node, counters)? {
                views.push((pool, view));
            }
        }
        Ok(views)
    }

    /// The pools that a node may see something of, and no others.
    #[must_use]
    pub fn part_of(&self, node: &Node) -> Self {
        let own: BTreeSet<PoolId> = self.by_node.get(&node.metadata.name).cloned().unwrap_or_default();
        let ids = own.iter().chain(self.everywhere.iter());
        let pools = ids.filter_map(|id| Some((id.clone(), Arc::clone(self.pools.get(id)?)))).collect();
        let by_node = HashMap::from([(Arc::clone(&node.metadata.name), own)]);
        Self { pools: Arc::new(pools), by_node: Arc::new(by_node), everywhere: Arc::clone(&self.everywhere) }
    }

    fn remove(&mut self, id: &PoolId) {
        let Some(pool) = self.pools.get(id).map(Arc::clone) else { return };
        let by_node = Arc::make_mut(&mut self.by_node);
        for node in pool.slices().filter_map(Slice::node) {
            if let Some(pools) = by_node.get_mut(node) {
                pools.remove(id);
                if pools.is_empty() {
                    by_node.remove(node);
                }
            }
        }
        Arc::make_mut(&mut self.everywhere).remove(id);
        Arc::make_mut(&mut self.pools).remove(id);
    }
}

/// Whether a node may see something of a pool though no slice is for it alone.
///
/// Slices with counters are looked at on every node. A pool that shows nothing else is of interest there only while
/// something is wrong with it: requests for all devices fail then, on every node.
fn is_seen_everywhere(pool: &Pool) -> bool {
    let has_wide = pool.slices().any(|slice| slice.node().is_none() && slice.counters.is_empty());
    has_wide || !matches!(pool.view(None, true), Ok(None | Some(View::Usable(_))))
}
