//! The certificate that clients are shown. It can be another one at any time, without a restart.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::certificates::Certificates;

/// What is shown, and what the API server checks it by. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    certificates: Option<Certificates>,
    /// The authorities that the API server knows.
    known: Vec<CertificateDer<'static>>,
}

impl Shown {
    /// What clients are shown now.
    #[must_use]
    pub fn certificates(&self) -> Option<Certificates> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).certificates.clone()
    }

    /// The authorities that the API server knows.
    #[must_use]
    pub fn known(&self) -> Vec<CertificateDer<'static>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    /// From now on, clients are shown these.
    pub fn show(&self, certificates: Certificates) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).certificates = Some(certificates);
    }

    /// The API server knows these authorities now.
    pub fn is_known(&self, authorities: Vec<CertificateDer<'static>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).known = authorities;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates().map(|certificates| certificates.pair())
    }
}
