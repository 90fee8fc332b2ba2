//! The webhook's metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::review::Verdict;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 10] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0, 5.0];

type Labels = [(&'static str, &'static str); 1];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered(Verdict),
    /// It was none that has an answer.
    Malformed,
}

impl Outcome {
    /// All of them, with what they mean, for the documentation.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Answered(Verdict::Allowed), "nothing was wrong"),
        (Self::Answered(Verdict::Warned), "the object was let through with a warning"),
        (Self::Answered(Verdict::Refused), "the object was refused"),
        (Self::Malformed, "it was no AdmissionReview, too long, or came too slowly"),
    ];

    /// The value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered(Verdict::Allowed) => "allowed",
            Self::Answered(Verdict::Warned) => "warned",
            Self::Answered(Verdict::Refused) => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// The metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Labels, Counter>,
    duration: Histogram,
    expiry: Gauge<i64, AtomicI64>,
    errors: Counter,
}

impl Metrics {
    /// The metrics of a webhook of this driver, with what is known to come set to zero.
    #[must_use]
    pub fn new(driver: &str, version: &str) -> Self {
        let mut registry = Registry::with_labels([("driver".into(), driver.to_owned().into())].into_iter());
        let requests: Family<Labels, Counter> = Family::default();
        for (outcome, _) in Outcome::ALL {
            drop(requests.get_or_create(&[("result", outcome.as_str())]));
        }
        registry.register(
            "dra_webhook_requests",
            "Admission requests by what became of them",
            requests.clone(),
        );
        let duration = Histogram::new(BUCKETS);
        registry.register(
            "dra_webhook_request_duration_seconds",
            "Time from an admission request's arrival to its answer",
            duration.clone(),
        );
        let expiry = Gauge::default();
        registry.register(
            "dra_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that is shown ends; 0 while there is none",
            expiry.clone(),
        );
        let errors = Counter::default();
        registry.register(
            "dra_webhook_certificate_errors",
            "Times that the certificates could not be looked after",
            errors.clone(),
        );
        let build: Family<[(&'static str, String); 1], Gauge> = Family::default();
        build.get_or_create(&[("version", version.to_owned())]).set(1);
        registry.register("dra_webhook_build_info", "Always 1; the webhook's version is in the label", build);
        Self { registry: Arc::new(registry), requests, duration, expiry, errors }
    }

    /// The registry, for the endpoint that shows it.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// A request has its answer.
    pub fn request(&self, outcome: Outcome, took: Duration) {
        self.requests.get_or_create(&[("result", outcome.as_str())]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Another certificate is shown.
    pub fn certificate(&self, expires: Timestamp) {
        self.expiry.set(expires.as_second());
    }

    /// The certificates could not be looked after.
    pub fn error(&self) {
        self.errors.inc();
    }
}
