//! The webhook's server: HTTPS with bounds on everything that a client sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dra_runtime::connections;
use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, Outcome};
use super::review;
use super::shown::Shown;

/// Where reviews are sent.
pub const PATH: &str = "/validate-claim-parameters";
/// Answers that the server works.
pub(super) const WELL: &str = "/healthz";

/// How many connections there may be; more wait. Each API server keeps up to 25 open.
const CONNECTIONS: usize = 256;
/// How many requests are read at a time; more wait.
const REQUESTS: usize = 16;
/// The longest request, in bytes. A review holds an object twice, and a claim is at most some hundred kilobytes long.
const LONGEST: usize = 2 << 20;
/// How long a client may take for a handshake, and for a request. API servers give up after at most 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// What requests are answered with.
#[derive(Clone, Debug)]
struct Desk {
    driver: Arc<str>,
    metrics: Metrics,
    places: Arc<Semaphore>,
}

/// Serves until `cancel`.
///
/// # Errors
/// rustls cannot be set up.
pub async fn serve(
    listener: TcpListener,
    driver: &str,
    shown: Shown,
    metrics: Metrics,
    cancel: CancellationToken,
) -> Result<(), rustls::Error> {
    let acceptor = acceptor(shown)?;
    let router = router(driver, metrics);
    let served = move |stream| connection(acceptor.clone(), stream, router.clone());
    connections::accept(listener, CONNECTIONS, "the webhook", served, cancel).await;
    Ok(())
}

fn acceptor(shown: Shown) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, router: Router) {
    match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => connections::serve(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

fn router(driver: &str, metrics: Metrics) -> Router {
    let desk = Desk { driver: driver.into(), metrics, places: Arc::new(Semaphore::new(REQUESTS)) };
    Router::new().route(PATH, post(validate)).route(WELL, get(|| async { "ok\n" })).with_state(desk)
}

async fn validate(State(desk): State<Desk>, body: Body) -> Response {
    let came = Instant::now();
    let (outcome, response) = desk.answer(body).await;
    desk.metrics.request(outcome, came.elapsed());
    response
}

impl Desk {
    async fn answer(&self, body: Body) -> (Outcome, Response) {
        let malformed = |code: StatusCode, text: String| {
            tracing::warn!("refused a request: {text}");
            (Outcome::Malformed, (code, format!("{text}\n")).into_response())
        };
        let read = async {
            // The semaphore is never closed.
            let _place = self.places.acquire().await.ok();
            let body = to_bytes(body, LONGEST).await;
            body.map(|body| review::answer(&self.driver, &body))
        };
        match timeout(PATIENCE, read).await {
            Err(_) => malformed(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request did not come within {} s", PATIENCE.as_secs()),
            ),
            Ok(Err(error)) => malformed(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request is broken off or longer than {LONGEST} bytes: {error}"),
            ),
            Ok(Ok(Err(error))) => malformed(StatusCode::BAD_REQUEST, error.to_string()),
            Ok(Ok(Ok(answer))) => (Outcome::Answered(answer.verdict), Json(answer.review).into_response()),
        }
    }
}
