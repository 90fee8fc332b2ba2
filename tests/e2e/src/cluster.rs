//! The cluster that the tests run in: one with a node.

use kube::Client;

/// The running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The name of its node.
    pub node: String,
    any: support::cluster::Cluster,
}

impl Cluster {
    /// The cluster whose namespaces this process runs in.
    ///
    /// # Panics
    ///
    /// Outside a node-level cluster, saying how to start one.
    #[must_use]
    pub fn current() -> Self {
        let any = support::cluster::Cluster::current();
        let Some(node) = any.node.clone() else {
            panic!(
                "the cluster {} has no node: start one with `cargo xtask cluster up`, without --control-plane",
                any.name
            )
        };
        Self { node, any }
    }

    /// A client with the rights of the cluster's administrator. It belongs to the runtime of the calling test.
    pub async fn client(&self) -> Client {
        self.any.client().await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Restarts one of the cluster's components, as `cargo xtask cluster restart` does.
    pub async fn restart(&self, component: &str) {
        let arguments = ["restart", component, "--name", &self.any.name];
        self.any.xtask(&arguments).await.unwrap_or_else(|e| panic!("{e}"));
    }
}
