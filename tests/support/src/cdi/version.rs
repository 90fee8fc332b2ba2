//! The versions of the CDI specification, and what each of them added.

use super::names::split_kind;
use super::spec::{Edits, Spec};

/// The released versions, the oldest first.
const RELEASED: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// Every spec needs at least this one, whatever it uses.
const EARLIEST: &str = "0.3.0";

/// Whether `version` is a released one; a leading `v` is allowed.
pub(super) fn is_released(version: &str) -> bool {
    age(version).is_some()
}

/// The version that `spec` needs for what it uses, if its own is older.
pub(super) fn newer_needed(spec: &Spec) -> Option<&'static str> {
    let needed = needed(spec);
    (age(needed) > age(&spec.cdi_version)).then_some(needed)
}

fn age(version: &str) -> Option<usize> {
    let version = version.strip_prefix('v').unwrap_or(version);
    RELEASED.iter().position(|&released| released == version)
}

fn needed(spec: &Spec) -> &'static str {
    let edits =
        || std::iter::once(&spec.container_edits).chain(spec.devices.iter().map(|d| &d.container_edits));
    let any = |uses: fn(&Edits) -> bool| edits().any(uses);

    if any(|e| !e.net_devices.is_empty())
        || any(|e| e.intel_rdt.as_ref().is_some_and(|r| r.schemata.is_some() || r.enable_monitoring))
    {
        "1.1.0"
    } else if any(|e| e.intel_rdt.is_some() || !e.additional_gids.is_empty()) {
        "0.7.0"
    } else if !spec.annotations.is_empty()
        || spec.devices.iter().any(|device| !device.annotations.is_empty())
        || split_kind(&spec.kind).1.contains('.')
    {
        "0.6.0"
    } else if spec.devices.iter().any(|d| d.name.starts_with(|c: char| c.is_ascii_digit()))
        || any(|e| e.device_nodes.iter().any(|node| !node.host_path.is_empty()))
    {
        "0.5.0"
    } else if any(|e| e.mounts.iter().any(|mount| !mount.kind.is_empty())) {
        "0.4.0"
    } else {
        EARLIEST
    }
}
