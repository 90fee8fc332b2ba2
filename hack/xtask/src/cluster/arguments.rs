//! What `cargo xtask cluster` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::binaries::{Containerd, Kubernetes};
use crate::cluster::components::ComponentName;

/// The name of the cluster that is meant where none is given.
const DEFAULT_NAME: &str = "dev";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster and wait until it is ready; what it needs is built first
    Up(Box<Up>),
    /// Print the variables by which programs find the cluster, as export lines
    Env(Which),
    /// Run a program inside the cluster's namespaces, with those variables set
    Exec {
        #[command(flatten)]
        which: Which,
        /// The program and its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// End a cluster and remove everything of it
    Down(Which),
    /// Show what runs, and how much memory it takes
    Status(Which),
    /// Show the logs: the end of all of them, or one in full
    Logs {
        #[command(flatten)]
        which: Which,
        component: Option<ComponentName>,
        /// Go on with what is written from now on
        #[arg(long, short)]
        follow: bool,
    },
    /// List the clusters of this user
    List,
    /// End one component; the others go on
    Stop(Part),
    /// Start a component that was stopped
    Start(Part),
    /// Stop a component and start it again
    Restart(Part),
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Names a cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The cluster's name: lower-case letters, digits and dashes
    #[arg(long, env = "DRA_CLUSTER", default_value = DEFAULT_NAME, value_parser = name)]
    pub(crate) name: String,
}

/// Names a component of a cluster.
#[derive(Debug, Args)]
pub(crate) struct Part {
    pub(crate) component: ComponentName,
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Start etcd, API server, scheduler and controller manager alone; needs no root
    #[arg(long, env = "DRA_CLUSTER_CONTROL_PLANE")]
    pub(crate) control_plane: bool,
    /// The Kubernetes release
    #[arg(long, env = "DRA_CLUSTER_KUBERNETES", default_value = "1.36")]
    pub(crate) kubernetes: Kubernetes,
    /// The kubelet's release, where it is not that of the control plane
    #[arg(long, env = "DRA_CLUSTER_KUBELET", conflicts_with = "control_plane")]
    pub(crate) kubelet: Option<Kubernetes>,
    /// The containerd release
    #[arg(long, env = "DRA_CLUSTER_CONTAINERD", default_value = "2")]
    pub(crate) containerd: Containerd,
    /// Whether containerd applies CDI specs
    #[arg(long, env = "DRA_CLUSTER_CDI", default_value = "on")]
    pub(crate) cdi: Switch,
    /// A feature gate for the Kubernetes components; may be repeated. Without any, all is as upstream has it
    #[arg(long = "feature-gate", env = "DRA_CLUSTER_FEATURE_GATES", value_name = "NAME=BOOL", value_delimiter = ',', value_parser = gate)]
    pub(crate) feature_gates: Vec<String>,
    /// An API group or version to serve that is off by default, as resource.k8s.io/v1beta2=true; may be repeated
    #[arg(long = "runtime-config", env = "DRA_CLUSTER_RUNTIME_CONFIG", value_name = "API=BOOL", value_delimiter = ',', value_parser = gate)]
    pub(crate) runtime_config: Vec<String>,
    /// Also make a fake GPU node: a built-in description (`fake-node list`) or a YAML file. Its driver root is
    /// at /run/nvidia/driver inside the cluster
    #[arg(long, env = "DRA_CLUSTER_FAKE_NODE", value_name = "DESCRIPTION")]
    pub(crate) fake_node: Option<String>,
    /// The API server's port on 127.0.0.1; without it, a free one is chosen
    #[arg(long, env = "DRA_CLUSTER_API_PORT", requires = "control_plane", value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// Take upstream's programs from this folder instead of building them
    #[arg(long, env = "DRA_CLUSTER_BINARIES", value_name = "FOLDER", conflicts_with = "download")]
    pub(crate) binaries: Option<PathBuf>,
    /// Download official releases, by pinned digests, instead of building them
    #[arg(long, env = "DRA_CLUSTER_DOWNLOAD")]
    pub(crate) download: bool,
    /// Download from this address, which has the files directly beneath it, instead of the official hosts
    #[arg(long, env = "DRA_CLUSTER_DOWNLOAD_FROM", requires = "download", value_name = "URL")]
    pub(crate) from: Option<String>,
}

/// A cluster's name becomes part of a cgroup's and a folder's name.
fn name(text: &str) -> std::result::Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 40 {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 40 lower-case letters, digits and dashes, a letter or digit first".to_owned())
    }
}

fn gate(text: &str) -> std::result::Result<String, String> {
    match text.split_once('=') {
        Some((name, "true" | "false")) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write it as NAME=true or NAME=false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_gates_are_checked_where_they_are_typed() {
        for (text, good) in [
            ("dev", true),
            ("a-1", true),
            ("1", true),
            ("", false),
            ("-a", false),
            ("Dev", false),
            ("a/b", false),
            ("..", false),
        ] {
            assert_eq!(name(text).is_ok(), good, "name {text:?}");
        }
        for (text, good) in [
            ("DRADeviceTaintRules=true", true),
            ("resource.k8s.io/v1beta2=false", true),
            ("DRADeviceTaintRules", false),
            ("DRADeviceTaintRules=yes", false),
            ("=true", false),
        ] {
            assert_eq!(gate(text).is_ok(), good, "gate {text:?}");
        }
    }
}
