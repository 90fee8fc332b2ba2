//! `run`: the plugin, from start to graceful stop.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::arguments::RunOptions;

/// Runs until a signal asks for the end.
///
/// # Errors
/// What keeps the plugin from starting at all: a setting that cannot be, or a folder that cannot be used.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    bail!("driver {}: not built yet", options.driver_name)
}
