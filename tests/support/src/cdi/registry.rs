//! The CDI specs of a node, and the lookup of the devices that they define.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::edits::{self, EditError};
use super::spec::{Edits, Spec, SpecError};

/// Why devices could not be given to a container. The texts start as those of containerd's events do.
#[derive(Debug, Error)]
pub enum Error {
    /// No spec defines these devices, or two specs of one folder define them.
    #[error("CDI device injection failed: unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    /// An edit cannot be made.
    #[error("CDI device injection failed: failed to inject devices: {0}")]
    Edit(#[from] EditError),
}

/// The CDI specs of a node as they were when they were loaded.
#[derive(Debug, Default)]
pub struct Registry {
    specs: Vec<Spec>,
    /// By qualified name, the positions of the spec and of the device in it.
    devices: BTreeMap<String, Found>,
    errors: BTreeMap<PathBuf, Vec<SpecError>>,
}

#[derive(Debug, Clone)]
struct Found {
    precedence: usize,
    path: PathBuf,
    spec: usize,
    device: usize,
}

impl Registry {
    /// Loads the spec files of `folders`; where two folders define a device, the later folder's counts.
    ///
    /// Only files directly in a folder count whose names end with `.json` or `.yaml`. A folder that is missing, or is
    /// itself a symbolic link, is passed over, as by the Go library. A file that is no valid spec is left out and
    /// reported by [`Self::errors`].
    #[must_use]
    pub fn load(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        let mut conflicts = BTreeSet::new();
        for (precedence, folder) in folders.iter().enumerate() {
            for path in spec_files(folder) {
                match Spec::read(&path) {
                    Ok(spec) => registry.add(spec, &path, precedence, &mut conflicts),
                    Err(error) => registry.report(path, error),
                }
            }
        }
        // Also where a folder of higher precedence defines the device once more.
        for conflict in conflicts {
            registry.devices.remove(&conflict);
        }
        registry
    }

    /// What is wrong with the spec files, by path.
    #[must_use]
    pub fn errors(&self) -> &BTreeMap<PathBuf, Vec<SpecError>> {
        &self.errors
    }

    /// The qualified names of the devices that can be given to containers.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// Makes the edits of `devices`, named `vendor/class=name`, in the OCI runtime spec `spec`.
    ///
    /// # Errors
    ///
    /// When a device is not defined, or an edit cannot be made; `spec` is then as it was.
    pub fn apply(&self, devices: &[String], spec: &mut Value) -> Result<(), Error> {
        let unresolvable: Vec<String> =
            devices.iter().filter(|name| !self.devices.contains_key(*name)).cloned().collect();
        if !unresolvable.is_empty() {
            return Err(Error::Unresolvable(unresolvable));
        }

        let mut all = Edits::default();
        let mut specs = BTreeSet::new();
        for found in devices.iter().filter_map(|name| self.devices.get(name)) {
            let spec = &self.specs[found.spec];
            if specs.insert(found.spec) {
                all.append(&spec.container_edits);
            }
            all.append(&spec.devices[found.device].container_edits);
        }
        let mut edited = spec.clone();
        edits::apply(&all, &mut edited)?;
        *spec = edited;
        Ok(())
    }

    fn add(&mut self, spec: Spec, path: &Path, precedence: usize, conflicts: &mut BTreeSet<String>) {
        for (device, definition) in spec.devices.iter().enumerate() {
            let name = spec.qualified(definition);
            let found = Found { precedence, path: path.to_owned(), spec: self.specs.len(), device };
            match self.devices.get(&name).cloned() {
                Some(other) if other.precedence == precedence => {
                    let conflict = |other: &Path| SpecError::Conflict {
                        device: name.clone(),
                        other: other.display().to_string(),
                    };
                    let (ours, theirs) = (conflict(&other.path), conflict(path));
                    self.report(path.to_owned(), ours);
                    self.report(other.path, theirs);
                    conflicts.insert(name);
                }
                _ => {
                    self.devices.insert(name, found);
                }
            }
        }
        self.specs.push(spec);
    }

    fn report(&mut self, path: PathBuf, error: SpecError) {
        self.errors.entry(path).or_default().push(error);
    }
}

/// The spec files of a folder, sorted by name.
fn spec_files(folder: &Path) -> Vec<PathBuf> {
    if !fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.as_os_str().as_encoded_bytes();
            name.ends_with(b".json") || name.ends_with(b".yaml")
        })
        .collect();
    files.sort();
    files
}
