//! The dashboards and the Prometheus rules as data, for the tests that hold them against the programs: contract,
//! linter, promtool, and the truth on a real Prometheus.

pub mod dashboards;
pub mod lint;
pub mod promql;
pub mod rules;
pub mod scrape;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file of the chart cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is not there.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It is not what it should be.
    #[error("{path} is not as Grafana or Prometheus takes it: {reason}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The folder of this repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The chart's folder of files that are used as they are.
fn chart_files() -> PathBuf {
    repository().join("deploy/helm/dra-driver/files")
}

/// The files of a folder with this ending, in the order of their names.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, ReadError> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
