//! Publishing: the node's ResourceSlices in the API server, kept as they should be.
//!
//! ```text
//! feed (list, watch) ──▶ mirror ──┐
//! view ───────────────────────────┼──▶ publisher ──▶ writes
//! link, ownership ────────────────┘        ▲
//! taints: does the API server keep them? ──┘
//! ```

mod feed;
mod mirror;
mod publisher;
mod server;
mod taints;

use std::sync::Arc;

use dra_driver::node::View;
use dra_runtime::events::Events;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Link;
use crate::metrics::Metrics;
use publisher::Publisher;
use server::Server;

/// Whose slices are published.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The DRA driver's name.
    pub driver: String,
    /// The name of the Node object.
    pub node: String,
}

/// What publishing follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The node's hardware.
    pub views: watch::Receiver<Arc<View>>,
    /// The kubelet's connection: before it registers the plugin no first slices are published, and while there is none,
    /// slices that somebody deleted stay deleted, because that was the kubelet. So no pod comes that cannot be prepared.
    pub link: watch::Receiver<Link>,
    /// Whether this instance is the one that writes. When it stops to be, a write under way is given up.
    pub owns: watch::Receiver<bool>,
}

/// Publishes until `cancel`, or until one of the inputs has no sender any more. The slices stay.
pub async fn run(
    client: Client,
    settings: Settings,
    inputs: Inputs,
    metrics: Metrics,
    events: Events,
    cancel: CancellationToken,
) {
    let server = Server::new(client, &settings);
    let mut publisher = Publisher::new(server, settings, inputs, metrics, events);
    cancel.run_until_cancelled(publisher.run()).await;
}
