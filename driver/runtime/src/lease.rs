//! Which of several replicas acts: the one that holds a Lease.
//!
//! Nobody's clock is trusted but the own one, and that only for how long things take. A record of another replica has
//! expired when it was seen to stay the same for as long as it says that it holds. The holder counts from before it
//! asked for a renewal, and stops earlier than others may begin: so there are never two at once, unless somebody deletes
//! the Lease or edits its holder by hand.

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

/// How often it is tried to give the Lease back. It takes more than once where a renewal was under way, or an answer was
/// lost.
const GIVE_BACK_TRIES: u32 = 4;

/// How a Lease is held.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// The Lease. It is made where it does not exist.
    pub lease: ObjectName,
    /// What tells this replica from others.
    pub identity: String,
    /// How long the Lease holds without being renewed: at least a second.
    pub duration: Duration,
    /// How often it is renewed: at most a third of `duration`. The holder acts for `duration` less this without a
    /// renewal.
    pub renew: Duration,
}

/// Whether this replica is the one that acts. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// Until when it acts, unless the Lease is renewed.
    until: watch::Receiver<Option<Instant>>,
    /// The last end of which [`Leadership::changed`] has told.
    told: Option<Instant>,
}

impl Leadership {
    /// Whether this replica acts now: by its own clock, even if the task that renews is stuck.
    #[must_use]
    pub fn is_held(&self) -> bool {
        is_ahead(*self.until.borrow())
    }

    /// Waits until [`Leadership::is_held`] may answer otherwise than before. Nothing is missed between two calls.
    pub async fn changed(&mut self) {
        let until = *self.until.borrow();
        let end = until.filter(|_| until != self.told);
        let expiry = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let renewal = async {
            if self.until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = renewal => {}
            () = expiry => self.told = end,
        }
    }
}

fn is_ahead(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

/// Starts the task that holds the Lease as far as it can, and gives it back on `cancel`.
#[must_use]
pub fn start(
    client: Client,
    settings: LeaseSettings,
    cancel: CancellationToken,
) -> (Leadership, JoinHandle<()>) {
    let (sender, until) = watch::channel(None);
    let api = Api::namespaced(client, &settings.lease.namespace);
    let backoff = Backoff::default();
    let candidate = Candidate { api, settings, sender, seen: None, is_writing: false, backoff };
    (Leadership { until, told: None }, tokio::spawn(candidate.run(cancel)))
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
    /// A write was sent of which no answer is known: it may still come to be.
    is_writing: bool,
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
        let holding = async {
            loop {
                match self.once().await {
                    Ok(next) => {
                        self.backoff.reset();
                        sleep_until(next).await;
                    }
                    Err(error) => {
                        let wait = self.failed(&error);
                        sleep(wait).await;
                    }
                }
            }
        };
        cancel.run_until_cancelled(holding).await;
        self.give_back().await;
    }

    /// One look at the Lease, or one renewal. When the next is due.
    async fn once(&mut self) -> kube::Result<Instant> {
        if !self.is_ours() {
            self.look().await?;
        }
        let now = Instant::now();
        match self.step(now) {
            Step::Hold => {
                self.hold(now).await?;
                Ok(now + self.settings.renew)
            }
            Step::Wait(wait) => Ok(now + wait),
        }
    }

    /// What comes next begins with a look: what was written may have come to be. How long to wait before.
    fn failed(&mut self, error: &kube::Error) -> Duration {
        let lease = &self.settings.lease;
        // Another replica was faster: that is no failure.
        if !matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists()) {
            tracing::warn!(%error, %lease, "cannot hold the Lease; it is being tried again");
        }
        if self.sender.borrow().is_some() && !is_ahead(*self.sender.borrow()) {
            self.stop("it could not be renewed in time");
        }
        if self.is_ours() {
            self.seen = None;
        }
        self.backoff.next(self.settings.renew)
    }

    fn stop(&self, why: &str) {
        if self.sender.send_replace(None).is_some() {
            tracing::warn!(lease = %self.settings.lease, why, "this replica does not act any more");
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
                // What is given back is to be seen soon.
                if left.is_zero() { Step::Hold } else { Step::Wait(left.min(self.settings.renew / 2)) }
            }
        }
    }

    /// Reads the Lease. The time of a record counts from when its answer was here, which is after it was written.
    async fn look(&mut self) -> kube::Result<()> {
        let found = self.answer(self.api.get_opt(&self.settings.lease.name)).await?;
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        self.seen = match (found, self.seen.take()) {
            (Some(lease), Some(seen)) if version(&lease) == version(&seen.lease) => Some(seen),
            (Some(lease), _) => Some(Seen { lease, since: Instant::now() }),
            (None, _) => None,
        };
        if !self.is_ours() {
            self.stop("somebody else has changed the Lease");
        }
        Ok(())
    }

    /// Writes that the Lease is ours. Where another replica was faster, the API server refuses.
    async fn hold(&mut self, asked: Instant) -> kube::Result<()> {
        let lease = self.record(Timestamp::now());
        let params = PostParams::default();
        self.is_writing = true;
        let written = match &self.seen {
            Some(_) => self.answer(self.api.replace(&self.settings.lease.name, &params, &lease)).await?,
            None => self.answer(self.api.create(&params, &lease)).await?,
        };
        self.is_writing = false;
        self.seen = Some(Seen { lease: written, since: asked });
        let until = asked + self.settings.duration.saturating_sub(self.settings.renew);
        if !is_ahead(self.sender.send_replace(Some(until))) {
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

    /// Lets another replica act at once, if that can be had soon.
    async fn give_back(mut self) {
        self.sender.send_replace(None);
        if !self.is_ours() && !self.is_writing {
            return;
        }
        if self.is_writing {
            self.seen = None;
        }
        let lease = self.settings.lease.clone();
        match timeout(self.settings.duration / 3, self.tried_release()).await {
            Ok(Ok(())) => tracing::info!(%lease, "the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, %lease, "cannot give the Lease back; it expires"),
            Err(_) => tracing::warn!(%lease, "cannot give the Lease back in time; it expires"),
        }
    }

    async fn tried_release(&mut self) -> kube::Result<()> {
        let mut tries = 1;
        loop {
            match self.release().await {
                Err(_) if tries < GIVE_BACK_TRIES => {
                    tries += 1;
                    self.seen = None;
                    sleep(self.backoff.next(self.settings.renew)).await;
                }
                done => return done,
            }
        }
    }

    /// Writes that nobody holds the Lease, if it is ours.
    async fn release(&mut self) -> kube::Result<()> {
        if self.seen.is_none() {
            self.look().await?;
        }
        if !self.is_ours() {
            return Ok(());
        }
        let mut lease = self.record(Timestamp::now());
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        let params = PostParams::default();
        self.answer(self.api.replace(&self.settings.lease.name, &params, &lease)).await.map(drop)
    }

    /// An answer of the API server, in time for another try before the Lease has to be given up.
    async fn answer<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let within = self.settings.duration / 5;
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
