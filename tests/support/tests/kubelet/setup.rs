//! A node with a stand-in whose delays are short.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::PathBuf, time::Duration};

use support::kubelet::{Authority, Kubelet, Settings, Timings};
use tempfile::TempDir;

use crate::plugin::{Plugin, SOON, Script};

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Delays that a test does not notice. Time-outs stay long, so that a busy machine does not fail a test.
pub(crate) fn timings() -> Timings {
    Timings {
        get_info: SOON,
        notify: SOON,
        reconcile: milliseconds(10),
        registration_backoff: milliseconds(10)..=milliseconds(40),
        reconnect: milliseconds(10)..=milliseconds(40),
        retry_prepare: milliseconds(10)..=milliseconds(20),
        retry_unprepare: milliseconds(10),
        reopen_health: milliseconds(10),
        wipe: milliseconds(10),
        wipe_backoff: milliseconds(10)..=milliseconds(40),
        ..Timings::default()
    }
}

/// A folder for sockets, whose paths must be short, and a stand-in that watches `r` in it.
pub(crate) struct Node {
    pub(crate) kubelet: Kubelet,
    pub(crate) registry: PathBuf,
    _folder: TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap();
        let registry = folder.path().join("r");
        let mut settings = Settings {
            timings: timings(),
            authority: Authority::Localhost,
            ..Settings::new("node-a", &registry)
        };
        change(&mut settings);
        let kubelet = Kubelet::start(settings).await.unwrap();
        Self { kubelet, registry, _folder: folder }
    }

    /// Starts a plugin without waiting for anything.
    pub(crate) fn plugin(&self, name: &str, script: Script) -> Plugin {
        Plugin::start(&self.registry, name, script)
    }

    /// Starts a plugin and waits until it is registered.
    pub(crate) async fn registered(&self, name: &str, script: Script) -> Plugin {
        let driver = script.info.name.clone();
        let plugin = self.plugin(name, script);
        self.kubelet.wait_registered(&driver, SOON).await.unwrap();
        plugin
    }
}
