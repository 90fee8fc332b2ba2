//! Python packages as archives: fetched with pip by exact version, verified, unpacked. Nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::command;
use crate::digest::Digest;

/// One wheel of the Python package index.
#[derive(Debug)]
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) file: &'static str,
    pub(crate) sha256: &'static str,
}

/// The first Python 3 of this machine that has pip.
pub(crate) fn python() -> Option<&'static str> {
    let has_pip = |python: &&str| command::succeeds(Command::new(python).args(["-m", "pip", "--version"]));
    ["python3", "/usr/bin/python3"].into_iter().find(has_pip)
}

/// [`python`] as an absolute path.
pub(crate) fn python_path() -> Result<PathBuf> {
    let python = python().context(NO_PYTHON)?;
    let path = command::output(Command::new(python).args(["-c", "import sys; print(sys.executable)"]))?;
    Ok(PathBuf::from(path.trim()))
}

const NO_PYTHON: &str = "no Python 3 with pip found: install the packages python3 and python3-pip";

/// Fetches a wheel and unpacks it into `folder`.
pub(crate) fn unpack(wheel: &Wheel, folder: &Path) -> Result<()> {
    let python = python().context(NO_PYTHON)?;
    let requirement = format!("{}=={}", wheel.package, wheel.version);
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"];
    command::run_aside(Command::new(python).args(download).arg(folder).arg(requirement))?;
    let archive = folder.join(wheel.file);
    Digest::Sha256(wheel.sha256).verify(&archive, wheel.file)?;
    command::run_aside(Command::new(python).args(["-m", "zipfile", "--extract"]).arg(&archive).arg(folder))?;
    fs::remove_file(archive)?;
    Ok(())
}
