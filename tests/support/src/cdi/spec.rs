//! A CDI spec file: its fields, and the checks that decide whether a runtime takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use serde::Deserialize;
use thiserror::Error;

use super::names::{self, NameError};
use super::version;

/// Why a runtime ignores a CDI spec file, or one of the devices that it defines.
#[derive(Debug, Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("read the CDI spec: {0}")]
    Read(#[from] io::Error),
    /// The file is neither JSON nor YAML, or has fields that the specification does not know.
    #[error("parse the CDI spec: {0}")]
    Parse(String),
    /// The file has no content.
    #[error("the CDI spec is empty")]
    Empty,
    /// The version is not a released one.
    #[error("cdiVersion {0:?} is not a released version of the CDI specification")]
    Version(String),
    /// The spec uses what its version does not have.
    #[error("cdiVersion {stated} is too old for what the spec uses: it needs {needed}")]
    TooOld {
        /// The version in the file.
        stated: String,
        /// The version that added what the file uses.
        needed: &'static str,
    },
    /// The kind is not `vendor/class`.
    #[error("kind {kind:?}: {source}")]
    Kind {
        /// The kind in the file.
        kind: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A device's name is not allowed.
    #[error("devices[{index}].name: {source}")]
    DeviceName {
        /// The device's position in the file.
        index: usize,
        /// What is wrong with its name.
        source: NameError,
    },
    /// Two devices of the file have one name.
    #[error("device {0:?} is defined twice in the file")]
    DeviceTwice(String),
    /// A device changes nothing.
    #[error("device {0:?} has no container edits")]
    DeviceWithoutEdits(String),
    /// The file defines no device.
    #[error("the CDI spec defines no devices")]
    NoDevices,
    /// An edit is not allowed.
    #[error("{place}: {problem}")]
    Edit {
        /// Whose edits.
        place: String,
        /// What is wrong with them.
        problem: String,
    },
    /// Another file of the same folder defines the device too, so neither definition counts.
    #[error("device {device} is also defined in {other}, a folder of the same precedence: it cannot be used")]
    Conflict {
        /// The qualified name of the device.
        device: String,
        /// The other file.
        other: String,
    },
}

/// A CDI spec file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) cdi_version: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// A device of a CDI spec.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What a spec or a device changes in a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) net_devices: Vec<NetDevice>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<IntelRdt>,
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct IntelRdt {
    #[serde(rename = "closID")]
    pub(super) clos_id: String,
    #[serde(rename = "l3CacheSchema")]
    pub(super) l3_cache_schema: String,
    pub(super) mem_bw_schema: String,
    pub(super) schemata: Option<Vec<String>>,
    pub(super) enable_monitoring: bool,
}

impl Spec {
    /// Reads and checks the spec in the file `path`.
    pub(super) fn read(path: &Path) -> Result<Self, SpecError> {
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Parses and checks a spec. JSON is read as the YAML that it also is, as the Go library does.
    fn parse(text: &str) -> Result<Self, SpecError> {
        // `fileMode: 0660` means octal, as in YAML 1.1.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let spec: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| SpecError::Parse(error.to_string()))?;
        let spec = spec.ok_or(SpecError::Empty)?;
        spec.check()?;
        Ok(spec)
    }

    /// The qualified name of one of the devices, `vendor/class=name`.
    pub(super) fn qualified(&self, device: &Device) -> String {
        format!("{}={}", self.kind, device.name)
    }

    fn check(&self) -> Result<(), SpecError> {
        if !version::is_released(&self.cdi_version) {
            return Err(SpecError::Version(self.cdi_version.clone()));
        }
        if let Some(needed) = version::newer_needed(self) {
            return Err(SpecError::TooOld { stated: self.cdi_version.clone(), needed });
        }
        let (vendor, class) = names::split_kind(&self.kind);
        names::vendor(vendor)
            .and_then(|()| names::class(class))
            .map_err(|source| SpecError::Kind { kind: self.kind.clone(), source })?;
        self.container_edits
            .check()
            .map_err(|problem| SpecError::Edit { place: "containerEdits".to_owned(), problem })?;

        let mut seen = BTreeSet::new();
        for (index, device) in self.devices.iter().enumerate() {
            names::device(&device.name).map_err(|source| SpecError::DeviceName { index, source })?;
            if device.container_edits == Edits::default() {
                return Err(SpecError::DeviceWithoutEdits(device.name.clone()));
            }
            device
                .container_edits
                .check()
                .map_err(|problem| SpecError::Edit { place: format!("device {:?}", device.name), problem })?;
            if !seen.insert(&device.name) {
                return Err(SpecError::DeviceTwice(device.name.clone()));
            }
        }
        if seen.is_empty() { Err(SpecError::NoDevices) } else { Ok(()) }
    }
}

impl Edits {
    /// What is wrong with these edits, if anything.
    fn check(&self) -> Result<(), String> {
        check_env("env", &self.env)?;
        self.device_nodes.iter().try_for_each(DeviceNode::check)?;
        self.hooks.iter().try_for_each(Hook::check)?;
        self.mounts.iter().try_for_each(Mount::check)?;
        self.intel_rdt.iter().try_for_each(IntelRdt::check)?;
        check_net_devices(&self.net_devices)
    }

    /// Adds the edits of `other` after these.
    pub(super) fn append(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.net_devices.extend_from_slice(&other.net_devices);
        self.hooks.extend_from_slice(&other.hooks);
        self.mounts.extend_from_slice(&other.mounts);
        if other.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&other.intel_rdt);
        }
        self.additional_gids.extend_from_slice(&other.additional_gids);
    }
}

impl DeviceNode {
    fn check(&self) -> Result<(), String> {
        if self.path.is_empty() {
            return Err("a device node has no path".to_owned());
        }
        if !["", "b", "c", "u", "p"].contains(&self.kind.as_str()) {
            return Err(format!("device node {:?}: type {:?} is not b, c, u or p", self.path, self.kind));
        }
        if self.permissions.contains(|c| !"rwm".contains(c)) {
            return Err(format!(
                "device node {:?}: permissions {:?} are not made of r, w and m",
                self.path, self.permissions
            ));
        }
        Ok(())
    }
}

impl Hook {
    fn check(&self) -> Result<(), String> {
        let known =
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
        if !known.contains(&self.hook_name.as_str()) {
            return Err(format!("hookName {:?} is not one of {known:?}", self.hook_name));
        }
        if self.path.is_empty() {
            return Err(format!("a {} hook has no path", self.hook_name));
        }
        check_env(&format!("{} hook", self.hook_name), &self.env)
    }
}

impl Mount {
    fn check(&self) -> Result<(), String> {
        if self.host_path.is_empty() {
            return Err(format!("the mount at {:?} has no hostPath", self.container_path));
        }
        if self.container_path.is_empty() {
            return Err(format!("the mount of {:?} has no containerPath", self.host_path));
        }
        Ok(())
    }
}

impl IntelRdt {
    fn check(&self) -> Result<(), String> {
        // A class of service is a folder of resctrl: one name, or / for the root class.
        let id = self.clos_id.as_str();
        let bad = id.len() >= 4096 || id == "." || id == ".." || id.contains(['/', '\n']);
        if bad && id != "/" { Err(format!("closID {id:?} is not a file name")) } else { Ok(()) }
    }
}

fn check_env(place: &str, env: &[String]) -> Result<(), String> {
    match env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        Some(variable) => Err(format!("{place}: {variable:?} is not NAME=VALUE")),
        None => Ok(()),
    }
}

fn check_net_devices(devices: &[NetDevice]) -> Result<(), String> {
    let (mut hosts, mut names) = (BTreeSet::new(), BTreeSet::new());
    for NetDevice { host_interface_name: host, name } in devices {
        if host.is_empty() || name.is_empty() {
            return Err("a net device lacks hostInterfaceName or name".to_owned());
        }
        if !hosts.insert(host) {
            return Err(format!("two net devices have the hostInterfaceName {host:?}"));
        }
        if !names.insert(name) {
            return Err(format!("two net devices have the name {name:?}"));
        }
    }
    Ok(())
}
