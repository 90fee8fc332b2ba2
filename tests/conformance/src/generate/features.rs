//! Which of upstream's features are on.

use super::dice::Dice;
use super::profile::Profile;

/// Upstream's names.
pub(crate) const ALL: [&str; 7] = [
    "AdminAccess",
    "PrioritizedList",
    "PartitionableDevices",
    "DeviceTaints",
    "DeviceBindingAndStatus",
    "ConsumableCapacity",
    LISTS,
];
/// The one that is off in a cluster of 1.36 unless it is asked for.
const LISTS: &str = "ListTypeAttributes";

/// Features that are on.
#[derive(Debug, Clone)]
pub(crate) struct Features(Vec<&'static str>);

impl Features {
    /// Mostly those of a cluster of 1.36, sometimes all, sometimes any.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        Self(match dice.range(0, 9) {
            0..=5 => ALL.into_iter().filter(|name| *name != LISTS).collect(),
            6 | 7 => ALL.to_vec(),
            _ => dice.some(&ALL, 60),
        })
    }

    pub(crate) fn have(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    pub(crate) fn lists(&self) -> bool {
        self.have(LISTS)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The profile without what is off, mostly: a claim that needs it is refused before anything is tried.
    pub(crate) fn fit(&self, mut profile: Profile, dice: &mut Dice) -> Profile {
        let parts: [(&str, &mut [&mut u32]); 6] = [
            ("AdminAccess", &mut [&mut profile.admin]),
            ("PrioritizedList", &mut [&mut profile.alternatives]),
            ("PartitionableDevices", &mut [&mut profile.counters, &mut profile.per_device]),
            ("DeviceTaints", &mut [&mut profile.taints]),
            ("DeviceBindingAndStatus", &mut [&mut profile.binding]),
            ("ConsumableCapacity", &mut [&mut profile.shared]),
        ];
        for (name, chances) in parts {
            if !self.have(name) && dice.chance(80) {
                for chance in chances {
                    **chance = 0;
                }
            }
        }
        profile
    }
}
