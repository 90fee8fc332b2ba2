//! The log: on standard error, since standard output holds what was asked for.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Debug, Args)]
pub struct LoggingOptions {
    /// What to log: error, warn, info, debug or trace, or directives such as "info,dra_driver=debug".
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: String,

    /// How to write the log, which goes to standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto, global = true)]
    pub log_format: LogFormat,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins logging.
///
/// # Errors
/// The level is no filter, or there is a log already.
pub fn start(options: &LoggingOptions) -> Result<()> {
    let filter = EnvFilter::try_new(&options.log_level).with_context(|| {
        format!("--log-level '{}' is no level (error, warn, info, debug, trace) or filter", options.log_level)
    })?;
    let text = match options.log_format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if text {
        log.with_ansi(io::stderr().is_terminal()).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    }
    .map_err(|error| anyhow!("cannot begin logging: {error}"))
}
