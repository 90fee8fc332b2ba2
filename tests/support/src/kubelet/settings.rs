//! How a stand-in is set up.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// What a [`Kubelet`](super::Kubelet) works on.
#[derive(Clone)]
pub struct Settings {
    /// The node's name, as in `spec.nodeName` of its ResourceSlices.
    pub node: String,
    /// The folder where plugins place their registration sockets; watched with its sub-folders. Made if absent.
    pub registry: PathBuf,
    /// The folders of CDI specs, later ones win: for the tests that apply what [`Prepared`](super::Prepared)
    /// names. The kubelet itself does not read them.
    pub cdi: Vec<PathBuf>,
    /// Deletes ResourceSlices. Without one, none are deleted.
    pub client: Option<kube::Client>,
    /// Delays and time-outs.
    pub timings: Timings,
    /// What registration calls name as the server.
    pub authority: Authority,
}

impl Settings {
    /// A stand-in for `node` that watches `registry`, reads the usual CDI folders, has no API server, and keeps
    /// the kubelet's times.
    pub fn new(node: impl Into<String>, registry: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            registry: registry.into(),
            cdi: vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")],
            client: None,
            timings: Timings::default(),
            authority: Authority::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("node", &self.node)
            .field("registry", &self.registry)
            .field("cdi", &self.cdi)
            .field("client", &self.client.is_some())
            .field("timings", &self.timings)
            .field("authority", &self.authority)
            .finish()
    }
}

/// The `:authority` of the two registration calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// The socket's path, percent-encoded, as the kubelet sends it. Rust's `http` crate does not take that for an
    /// authority, so a stock tonic server resets the stream.
    #[default]
    AsKubelet,
    /// `localhost`, which every server takes.
    Localhost,
}

/// Delays and time-outs; the default is the kubelet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long one registration tries to connect.
    pub dial: Duration,
    /// Time-out of `GetInfo`.
    pub get_info: Duration,
    /// Time-out of `NotifyRegistrationStatus`.
    pub notify: Duration,
    /// How often the registry folder is compared with what is registered.
    pub reconcile: Duration,
    /// The delay after the first failed registration of a socket, which doubles with each failure, and its limit.
    pub registration_backoff: RangeInclusive<Duration>,
    /// The delay after the first failed connection to a plugin, which grows by 1.6 with each, and its limit.
    pub reconnect: RangeInclusive<Duration>,
    /// Time-out of `NodePrepareResources` and `NodeUnprepareResources`, told to the plugin.
    pub call: Duration,
    /// The delay before a pod whose claims could not be prepared is tried again, drawn from this range.
    pub retry_prepare: RangeInclusive<Duration>,
    /// How often the unpreparing of pods that have ended is tried again.
    pub retry_unprepare: Duration,
    /// The delay before an ended health stream is opened again.
    pub reopen_health: Duration,
    /// How long a device's health holds, unless its report says otherwise.
    pub health_timeout: Duration,
    /// How long a driver may be without a connection before its ResourceSlices are deleted.
    pub wipe: Duration,
    /// The delay after the first failed deletion of ResourceSlices, which doubles with each failure, and its limit.
    pub wipe_backoff: RangeInclusive<Duration>,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(10),
            get_info: Duration::from_secs(1),
            notify: Duration::from_secs(5),
            reconcile: Duration::from_secs(1),
            registration_backoff: Duration::from_millis(500)..=Duration::from_secs(122),
            reconnect: Duration::from_secs(1)..=Duration::from_secs(120),
            call: Duration::from_secs(45),
            retry_prepare: Duration::from_secs(60)..=Duration::from_secs(90),
            retry_unprepare: Duration::from_secs(60),
            reopen_health: Duration::from_secs(5),
            health_timeout: Duration::from_secs(30),
            wipe: Duration::from_secs(30),
            wipe_backoff: Duration::from_secs(1)..=Duration::from_secs(300),
        }
    }
}

/// Delays that grow after each failure, up to a limit.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    limit: Duration,
    percent: u32,
}

impl Backoff {
    /// The first delay is the range's start; each next one is `percent` of the one before, and at most the
    /// range's end.
    pub(super) fn new(range: &RangeInclusive<Duration>, percent: u32) -> Self {
        Self { next: *range.start(), limit: *range.end(), percent }
    }

    /// The delay after one more failure.
    pub(super) fn failed(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay.saturating_mul(self.percent) / 100).min(self.limit);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let mut backoff = Backoff::new(&Timings::default().registration_backoff, 200);
        let delays: Vec<u128> = (0..10).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 122_000, 122_000]);
    }
}
