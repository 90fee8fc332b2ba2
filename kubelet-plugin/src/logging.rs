//! The log: on standard error, since standard output holds what was asked for.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;

use crate::arguments::{LogFormat, LoggingOptions};

/// Begins logging.
pub(crate) fn start(options: &LoggingOptions) -> Result<()> {
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
