//! The Helm chart as tests see it: what the real helm makes of it, and what its values say about themselves.

pub mod helm;
pub mod values;

use std::path::{Path, PathBuf};

/// The folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of the chart.
#[must_use]
pub fn folder() -> PathBuf {
    repository().join("deploy/helm/dra-driver")
}
