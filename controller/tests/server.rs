//! The webhook's server over real connections: what it answers, what it shows, and what it bears.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dra_controller::webhook::certificates::Certificates;
use dra_controller::webhook::check::Checks;
use dra_controller::webhook::metrics::Metrics;
use dra_controller::webhook::serve::{PATH, serve};
use dra_controller::webhook::shown::Shown;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::{CancellationToken, DropGuard};

const DRIVER: &str = "gpu.example.com";
const NAME: &str = "webhook.gpu.svc";
/// Keeps a broken test from hanging.
const GUARD: Duration = Duration::from_secs(60);

struct Webhook {
    address: SocketAddr,
    shown: Shown,
    metrics: Metrics,
    _running: DropGuard,
}

impl Webhook {
    /// One that shows nothing yet.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shown, metrics, cancel) =
            (Shown::default(), Metrics::new(DRIVER, "1.2.3"), CancellationToken::new());
        tokio::spawn({
            let (shown, metrics, cancel) = (shown.clone(), metrics.clone(), cancel.clone());
            async move { serve(listener, DRIVER, shown, metrics, cancel).await.unwrap() }
        });
        Self { address, shown, metrics, _running: cancel.drop_guard() }
    }

    /// From now on it shows another certificate.
    fn shows_new(&self) -> Certificates {
        let made = Certificates::make(NAME, Duration::from_secs(86_400), Timestamp::now(), None).unwrap();
        self.shown.show(made.clone());
        made
    }

    fn checks(&self) -> Checks {
        Checks { address: self.address, name: NAME.to_owned(), shown: self.shown.clone() }
    }

    async fn connect(&self, by: &Certificates) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(by.authorities()[0].clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    fn counted(&self, result: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry()).unwrap();
        let start = format!("dra_webhook_requests_total{{driver=\"{DRIVER}\",result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

/// Sends a request and reads the answer: the status line's number, and the body.
async fn ask(stream: &mut TlsStream<TcpStream>, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a body may close before it has read all.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(GUARD, stream.read_to_end(&mut answer)).await.expect("it answers");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn review(strategy: &str) -> String {
    let parameters = json!({
        "apiVersion": "config.eks-hybrid-dra/v1alpha1",
        "kind": "GpuConfig",
        "sharing": {"strategy": strategy},
    });
    let claim = json!({
        "metadata": {"name": "one"},
        "spec": {"devices": {"config": [{"opaque": {"driver": DRIVER, "parameters": parameters}}]}},
    });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "resource.k8s.io", "version": "v1", "kind": "ResourceClaim"},
            "resource": {"group": "resource.k8s.io", "version": "v1", "resource": "resourceclaims"},
            "operation": "CREATE",
            "userInfo": {},
            "object": claim,
            "oldObject": null,
        },
    })
    .to_string()
}

#[tokio::test]
async fn each_request_has_its_answer_and_is_counted() {
    let webhook = Webhook::start().await;
    let by = webhook.shows_new();
    let cases = [
        ("POST", PATH, review("TimeSlicing"), 200, "allowed"),
        ("POST", PATH, review("MPS"), 200, "warned"),
        ("POST", PATH, review("Mps"), 200, "refused"),
        ("POST", PATH, "no review".to_owned(), 400, "malformed"),
        ("POST", PATH, "x".repeat(3 << 20), 413, "malformed"),
    ];
    for (method, path, body, status, result) in cases {
        let before = webhook.counted(result);
        let mut stream = webhook.connect(&by).await.unwrap();
        let (got, answer) = ask(&mut stream, method, path, &body).await;
        assert_eq!(got, status, "{result}: {answer}");
        assert_eq!(webhook.counted(result), before + 1, "{result}");
        if status == 200 {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["response"]["allowed"], json!(result != "refused"));
        }
    }
    for (method, path, status) in [("GET", PATH, 405), ("POST", "/", 404), ("GET", "/healthz", 200)] {
        let mut stream = webhook.connect(&by).await.unwrap();
        assert_eq!(ask(&mut stream, method, path, "").await.0, status, "{method} {path}");
    }
}

#[tokio::test]
async fn another_certificate_is_shown_without_a_restart() {
    let webhook = Webhook::start().await;
    let first = webhook.shows_new();
    let shown = |stream: &TlsStream<TcpStream>| -> CertificateDer<'static> {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut old = webhook.connect(&first).await.unwrap();
    assert_eq!(shown(&old), first.pair().cert[0]);
    let second = webhook.shows_new();
    let new = webhook.connect(&second).await.unwrap();
    assert_eq!(shown(&new), second.pair().cert[0]);
    assert!(webhook.connect(&first).await.is_err(), "the former authority has not signed it");
    let (status, _) = ask(&mut old, "POST", PATH, &review("TimeSlicing")).await;
    assert_eq!(status, 200, "connections that are open go on");
}

#[tokio::test]
async fn the_checks_see_what_the_api_server_sees() {
    let webhook = Webhook::start().await;
    let checks = || webhook.checks();
    assert_eq!(checks().healthy().await, Ok(()), "a restart brings no certificate");
    assert!(checks().ready().await.unwrap_err().contains("does not know yet"));

    let first = webhook.shows_new();
    assert_eq!(checks().healthy().await, Ok(()));
    assert!(checks().ready().await.unwrap_err().contains("does not know yet"));
    webhook.shown.is_known(first.authorities().to_vec());
    assert_eq!(checks().ready().await, Ok(()));

    webhook.shows_new();
    assert_eq!(checks().healthy().await, Ok(()));
    let error = checks().ready().await.unwrap_err();
    assert!(error.starts_with(&format!("cannot trust the webhook at {}", webhook.address)), "{error}");

    let wrong = Checks { name: "other.gpu.svc".to_owned(), ..checks() };
    assert!(wrong.healthy().await.unwrap_err().contains("cannot trust"));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreached = Checks { address: nobody, ..checks() };
    assert!(unreached.healthy().await.unwrap_err().contains("cannot reach"));
}

#[tokio::test]
async fn a_certificate_that_is_over_is_not_ready() {
    let webhook = Webhook::start().await;
    let yesterday = Timestamp::now() - Duration::from_secs(86_400);
    let over = Certificates::make(NAME, Duration::from_secs(3600), yesterday, None).unwrap();
    webhook.shown.show(over.clone());
    webhook.shown.is_known(over.authorities().to_vec());
    let error = webhook.checks().ready().await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_are_slow_keep_nobody_out() {
    let webhook = Webhook::start().await;
    let by = webhook.shows_new();
    // Some say nothing at all, and some say only that a request comes.
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(webhook.address).await.unwrap());
    }
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = webhook.connect(&by).await.unwrap();
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut stream = webhook.connect(&by).await.unwrap();
    let (status, _) = ask(&mut stream, "GET", "/healthz", "").await;
    assert_eq!(status, 200);
    let mut answer = [0; 12];
    timeout(GUARD, slow[0].read_exact(&mut answer)).await.expect("it is given up").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
