//! Whether the webhook works, seen as the API server sees it: by a connection to itself that checks the certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::serve::WELL;
use super::shown::Shown;

/// Checks of a server.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name by which the API server calls it.
    pub name: String,
    /// What it shows.
    pub shown: Shown,
}

impl Checks {
    /// Whether the server answers. One that has no certificate yet has nothing to answer with: a restart would not help.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn healthy(self) -> Result<(), String> {
        match self.shown.certificates() {
            Some(certificates) => self.ask(certificates.authorities()).await,
            None => Ok(()),
        }
    }

    /// Whether the server answers clients that check its certificate as the API server does.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn ready(self) -> Result<(), String> {
        let known = self.shown.known();
        if known.is_empty() {
            return Err(
                "the API server does not know yet what the certificate is checked by; see the log".into()
            );
        }
        self.ask(&known).await
    }

    async fn ask(&self, authorities: &[CertificateDer<'static>]) -> Result<(), String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            format!("cannot {what} the webhook at {}: {error}", self.address)
        };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| failed("check", &error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("check", &error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(self.name.clone()).map_err(|error| failed("name", &error))?;
        let stream =
            TcpStream::connect(reached(self.address)).await.map_err(|error| failed("reach", &error))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| failed("trust", &error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed("ask", &error))?;
        let request = Request::get(WELL).header(header::HOST, &self.name).body(Body::empty());
        let request = request.map_err(|error| failed("ask", &error))?;
        let asked = async {
            let answer = sender.send_request(request).await;
            drop(sender);
            answer
        };
        // The connection does the work of the request, and ends with it.
        let (answer, _) = tokio::join!(asked, connection);
        match answer.map_err(|error| failed("ask", &error))?.status() {
            StatusCode::OK => Ok(()),
            status => Err(failed("ask", &status)),
        }
    }
}

/// The address of a listener as it is reached from here.
fn reached(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
