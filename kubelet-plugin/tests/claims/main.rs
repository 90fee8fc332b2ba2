//! Claims on a fake node: what the kubelet asks, what it is answered, and what lies on disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

mod answers;
mod bench;
mod holders;
mod troubles;
mod upkeep;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use bench::{Bench, DRIVER, GPUS, GUARD, Given, NODE, claim, prepare, result};
use dra_driver::claim::{ClaimRef, PreparedDevice};
use fake_node::inject::{GpuSelector, Injection};
use fake_node::model::Effect;
use fake_node::node::LibraryFile;
use http::StatusCode;
use serde_json::json;
use support::transport::{Action, Answer, Matching, Verb};
use tokio::time::{Instant, timeout};

/// Time enough for what is answered at once, and less than the kubelet's.
const SOON: Duration = Duration::from_secs(10);
/// A deadline for what cannot be done, so that the test does not take the kubelet's time.
const SHORT: Duration = Duration::from_millis(1500);

fn gets() -> Matching {
    Matching::verb(Verb::Get).resource("resourceclaims")
}

/// What the kubelet is told about a GPU that was prepared for a claim.
fn prepared(claim: &ClaimRef, slot: usize) -> PreparedDevice {
    PreparedDevice {
        requests: vec![format!("gpu-{slot}")],
        pool: format!("{NODE}/gpu"),
        device: GPUS[slot].to_owned(),
        cdi_ids: vec![
            format!("{DRIVER}/claim={}-{}", claim.uid, GPUS[slot]),
            format!("{DRIVER}/driver=files"),
        ],
        share_id: None,
    }
}
