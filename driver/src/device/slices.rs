//! The slices of a pool: how devices are laid out in them, and which writes turn those that exist into those that
//! should.
//!
//! Who reads slices takes those of the newest generation, and takes the pool for complete when there are as many as
//! each of them says. So writes never let a complete pool be seen that mixes old and new: with several slices to
//! change, all go to a new generation; what changes one slice, or only makes an incomplete pool complete, does not.
//!
//! Names begin with the slice's place, since the scheduler reads slices in the order of their names. The rest is
//! always the same, so that a create whose answer was lost meets its own slice and makes no second one.

use std::collections::BTreeSet;

use k8s_openapi::api::resource::v1::{Device, DeviceTaint, ResourcePool, ResourceSlice, ResourceSliceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sha2::{Digest, Sha256};

/// The most devices in one slice. The API takes 128 where none has a taint, but a taint shall move no device into
/// another slice.
const MOST_DEVICES: usize = 64;
/// The longest name that the API takes.
const MOST_NAME: usize = 253;
/// A generation above this was made up by a stranger, and would leave no room for ours.
const HIGHEST_GENERATION: i64 = i64::MAX / 2;

/// A node's pool, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The DRA driver.
    pub driver: String,
    /// The node's name.
    pub node: String,
    /// The UID of the Node object, which owns the slices.
    pub node_uid: String,
    /// The pool's name.
    pub name: String,
}

/// A write to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create it.
    Create(Box<ResourceSlice>),
    /// Replace the one of its name, which must still have its resource version.
    Update(Box<ResourceSlice>),
    /// Delete the one of this name, if it still has the UID and the resource version.
    Delete(Doomed),
}

/// A slice to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Option<String>,
    /// Its resource version.
    pub resource_version: Option<String>,
}

/// Devices in slices, in order. No devices are one empty slice: it says that the driver looked and found none.
#[must_use]
pub fn layout(devices: &[Device]) -> Vec<Vec<Device>> {
    if devices.is_empty() {
        return vec![Vec::new()];
    }
    devices.chunks(MOST_DEVICES).map(<[Device]>::to_vec).collect()
}

/// The writes, in order, that turn the existing slices into one slice for each of `wanted`; none if they are so
/// already. `existing` are all slices of driver and node: those of other pools go. Names in `taken` are used for
/// nothing new.
#[must_use]
pub fn writes(
    pool: &Pool,
    wanted: &[Vec<Device>],
    existing: &[ResourceSlice],
    taken: &BTreeSet<String>,
) -> Vec<Write> {
    let ours = existing.iter().filter(|slice| pool.has(slice));
    let (in_pool, strange): (Vec<&ResourceSlice>, Vec<&ResourceSlice>) = ours.partition(|slice| {
        slice.spec.pool.name == pool.name && slice.spec.pool.generation <= HIGHEST_GENERATION
    });
    let newest = in_pool.iter().map(|slice| slice.spec.pool.generation).max();
    let (current, old): (Vec<_>, Vec<_>) =
        in_pool.into_iter().partition(|slice| Some(slice.spec.pool.generation) == newest);
    let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    let Matched { places, extra } = Matched::of(pool, wanted.len(), &current);

    let generation = match newest {
        None => 1,
        Some(newest) => {
            let kept = |devices: &Vec<Device>, slice: &&ResourceSlice| {
                pool.slice(devices, newest, count, Some(slice)).is_none()
            };
            let pairs = || wanted.iter().zip(&places);
            let changed = pairs().filter(|(d, place)| place.as_ref().is_some_and(|s| !kept(d, s))).count();
            let missing = places.iter().filter(|place| place.is_none()).count();
            let counted = current.iter().all(|slice| slice.spec.pool.resource_slice_count == count);
            let same = match (missing, extra.len()) {
                (0, 0) => changed <= 1,
                // As long as there are too few or too many, no one takes the pool for complete.
                (_, 0) | (0, _) => counted,
                _ => false,
            };
            let leaving = current.iter().any(|slice| is_leaving(slice));
            if same && !leaving { newest } else { newest + 1 }
        }
    };

    let mut updates = Vec::new();
    let mut creates = Vec::new();
    for (index, (devices, place)) in wanted.iter().zip(&places).enumerate() {
        let Some(mut slice) = pool.slice(devices, generation, count, *place) else { continue };
        if place.is_some() {
            updates.push(Write::Update(Box::new(slice)));
        } else {
            slice.metadata.name = Some(pool.free_name(index, existing, taken));
            creates.push(Write::Create(Box::new(slice)));
        }
    }
    // Another pool may offer the same hardware, so it goes first. What is superseded harms nobody, and goes last.
    let mut writes: Vec<Write> = deletes(&strange).collect();
    writes.extend(updates);
    writes.extend(creates);
    writes.extend(deletes(&extra));
    writes.extend(deletes(&old));
    writes
}

/// The devices that a pool's slices have: those of its newest generation, in the order of the slices.
#[must_use]
pub fn published(pool: &str, existing: &[ResourceSlice]) -> Vec<Device> {
    let mut slices: Vec<_> = existing.iter().filter(|slice| slice.spec.pool.name == pool).collect();
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
    slices.retain(|slice| Some(slice.spec.pool.generation) == newest);
    slices.sort_by_key(|slice| slice.metadata.name.clone());
    slices.into_iter().flat_map(|slice| slice.spec.devices.iter().flatten().cloned()).collect()
}

/// Whether the API server dropped the taints of a device that was sent to it.
#[must_use]
pub fn dropped_taints(sent: &ResourceSlice, stored: &ResourceSlice) -> bool {
    let stored = stored.spec.devices.iter().flatten();
    sent.spec
        .devices
        .iter()
        .flatten()
        .zip(stored)
        .any(|(sent, stored)| sent.name == stored.name && sent.taints.is_some() && stored.taints.is_none())
}

/// Whether the API server stored something else than was sent to it; when a taint was added is its own to say.
#[must_use]
pub fn stored_differently(sent: &ResourceSlice, stored: &ResourceSlice) -> bool {
    let spec = ResourceSliceSpec { devices: with_times(&sent.spec.devices, stored), ..sent.spec.clone() };
    spec != stored.spec
}

/// The existing slices of the newest generation, as far as they stand for wanted ones.
struct Matched<'a> {
    /// By place.
    places: Vec<Option<&'a ResourceSlice>>,
    /// Those that stand for none.
    extra: Vec<&'a ResourceSlice>,
}

impl<'a> Matched<'a> {
    fn of(pool: &Pool, wanted: usize, current: &[&'a ResourceSlice]) -> Self {
        let mut places: Vec<Option<&ResourceSlice>> = vec![None; wanted];
        let mut extra = Vec::new();
        let mut current = current.to_vec();
        // Of two for one place the one with our own name stays.
        current.sort_by_key(|slice| {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            (index_of(name).map(|index| pool.name_of(index, 0) != name), name.to_owned())
        });
        for slice in current.into_iter().filter(|slice| !is_leaving(slice)) {
            let index = slice.metadata.name.as_deref().and_then(index_of);
            match index.and_then(|index| places.get_mut(index)) {
                Some(place @ None) => *place = Some(slice),
                _ => extra.push(slice),
            }
        }
        Self { places, extra }
    }
}

impl Pool {
    fn has(&self, slice: &ResourceSlice) -> bool {
        slice.spec.driver == self.driver && slice.spec.node_name.as_deref() == Some(&self.node)
    }

    /// The slice as it should be, on the base of the existing one if there is one. None if that is so already.
    fn slice(
        &self,
        devices: &[Device],
        generation: i64,
        count: i64,
        existing: Option<&ResourceSlice>,
    ) -> Option<ResourceSlice> {
        let devices = (!devices.is_empty()).then(|| devices.to_vec());
        let spec = ResourceSliceSpec {
            devices: existing.map_or_else(|| devices.clone(), |existing| with_times(&devices, existing)),
            driver: self.driver.clone(),
            node_name: Some(self.node.clone()),
            pool: ResourcePool { generation, name: self.name.clone(), resource_slice_count: count },
            ..ResourceSliceSpec::default()
        };
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.clone(),
            uid: self.node_uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let Some(existing) = existing else {
            let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
            return Some(ResourceSlice { metadata, spec });
        };
        let owners = existing.metadata.owner_references.as_deref().unwrap_or_default();
        let owned = matches!(owners, [only] if OwnerReference { block_owner_deletion: None, ..only.clone() } == owner);
        if owned && spec == existing.spec {
            return None;
        }
        let metadata = ObjectMeta {
            managed_fields: None,
            owner_references: Some(vec![owner]),
            ..existing.metadata.clone()
        };
        Some(ResourceSlice { metadata, spec })
    }

    /// A name for a new slice that none has.
    fn free_name(&self, index: usize, existing: &[ResourceSlice], taken: &BTreeSet<String>) -> String {
        let mut attempt = 0;
        loop {
            let name = self.name_of(index, attempt);
            let used = existing.iter().any(|slice| slice.metadata.name.as_ref() == Some(&name));
            if !used && !taken.contains(&name) {
                return name;
            }
            attempt += 1;
        }
    }

    /// `<place>-<driver>-<node>-<hash>`. The hash tells pools apart, and drivers and nodes whose names run together.
    fn name_of(&self, index: usize, attempt: u32) -> String {
        let hash = Sha256::digest(format!("{}\0{}\0{}\0{attempt}", self.driver, self.node, self.name));
        let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let mut name = format!("{index:05x}-{}-{}", self.driver, self.node);
        name.truncate(MOST_NAME - 1 - hash.len());
        let end = name.trim_end_matches(|last: char| !last.is_ascii_alphanumeric()).len();
        name.truncate(end);
        format!("{name}-{hash}")
    }
}

/// The place that a name begins with: five or more hexadecimal digits, as upstream's controller writes them.
fn index_of(name: &str) -> Option<usize> {
    let (digits, _) = name.split_once('-')?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex && digits.len() >= 5).then(|| usize::from_str_radix(digits, 16).ok()).flatten()
}

/// The devices, with the times at which their taints were added where they have been added before.
fn with_times(devices: &Option<Vec<Device>>, stored: &ResourceSlice) -> Option<Vec<Device>> {
    let mut devices = devices.clone()?;
    for device in &mut devices {
        let stored = stored.spec.devices.iter().flatten().find(|stored| stored.name == device.name);
        let stored: Vec<_> = stored.iter().flat_map(|stored| stored.taints.iter().flatten()).collect();
        for taint in device.taints.iter_mut().flatten() {
            let same = |other: &&&DeviceTaint| {
                (&other.key, &other.value, &other.effect) == (&taint.key, &taint.value, &taint.effect)
            };
            if let Some(stored) = stored.iter().find(same) {
                taint.time_added.clone_from(&stored.time_added);
            }
        }
    }
    Some(devices)
}

/// Whether it is being deleted, and only a finalizer keeps it.
fn is_leaving(slice: &ResourceSlice) -> bool {
    slice.metadata.deletion_timestamp.is_some()
}

fn deletes(slices: &[&ResourceSlice]) -> impl Iterator<Item = Write> {
    slices.iter().filter(|slice| !is_leaving(slice)).map(|slice| {
        Write::Delete(Doomed {
            name: slice.metadata.name.clone().unwrap_or_default(),
            uid: slice.metadata.uid.clone(),
            resource_version: slice.metadata.resource_version.clone(),
        })
    })
}

#[cfg(test)]
mod tests;
