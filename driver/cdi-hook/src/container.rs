//! Which container it is about: the OCI state that the runtime hands over, and the bundle that it names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::root::Root;

/// No state and no configuration is longer.
const LONGEST: u64 = 16 << 20;

/// Why the container's root is not known.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// The state cannot be read.
    #[error("cannot read the container's OCI state: {0}; a container runtime writes it to standard input")]
    State(io::Error),
    /// The state is not one.
    #[error("the container's OCI state is not understood: {0}")]
    NotAState(serde_json::Error),
    /// The bundle's configuration cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bundle's configuration is not one.
    #[error("{path} is not understood: {source}", path = .path.display())]
    NotAConfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The root folder cannot be opened.
    #[error("cannot open the container's root {path}: {source}", path = .path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The OCI runtime specification's state of a container, as far as it matters here.
#[derive(Deserialize)]
struct State {
    bundle: PathBuf,
}

/// The OCI runtime specification's configuration of a container, as far as it matters here.
#[derive(Deserialize)]
struct Config {
    root: ConfigRoot,
}

#[derive(Deserialize)]
struct ConfigRoot {
    path: PathBuf,
}

/// Opens the root of the container whose state is in a file, or on standard input.
///
/// # Errors
/// Any [`ContainerError`].
pub fn root(spec: Option<&Path>) -> Result<Root, ContainerError> {
    let state = match spec {
        Some(path) => File::open(path).and_then(read),
        None => read(io::stdin()),
    };
    let state = state.map_err(ContainerError::State)?;
    let State { bundle } = serde_json::from_slice(&state).map_err(ContainerError::NotAState)?;
    let path = bundle.join("config.json");
    let config = File::open(&path).and_then(read);
    let config = config.map_err(|source| ContainerError::Config { path: path.clone(), source })?;
    let config: Config =
        serde_json::from_slice(&config).map_err(|source| ContainerError::NotAConfig { path, source })?;
    // A relative one is the bundle's.
    let path = bundle.join(config.root.path);
    Root::open(&path).map_err(|source| ContainerError::Root { path, source })
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
