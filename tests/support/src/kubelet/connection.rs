//! One plugin's gRPC connection, which is kept up and watched.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    sync::{oneshot, watch},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{
    settings::{Backoff, Timings},
    status::Status,
    task::Task,
};

/// How long one attempt to connect may take, as in the kubelet's gRPC library.
const CONNECT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
enum State {
    Connecting,
    Connected(Channel),
    /// The last attempt failed; the next one comes after a delay.
    Failed(String),
}

/// A connection to a plugin's socket. It is made at once and again whenever it is lost, until the last clone is
/// dropped.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    state: watch::Receiver<State>,
    _task: Arc<Task>,
}

impl Connection {
    /// Connects to `endpoint`; `changed` is told whenever there is a connection and whenever it is lost.
    pub(super) fn open(endpoint: PathBuf, timings: &Timings, changed: impl Fn() + Send + 'static) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let task = Task::start(keep(endpoint, timings.clone(), sender, changed));
        Self { state, _task: Arc::new(task) }
    }

    /// Whether there is a connection.
    pub(super) fn connected(&self) -> bool {
        matches!(*self.state.borrow(), State::Connected(_))
    }

    /// The channel for a call. While a connection is being made this waits; when the last attempt failed, so does
    /// this: the kubelet does not wait for a plugin to come back.
    pub(super) async fn channel(&self) -> Result<Channel, Status> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match state.as_deref() {
            Ok(State::Connected(channel)) => Ok(channel.clone()),
            Ok(State::Failed(error)) => Err(Status::new(Code::Unavailable, error.clone())),
            Ok(State::Connecting) | Err(_) => {
                Err(Status::new(Code::Cancelled, "grpc: the client connection is closing"))
            }
        }
    }

    /// What calls name as the server: the kubelet's library does so for Unix sockets.
    pub(super) fn origin(&self) -> Uri {
        Uri::from_static("http://localhost")
    }
}

async fn keep(endpoint: PathBuf, timings: Timings, state: watch::Sender<State>, changed: impl Fn()) {
    let mut backoff = Backoff::new(&timings.reconnect, 160);
    loop {
        match tokio::time::timeout(CONNECT, connect(&endpoint)).await {
            Ok(Ok((channel, lost))) => {
                backoff = Backoff::new(&timings.reconnect, 160);
                state.send_replace(State::Connected(channel));
                changed();
                // Resolves, with an error, when the connection's stream is dropped.
                let _ = lost.await;
                state.send_replace(State::Connecting);
                changed();
                continue;
            }
            Ok(Err(error)) => state.send_replace(State::Failed(format!(
                "connection error: desc = \"transport: Error while dialing: dial unix {}: {error}\"",
                endpoint.display()
            ))),
            Err(_) => state.send_replace(State::Failed(format!(
                "connection error: desc = \"transport: no answer of {} within {CONNECT:?}\"",
                endpoint.display()
            ))),
        };
        tokio::time::sleep(backoff.failed()).await;
        state.send_replace(State::Connecting);
    }
}

/// Makes one connection. The receiver ends when it is lost.
async fn connect(endpoint: &Path) -> io::Result<(Channel, oneshot::Receiver<()>)> {
    let stream = UnixStream::connect(endpoint).await?;
    let (alive, lost) = oneshot::channel();
    let watched = Watched { stream, _alive: alive };
    let once = Arc::new(Mutex::new(Some(TokioIo::new(watched))));
    // The channel would connect again by itself, which nobody would see: it gets this one stream and no other.
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| io::Error::other("the connection was lost")) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)?;
    Ok((channel, lost))
}

/// A stream whose end can be seen.
struct Watched {
    stream: UnixStream,
    _alive: oneshot::Sender<()>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
