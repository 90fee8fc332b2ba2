//! The command line. Every flag can be given as an environment variable as well.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Shows who has which GPU, and why claims wait. On the PATH, kubectl runs it as `kubectl dra`.
#[derive(Debug, Parser)]
#[command(name = "kubectl-dra", version)]
pub struct Arguments {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
pub struct Global {
    /// The kubeconfig file. Without it, those in KUBECONFIG are used, then ~/.kube/config, then the pod's service
    /// account.
    #[arg(long, global = true, env = "DRA_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context to use.
    #[arg(long, global = true, env = "DRA_CONTEXT")]
    pub context: Option<String>,

    /// The namespace. Without it, the context's.
    #[arg(short, long, global = true, env = "DRA_NAMESPACE")]
    pub namespace: Option<String>,

    /// All namespaces.
    #[arg(short = 'A', long, global = true, env = "DRA_ALL_NAMESPACES")]
    pub all_namespaces: bool,

    /// How to print.
    #[arg(short, long, global = true, env = "DRA_OUTPUT", value_enum, default_value_t = Format::Table)]
    pub output: Format,

    /// The DRA driver's name.
    #[arg(long, global = true, env = "DRIVER_NAME", default_value = "eks-hybrid-dra")]
    pub driver_name: String,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Table,
    /// A table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show each GPU: its node, what it is, whether it is free, and who has it.
    Gpus,
    /// Show ResourceClaims: whose they are, and what they have or why they wait.
    Claims,
    /// Say why a claim, or a pod with claims, waits, and what would help.
    Explain {
        /// What waits.
        #[arg(value_enum)]
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Rewrite manifests for old versions of resource.k8s.io to v1: YAML on standard output, or JSON with --output json.
    /// What cannot work any more is told on standard error.
    Convert {
        /// The file with the manifests, or - for standard input.
        #[arg(short, long, env = "DRA_CONVERT_FILE")]
        file: PathBuf,
    },
    /// Look for what is wrong with the cluster, the driver and its nodes, and say what to do. The exit code is 1 when
    /// there is a problem.
    Doctor,
    /// Write an archive for a bug report: versions, slices, classes, claims, pods with claims, Events, and the logs of
    /// the driver's pods. It has no Secrets, annotations or values of environment variables.
    Gather {
        /// The archive, which must not exist yet.
        #[arg(long, env = "DRA_GATHER_FILE", default_value = "kubectl-dra.tar.gz")]
        file: PathBuf,

        /// Leave the names of namespaces, claims and pods as they are, instead of numbering them.
        #[arg(long, env = "DRA_GATHER_NAMES")]
        names: bool,
    },
    /// Print a script that completes this program's commands in a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// What can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A ResourceClaim
    #[value(alias = "resourceclaim")]
    Claim,
    /// A Pod
    Pod,
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
