//! The client of the API server, set up for a slow and sometimes broken link.
//!
//! Nothing here limits how often the API server is asked. Tokens and certificate authorities of a service account
//! are read again by kube about once a minute.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::header::{InvalidHeaderValue, USER_AGENT};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// How long making a connection may take. A link that is slow but works takes less.
const CONNECT: Duration = Duration::from_secs(10);
/// After this time without a byte the peer is asked whether it is there: a watch that rests looks like one that
/// is dead.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often it is asked before the connection is given up, and how long it has for each answer.
const KEEPALIVE_TRIES: u32 = 3;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long what was sent may go unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Requests that the API server turned away (429, 503, 504) are repeated this often, after waits that begin and
/// end like this. Longer outages are the callers' business, who know what they wait for.
const RETRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How to reach the API server.
#[derive(Clone, Debug, Args)]
pub struct ClientOptions {
    /// The kubeconfig file to use. Without one, the pod's service account is used.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig file.
    #[error("cannot use the kubeconfig {path}: {source}", path = .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The service account.
    #[error(
        "cannot use the pod's service account: {0}; outside a pod, name a kubeconfig with --kubeconfig or KUBECONFIG"
    )]
    InCluster(#[from] InClusterError),
    /// A proxy.
    #[error(
        "the kubeconfig names the proxy {0}, and proxies are not supported; give an address that is reached without"
    )]
    Proxy(http::Uri),
    /// The user agent is no header value.
    #[error("'{user_agent}' cannot be a user agent: {source}")]
    UserAgent {
        /// What was given.
        user_agent: String,
        /// Why not.
        source: InvalidHeaderValue,
    },
    /// Certificates, keys or tokens.
    #[error("cannot set up the connection to {url}: {source}")]
    Setup {
        /// The API server.
        url: http::Uri,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// A client. Asks nothing yet: that the API server cannot be reached is seen at the first request. Must be called
/// in a runtime.
///
/// # Errors
/// Any [`ClientError`].
pub async fn client(options: &ClientOptions, user_agent: &str) -> Result<Client, ClientError> {
    let config = match &options.kubeconfig {
        Some(path) => {
            from_file(path).await.map_err(|source| ClientError::Kubeconfig { path: path.clone(), source })?
        }
        None => Config::incluster()?,
    };
    client_of(config, user_agent)
}

async fn from_file(path: &PathBuf) -> Result<Config, KubeconfigError> {
    let file = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}

/// A client of this configuration, with this program's own settings of the transport.
///
/// # Errors
/// [`ClientError::Proxy`], [`ClientError::UserAgent`], [`ClientError::Setup`].
pub fn client_of(mut config: Config, user_agent: &str) -> Result<Client, ClientError> {
    if let Some(proxy) = config.proxy_url {
        return Err(ClientError::Proxy(proxy));
    }
    let value = user_agent
        .parse()
        .map_err(|source| ClientError::UserAgent { user_agent: user_agent.to_owned(), source })?;
    config.headers.push((USER_AGENT, value));
    let url = config.cluster_url.clone();
    build(&config).map_err(|source| ClientError::Setup { url, source: Box::new(source) })
}

fn build(config: &Config) -> kube::Result<Client> {
    let https = config.rustls_https_connector_with_connector(connector())?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
    // A policy whose waits are in order is valid: should that change, requests are not repeated.
    let retry = RetryPolicy::new(FIRST_WAIT, LONGEST_WAIT, RETRIES, true).ok().map(RetryLayer::new);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Connections that notice within half a minute that their peer is gone.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: &str) -> (tempfile::TempDir, ClientOptions) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: here, user: me}}}}]\n\
             clusters: [{{name: here, cluster: {cluster}}}]\n\
             users: [{{name: me, user: {{token: secret}}}}]\n"
        );
        fs_err::write(&path, text).unwrap();
        (folder, ClientOptions { kubeconfig: Some(path) })
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_settings_is_said_before_anything_is_asked() {
        let (_folder, good) = kubeconfig("{server: 'https://127.0.0.1:1'}");
        client(&good, "dra-kubelet-plugin/0.1").await.unwrap();

        let missing = ClientOptions { kubeconfig: Some("/does/not/exist".into()) };
        let (_folder_of_proxy, proxy) =
            kubeconfig("{server: 'https://127.0.0.1:1', proxy-url: 'http://proxy:3128'}");
        let (_folder_of_ca, ca) =
            kubeconfig("{server: 'https://127.0.0.1:1', certificate-authority-data: '?'}");
        let cases = [
            ("no file", missing, "agent", "cannot use the kubeconfig /does/not/exist"),
            ("a proxy", proxy, "agent", "the kubeconfig names the proxy http://proxy:3128"),
            ("a damaged certificate", ca, "agent", "cannot use the kubeconfig"),
            ("a user agent of two lines", good, "a\nb", "cannot be a user agent"),
        ];
        for (what, options, user_agent, wanted) in cases {
            let error =
                client(&options, user_agent).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(wanted), "{what}: {error}");
        }
    }
}
