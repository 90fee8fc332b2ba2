//! `fake-node`: creates fake GPU nodes and does things to them.

mod arguments;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fake_node::description::Description;
use fake_node::layout::NodeKind;
use fake_node::node::{CreateOptions, Node};

use arguments::{Arguments, Command, DriverChange, Inject};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command-line tool")]
fn say_error(error: &anyhow::Error) {
    // The texts of errors name their causes themselves.
    eprintln!("fake-node: {error}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(arguments: Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    match arguments.command {
        Command::List => {
            for name in Description::builtin_names() {
                writeln!(out, "{name}")?;
            }
        }
        Command::Create { description, dir, driver_version, device_nodes, library } => {
            let mut parsed = Description::load(&description)?;
            if let Some(version) = driver_version {
                parsed = parsed.with_driver_version(&version)?;
            }
            let options = CreateOptions { device_nodes: device_nodes.into(), library };
            let node = Node::create(&parsed, &dir, &options)?;
            let state = node.state()?;
            writeln!(
                out,
                "created {description}: {} GPUs, driver {}, device nodes are {}",
                state.gpus.len(),
                state.driver.version,
                match node.device_nodes() {
                    NodeKind::Character => "real",
                    NodeKind::Record => "recorded in plain files",
                },
            )?;
            writeln!(out, "driver root: {}", node.driver_root().display())?;
            writeln!(out, "for other programs: . {}", node.dir().join("env").display())?;
        }
        Command::Status { dir } => {
            let state = Node::open(&dir)?.state()?;
            writeln!(out, "{}", serde_json::to_string_pretty(&*state)?)?;
        }
        Command::Calls { dir, since, json } => {
            for call in Node::open(&dir)?.calls_since(since) {
                if json {
                    writeln!(out, "{}", serde_json::to_string(&call)?)?;
                } else {
                    let slot = call.slot.map_or_else(|| "-".into(), |slot| format!("gpu {slot}"));
                    let returned = call.returned.map_or_else(|| "unfinished".into(), |code| code.to_string());
                    let stub = if call.stub { "  (stub)" } else { "" };
                    writeln!(
                        out,
                        "{:>6} pid {:<7} {:<6} {} = {returned}{stub}",
                        call.number, call.pid, slot, call.function
                    )?;
                }
            }
        }
        Command::Inject { dir, what } => inject(Node::open(&dir)?, what, &mut out)?,
    }
    Ok(())
}

fn inject(mut node: Node, what: Inject, out: &mut impl Write) -> Result<()> {
    let injection = match what {
        Inject::Driver { change } => {
            match change {
                DriverChange::Unload => node.unload_driver()?,
                DriverChange::Load { version } => node.load_driver(version.as_deref())?,
            }
            return Ok(());
        }
        Inject::Library { file } => {
            node.set_library(file.into())?;
            return Ok(());
        }
        other => other.injection().context("not an injection into the state")?,
    };
    if let Some(fault) = node.inject(&injection)? {
        writeln!(out, "{fault}")?;
    }
    Ok(())
}
