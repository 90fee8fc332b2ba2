//! The client of the API server, set up for a slow and sometimes broken link.

use std::path::PathBuf;

use clap::Args;

/// How to reach the API server.
#[derive(Clone, Debug, Args)]
pub struct ClientOptions {
    /// The kubeconfig file to use. Without one, the pod's service account is used.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}
