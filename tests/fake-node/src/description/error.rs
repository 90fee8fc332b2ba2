//! What can be wrong with a description.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::DriverVersionError;

/// What can be wrong with a description.
#[derive(Debug, Error)]
pub enum DescriptionError {
    /// No built-in description has this name.
    #[error(
        "no node description is called '{name}': built in are {known}; a file of your own is named by its \
         path, like ./{name}.yaml"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the node description {path}: {source}; check that the file exists and is readable")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its content is wrong.
    #[error("{0}")]
    Mistake(Box<Mistake>),
    /// The driver version asked for cannot be used.
    #[error(transparent)]
    DriverVersion(#[from] DriverVersionError),
}

/// One wrong place in a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// The column, counted from 1.
    pub column: Option<u64>,
    /// The field, e.g. `gpus[3].uuid`.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{place}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}
