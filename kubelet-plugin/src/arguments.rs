//! The command line. Every flag can be given as an environment variable as well.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dra_runtime::client::ClientOptions;
use dra_runtime::duration;
use dra_runtime::logging::LoggingOptions;
use dra_runtime::object_name::ObjectName;

/// The DRA kubelet plugin for NVIDIA H100 and H200 GPUs.
#[derive(Debug, Parser)]
#[command(version)]
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
    /// Show the GPUs of this node, and what is wrong with them.
    Inspect(InspectOptions),
    /// Serve the kubelet: publish the GPUs, prepare claims.
    Run(Box<RunOptions>),
    /// Show what the plugin keeps of claims on this node: devices, pods, stage, last error.
    State(StateOptions),
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Options about the node's files.
    #[command(flatten)]
    pub roots: RootOptions,

    /// Options about the API server.
    #[command(flatten)]
    pub client: ClientOptions,

    /// The DRA driver's name, from which socket folders, CDI vendor and state folder follow.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// The name of this node's Node object.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,

    /// The UID of this plugin's pod: with it, two instances can overlap during a rolling update.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: Option<String>,

    /// The DaemonSet that the plugin belongs to, as namespace/name. A plugin that ends when it is gone takes what it has
    /// put on the node with it.
    #[arg(long, env = "DAEMON_SET")]
    pub daemon_set: Option<ObjectName>,

    /// The node's label that asks the driver to keep away from the GPUs while it has another value than "true"; empty
    /// for none. The file "yield" in the driver's state folder asks for the same.
    #[arg(long, env = "YIELD_LABEL", default_value = "nvidia.com/gpu.deploy.dra-driver")]
    pub yield_label: String,

    /// The kubelet's folder of registration sockets.
    #[arg(long, env = "KUBELET_REGISTRY", default_value = "/var/lib/kubelet/plugins_registry")]
    pub kubelet_registry: PathBuf,

    /// The kubelet's folder of plugins; the DRA socket lies in the driver's folder there.
    #[arg(long, env = "KUBELET_PLUGINS", default_value = "/var/lib/kubelet/plugins")]
    pub kubelet_plugins: PathBuf,

    /// The folder of the CDI specs.
    #[arg(long, env = "CDI_ROOT", default_value = "/var/run/cdi")]
    pub cdi_root: PathBuf,

    /// The folder for state that a reboot ends; the driver's folder is made there.
    #[arg(long, env = "STATE_ROOT", default_value = "/run")]
    pub state_root: PathBuf,

    /// The host's /dev as this program sees it; the container runtime has it at /dev.
    #[arg(long, env = "DEV_ROOT", default_value = "/dev")]
    pub dev_root: PathBuf,

    /// Where the driver root lies as the container runtime sees it, if that is another place than here.
    #[arg(long, env = "HOST_DRIVER_ROOT")]
    pub host_driver_root: Option<PathBuf>,

    /// What the kernel shows as /proc with the processes of all pods: they are looked at before a GPU passes from a
    /// claim that is over to another one. The plugin's own /proc has them with hostPID.
    #[arg(long, env = "PROCESSES_ROOT", default_value = "/proc")]
    pub processes: PathBuf,

    /// Where /metrics, /healthz and /readyz are served; port 0 takes a free one, and the log says which.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "127.0.0.1:8080")]
    pub admin_address: std::net::SocketAddr,

    /// How long a GPU may take for its answers: a number with ms, s or m.
    #[arg(long, env = "GPU_TIMEOUT", default_value = "10s", value_parser = duration::parse)]
    pub gpu_timeout: Duration,
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct InspectOptions {
    /// Options about the node's files.
    #[command(flatten)]
    pub roots: RootOptions,

    /// How to write the inventory.
    #[arg(short, long, env = "INSPECT_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Exit with status 1 if no GPU can be used.
    #[arg(long, env = "REQUIRE_GPUS")]
    pub require_gpus: bool,

    /// How long a GPU may take for its answers: a number with ms, s or m. One that takes longer is shown with
    /// what it said until then.
    #[arg(long, env = "GPU_TIMEOUT", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Options of `state`.
#[derive(Debug, Args)]
pub struct StateOptions {
    /// The DRA driver's name.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// The folder in which the driver's state folder lies.
    #[arg(long, env = "STATE_ROOT", default_value = "/run")]
    pub state_root: PathBuf,

    /// What the kernel shows as /proc.
    #[arg(long, env = "PROCFS_ROOT", default_value = "/proc")]
    pub procfs: PathBuf,

    /// How to write the state.
    #[arg(short, long, env = "STATE_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Where the node's files are. In a container these are mounts.
#[derive(Clone, Debug, Args)]
pub struct RootOptions {
    /// The folder that NVIDIA's driver is installed in: / or, with a driver container, the folder on the host
    /// that looks like its /.
    #[arg(long, env = "DRIVER_ROOT", default_value = "/")]
    pub driver_root: PathBuf,

    /// What the kernel shows as /sys.
    #[arg(long, env = "SYSFS_ROOT", default_value = "/sys")]
    pub sysfs: PathBuf,

    /// What the kernel shows as /proc.
    #[arg(long, env = "PROCFS_ROOT", default_value = "/proc")]
    pub procfs: PathBuf,
}

/// How to write what was asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
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
