//! `convert`: manifests for old versions of `resource.k8s.io`, as v1 has them. It needs no cluster.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use dra_controller::translate;

use crate::arguments::{Format, Global};

/// Prints the manifests of a file as v1 has them. Nothing is printed where something is wrong in one of them.
///
/// # Errors
/// When the file cannot be read, or the answer cannot be written.
pub fn convert(global: &Global, file: &Path) -> Result<ExitCode> {
    let text = read(file)?;
    let converted = match translate::convert(&text, &global.driver_name) {
        Ok(converted) => converted,
        Err(errors) => {
            for error in errors {
                eprintln!("error: {error}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let printed = match global.output {
        Format::Json => converted.json()?,
        Format::Table | Format::Wide | Format::Yaml => converted.yaml()?,
    };
    for warning in &converted.warnings {
        eprintln!("warning: {warning}");
    }
    let mut output = std::io::stdout().lock();
    output
        .write_all(printed.as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
