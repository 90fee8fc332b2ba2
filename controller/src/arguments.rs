//! The command line. Every flag can be given as an environment variable as well.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use dra_runtime::client::ClientOptions;
use dra_runtime::duration;
use dra_runtime::logging::LoggingOptions;
use dra_runtime::object_name::ObjectName;

/// The part of the DRA driver that runs in the cluster, not on its nodes.
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
    /// Say which devices claims would get on a node: a case as JSON on standard input, the answer on standard output.
    Allocate(AllocateOptions),
    /// Follow the cluster: measure what is allocated, and say why claims wait.
    Run(RunOptions),
    /// Remove the driver's plugin from all nodes, unless claims have devices of it.
    Uninstall(UninstallOptions),
    /// Refuse claims, templates and DeviceClasses whose configuration for the driver cannot be read.
    Webhook(WebhookOptions),
}

/// Options of `allocate`.
#[derive(Debug, Args)]
pub struct AllocateOptions {
    /// Read one case a line, and answer each with a line. The exit code then says nothing of the answers; without it,
    /// it is 1 when the claims do not fit and 2 when there is no answer.
    #[arg(long, env = "ALLOCATE_STREAM")]
    pub stream: bool,

    /// How long one case may take: a number with ms, s, m or h. The scheduler gives a node 10s.
    #[arg(long, env = "ALLOCATE_TIMEOUT", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Options about the API server.
    #[command(flatten)]
    pub client: ClientOptions,

    /// The DRA driver's name.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// The driver's DeviceClasses, by commas. Others that select devices of the driver are found; these count before it
    /// has any.
    #[arg(long, env = "DEVICE_CLASSES", value_delimiter = ',')]
    pub device_classes: Vec<String>,

    /// Where /metrics, /healthz and /readyz are served; port 0 takes a free one, and the log says which.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "127.0.0.1:8080")]
    pub admin_address: SocketAddr,

    /// The Lease by which replicas agree which one acts, as namespace/name. It is made where it does not exist.
    #[arg(long, env = "LEASE")]
    pub lease: ObjectName,

    /// What tells this replica from others: its pod's name.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,

    /// How long a pod may wait before the controller says why: a number with ms, s or m. Most wait a moment only.
    #[arg(long, env = "EXPLAIN_AFTER", default_value = "10s", value_parser = duration::parse)]
    pub explain_after: Duration,

    /// How many series of dra_claim_allocation_info there may be.
    #[arg(long, env = "CLAIM_INFO_LIMIT", default_value_t = 10_000)]
    pub claim_info_limit: usize,

    /// Show dra_pending_claims_total as well, a gauge whose name Prometheus keeps for counters.
    #[arg(long, env = "ORDERED_METRIC_NAMES", default_value_t = true, action = ArgAction::Set)]
    pub ordered_metric_names: bool,

    /// Make ResourceClaimTemplates and DeviceClasses of labelled ConfigMaps with parameters.
    #[arg(long, env = "TRANSLATE_PARAMETERS", default_value_t = true, action = ArgAction::Set)]
    pub translate_parameters: bool,

    /// The only namespace whose ConfigMaps make DeviceClasses. Without it, the Lease's.
    #[arg(long, env = "PARAMETER_NAMESPACE")]
    pub parameter_namespace: Option<String>,
}

/// Options of `webhook`.
#[derive(Debug, Args)]
pub struct WebhookOptions {
    /// Options about the API server.
    #[command(flatten)]
    pub client: ClientOptions,

    /// The DRA driver's name: configurations for other drivers are not looked at.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// Where the API server's requests are served; port 0 takes a free one, and the log says which.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,

    /// Where /metrics, /healthz and /readyz are served; port 0 takes a free one, and the log says which.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "127.0.0.1:8080")]
    pub admin_address: SocketAddr,

    /// The Service by which the API server calls the webhook, as namespace/name. The certificate is for it.
    #[arg(long, env = "SERVICE")]
    pub service: ObjectName,

    /// The ValidatingWebhookConfiguration, in which the API server finds what the certificate is checked by.
    #[arg(long, env = "WEBHOOK_CONFIGURATION")]
    pub configuration: String,

    /// The Secret that keeps the certificate, as namespace/name. It has to exist, and may be empty.
    #[arg(long, env = "CERTIFICATE_SECRET")]
    pub secret: ObjectName,

    /// How long a certificate lives: a number with s, m, h or d. It is renewed when a third of that is left.
    #[arg(long, env = "CERTIFICATE_LIFETIME", default_value = "90d", value_parser = duration::parse)]
    pub certificate_lifetime: Duration,
}

/// Options of `uninstall`.
#[derive(Debug, Args)]
pub struct UninstallOptions {
    /// Options about the API server.
    #[command(flatten)]
    pub client: ClientOptions,

    /// The DRA driver's name.
    #[arg(long, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,

    /// The plugin's DaemonSet, as namespace/name. It is deleted, so that each plugin takes what it has put on its
    /// node with it.
    #[arg(long, env = "DAEMON_SET")]
    pub daemon_set: ObjectName,

    /// The controller's Deployment, as namespace/name, where it translates parameters. It is deleted first, and then the
    /// DeviceClasses that it has made, which it would make anew.
    #[arg(long, env = "CONTROLLER")]
    pub controller: Option<ObjectName>,

    /// The driver's DeviceClasses, by commas. With --force they are deleted first, so that no new pod gets a device.
    #[arg(long, env = "DEVICE_CLASSES", value_delimiter = ',')]
    pub device_classes: Vec<String>,

    /// Delete the pods whose claims have devices, instead of giving up.
    #[arg(long, env = "UNINSTALL_FORCE")]
    pub force: bool,

    /// How long pods and plugins may take to end: a number with ms, s or m.
    #[arg(long, env = "UNINSTALL_TIMEOUT", default_value = "4m", value_parser = duration::parse)]
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
}
