//! The webhook's certificate and the authority that it is checked by: made here, kept in a Secret.
//!
//! Each certificate has an authority of its own, whose key is forgotten once it has signed: nobody who reads the
//! Secret can sign another certificate. The former authority stays beside the new one, until all pods have changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dra_runtime::object_name::ObjectName;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use thiserror::Error;
use time::OffsetDateTime;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The Secret's fields.
const AUTHORITIES: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Clocks of other machines may be behind.
const BEFORE: Duration = Duration::from_secs(3600);

/// Why there are no certificates.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// They cannot be made.
    #[error("cannot make a certificate for {name}: {source}; check --service")]
    Make {
        /// Whom it is for.
        name: String,
        /// What rcgen says.
        source: rcgen::Error,
    },
    /// The time is none that a certificate can have.
    #[error("cannot make a certificate at {0}: check the clock and --certificate-lifetime")]
    Time(Timestamp),
    /// A field of the Secret is missing or broken.
    #[error("field {field} of the Secret holds no {wanted} in PEM")]
    Field {
        /// The field.
        field: &'static str,
        /// What it is to hold.
        wanted: &'static str,
    },
    /// Certificate and key are not of one another, or of a kind that is not known.
    #[error("certificate and key in the Secret do not belong together: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate with its key, and the authorities that it and the former one are checked by.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The newest first.
    authorities: Vec<CertificateDer<'static>>,
    pair: Arc<CertifiedKey>,
    key: Arc<PrivateKeyDer<'static>>,
    expires: Timestamp,
}

/// The name by which the API server calls a Service.
#[must_use]
pub fn name_of(service: &ObjectName) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

impl Certificates {
    /// New ones for a name, valid from now on. The newest authority of the former ones is kept.
    ///
    /// # Errors
    /// [`CertificateError::Make`], [`CertificateError::Time`].
    pub fn make(
        name: &str,
        lifetime: Duration,
        now: Timestamp,
        former: Option<&Self>,
    ) -> Result<Self, CertificateError> {
        let failed = |source| CertificateError::Make { name: name.to_owned(), source };
        let dates = dates(now, lifetime)?;
        let authority_key = KeyPair::generate().map_err(failed)?;
        let mut wanted = described("dra-driver webhook authority", dates);
        wanted.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = wanted.self_signed(&authority_key).map_err(failed)?;
        let issuer = Issuer::new(wanted, authority_key);

        let key = KeyPair::generate().map_err(failed)?;
        let mut wanted = described("dra-driver webhook", dates);
        let named = CertificateParams::new([name.to_owned()]).map_err(failed)?;
        wanted.subject_alt_names = named.subject_alt_names;
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted.use_authority_key_identifier_extension = true;
        let leaf = wanted.signed_by(&key, &issuer).map_err(failed)?;

        let former = former.and_then(|former| former.authorities.first().cloned());
        let authorities = [authority.der().clone()].into_iter().chain(former).collect();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Self::of(authorities, vec![leaf.der().clone()], key)
    }

    /// Those that a Secret holds. `None` where it holds nothing yet.
    ///
    /// # Errors
    /// What it holds cannot be used.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Option<Self>, CertificateError> {
        if [AUTHORITIES, CERTIFICATE, KEY].iter().all(|field| !data.contains_key(*field)) {
            return Ok(None);
        }
        let text = |field| data.get(field).map_or(&[][..], |ByteString(text)| text);
        let certificates = |field| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(field)).collect();
            read.ok()
                .filter(|read| !read.is_empty())
                .ok_or(CertificateError::Field { field, wanted: "certificates" })
        };
        let key = PrivateKeyDer::from_pem_slice(text(KEY))
            .map_err(|_| CertificateError::Field { field: KEY, wanted: "private key" })?;
        Self::of(certificates(AUTHORITIES)?, certificates(CERTIFICATE)?, key).map(Some)
    }

    fn of(
        authorities: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let broken = CertificateError::Field { field: CERTIFICATE, wanted: "certificates" };
        let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let expires = leaf.map(|(_, leaf)| leaf.validity().not_after.timestamp());
        let expires = expires.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(broken)?;
        let pair = CertifiedKey::from_der(chain, key.clone_key(), &ring::default_provider())?;
        Ok(Self { authorities, pair: Arc::new(pair), key: Arc::new(key), expires })
    }

    /// What a Secret is to hold.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let key = pem::Pem::new("PRIVATE KEY", self.key.secret_der());
        let fields =
            [(AUTHORITIES, self.bundle()), (CERTIFICATE, in_pem(&self.pair.cert)), (KEY, pem::encode(&key))];
        fields.into_iter().map(|(field, text)| (field.to_owned(), ByteString(text.into_bytes()))).collect()
    }

    /// What the API server is to check the certificate by.
    #[must_use]
    pub fn bundle(&self) -> String {
        in_pem(&self.authorities)
    }

    /// The authorities of [`Self::bundle`].
    #[must_use]
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// What is shown to clients.
    #[must_use]
    pub fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair)
    }

    /// When the certificate ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether a client that knows the newest authority takes the certificate for this name at this time.
    #[must_use]
    pub fn holds(&self, name: &str, now: Timestamp) -> bool {
        let (Some(authority), Some((leaf, chain))) = (self.authorities.first(), self.pair.cert.split_first())
        else {
            return false;
        };
        let mut roots = RootCertStore::empty();
        let (Ok(()), Ok(name), Ok(now)) =
            (roots.add(authority.clone()), ServerName::try_from(name), u64::try_from(now.as_second()))
        else {
            return false;
        };
        let provider = Arc::new(ring::default_provider());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.is_ok_and(|verifier| verifier.verify_server_cert(leaf, chain, &name, &[], now).is_ok())
    }
}

impl PartialEq for Certificates {
    /// The same certificate.
    fn eq(&self, other: &Self) -> bool {
        self.pair.cert == other.pair.cert && self.authorities == other.authorities
    }
}

fn in_pem(certificates: &[CertificateDer<'_>]) -> String {
    let blocks: Vec<_> = certificates.iter().map(|one| pem::Pem::new("CERTIFICATE", one.as_ref())).collect();
    pem::encode_many(&blocks)
}

fn dates(now: Timestamp, lifetime: Duration) -> Result<[OffsetDateTime; 2], CertificateError> {
    let wrong = |_| CertificateError::Time(now);
    let at = |time: Timestamp| {
        OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| CertificateError::Time(now))
    };
    let until = now.checked_add(lifetime).map_err(wrong)?;
    Ok([at(now.checked_sub(BEFORE).map_err(wrong)?)?, at(until)?])
}

fn described(name: &str, [from, until]: [OffsetDateTime; 2]) -> CertificateParams {
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name = DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, name);
    wanted.not_before = from;
    wanted.not_after = until;
    wanted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "webhook.gpu.svc";
    const DAY: Duration = Duration::from_secs(86_400);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_is_kept_comes_back() {
        let made = Certificates::make(NAME, DAY, at(0), None).unwrap();
        let read = Certificates::read(&made.data()).unwrap().unwrap();
        assert_eq!(read, made);
        assert_eq!(read.data(), made.data());
        assert_eq!(read.expires(), at(86_400));
        assert_eq!(Certificates::read(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn a_certificate_holds_for_its_name_and_time() {
        let made = Certificates::make(NAME, DAY, at(0), None).unwrap();
        let cases = [
            (NAME, 0, true),
            (NAME, -3600, true),
            (NAME, -3601, false),
            (NAME, 86_400, true),
            (NAME, 86_401, false),
            ("webhook.other.svc", 0, false),
            ("no name at all", 0, false),
        ];
        for (name, second, holds) in cases {
            assert_eq!(made.holds(name, at(second)), holds, "{name} at {second} s");
        }
    }

    #[test]
    fn the_former_authority_stays_and_no_other() {
        let first = Certificates::make(NAME, DAY, at(0), None).unwrap();
        let second = Certificates::make(NAME, DAY, at(1), Some(&first)).unwrap();
        let third = Certificates::make(NAME, DAY, at(2), Some(&second)).unwrap();
        let newest = |of: &Certificates| of.authorities()[0].clone();
        assert_eq!(second.authorities(), [newest(&second), newest(&first)]);
        assert_eq!(third.authorities(), [newest(&third), newest(&second)]);
        assert!(third.holds(NAME, at(2)));
    }

    #[test]
    fn a_secret_that_holds_other_things_is_an_error() {
        let made = Certificates::make(NAME, DAY, at(0), None).unwrap();
        let other = Certificates::make(NAME, DAY, at(0), None).unwrap().data();
        let with = |field: &str, text: Option<&[u8]>| {
            let mut data = made.data();
            data.remove(field);
            data.extend(text.map(|text| (field.to_owned(), ByteString(text.to_vec()))));
            data
        };
        let key = made.data()[KEY].0.clone();
        let cases = [
            (
                "no authority",
                with(AUTHORITIES, None),
                "field ca.crt of the Secret holds no certificates in PEM",
            ),
            ("no key", with(KEY, None), "field tls.key of the Secret holds no private key in PEM"),
            ("another key", with(KEY, Some(&other[KEY].0)), "do not belong together"),
            ("a key as a certificate", with(CERTIFICATE, Some(&key)), "field tls.crt"),
            ("an empty certificate", with(CERTIFICATE, Some(b"")), "field tls.crt"),
        ];
        for (name, data, wanted) in cases {
            let error = Certificates::read(&data).unwrap_err().to_string();
            assert!(error.contains(wanted), "{name}: {error}");
        }
    }

    #[test]
    fn a_key_is_not_seen_in_a_log() {
        let made = Certificates::make(NAME, DAY, at(0), None).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
        let bytes: Vec<String> = made.key.secret_der().iter().take(16).map(u8::to_string).collect();
        assert!(!format!("{made:?}").contains(&bytes.join(", ")));
    }

    #[test]
    fn impossible_wishes_are_named() {
        let cases = [
            ("a name that no certificate can have", "wébhook.gpu.svc", at(0), "check --service"),
            ("a time after the year 9999", NAME, Timestamp::MAX, "check the clock"),
        ];
        for (what, name, now, wanted) in cases {
            let error = Certificates::make(name, DAY, now, None).unwrap_err().to_string();
            assert!(error.contains(wanted), "{what}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_secret_is_read_or_an_error(texts in prop::collection::vec(any::<Vec<u8>>(), 3), framed in any::<bool>()) {
            let framed = |text: &[u8]| {
                if framed { pem::encode(&pem::Pem::new("CERTIFICATE", text)).into_bytes() } else { text.to_vec() }
            };
            let fields = [AUTHORITIES, CERTIFICATE, KEY].into_iter().zip(&texts);
            let data = fields.map(|(field, text)| (field.to_owned(), ByteString(framed(text)))).collect();
            prop_assert!(Certificates::read(&data).is_err());
        }
    }
}
