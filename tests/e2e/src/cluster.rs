//! The cluster that the tests run in, as `cargo xtask cluster exec` describes it in the environment.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use kube::Client;
use tokio::process::Command;

/// The running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The name that `cluster up --name` gave it.
    pub name: String,
    /// The name of its node.
    pub node: String,
    xtask: PathBuf,
}

impl Cluster {
    /// The cluster whose namespaces this process runs in.
    ///
    /// # Panics
    ///
    /// Outside a node-level cluster, saying how to start one.
    #[must_use]
    pub fn current() -> Self {
        let read = |name| env::var(name).ok();
        let (Some(name), Some(node), Some(xtask)) =
            (read("DRA_CLUSTER"), read("DRA_CLUSTER_NODE"), read("DRA_XTASK"))
        else {
            panic!(
                "this test runs inside a node-level cluster: start one with `cargo xtask cluster up`, and the \
                 test with `cargo xtask cluster exec -- cargo test -p e2e`"
            );
        };
        Self { name, node, xtask: xtask.into() }
    }

    /// A client with the rights of the cluster's administrator. It belongs to the runtime of the calling test.
    pub async fn client(&self) -> Client {
        Client::try_default().await.expect("make a client from the kubeconfig that KUBECONFIG names")
    }

    /// Restarts one of the cluster's components, as `cargo xtask cluster restart` does.
    pub async fn restart(&self, component: &str) {
        let output = Command::new(&self.xtask)
            .args(["cluster", "restart", component, "--name", &self.name])
            .stdin(Stdio::null())
            .output()
            .await
            .expect("start the program that DRA_XTASK names");
        assert!(
            output.status.success(),
            "cluster restart {component}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
