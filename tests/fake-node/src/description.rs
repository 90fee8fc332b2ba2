//! Descriptions: nodes and boards written in YAML.
//!
//! A description names what is at hand: GPUs with their addresses and identities, NUMA nodes, NVSwitches, the
//! driver. The figures of a product stand once, in `boards/`. A mistake is answered with file, line and field.

mod check;
mod driver_version;
mod error;
mod shape;

use std::path::Path;

use crate::model::{Board, Driver, NodeState};

pub use driver_version::{DriverVersionError, cuda_of_driver};
pub use error::{DescriptionError, Mistake};

/// The descriptions that come with the crate.
const BUILTIN: [(&str, &str); 7] = [
    ("hgx-h100-8", include_str!("../descriptions/hgx-h100-8.yaml")),
    ("hgx-h200-8", include_str!("../descriptions/hgx-h200-8.yaml")),
    ("h100-pcie-4", include_str!("../descriptions/h100-pcie-4.yaml")),
    ("h100-nvl-2", include_str!("../descriptions/h100-nvl-2.yaml")),
    ("h200-nvl-8", include_str!("../descriptions/h200-nvl-8.yaml")),
    ("mixed", include_str!("../descriptions/mixed.yaml")),
    ("h100-16", include_str!("../descriptions/h100-16.yaml")),
];

/// The boards that descriptions can name.
const BOARDS: [(&str, &str); 5] = [
    ("h100-sxm5-80gb", include_str!("../boards/h100-sxm5-80gb.yaml")),
    ("h200-sxm5-141gb", include_str!("../boards/h200-sxm5-141gb.yaml")),
    ("h100-pcie-80gb", include_str!("../boards/h100-pcie-80gb.yaml")),
    ("h100-nvl-94gb", include_str!("../boards/h100-nvl-94gb.yaml")),
    ("h200-nvl-141gb", include_str!("../boards/h200-nvl-141gb.yaml")),
];

/// A checked description.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    idle: NodeState,
}

impl Description {
    /// A description that comes with the crate.
    ///
    /// # Errors
    ///
    /// No description has this name.
    pub fn builtin(name: &str) -> Result<Self, DescriptionError> {
        let text = BUILTIN.iter().find_map(|(known, text)| (*known == name).then_some(*text));
        let text = text.ok_or_else(|| DescriptionError::UnknownName {
            name: name.to_owned(),
            known: Self::builtin_names().collect::<Vec<_>>().join(", "),
        })?;
        Self::parse(text, &format!("{name}.yaml"))
    }

    /// The names that [`Description::builtin`] knows.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// Reads the file of this path; a plain word is the name of a built-in description. A word with a slash or
    /// a dot in it is a path.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is no description, or the name is unknown.
    pub fn load(path_or_name: &str) -> Result<Self, DescriptionError> {
        if !path_or_name.contains(['/', '.']) {
            return Self::builtin(path_or_name);
        }
        let text = std::fs::read_to_string(Path::new(path_or_name))
            .map_err(|source| DescriptionError::Read { path: path_or_name.into(), source })?;
        Self::parse(&text, path_or_name)
    }

    /// Reads a description from YAML. `origin` is the file's name for errors.
    ///
    /// # Errors
    ///
    /// The first mistake, with line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DescriptionError> {
        let shape = shape::read(text, origin)?;
        let idle = check::node(shape, origin)?;
        Ok(Self { idle })
    }

    /// The same node with another driver. The CUDA version follows from the driver's branch.
    ///
    /// # Errors
    ///
    /// The version is malformed, or its branch is unknown.
    pub fn with_driver_version(mut self, version: &str) -> Result<Self, DescriptionError> {
        self.idle.driver = driver(version)?;
        Ok(self)
    }

    /// The node as it is after boot, with nothing running.
    pub fn state(&self) -> NodeState {
        self.idle.clone()
    }
}

/// A driver of this version, loaded.
fn driver(version: &str) -> Result<Driver, DriverVersionError> {
    Ok(Driver { version: version.to_owned(), cuda: cuda_of_driver(version)?, loaded: true })
}

/// The figures of a board. None for an unknown name, an error only if the crate's own file is wrong.
fn board(name: &str) -> Option<Result<Board, DescriptionError>> {
    let (_, text) = BOARDS.iter().find(|(known, _)| *known == name)?;
    Some(shape::read(text, &format!("boards/{name}.yaml")))
}

/// The names of all boards, for error messages.
fn board_names() -> String {
    BOARDS.map(|(name, _)| name).join(", ")
}
