//! What a cluster's scheduler can do.

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Which features the allocator has. By default those of Kubernetes 1.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features {
    /// Requests may ask for devices that others have.
    pub admin_access: bool,
    /// Devices may be shared, and amounts of their capacity asked for.
    pub consumable_capacity: bool,
    /// Devices may have conditions for binding, and bind to a node.
    pub device_binding: bool,
    /// Taints count.
    pub device_taints: bool,
    /// Attributes may be lists.
    pub list_attributes: bool,
    /// Devices may take from shared counters, and say for themselves which nodes reach them.
    pub partitionable_devices: bool,
    /// Requests may have sub-requests.
    pub prioritized_list: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            admin_access: true,
            consumable_capacity: true,
            device_binding: true,
            device_taints: true,
            list_attributes: false,
            partitionable_devices: true,
            prioritized_list: true,
        }
    }
}

/// The names of all features.
pub const NAMES: [&str; 8] = [
    "AdminAccess",
    "ConsumableCapacity",
    "DeviceBindingAndStatus",
    "DeviceBinding",
    "DeviceTaints",
    "ListTypeAttributes",
    "PartitionableDevices",
    "PrioritizedList",
];

impl Features {
    /// No feature.
    #[must_use]
    pub fn none() -> Self {
        Self {
            admin_access: false,
            consumable_capacity: false,
            device_binding: false,
            device_taints: false,
            list_attributes: false,
            partitionable_devices: false,
            prioritized_list: false,
        }
    }

    /// What the scheduler of a Kubernetes release does by default. Before 1.36 it knows neither counters, taints of
    /// devices, shares nor conditions for binding: these are behind gates that few clusters open.
    #[must_use]
    pub fn of_server(major: u32, minor: u32) -> Self {
        if (major, minor) >= (1, 36) {
            return Self::default();
        }
        Self {
            admin_access: (major, minor) >= (1, 34),
            prioritized_list: (major, minor) >= (1, 34),
            ..Self::none()
        }
    }

    /// Switches a feature by its name; false where there is none of that name.
    pub fn set(&mut self, name: &str, on: bool) -> bool {
        let feature = match name {
            "AdminAccess" => &mut self.admin_access,
            "ConsumableCapacity" => &mut self.consumable_capacity,
            "DeviceBindingAndStatus" | "DeviceBinding" => &mut self.device_binding,
            "DeviceTaints" => &mut self.device_taints,
            "ListTypeAttributes" => &mut self.list_attributes,
            "PartitionableDevices" => &mut self.partitionable_devices,
            "PrioritizedList" => &mut self.prioritized_list,
            _ => return false,
        };
        *feature = on;
        true
    }

    fn set_known<E: Error>(&mut self, name: &str, on: bool) -> Result<(), E> {
        if self.set(name, on) {
            return Ok(());
        }
        Err(E::custom(format!("the feature {name:?} is none of {}", NAMES.join(", "))))
    }
}

/// A list of the names of those that are on, or an object that says of each whether it is.
impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FeaturesVisitor)
    }
}

struct FeaturesVisitor;

impl<'de> Visitor<'de> for FeaturesVisitor {
    type Value = Features;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of names of features, or an object of booleans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Features, A::Error> {
        let mut features = Features::none();
        while let Some(name) = names.next_element::<String>()? {
            features.set_known(&name, true)?;
        }
        Ok(features)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut switches: A) -> Result<Features, A::Error> {
        let mut features = Features::none();
        while let Some((name, on)) = switches.next_entry::<String, bool>()? {
            features.set_known(&name, on)?;
        }
        Ok(features)
    }

    fn visit_unit<E: Error>(self) -> Result<Features, E> {
        Ok(Features::default())
    }
}
