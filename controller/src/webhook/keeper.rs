//! Looks after the certificates: those in the Secret, those shown to clients, those that the API server knows.
//!
//! All pods of the webhook do this side by side. The Secret decides: who writes it first has made the certificates,
//! and the others take them.

use std::time::Duration;

use dra_runtime::object_name::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::certificates::{CertificateError, Certificates};
use super::metrics::Metrics;
use super::next::{Next, Seen, is_told, next};
use super::shown::Shown;

/// How often it is looked at all this; less where certificates live for less than an hour.
const PACE: Duration = Duration::from_secs(30);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(20);
/// The waits after looks that failed.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How many steps one look has at most. More come only of others that write all the time.
const STEPS: usize = 8;

/// Why the certificates could not be looked after.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The Secret.
    #[error("cannot {verb} the Secret {name}, which keeps the webhook's certificates: {source}")]
    Secret {
        /// What was being done.
        verb: &'static str,
        /// Its name.
        name: ObjectName,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The configuration.
    #[error("cannot {verb} the ValidatingWebhookConfiguration {name}: {source}")]
    Configuration {
        /// What was being done.
        verb: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// Others write the same objects all the time.
    #[error("the Secret {0} and the webhook's configuration do not come to rest: who else writes them?")]
    Unrest(ObjectName),
    /// The API server.
    #[error("the API server gave no answer within {} s", LOOK.as_secs())]
    Late,
}

/// What is looked after.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name that certificates are for.
    pub name: String,
    /// How long they live.
    pub lifetime: Duration,
    /// The Secret that keeps them. It has to exist.
    pub secret: ObjectName,
    /// The ValidatingWebhookConfiguration whose webhooks are served.
    pub configuration: String,
}

/// Looks after the certificates until `cancel`.
pub async fn run(
    client: Client,
    settings: Settings,
    shown: Shown,
    metrics: Metrics,
    cancel: CancellationToken,
) {
    let pace = PACE.min(settings.lifetime / 20);
    let mut keeper = Keeper::new(client, settings, shown, metrics.clone());
    let looking = async {
        let mut wait = FIRST_WAIT;
        loop {
            let looked = timeout(LOOK, keeper.look()).await.unwrap_or(Err(KeeperError::Late));
            if let Err(error) = looked {
                metrics.error();
                tracing::warn!("{error}");
                sleep(wait.min(pace).mul_f64(0.5 + fastrand::f64())).await;
                wait = (wait * 2).min(PACE);
            } else {
                wait = FIRST_WAIT;
                sleep(pace.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            }
        }
    };
    cancel.run_until_cancelled(looking).await;
}

struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    settings: Settings,
    shown: Shown,
    metrics: Metrics,
    /// What the API server knew at the end of the last look.
    told_before: Option<Certificates>,
}

impl Keeper {
    fn new(client: Client, settings: Settings, shown: Shown, metrics: Metrics) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &settings.secret.namespace),
            configurations: Api::all(client),
            settings,
            shown,
            metrics,
            told_before: None,
        }
    }

    /// Does what has to be done until there is nothing.
    async fn look(&mut self) -> Result<(), KeeperError> {
        for _ in 0..STEPS {
            let secret = self.secret().await?;
            let kept = Certificates::read(secret.data.as_ref().unwrap_or(&Default::default()));
            let kept = kept.unwrap_or_else(|error| {
                tracing::warn!("{error}; a new certificate is made");
                None
            });
            // Without the configuration, clients can still be shown a certificate.
            let configuration = self.configuration().await;
            let told = configuration.as_ref().map(bundles).unwrap_or_default();
            let shown = self.shown.certificates();
            let seen = Seen {
                now: Timestamp::now(),
                name: &self.settings.name,
                lifetime: self.settings.lifetime,
                kept: kept.as_ref(),
                shown: shown.as_ref(),
                told: &told,
                told_before: kept.is_some() && self.told_before == kept,
            };
            match (next(&seen), kept) {
                // Clients go on checking what they are shown, also where the Secret has lost it.
                (Next::Make, former) => self.make(secret, former.as_ref().or(shown.as_ref())).await?,
                (Next::Show, Some(kept)) => self.show(kept),
                (Next::Tell, Some(kept)) => self.tell(&configuration?, &kept).await?,
                (_, kept) => {
                    configuration?;
                    self.told_before = kept.filter(|kept| is_told(kept, &told));
                    if let Some(told) = &self.told_before {
                        self.shown.is_known(told.authorities().to_vec());
                    }
                    return Ok(());
                }
            }
        }
        Err(KeeperError::Unrest(self.settings.secret.clone()))
    }

    async fn secret(&self) -> Result<Secret, KeeperError> {
        let name = &self.settings.secret;
        let failed =
            |source| KeeperError::Secret { verb: "get", name: name.clone(), source: Box::new(source) };
        self.secrets.get(&name.name).await.map_err(failed)
    }

    async fn configuration(&self) -> Result<ValidatingWebhookConfiguration, KeeperError> {
        let name = &self.settings.configuration;
        let got = self.configurations.get(name).await;
        got.map_err(|source| KeeperError::Configuration {
            verb: "get",
            name: name.clone(),
            source: Box::new(source),
        })
    }

    /// Makes new certificates, and puts them into the Secret as it was read.
    async fn make(&self, secret: Secret, former: Option<&Certificates>) -> Result<(), KeeperError> {
        let Settings { name, lifetime, secret: of, .. } = &self.settings;
        let made = Certificates::make(name, *lifetime, Timestamp::now(), former)?;
        let filled = Secret { data: Some(made.data()), ..secret };
        match self.secrets.replace(&of.name, &PostParams::default(), &filled).await {
            Ok(_) => {
                tracing::info!(expires = %made.expires(), "made a new certificate");
                Ok(())
            }
            // Another pod was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            Err(source) => {
                Err(KeeperError::Secret { verb: "update", name: of.clone(), source: Box::new(source) })
            }
        }
    }

    fn show(&self, kept: Certificates) {
        tracing::info!(expires = %kept.expires(), "the certificate that clients are shown is another one");
        self.metrics.certificate(kept.expires());
        self.shown.show(kept);
    }

    /// Writes the authorities into each webhook of the configuration, unless somebody else has just written it.
    async fn tell(
        &self,
        configuration: &ValidatingWebhookConfiguration,
        kept: &Certificates,
    ) -> Result<(), KeeperError> {
        let bundle = k8s_openapi::ByteString(kept.bundle().into_bytes());
        let webhooks = configuration.webhooks.iter().flatten();
        let webhooks: Vec<_> = webhooks
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let version = &configuration.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks});
        let name = &self.settings.configuration;
        match self.configurations.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                tracing::info!(name, "told the API server what the certificate is checked by");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            Err(source) => Err(KeeperError::Configuration {
                verb: "patch",
                name: name.clone(),
                source: Box::new(source),
            }),
        }
    }
}

/// What the API server checks the certificate by, for each webhook.
fn bundles(configuration: &ValidatingWebhookConfiguration) -> Vec<Vec<u8>> {
    let webhooks = configuration.webhooks.iter().flatten();
    webhooks
        .map(|webhook| {
            webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default()
        })
        .collect()
}
