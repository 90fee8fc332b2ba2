//! The cluster that the tests run in, as `cargo xtask cluster exec` describes it in the environment.

use std::env;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use thiserror::Error;
use tokio::process::Command;

/// Why something could not be done with the cluster.
#[derive(Debug, Error)]
pub enum Error {
    /// The kubeconfig cannot be used.
    #[error("read the cluster's kubeconfig, which KUBECONFIG names: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The client cannot be made.
    #[error("make a client for the cluster: {0}")]
    Client(#[from] Box<kube::Error>),
    /// xtask cannot be started.
    #[error("start {program:?}, which DRA_XTASK names: {source}")]
    Start {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// xtask has failed.
    #[error("`xtask cluster {arguments}` ended with {status}: {stderr}")]
    Xtask {
        /// What it was told to do.
        arguments: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// The running cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The name that `cargo xtask cluster up --name` gave it.
    pub name: String,
    /// The folder with its logs and data.
    pub state: PathBuf,
    /// Its node; there is none if only the control plane runs.
    pub node: Option<String>,
    /// The folder of its fake node, if it was started with one.
    pub fake_node: Option<PathBuf>,
    xtask: PathBuf,
}

impl Cluster {
    /// The cluster whose environment this process has.
    ///
    /// # Panics
    ///
    /// Outside a cluster, saying how to start one.
    #[must_use]
    #[expect(
        clippy::panic,
        reason = "a test that needs a cluster can only end here, and its reader needs this sentence"
    )]
    pub fn current() -> Self {
        Self::from_variables(|name| env::var(name).ok()).unwrap_or_else(|missing| {
            panic!(
                "{missing} is not set: this test runs in a cluster; start one with `cargo xtask cluster up`, and the \
                 test with `cargo xtask cluster exec -- cargo test …`"
            )
        })
    }

    /// Reads the cluster off the variables, or says which one is missing.
    fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let required = |name| read(name).ok_or(name);
        Ok(Self {
            name: required("DRA_CLUSTER")?,
            state: required("DRA_CLUSTER_STATE")?.into(),
            node: read("DRA_CLUSTER_NODE"),
            fake_node: read("DRA_FAKE_NODE").map(PathBuf::from),
            xtask: required("DRA_XTASK")?.into(),
        })
    }

    /// How to reach the API server with the rights of the cluster's administrator; with
    /// [`crate::transport::client`], through a script.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used.
    pub async fn config(&self) -> Result<kube::Config, Error> {
        Ok(kube::Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await?)
    }

    /// A client with the rights of the cluster's administrator. It belongs to the runtime of the calling test.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        Ok(kube::Client::try_from(self.config().await?).map_err(Box::new)?)
    }

    /// Runs `xtask cluster ARGUMENTS` for this cluster, for example `["restart", "kubelet"]`, and returns what it
    /// printed.
    ///
    /// # Errors
    ///
    /// When it cannot be started or fails.
    pub async fn xtask(&self, arguments: &[&str]) -> Result<String, Error> {
        let Output { status, stdout, stderr } = Command::new(&self.xtask)
            .arg("cluster")
            .args(arguments)
            .env("DRA_CLUSTER", &self.name)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| Error::Start { program: self.xtask.clone(), source })?;
        if !status.success() {
            return Err(Error::Xtask {
                arguments: arguments.join(" "),
                status,
                stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_xtask_says_comes_back() {
        let read = |variable: &str| match variable {
            "DRA_CLUSTER" => Some("dev".to_owned()),
            "DRA_CLUSTER_STATE" => Some("/state/dev".to_owned()),
            "DRA_XTASK" => Some("/bin/echo".to_owned()),
            _ => None,
        };
        let cluster = Cluster::from_variables(read).unwrap();
        assert_eq!((cluster.name.as_str(), cluster.node.as_deref()), ("dev", None));
        assert_eq!(cluster.xtask(&["restart", "kubelet"]).await.unwrap(), "cluster restart kubelet\n");

        let failing = Cluster { xtask: "/bin/false".into(), ..cluster };
        let error = failing.xtask(&["restart", "kubelet"]).await.unwrap_err();
        assert!(error.to_string().starts_with("`xtask cluster restart kubelet` ended with"), "{error}");
    }

    #[test]
    fn the_missing_variable_is_named() {
        let read = |variable: &str| (variable == "DRA_CLUSTER").then(|| "dev".to_owned());
        assert_eq!(Cluster::from_variables(read), Err("DRA_CLUSTER_STATE"));
    }
}
