//! Asking the plugin's own sockets, as the kubelet would: what the health endpoints are made of.

use std::path::Path;
use std::time::Duration;

use dra_kubelet_proto::dra::v1::NodePrepareResourcesRequest;
use dra_kubelet_proto::dra::v1::dra_plugin_client::DraPluginClient;
use dra_kubelet_proto::registration::InfoRequest;
use dra_kubelet_proto::registration::registration_client::RegistrationClient;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::serve::Paths;

/// How long a socket may take for its answer; the kubelet gives the registration socket as long.
const WITHIN: Duration = Duration::from_secs(1);

/// A socket does not answer.
#[derive(Clone, Debug, Error)]
#[error("the socket {socket} does not answer: {reason}")]
pub struct ProbeError {
    socket: String,
    reason: String,
}

/// Asks both sockets. Clones ask the same.
#[derive(Clone, Debug)]
pub struct Probe {
    paths: Paths,
}

impl Probe {
    pub(super) fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// Asks the registration socket who is there, and the DRA socket to prepare nothing.
    ///
    /// # Errors
    /// The socket that does not answer, or not in time.
    pub async fn ask(&self) -> Result<(), ProbeError> {
        let Paths { registration, dra } = &self.paths;
        ask(registration, |channel| async {
            RegistrationClient::new(channel).get_info(InfoRequest {}).await.map(drop)
        })
        .await?;
        ask(dra, |channel| async {
            let nothing = NodePrepareResourcesRequest { claims: Vec::new() };
            DraPluginClient::new(channel).node_prepare_resources(nothing).await.map(drop)
        })
        .await
    }
}

async fn ask<F>(socket: &Path, call: impl FnOnce(Channel) -> F) -> Result<(), ProbeError>
where
    F: Future<Output = Result<(), tonic::Status>>,
{
    let failed = |reason: String| ProbeError { socket: socket.display().to_string(), reason };
    let path = socket.to_owned();
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let asked = async {
        let endpoint = Endpoint::from_static("http://localhost");
        let channel =
            endpoint.connect_with_connector(connect).await.map_err(|error| failed(chain(&error)))?;
        call(channel).await.map_err(|status| failed(status.message().to_owned()))
    };
    timeout(WITHIN, asked).await.unwrap_or_else(|_| Err(failed(format!("no answer within {WITHIN:?}"))))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
