//! The changes that container edits make to an OCI runtime spec.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::spec::{DeviceNode, Edits, Hook, IntelRdt, Mount};

/// An edit that cannot be made.
#[derive(Debug, Error)]
pub enum EditError {
    /// The device node on the host, which has to complete the spec's, cannot be looked at.
    #[error("look at the host's device node {path:?}: {source}")]
    Stat {
        /// The path on the host.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is something else than a device node.
    #[error("{0:?} on the host is not a device node")]
    NotADevice(String),
    /// The device node on the host is of another type.
    #[error("device node {path:?} is of type {stated:?} by the CDI spec, but {found:?} on the host")]
    Type {
        /// The path on the host.
        path: String,
        /// The type in the CDI spec.
        stated: String,
        /// The type on the host.
        found: &'static str,
    },
    /// The OCI runtime spec is malformed.
    #[error("the OCI runtime spec's {0} is not what the OCI specification says")]
    Runtime(String),
}

/// Makes the edits in `spec`. After an error some of them have been made.
pub(super) fn apply(edits: &Edits, spec: &mut Value) -> Result<(), EditError> {
    let root = spec.as_object_mut().ok_or_else(|| EditError::Runtime("root".to_owned()))?;

    if !edits.env.is_empty() {
        add_variables(list(process(root)?, "env")?, &edits.env);
    }
    for node in &edits.device_nodes {
        add_device(root, node)?;
    }
    for device in &edits.net_devices {
        let devices = object(object(root, "linux")?, "netDevices")?;
        devices.insert(device.host_interface_name.clone(), json!({ "name": device.name }));
    }
    if !edits.mounts.is_empty() {
        let mounts = list(root, "mounts")?;
        for mount in &edits.mounts {
            remove_first(mounts, "destination", &mount.container_path);
            mounts.push(oci_mount(mount));
        }
        mounts.sort_by_key(|mount| depth(text(mount, "destination")));
    }
    for hook in &edits.hooks {
        list(object(root, "hooks")?, &hook.hook_name)?.push(oci_hook(hook));
    }
    if let Some(rdt) = &edits.intel_rdt {
        object(root, "linux")?.insert("intelRdt".to_owned(), oci_rdt(rdt));
    }
    // Group 0 is never added: it would give the container root's group.
    for &gid in edits.additional_gids.iter().filter(|&&gid| gid != 0) {
        let gids = list(object(process(root)?, "user")?, "additionalGids")?;
        if !gids.contains(&json!(gid)) {
            gids.push(json!(gid));
        }
    }
    Ok(())
}

/// Adds variables; of several edits of one variable the last counts, where the first stands.
///
/// What the container already sets is not replaced but followed by the edit, as by the Go library: what getenv finds
/// in such an environment depends on the program.
fn add_variables(env: &mut Vec<Value>, variables: &[String]) {
    let mut places = BTreeMap::new();
    for variable in variables {
        let name = variable.split('=').next().unwrap_or_default();
        match places.get(name) {
            Some(&at) => env[at] = json!(variable),
            None => {
                places.insert(name, env.len());
                env.push(json!(variable));
            }
        }
    }
}

fn add_device(root: &mut Map<String, Value>, node: &DeviceNode) -> Result<(), EditError> {
    let Node { kind, major, minor, mode } = Node::complete(node)?;
    let mut device = json!({ "path": node.path, "type": kind, "major": major, "minor": minor });
    if let Some(mode) = mode {
        device["fileMode"] = json!(mode);
    }
    for (field, stated) in [("uid", node.uid), ("gid", node.gid)] {
        if let Some(id) = stated.map(u64::from).or_else(|| process_id(root, field)) {
            device[field] = json!(id);
        }
    }

    let linux = object(root, "linux")?;
    let devices = list(linux, "devices")?;
    remove_first(devices, "path", &node.path);
    match devices.iter_mut().find(|other| text(other, "path") == node.path) {
        Some(other) => *other = device,
        None => devices.push(device),
    }
    if kind == "b" || kind == "c" {
        let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
        list(object(linux, "resources")?, "devices")?
            .push(json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access }));
    }
    Ok(())
}

/// What a device node of a CDI spec is, with the host's values where the spec states none.
struct Node {
    kind: String,
    major: i64,
    minor: i64,
    mode: Option<u32>,
}

impl Node {
    fn complete(node: &DeviceNode) -> Result<Self, EditError> {
        let stated =
            Self { kind: node.kind.clone(), major: node.major, minor: node.minor, mode: node.file_mode };
        let complete = !node.kind.is_empty() && (node.major != 0 || node.kind == "p");
        let path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
        let host = match HostNode::read(path) {
            Ok(host) => host,
            // A spec may describe a node that is not there.
            Err(_) if complete => return Ok(stated),
            Err(error) => return Err(error),
        };
        let mode = stated.mode.or(Some(host.mode));
        if complete {
            return Ok(Self { mode, ..stated });
        }
        if !stated.kind.is_empty() && stated.kind != host.kind {
            return Err(EditError::Type { path: path.clone(), stated: stated.kind, found: host.kind });
        }
        let (major, minor) = match host.kind {
            "p" => (stated.major, stated.minor),
            _ if stated.major != 0 => (stated.major, stated.minor),
            _ => (host.major, host.minor),
        };
        Ok(Self { kind: host.kind.to_owned(), major, minor, mode })
    }
}

/// A device node on the host.
struct HostNode {
    kind: &'static str,
    major: i64,
    minor: i64,
    mode: u32,
}

impl HostNode {
    /// Looks at `path` without following a symbolic link.
    fn read(path: &str) -> Result<Self, EditError> {
        let metadata = std::fs::symlink_metadata(path)
            .map_err(|source| EditError::Stat { path: path.to_owned(), source })?;
        let kind = match metadata.file_type() {
            kind if kind.is_block_device() => "b",
            kind if kind.is_char_device() => "c",
            kind if kind.is_fifo() => "p",
            _ => return Err(EditError::NotADevice(path.to_owned())),
        };
        let device = metadata.rdev();
        Ok(Self {
            kind,
            major: rustix::fs::major(device).into(),
            minor: rustix::fs::minor(device).into(),
            mode: metadata.mode() & 0o7777,
        })
    }
}

fn oci_mount(mount: &Mount) -> Value {
    let mut value = json!({ "destination": mount.container_path, "source": mount.host_path });
    if !mount.kind.is_empty() {
        value["type"] = json!(mount.kind);
    }
    if !mount.options.is_empty() {
        value["options"] = json!(mount.options);
    }
    value
}

fn oci_hook(hook: &Hook) -> Value {
    let mut value = json!({ "path": hook.path });
    for (field, words) in [("args", &hook.args), ("env", &hook.env)] {
        if !words.is_empty() {
            value[field] = json!(words);
        }
    }
    if let Some(seconds) = hook.timeout {
        value["timeout"] = json!(seconds);
    }
    value
}

fn oci_rdt(rdt: &IntelRdt) -> Value {
    let mut value = json!({});
    for (field, setting) in [
        ("closID", &rdt.clos_id),
        ("l3CacheSchema", &rdt.l3_cache_schema),
        ("memBwSchema", &rdt.mem_bw_schema),
    ] {
        if !setting.is_empty() {
            value[field] = json!(setting);
        }
    }
    if let Some(schemata) = rdt.schemata.as_ref().filter(|schemata| !schemata.is_empty()) {
        value["schemata"] = json!(schemata);
    }
    if rdt.enable_monitoring {
        value["enableMonitoring"] = json!(true);
    }
    value
}

/// How deep a mount's destination lies, so that parents are mounted before what is inside them.
fn depth(destination: &str) -> usize {
    let mut depth: usize = 0;
    for part in destination.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    // The root and its children are equally deep: each path has one separator.
    depth.max(1)
}

/// The id of the container's user or group, unless it is root's.
fn process_id(root: &Map<String, Value>, field: &str) -> Option<u64> {
    root.get("process")?.get("user")?.get(field)?.as_u64().filter(|&id| id > 0)
}

/// The container's process, with what the OCI specification requires of one.
fn process(root: &mut Map<String, Value>) -> Result<&mut Map<String, Value>, EditError> {
    root.entry("process").or_insert_with(|| json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "" }));
    object(root, "process")
}

fn object<'a>(
    parent: &'a mut Map<String, Value>,
    field: &str,
) -> Result<&'a mut Map<String, Value>, EditError> {
    let value = parent.entry(field).or_insert_with(|| json!({}));
    value.as_object_mut().ok_or_else(|| EditError::Runtime(field.to_owned()))
}

fn list<'a>(parent: &'a mut Map<String, Value>, field: &str) -> Result<&'a mut Vec<Value>, EditError> {
    let value = parent.entry(field).or_insert_with(|| json!([]));
    value.as_array_mut().ok_or_else(|| EditError::Runtime(field.to_owned()))
}

fn remove_first(list: &mut Vec<Value>, field: &str, wanted: &str) {
    if let Some(at) = list.iter().position(|value| text(value, field) == wanted) {
        list.remove(at);
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
