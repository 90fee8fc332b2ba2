//! The cluster that is meant: by the kubeconfig, as kubectl finds it.

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use crate::arguments::Global;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig.
    #[error("cannot use the kubeconfig: {0}; name another with --kubeconfig or --context")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a pod's service account.
    #[error("there is no kubeconfig, and this is no pod: {0}; name one with --kubeconfig or KUBECONFIG")]
    Nothing(#[from] kube::config::InferConfigError),
    /// The client.
    #[error(transparent)]
    Client(#[from] dra_runtime::client::ClientError),
}

/// A cluster, and the namespace that is meant when none is named.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Connects as kubectl would. Asks nothing yet.
///
/// # Errors
/// Any [`ConnectError`].
pub async fn connect(global: &Global) -> Result<Connection, ConnectError> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let config = match &global.kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if global.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let user_agent = concat!("kubectl-dra/", env!("CARGO_PKG_VERSION"));
    let client = dra_runtime::client::client_of(config, user_agent)?;
    Ok(Connection { client, namespace })
}
