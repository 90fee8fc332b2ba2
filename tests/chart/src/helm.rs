//! The real helm.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Output};

use serde_json::Value;
use thiserror::Error;

use crate::folder;

/// The variable that names the program. Without it, the one on the PATH is taken.
const VARIABLE: &str = "DRA_HELM";
/// The release that is rendered for, so that renders are the same with every helm.
const KUBERNETES: &str = "1.36.0";

/// Why there is no result of helm's.
#[derive(Debug, Error)]
pub enum HelmError {
    /// It cannot be started.
    #[error(
        "start {program:?}: {source}; `cargo xtask test --only tests` provides helm, or {VARIABLE} names it, or it \
         is on the PATH"
    )]
    Start {
        /// The program.
        program: OsString,
        /// Why.
        source: std::io::Error,
    },
    /// It refused; the text is all that it said.
    #[error("{0}")]
    Refused(String),
    /// It rendered what is no YAML.
    #[error("read what helm has rendered: {0}")]
    Yaml(#[from] serde_saphyr::Error),
}

/// What `helm template` prints for the release `dra-driver` in `kube-system`.
///
/// # Errors
/// [`HelmError`].
pub fn render(arguments: &[&str]) -> Result<String, HelmError> {
    render_for(KUBERNETES, arguments)
}

/// What `helm template` prints for a cluster of this release of Kubernetes.
///
/// # Errors
/// [`HelmError`].
pub fn render_for(kubernetes: &str, arguments: &[&str]) -> Result<String, HelmError> {
    let chart = folder().display().to_string();
    let first = ["template", "dra-driver", &chart, "--namespace=kube-system", "--kube-version", kubernetes];
    helm(&[&first[..], arguments].concat())
}

/// The notes that users see after `helm install` on the release of Kubernetes that helm was built for.
///
/// # Errors
/// [`HelmError`].
pub fn notes(arguments: &[&str]) -> Result<String, HelmError> {
    let chart = folder().display().to_string();
    let first = ["install", "dra-driver", &chart, "--namespace=kube-system", "--dry-run=client"];
    let text = helm(&[&first[..], arguments].concat())?;
    Ok(text.split_once("\nNOTES:\n").map(|(_, notes)| notes.to_owned()).unwrap_or_default())
}

/// Reads what [`render`] has printed: the objects, in order.
///
/// # Errors
/// [`HelmError::Yaml`].
pub fn objects(rendered: &str) -> Result<Vec<Value>, HelmError> {
    let all: Vec<Value> = serde_saphyr::from_multiple(rendered)?;
    Ok(all.into_iter().filter(|object| !object.is_null()).collect())
}

/// Runs helm and returns what it prints.
///
/// # Errors
/// [`HelmError::Start`] and [`HelmError::Refused`].
pub fn helm(arguments: &[&str]) -> Result<String, HelmError> {
    let program = env::var_os(VARIABLE).unwrap_or_else(|| "helm".into());
    let Output { status, stdout, stderr } = Command::new(&program)
        .args(arguments)
        .output()
        .map_err(|source| HelmError::Start { program, source })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if status.success() {
        return Ok(said(&stdout));
    }
    Err(HelmError::Refused(said(&stdout) + &said(&stderr)))
}
