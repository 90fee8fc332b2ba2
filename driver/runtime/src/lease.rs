//! Which of several replicas acts: the one that holds a Lease.
//!
//! Nobody's clock is trusted but the own one, and that only for how long things take. A record of another replica has
//! expired when it was seen to stay the same for as long as it says that it holds. The holder counts from before it
//! asked for a renewal, and stops earlier than others may begin: so there are never two at once.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::object_name::ObjectName;

/// How a Lease is held.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// The Lease. It is made where it does not exist.
    pub lease: ObjectName,
    /// What tells this replica from others.
    pub identity: String,
    /// How long the Lease holds without being renewed: at least a second.
    pub duration: Duration,
    /// How often it is renewed. The holder acts for `duration` less this without a renewal.
    pub renew: Duration,
}

/// Whether this replica is the one that acts. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this replica acts now: by its own clock, even if the task that renews is stuck.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until [`Leadership::is_held`] may answer otherwise.
    pub async fn changed(&mut self) {
        let until = *self.0.borrow_and_update();
        let expiry = async {
            match until.filter(|until| Instant::now() < *until) {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = expiry => {}
            () = told => {}
        }
    }
}

/// Starts the task that holds the Lease as far as it can, and gives it back on `cancel`.
#[must_use]
pub fn start(
    client: Client,
    settings: LeaseSettings,
    cancel: CancellationToken,
) -> (Leadership, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(None);
    let api = Api::namespaced(client, &settings.lease.namespace);
    let candidate = Candidate { api, settings, sender, seen: None, backoff: Backoff::default() };
    (Leadership(receiver), tokio::spawn(candidate.run(cancel)))
}

/// A Lease as it was seen, and since when it is the same.
#[derive(Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
}

struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    sender: watch::Sender<Option<Instant>>,
    seen: Option<Seen>,
    backoff: Backoff,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Write that the Lease is ours.
    Hold,
    /// Look again after a while.
    Wait(Duration),
}

impl Candidate {
    async fn run(mut self, cancel: CancellationToken) {
        cancel
            .run_until_cancelled(async {
                loop {
                    let wait = match self.once().await {
                        Ok(wait) => {
                            self.backoff.reset();
                            wait
                        }
                        Err(error) => {
                            // What was seen may be outdated.
                            self.look_again();
                            if !matches!(&error, kube::Error::Api(status) if status.is_conflict()) {
                                let lease = &self.settings.lease;
                                tracing::warn!(%error, %lease, "cannot hold the Lease; it is being tried again");
                            }
                            self.backoff.next(self.settings.renew)
                        }
                    };
                    sleep(wait).await;
                }
            })
            .await;
        self.give_back().await;
    }

    /// One look at the Lease, or one renewal. How long to wait until the next.
    async fn once(&mut self) -> kube::Result<Duration> {
        if !self.is_ours() {
            self.look().await?;
        }
        match self.step(Instant::now()) {
            Step::Hold => {
                self.hold().await?;
                Ok(self.settings.renew)
            }
            Step::Wait(wait) => Ok(wait),
        }
    }

    fn is_ours(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| holder(&seen.lease) == Some(&self.settings.identity))
    }

    fn step(&self, now: Instant) -> Step {
        let Some(Seen { lease, since }) = &self.seen else { return Step::Hold };
        match holder(lease) {
            None => Step::Hold,
            Some(holder) if *holder == self.settings.identity => Step::Hold,
            Some(_) => {
                let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                let holds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
                let expiry = *since + holds.unwrap_or(self.settings.duration);
                let left = expiry.saturating_duration_since(now);
                if left.is_zero() { Step::Hold } else { Step::Wait(left.min(self.settings.renew)) }
            }
        }
    }

    async fn look(&mut self) -> kube::Result<()> {
        let found = self.answer(self.api.get_opt(&self.settings.lease.name)).await?;
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        self.seen = match (found, self.seen.take()) {
            (Some(lease), Some(seen)) if version(&lease) == version(&seen.lease) => Some(seen),
            (Some(lease), _) => Some(Seen { lease, since: Instant::now() }),
            (None, _) => None,
        };
        Ok(())
    }

    /// The next step begins with a look. For whom the record is, and since when, stays known.
    fn look_again(&mut self) {
        if self.is_ours() {
            self.seen = None;
        }
    }

    /// Writes that the Lease is ours. Where another replica was faster, the API server refuses.
    async fn hold(&mut self) -> kube::Result<()> {
        let asked = Instant::now();
        let is_new = !self.is_ours();
        let lease = self.record(Timestamp::now());
        let params = PostParams::default();
        let written = match &self.seen {
            Some(_) => self.answer(self.api.replace(&self.settings.lease.name, &params, &lease)).await?,
            None => self.answer(self.api.create(&params, &lease)).await?,
        };
        self.seen = Some(Seen { lease: written, since: asked });
        let until = asked + self.settings.duration.saturating_sub(self.settings.renew);
        self.sender.send_replace(Some(until));
        if is_new {
            tracing::info!(lease = %self.settings.lease, "this replica acts now");
        }
        Ok(())
    }

    fn record(&self, now: Timestamp) -> Lease {
        let LeaseSettings { lease, identity, duration, .. } = &self.settings;
        let seen = self.seen.as_ref().map(|seen| &seen.lease);
        let spec = seen.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let changes = spec.holder_identity.as_ref() != Some(identity);
        let metadata = seen.map(|lease| lease.metadata.clone()).unwrap_or_else(|| ObjectMeta {
            name: Some(lease.name.clone()),
            namespace: Some(lease.namespace.clone()),
            ..ObjectMeta::default()
        });
        let transitions = spec.lease_transitions.unwrap_or_default();
        let has_changed = i32::from(changes && seen.is_some());
        let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: Some(identity.clone()),
            lease_duration_seconds: Some(seconds.max(1)),
            acquire_time: spec.acquire_time.filter(|_| !changes).or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions.saturating_add(has_changed)),
            ..spec
        };
        Lease { metadata, spec: Some(spec) }
    }

    /// Lets another replica act at once.
    async fn give_back(mut self) {
        let held = self.sender.send_replace(None).is_some_and(|until| Instant::now() < until);
        if !held || !self.is_ours() {
            return;
        }
        let mut lease = self.record(Timestamp::now());
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        self.seen = None;
        let params = PostParams::default();
        match self.answer(self.api.replace(&self.settings.lease.name, &params, &lease)).await {
            Ok(_) => tracing::info!(lease = %self.settings.lease, "the Lease is given back"),
            Err(error) => {
                tracing::warn!(%error, lease = %self.settings.lease, "cannot give the Lease back; it expires");
            }
        }
    }

    /// An answer of the API server, in time for another try.
    async fn answer<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let within = self.settings.duration / 3;
        timeout(within, asked).await.unwrap_or_else(|_| {
            let late = std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer from the API server within {} ms", within.as_millis()),
            );
            Err(kube::Error::Service(Box::new(late)))
        })
    }
}

/// Who holds a Lease, if anybody does.
fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests;
