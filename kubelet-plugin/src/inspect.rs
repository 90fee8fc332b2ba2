//! `inspect`: shows the node's inventory.

mod table;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use dra_driver::inventory::{Inventory, Roots, discover_node};

use crate::arguments::{InspectOptions, Output};

/// Columns of a terminal whose width nobody knows.
const USUAL_WIDTH: usize = 80;

/// Makes the inventory and writes it to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(options: &InspectOptions) -> Result<ExitCode> {
    let roots = Roots {
        driver: options.roots.driver_root.clone(),
        sysfs: options.roots.sysfs.clone(),
        procfs: options.roots.procfs.clone(),
    };
    let inventory = discover_node(&roots, options.timeout);
    tracing::debug!(gpus = inventory.gpus.len(), problems = inventory.problems.len(), "inventory made");
    write(&render(&inventory, options.output)?)?;
    if options.require_gpus && !inventory.gpus.iter().any(|gpu| gpu.usable) {
        eprintln!("dra-kubelet-plugin: no usable GPU, and --require-gpus was given");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn render(inventory: &Inventory, output: Output) -> Result<String> {
    Ok(match output {
        Output::Table => table::render(inventory, terminal_width()),
        Output::Json => serde_json::to_string_pretty(inventory).context("cannot write JSON")? + "\n",
        Output::Yaml => serde_saphyr::to_string(inventory).context("cannot write YAML")?,
    })
}

/// A reader that has seen enough, such as `head`, is no failure.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn terminal_width() -> usize {
    let of_terminal = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let of_variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    of_terminal.or_else(of_variable).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}
