//! The command line. Every flag can be given as an environment variable as well.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dra_runtime::client::ClientOptions;
use dra_runtime::flags::{ObjectName, duration};
use dra_runtime::logging::LoggingOptions;

/// The controller of the DRA driver for NVIDIA H100 and H200 GPUs.
#[derive(Debug, Parser)]
#[command(name = "dra-controller", version)]
pub struct Arguments {
    /// Options about the log.
    #[command(flatten)]
    pub logging: LoggingOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the driver off the cluster, unless claims hold its devices.
    Uninstall(UninstallOptions),
}

/// Options of `uninstall`.
#[derive(Clone, Debug, Args)]
pub struct UninstallOptions {
    /// Options about the API server.
    #[command(flatten)]
    pub client: ClientOptions,

    /// The DRA driver's name.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// The DaemonSet of the kubelet plugins: NAMESPACE/NAME.
    #[arg(long, env = "DAEMON_SET")]
    pub daemon_set: ObjectName,

    /// The DeviceClasses that go with the driver. With --force they are deleted first, so that no new pod is given
    /// its devices.
    #[arg(long, env = "DEVICE_CLASSES", value_delimiter = ',')]
    pub device_classes: Vec<String>,

    /// Delete the pods whose claims hold devices of the driver, instead of refusing.
    #[arg(long, env = "FORCE")]
    pub force: bool,

    /// How long it may take: half of it until pods have ended and their claims are free, half until the plugins have
    /// ended. A number with ms, s or m.
    #[arg(long, env = "TIMEOUT", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
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
}
