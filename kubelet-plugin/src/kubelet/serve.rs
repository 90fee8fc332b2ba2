//! Serving the sockets, and serving them again where their files are taken away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dra_kubelet_proto::dra::v1::dra_plugin_server::DraPluginServer;
use dra_kubelet_proto::dra::v1beta1::dra_plugin_server::DraPluginServer as DraPluginServerBeta;
use dra_kubelet_proto::health::v1::dra_resource_health_server::DraResourceHealthServer;
use dra_kubelet_proto::health::v1alpha1::dra_resource_health_server::DraResourceHealthServer as HealthServerAlpha;
use dra_kubelet_proto::registration::registration_server::RegistrationServer;
use futures_util::TryStreamExt;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::authority::Localised;
use super::connections::Connections;
use super::sockets::{Socket, SocketError, make_folder};
use super::{dra, health, registration};

/// How often the sockets' files are looked after: somebody may clean the kubelet's folders.
const LOOK: Duration = Duration::from_secs(1);
/// How long calls that run may go on after the end was asked for. The kubelet's own limit for a call is 45 s, and
/// the usual grace period of a pod 30 s.
const DRAIN: Duration = Duration::from_secs(25);

/// Where the sockets lie.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) registration: PathBuf,
    pub(super) dra: PathBuf,
}

/// What is served.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) registration: registration::Service,
    pub(super) dra: dra::Service,
    pub(super) health: health::Service,
}

/// Listens on both sockets, the DRA socket first, since the kubelet connects to it as soon as it knows of it.
pub(super) async fn start(
    paths: Paths,
    services: Services,
    cancel: CancellationToken,
) -> Result<JoinHandle<()>, SocketError> {
    if let Some(folder) = paths.dra.parent() {
        make_folder(folder)?;
    }
    let dra = Socket::listen(&paths.dra)?;
    let registration = Socket::listen(&paths.registration)?;
    tracing::info!(
        registration = %paths.registration.display(),
        dra = %paths.dra.display(),
        "waiting for the kubelet"
    );
    Ok(tokio::spawn(async move {
        // The registration goes first, so that the kubelet sends nothing more here.
        let dra_cancel = CancellationToken::new();
        let of_dra =
            tokio::spawn(keep(dra, paths.dra, dra_cancel.clone(), services.clone(), Services::serve_dra));
        keep(registration, paths.registration, cancel, services, Services::serve_registration).await;
        dra_cancel.cancel();
        if let Err(error) = of_dra.await {
            tracing::error!(%error, "serving the DRA socket ended badly");
        }
    }))
}

/// Serves a socket until `cancel`, and one in its place whenever its file is gone. A socket that another instance
/// has put in its place is left alone.
async fn keep<F>(
    first: (Socket, UnixListener),
    path: PathBuf,
    cancel: CancellationToken,
    services: Services,
    serve: impl Fn(Services, UnixListener, CancellationToken) -> F,
) where
    F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
{
    let mut next = Some(first);
    while let Some((socket, listener)) = next.take() {
        let end = CancellationToken::new();
        let serving = tokio::spawn(serve(services.clone(), listener, end.clone()));
        let gone = tokio::select! {
            () = cancel.cancelled() => false,
            () = taken_away(&socket) => true,
        };
        if gone {
            tracing::warn!(socket = %path.display(), "the socket's file is gone; made anew");
            next = listen_again(&path, &cancel).await;
        }
        // Its file goes before its last calls: nobody finds a socket that is not answered.
        drop(socket);
        end.cancel();
        match timeout(DRAIN, serving).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, socket = %path.display(), "serving failed"),
            Ok(Err(error)) => tracing::error!(%error, socket = %path.display(), "serving panicked"),
            Err(_) => tracing::warn!(socket = %path.display(), "calls still ran and were given up"),
        }
    }
}

/// Returns when the socket's file is not there. While another's is in its place, it does not.
async fn taken_away(socket: &Socket) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !socket.stands() && !socket.path.exists() {
            return;
        }
    }
}

/// Listens again as soon as that can be, unless the end comes first.
async fn listen_again(path: &Path, cancel: &CancellationToken) -> Option<(Socket, UnixListener)> {
    loop {
        let made = path.parent().map_or(Ok(()), |folder| {
            // The kubelet's folder is the kubelet's; only the driver's own is made anew.
            if folder.exists() { Ok(()) } else { make_folder(folder) }
        });
        match made.and_then(|()| Socket::listen(path)) {
            Ok(listening) => return Some(listening),
            Err(error) => tracing::warn!(%error, "the socket cannot be made anew yet"),
        }
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Services {
    async fn serve_registration(
        self,
        listener: UnixListener,
        end: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = UnixListenerStream::new(listener).map_ok(Localised::new);
        Server::builder()
            .add_service(RegistrationServer::new(self.registration))
            .serve_with_incoming_shutdown(incoming, end.cancelled_owned())
            .await
    }

    async fn serve_dra(
        self,
        listener: UnixListener,
        end: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let connections = Connections::new(self.registration.link);
        let incoming = UnixListenerStream::new(listener).map_ok(move |stream| connections.count(stream));
        Server::builder()
            .add_service(DraPluginServer::new(self.dra.clone()))
            .add_service(DraPluginServerBeta::new(self.dra))
            .add_service(DraResourceHealthServer::new(self.health.clone()))
            .add_service(HealthServerAlpha::new(self.health))
            .serve_with_incoming_shutdown(incoming, end.cancelled_owned())
            .await
    }
}
