//! The admin endpoints: `/metrics` in OpenMetrics text, `/healthz`, `/readyz`.
//!
//! Everything is bounded: how many connections there are, how long each may take to ask, how long a check may
//! think. A connection that asks nothing gives its place back after ten seconds.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connections;

/// OpenMetrics' media type.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How many connections there may be; more wait. Prometheus and the kubelet have one each.
const CONNECTIONS: usize = 32;
/// How long a check may take. The kubelet's own patience with probes is a second unless it is told more.
const CHECK: Duration = Duration::from_secs(5);

/// A check of the program's. The error says what is wrong, for people.
pub type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Why there are no admin endpoints.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The address.
    #[error(
        "cannot serve /metrics, /healthz and /readyz at {address}: {source}; choose another with --admin-address"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What is served.
#[derive(Clone)]
pub struct Admin {
    /// The metrics.
    pub metrics: Arc<Registry>,
    /// Whether the program works: if not, it has to be started anew.
    pub healthy: Check,
    /// Whether the program does what it is there for.
    pub ready: Check,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Makes a check of an async closure.
pub fn check<F, R>(check: F) -> Check
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    Arc::new(move || Box::pin(check()))
}

/// Takes the address. With port 0 a free one is taken; the listener knows which.
///
/// # Errors
/// [`AdminError::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError::Bind { address, source })
}

/// Serves until `cancel`. Answers that are under way then are not waited for.
pub async fn serve(listener: TcpListener, admin: Admin, cancel: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(admin);
    let served = move |stream| connections::serve(stream, router.clone());
    connections::accept(listener, CONNECTIONS, "the admin endpoints", served, cancel).await;
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n"))
            .into_response(),
    }
}

async fn healthz(State(admin): State<Admin>) -> Response {
    answer(&admin.healthy).await
}

async fn readyz(State(admin): State<Admin>) -> Response {
    answer(&admin.ready).await
}

async fn answer(check: &Check) -> Response {
    let checked = match tokio::time::timeout(CHECK, check()).await {
        Ok(checked) => checked,
        Err(_) => Err(format!("the check gave no answer within {} s", CHECK.as_secs())),
    };
    match checked {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Keeps a broken test from hanging.
    const LATE: Duration = Duration::from_secs(60);

    struct Served {
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        cancel: CancellationToken,
    }

    async fn served() -> Served {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("things", "Things that happened", counter);
        let ready = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ready);
        let admin = Admin {
            metrics: Arc::new(registry),
            healthy: check(|| async { Ok(()) }),
            ready: check(move || {
                let ready = asked.load(Ordering::Relaxed);
                async move { if ready { Ok(()) } else { Err("not registered with the kubelet".to_owned()) } }
            }),
        };
        let cancel = CancellationToken::new();
        tokio::spawn(serve(listener, admin, cancel.clone()));
        Served { address, ready, cancel }
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let asked = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::time::timeout(LATE, asked).await.unwrap()
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let served = served().await;
        let cases = [
            ("/healthz", "HTTP/1.1 200 OK", "ok\n"),
            ("/readyz", "HTTP/1.1 503 Service Unavailable", "not registered with the kubelet\n"),
            (
                "/metrics",
                "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8",
                "# EOF\n",
            ),
            ("/metrics", "HTTP/1.1 200 OK", "things_total 1\n# EOF\n"),
            ("/other", "HTTP/1.1 404 Not Found", ""),
        ];
        for (path, head, body) in cases {
            let answer = ask(served.address, path).await;
            assert!(answer.contains(head), "{path}: {answer}");
            assert!(answer.ends_with(body), "{path}: {answer}");
        }
        served.ready.store(true, Ordering::Relaxed);
        assert!(ask(served.address, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
        served.cancel.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_does_not_end_is_an_answer_too() {
        let never = check(std::future::pending);
        let answer = answer(&never).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_ask_nothing_keep_nobody_out() {
        let served = served().await;
        let mut idle = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            idle.push(TcpStream::connect(served.address).await.unwrap());
        }
        assert!(ask(served.address, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
        served.cancel.cancel();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let served = served().await;
        let error = bind(served.address).await.unwrap_err().to_string();
        let wanted = format!("cannot serve /metrics, /healthz and /readyz at {}: ", served.address);
        assert!(
            error.starts_with(&wanted) && error.ends_with("choose another with --admin-address"),
            "{error}"
        );
        served.cancel.cancel();
    }
}
