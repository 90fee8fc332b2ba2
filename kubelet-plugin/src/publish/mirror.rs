//! The slices as the API server has them, as far as is known: what was listed and watched, and our own writes
//! before the watch tells of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::resource::v1::{Device, ResourceSlice};

/// The slices of driver and node.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    slices: BTreeMap<String, ResourceSlice>,
    /// UIDs of slices that we deleted and that news may still tell of.
    deleted: BTreeSet<String>,
}

impl Mirror {
    /// The slices, by name.
    pub(super) fn slices(&self) -> Vec<ResourceSlice> {
        self.slices.values().cloned().collect()
    }

    /// The devices in all slices.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.slices.values().filter_map(|slice| slice.spec.devices.as_ref()).flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.slices.contains_key(name)
    }

    /// All slices, listed at a version. Says whether somebody else deleted one.
    pub(super) fn listed(&mut self, slices: Vec<ResourceSlice>, version: &str) -> bool {
        self.deleted.retain(|uid| slices.iter().any(|slice| slice.metadata.uid.as_ref() == Some(uid)));
        let mut before = std::mem::take(&mut self.slices);
        for slice in slices {
            if let Some(known) = slice.metadata.name.as_ref().and_then(|name| before.remove(name)) {
                self.slices.insert(name_of(&known), known);
            }
            self.changed(slice);
        }
        // What we wrote after the list was made is not in it.
        let (newer, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(_, slice)| number(version) < version_of(slice));
        self.slices.extend(newer);
        !gone.is_empty()
    }

    /// A slice came or changed, by our own write or by news.
    pub(super) fn changed(&mut self, slice: ResourceSlice) {
        let uid = slice.metadata.uid.as_deref().unwrap_or_default();
        let name = name_of(&slice);
        let late = self.slices.get(&name).is_some_and(|known| version_of(&slice) < version_of(known));
        if !late && !self.deleted.contains(uid) {
            self.slices.insert(name, slice);
        }
    }

    /// We deleted a slice.
    pub(super) fn removed(&mut self, name: &str) {
        if let Some(slice) = self.slices.remove(name) {
            self.deleted.extend(slice.metadata.uid);
        }
    }

    /// News of a deletion. Says whether somebody else did it.
    pub(super) fn deleted(&mut self, slice: &ResourceSlice) -> bool {
        if slice.metadata.uid.as_ref().is_some_and(|uid| self.deleted.remove(uid)) {
            return false;
        }
        let name = name_of(slice);
        let known = self.slices.get(&name).is_some_and(|known| known.metadata.uid == slice.metadata.uid);
        known && self.slices.remove(&name).is_some()
    }
}

fn name_of(slice: &ResourceSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

/// Resource versions of one kind are numbers that grow.
fn version_of(slice: &ResourceSlice) -> Option<u64> {
    number(slice.metadata.resource_version.as_deref()?)
}

fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn slice(name: &str, uid: &str, version: u64) -> ResourceSlice {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        ResourceSlice { metadata, ..ResourceSlice::default() }
    }

    fn known(mirror: &Mirror) -> Vec<(String, String)> {
        let of = |slice: &ResourceSlice| {
            (slice.metadata.uid.clone().unwrap(), slice.metadata.resource_version.clone().unwrap())
        };
        mirror.slices.values().map(of).collect()
    }

    #[test]
    fn late_news_of_our_own_writes_changes_nothing() {
        let mut mirror = Mirror::default();
        assert!(!mirror.listed(vec![slice("a", "1", 10)], "12"));
        mirror.changed(slice("a", "1", 20));
        mirror.changed(slice("a", "1", 15));
        assert_eq!(known(&mirror), [("1".into(), "20".into())]);
        mirror.removed("a");
        mirror.changed(slice("a", "1", 20));
        assert_eq!(mirror.len(), 0, "it was deleted by us");
        mirror.changed(slice("a", "2", 30));
        assert!(!mirror.deleted(&slice("a", "1", 25)), "we did that");
        assert_eq!(known(&mirror), [("2".into(), "30".into())]);
    }

    #[test]
    fn what_others_deleted_is_told_apart() {
        let mut mirror = Mirror::default();
        mirror.listed(vec![slice("a", "1", 10), slice("b", "2", 11)], "12");
        assert!(mirror.deleted(&slice("a", "1", 20)), "by a stranger");
        assert!(!mirror.deleted(&slice("a", "1", 20)), "known already");
        assert!(mirror.listed(vec![], "30"), "while the watch was broken");
        assert_eq!(mirror.len(), 0);
    }

    #[test]
    fn a_list_older_than_our_writes_takes_nothing_back() {
        let mut mirror = Mirror::default();
        mirror.listed(vec![slice("a", "1", 10), slice("b", "2", 11)], "12");
        mirror.changed(slice("a", "1", 20));
        mirror.changed(slice("c", "3", 21));
        mirror.removed("b");
        assert!(!mirror.listed(vec![slice("a", "1", 10), slice("b", "2", 11)], "19"));
        assert_eq!(known(&mirror), [("1".into(), "20".into()), ("3".into(), "21".into())]);
        assert!(mirror.has("c") && !mirror.has("b"));
    }
}
