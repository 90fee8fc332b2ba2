//! Prometheus and promtool, for tests of dashboards, alerts and rules. They are fetched, not installed.

use std::path::PathBuf;

use anyhow::Result;

use crate::debian::{self, Pinned};
use crate::store;

/// Debian's release that has it. Its programs need no more of the system than glibc 2.34.
const SUITE: &str = "bookworm main";

const PROMETHEUS: Pinned = Pinned {
    package: "prometheus",
    version: "2.42.0+ds-5+deb12u1",
    sha256: "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
};

/// Provides the programs, and the environment variables by which tests find them; needs
/// [`crate::setup::Need::Prometheus`].
pub(crate) fn ensure() -> Result<[(&'static str, PathBuf); 2]> {
    let folder = store::folder(&format!("prometheus-{}", PROMETHEUS.version), |folder| {
        eprintln!(
            "Fetching Prometheus {} from Debian {SUITE} (19 MB): the tests run dashboards' queries and alerts on it.",
            PROMETHEUS.version
        );
        debian::unpack(SUITE, &[PROMETHEUS], folder)
    })?;
    Ok([("PROMETHEUS", folder.join("usr/bin/prometheus")), ("PROMTOOL", folder.join("usr/bin/promtool"))])
}
