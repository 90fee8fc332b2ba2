//! The connections to the DRA socket, counted: whether the kubelet is there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::server::Connected;

use super::Link;

/// Counts the connections of others.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    open: Arc<AtomicUsize>,
    link: watch::Sender<Link>,
}

impl Connections {
    pub(super) fn new(link: watch::Sender<Link>) -> Self {
        Self { open: Arc::default(), link }
    }

    /// A connection that counts until it is dropped, unless this process is at both ends.
    pub(super) fn count(&self, stream: UnixStream) -> Counted {
        let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let ours = peer.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
        let guard = (!ours).then(|| Guard::new(self.clone()));
        Counted { stream, _guard: guard }
    }

    fn tell(&self, open: usize) {
        self.link.send_if_modified(|link| {
            let connected = open > 0;
            let changed = link.connected != connected;
            link.connected = connected;
            changed
        });
    }
}

#[derive(Debug)]
struct Guard(Connections);

impl Guard {
    fn new(connections: Connections) -> Self {
        let before = connections.open.fetch_add(1, Ordering::SeqCst);
        connections.tell(before + 1);
        Self(connections)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.tell(before - 1);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Counted {
    stream: UnixStream,
    _guard: Option<Guard>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
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

impl Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
