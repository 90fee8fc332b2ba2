//! The commands.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::arguments::{Arguments, Command};
use crate::connect::connect;
use crate::read::{Read, read};
use crate::{claims, convert, doctor, explain, gather, gpus, output};

/// Does what the command line says.
///
/// # Errors
/// What kept it from being done, for people.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Command::Completion { shell } = &arguments.command {
        let mut command = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut command, "kubectl-dra", &mut script);
        write(&script)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Convert { file } = &arguments.command {
        return convert::convert(&arguments.global, file);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("cannot start")?.block_on(on_cluster(arguments))
}

async fn on_cluster(arguments: &Arguments) -> Result<ExitCode> {
    let global = &arguments.global;
    let connection = connect(global).await?;
    let read = read(&connection).await?;
    match &arguments.command {
        Command::Gpus => say(&gpus::gpus(&read, global)?)?,
        Command::Claims => say(&claims::claims(&read, global, &connection.namespace)?)?,
        Command::Explain { kind, name } => {
            say(&explain::explain(&connection, &read, global, *kind, name).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Doctor => {
            let (text, is_ill) = doctor::doctor(&connection, read, global).await?;
            say(&text)?;
            return Ok(if is_ill { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::Gather { file, names } => {
            say(&gather::gather(&connection, read, global, file, *names).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Convert { .. } | Command::Completion { .. } => {}
    }
    tell_hidden(&read);
    Ok(ExitCode::SUCCESS)
}

/// What is not shown, because the caller may not see it.
fn tell_hidden(read: &Read) {
    for hidden in &read.hidden {
        eprintln!("kubectl-dra: you lack the right to see {hidden}");
    }
}

/// Prints what a terminal can be trusted with.
pub(crate) fn say(text: &str) -> Result<()> {
    write(output::visible(text).as_bytes())
}

/// Whoever reads no further has read enough.
fn write(text: &[u8]) -> Result<()> {
    use std::io::{ErrorKind, Write};
    let mut output = std::io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
