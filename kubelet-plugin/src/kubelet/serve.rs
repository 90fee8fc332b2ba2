//! Serving the sockets, and serving them again where their files are taken away.

use std::path::PathBuf;
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
const DRAIN: Duration = Duration::from_secs(20);
/// The same for calls of registration, which are answered at once.
const DRAIN_REGISTRATION: Duration = Duration::from_secs(2);

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
    // One count, however often the DRA socket is made anew.
    let connections = Connections::new(services.registration.link.clone());
    Ok(tokio::spawn(async move {
        let dra_cancel = CancellationToken::new();
        let of_dra = services.clone();
        let serve_dra = move |listener, end| of_dra.clone().serve_dra(connections.clone(), listener, end);
        let kept = Kept { path: paths.dra, own_folder: true, drain: DRAIN };
        let of_dra = tokio::spawn(keep(dra, kept, dra_cancel.clone(), serve_dra));
        let serve_registration = move |listener, end| services.clone().serve_registration(listener, end);
        let kept = Kept { path: paths.registration, own_folder: false, drain: DRAIN_REGISTRATION };
        keep(registration, kept, cancel, serve_registration).await;
        // The registration went first, so that the kubelet sends nothing more.
        dra_cancel.cancel();
        if let Err(error) = of_dra.await {
            tracing::error!(%error, "serving the DRA socket ended badly");
        }
    }))
}

/// A socket that is kept.
struct Kept {
    path: PathBuf,
    /// Whether its folder is the driver's own, and not the kubelet's.
    own_folder: bool,
    /// How long calls that run have at its end.
    drain: Duration,
}

/// Serves a socket until `cancel`, and one in its place whenever its file is gone. A socket that another instance
/// has put in its place is left alone.
async fn keep<F>(
    first: (Socket, UnixListener),
    kept: Kept,
    cancel: CancellationToken,
    serve: impl Fn(UnixListener, CancellationToken) -> F,
) where
    F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
{
    let mut next = Some(first);
    let mut ending = Vec::new();
    while let Some((socket, listener)) = next.take() {
        let end = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, end.clone()));
        let gone = tokio::select! {
            () = cancel.cancelled() => false,
            () = taken_away(&socket) => true,
        };
        if gone {
            tracing::warn!(socket = %kept.path.display(), "the socket's file is gone; made anew");
            next = listen_again(&kept, &cancel).await;
        }
        // Its file goes before its last calls: nobody finds a socket that is not answered.
        drop(socket);
        end.cancel();
        ending.push(tokio::spawn(drained(kept.path.clone(), serving, kept.drain)));
        ending.retain(|task| !task.is_finished());
    }
    for task in ending {
        // A task that panicked has ended, too.
        let _ = task.await;
    }
}

/// Waits for the calls that run on a socket that takes no new ones, but not for ever.
async fn drained(
    path: PathBuf,
    mut serving: JoinHandle<Result<(), tonic::transport::Error>>,
    drain: Duration,
) {
    let socket = path.display();
    match timeout(drain, &mut serving).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(%error, %socket, "serving failed"),
        Ok(Err(error)) => tracing::error!(%error, %socket, "serving panicked"),
        Err(_) => {
            serving.abort();
            tracing::warn!(%socket, "calls still ran and were given up");
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
async fn listen_again(kept: &Kept, cancel: &CancellationToken) -> Option<(Socket, UnixListener)> {
    loop {
        let folder = match kept.path.parent() {
            Some(folder) if kept.own_folder => make_folder(folder),
            _ => Ok(()),
        };
        match folder.and_then(|()| Socket::listen(&kept.path)) {
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
        connections: Connections,
        listener: UnixListener,
        end: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = UnixListenerStream::new(listener).map_ok(move |stream| connections.count(stream));
        // Its streams never end by themselves.
        let health = health::Service { cancel: end.clone(), ..self.health };
        Server::builder()
            .add_service(DraPluginServer::new(self.dra.clone()))
            .add_service(DraPluginServerBeta::new(self.dra))
            .add_service(DraResourceHealthServer::new(health.clone()))
            .add_service(HealthServerAlpha::new(health))
            .serve_with_incoming_shutdown(incoming, end.cancelled_owned())
            .await
    }
}
