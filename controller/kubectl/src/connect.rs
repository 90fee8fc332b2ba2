//! The cluster that is meant: by the kubeconfig, as kubectl finds it.

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

use crate::arguments::Global;

/// Who asks.
const USER: &str = concat!("kubectl-dra/", env!("CARGO_PKG_VERSION"));

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
    /// The way through a proxy.
    #[error("cannot use the proxy {proxy} of the kubeconfig or of HTTPS_PROXY: {source}")]
    Proxy {
        /// The proxy.
        proxy: http::Uri,
        /// What is wrong.
        source: Box<kube::Error>,
    },
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
    let client = match config.proxy_url.clone() {
        None => dra_runtime::client::client_of(config, USER)?,
        Some(proxy) => {
            through_proxy(config).map_err(|source| ConnectError::Proxy { proxy, source: Box::new(source) })?
        }
    };
    Ok(Connection { client, namespace })
}

/// The programs on nodes have a transport of their own, for links that break, which knows no proxies; this is kube's.
fn through_proxy(mut config: Config) -> kube::Result<Client> {
    config.headers.push((USER_AGENT, HeaderValue::from_static(USER)));
    Client::try_from(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::arguments::Arguments;

    /// The first line of a request, whose head ends with an empty one.
    async fn head(stream: &mut BufStream<tokio::net::TcpStream>) -> String {
        let mut first = String::new();
        stream.read_line(&mut first).await.unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        first
    }

    #[tokio::test]
    async fn a_proxy_of_the_kubeconfig_is_used() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": "http://api.example.invalid:80", "proxy-url": format!("http://{address}"),
            }}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "users": [{"name": "c", "user": {}}],
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        fs_err::write(&file, kubeconfig.to_string()).unwrap();
        let words = ["kubectl-dra", "gpus", "--kubeconfig", file.to_str().unwrap()];
        let connection = connect(&Arguments::parse_from(words).global).await.unwrap();

        let proxying = async {
            let mut stream = BufStream::new(proxy.accept().await.unwrap().0);
            let asked = head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            let request = head(&mut stream).await;
            let version = json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
            })
            .to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{version}",
                version.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // The stream stays open until the answer has been read.
            (asked, request, stream)
        };
        let asking = connection.client.apiserver_version();
        let both = async { tokio::join!(proxying, asking) };
        let ((asked, request, _), version) = timeout(Duration::from_secs(60), both).await.unwrap();
        assert_eq!(asked, "CONNECT api.example.invalid:80 HTTP/1.1\r\n");
        assert_eq!(request, "GET /version HTTP/1.1\r\n");
        assert_eq!(version.unwrap().minor, "36");
    }
}
