//! The command line. Every flag can be given as an environment variable as well.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The DRA kubelet plugin for NVIDIA H100 and H200 GPUs.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) logging: LoggingOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the GPUs of this node, and what is wrong with them.
    Inspect(InspectOptions),
}

#[derive(Debug, Args)]
pub(crate) struct InspectOptions {
    #[command(flatten)]
    pub(crate) roots: RootOptions,

    /// How to write the inventory.
    #[arg(short, long, env = "INSPECT_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// Exit with status 1 if no GPU can be used.
    #[arg(long, env = "REQUIRE_GPUS")]
    pub(crate) require_gpus: bool,

    /// How long a GPU may take for its answers: a number with ms, s or m. One that takes longer is shown with
    /// what it said until then.
    #[arg(long, env = "GPU_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Where the node's files are. In a container these are mounts.
#[derive(Debug, Args)]
pub(crate) struct RootOptions {
    /// The folder that NVIDIA's driver is installed in: / or, with a driver container, the folder on the host
    /// that looks like its /.
    #[arg(long, env = "DRIVER_ROOT", default_value = "/")]
    pub(crate) driver_root: PathBuf,

    /// What the kernel shows as /sys.
    #[arg(long, env = "SYSFS_ROOT", default_value = "/sys")]
    pub(crate) sysfs: PathBuf,

    /// What the kernel shows as /proc.
    #[arg(long, env = "PROCFS_ROOT", default_value = "/proc")]
    pub(crate) procfs: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct LoggingOptions {
    /// What to log: error, warn, info, debug or trace, or directives such as "info,dra_driver=debug".
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true)]
    pub(crate) log_level: String,

    /// How to write the log, which goes to standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto, global = true)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Reads "10s", "500ms", "2m".
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a positive whole number with ms, s or m, such as 10s");
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    // The longest time that any call is worth waiting for also keeps deadlines far from overflowing.
    const LONGEST: u64 = 24 * 3_600_000;
    milliseconds
        .filter(|milliseconds| (1..=LONGEST).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_and_a_help_text() {
        let mut command = Arguments::command();
        command.build();
        for part in command.get_subcommands().chain([&command]).filter(|part| part.get_name() != "help") {
            for flag in
                part.get_arguments().filter(|flag| !["help", "version"].contains(&flag.get_id().as_str()))
            {
                assert!(flag.get_env().is_some(), "{} has no variable", flag.get_id());
                assert!(flag.get_help().is_some(), "{} has no help", flag.get_id());
            }
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("24h", None),
            ("10", None),
            ("s", None),
            ("0s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1441m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ];
        for (text, wanted) in cases {
            let read = duration(text).ok();
            assert_eq!(read, wanted.map(Duration::from_millis), "{text}");
        }
    }
}
