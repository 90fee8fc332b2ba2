//! HTTP/1 servers with bounds: how many connections there are, how long each may rest and live.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a client may take for a request's head, and how long a connection may rest.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may live: no client holds its place for ever.
const LIFE: Duration = Duration::from_secs(300);
/// How long a client has to take its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// The wait after an accept that failed, for example for want of file descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Accepts connections until `cancel`, and serves at most so many at a time; more wait. What is under way at the end is
/// not waited for.
pub async fn accept<F, R>(
    listener: TcpListener,
    at_a_time: usize,
    what: &'static str,
    serve: F,
    cancel: CancellationToken,
) where
    F: Fn(TcpStream) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(at_a_time));
    let accepting = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (served, cancel) = (serve(stream), cancel.clone());
                    tokio::spawn(async move {
                        cancel.run_until_cancelled(served).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to {what}");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    };
    cancel.run_until_cancelled(accepting).await;
}

/// Serves HTTP/1 on a connection until the client closes it, rests, or has had it for long.
pub async fn serve<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = match tokio::time::timeout(LIFE, served.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWER, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
